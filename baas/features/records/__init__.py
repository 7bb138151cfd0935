"""Lists, reads and writes records as the rules allow."""
