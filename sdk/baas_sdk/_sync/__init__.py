# Made from _async/__init__.py by sdk/unasync.py; change that one.
"""The client, written once: `_sync` is made of these files by `sdk/unasync.py`."""
