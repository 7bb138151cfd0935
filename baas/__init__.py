"""A self-hostable Backend-as-a-Service. Importing this package costs nothing; the parts are imported by name."""

__version__ = "0.1.0"
