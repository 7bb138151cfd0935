"""The client of the baas platform."""

__version__ = "0.1.0"
