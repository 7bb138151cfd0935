"""Many short statements on few connections: their messages go out together, and their answers come back in order."""
