"""Becomes the PostgreSQL child: another user if told so, tied to its parent's life, then the program itself.

Run by path with a bare interpreter: `launch.py <uid or -> <gid or -> <parent's pid> <program> <arguments…>`. It is a program
of its own, because code between fork and exec is not safe in a process that has threads, and Python warns of it.
"""

import ctypes  # at the top: the other user may not be able to read our Python
import os
import signal
import sys

assert sys.platform != "win32"  # noqa: S101  where we become nobody else, and nothing else

_PR_SET_PDEATHSIG = 1


def main(uid: str, gid: str, parent: str, *command: str) -> None:
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        # After the change of user, which would clear it. SIGINT is PostgreSQL's fast shutdown. The signal comes when the thread
        # that started us ends, so that thread lives as long as the cluster.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the server ended before PostgreSQL started")
    os.execv(command[0], command)  # noqa: S606  the whole point; no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
