"""`python -m baas` is the command `baas`."""

from importlib import import_module

if __name__ == "__main__":
    # By name: the server's own code knows nothing of the tool, which is a neighbour in the same distribution.
    import_module("baas_cli.app").main()
