"""Tests speak through the product's doors, against a real PostgreSQL and real files."""
