"""The operators' tool, `baas`."""

__version__ = "0.1.0"
