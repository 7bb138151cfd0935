"""Realtime: what a list shows, kept true as records change."""
