"""The control plane: operators, projects, their settings and their API keys."""
