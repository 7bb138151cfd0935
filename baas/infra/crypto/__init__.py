"""Secrets: slow hashes for passwords in a bounded pool, and authenticated encryption for what must be read back."""
