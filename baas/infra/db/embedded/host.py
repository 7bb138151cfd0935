"""The operating system that we are on: the one place that chooses."""

import sys

from baas.infra.db.embedded.system import System

if sys.platform == "win32":
    from baas.infra.db.embedded.windows import Windows as _Host
else:
    from baas.infra.db.embedded.posix import Posix as _Host

HOST: System = _Host()
