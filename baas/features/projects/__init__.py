"""Projects, operators, API keys and project settings: the control plane."""
