"""The operators' tool, `baas`."""
