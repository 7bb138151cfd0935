"""Makes an empty database of ours: the same encoding, order of texts and checksums everywhere, one superuser with a password."""

import os
import shutil
import subprocess
from pathlib import Path

from baas.infra.db.embedded.engine import Engine
from baas.infra.db.embedded.faults import ClusterFault, explain
from baas.infra.db.embedded.host import HOST
from baas.infra.db.embedded.layout import Layout

_TIMEOUT_S = 180
_FIRST_WITH_BUILTIN = 17


def initdb(layout: Layout, engine: Engine, pgdata: Path, superuser: str, password: str) -> None:
    """Make the database in this folder, in whose place nothing of worth may be; it reads `baas.conf` there.

    Raises ClusterFault.
    """
    shutil.rmtree(pgdata, ignore_errors=True)
    password_file = layout.home / "pg" / "password.init"
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    layout.own(password_file)
    try:
        _run(layout, engine, "-D", str(pgdata), "-U", superuser, f"--pwfile={password_file}")
    finally:
        password_file.unlink(missing_ok=True)
    with (pgdata / "postgresql.conf").open("a") as file:
        file.write("\n# The server's own settings, written at every start; what ALTER SYSTEM sets wins over them.\n")
        file.write("include_if_exists = 'baas.conf'\n")


def _run(layout: Layout, engine: Engine, *where_and_who: str) -> None:
    # One byte order of texts on every platform and for ever; the C library's collations change under an index.
    builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    locale = builtin if engine.major >= _FIRST_WITH_BUILTIN else (f"--locale={HOST.byte_order_locale}",)
    arguments = [*where_and_who, "-A", "scram-sha-256", "-E", "UTF8", "-k", "--no-instructions", *locale]
    try:
        done = subprocess.run(
            HOST.command(layout.account, engine.program("initdb"), arguments),
            cwd=layout.home.anchor,
            env=dict(HOST.environment),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ClusterFault(f"Making the database took over {_TIMEOUT_S} seconds: the disk is too slow.") from None
    if done.returncode != 0:
        raise explain(
            "The database could not be made.", (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()[-30:]
        )
