"""Accounts of a project's users: sign-up, sign-in, sessions, tokens."""
