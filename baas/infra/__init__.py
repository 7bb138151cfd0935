"""Floor 2: plumbing that does I/O and has never heard of a backend-as-a-service."""
