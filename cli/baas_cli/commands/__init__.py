"""What the commands are, one module a noun."""
