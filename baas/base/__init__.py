"""Floor 1: values and decisions without I/O; everything above may import it, it imports nothing of ours."""
