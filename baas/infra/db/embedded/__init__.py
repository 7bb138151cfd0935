"""A private PostgreSQL when no database is given: found, unpacked beside the data, run as our own child, watched.

engine.py finds the programs · account.py and layout.py say as whom and where · postmaster.py reads its pid file ·
launch.py becomes the child · cluster.py runs it · faults.py says in plain words why it does not.
"""
