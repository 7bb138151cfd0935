"""The client, written once: `_sync` is made of these files by `sdk/unasync.py`."""
