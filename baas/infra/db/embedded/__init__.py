"""A private PostgreSQL when no database is given: found, unpacked beside the data, run as our own child, watched.

system.py is what differs between operating systems, posix.py and windows.py have it, host.py chooses · engine.py finds the
programs · layout.py and home.py say where and with which passwords · address.py where it is met · initdb.py and conf.py make it ·
child.py runs one, postmaster.py reads its pid file, launch.py becomes it · cluster.py runs the server's, rights.py gives it its
rights · upgrade.py, with dump.py and contents.py, moves it to a newer major · faults.py says in plain words why it does not run.
"""
