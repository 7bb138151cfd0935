"""Accounts, sessions and tokens of a project's users."""
