"""Buckets and files, streamed to the blob store and served so that nothing in them runs."""
