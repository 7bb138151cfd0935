"""The HTTP edge: middleware, limits, bodies, problems."""
