"""Explains, lints and tests rules, and remembers for a while whom they refused."""
