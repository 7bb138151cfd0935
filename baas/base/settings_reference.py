"""The page of all settings, made from them: `python -m baas.base.settings_reference > docs/reference/settings.md`."""

import sys
from collections.abc import Iterator

from baas.base.settings import SETTINGS, About, Secret, default_of, is_secret

_HEAD = """\
# Settings

Made from `baas/base/settings.py`; a test compares the two. A setting comes from, in order of weight, a flag of the command, the
environment, the settings file, its default. `baas config show` tells the values in force and where each comes from.

- **Environment:** `BAAS_` and the name in capitals, such as `BAAS_PORT=9000`. A name that is no setting stops the start.
- **File:** TOML, `name = value`, named by `--config` or `BAAS_CONFIG`.
- **Secrets** (marked ●) may come from a file that `BAAS_<NAME>_FILE` names. Known, short or monotonous ones stop the start.
- **Bytes** may be written with `KiB`, `MiB` or `GiB`; lists with commas.

| Setting | Default | What it is |
|---|---|---|
"""


def page() -> str:
    """The whole page, in Markdown."""
    return _HEAD + "".join(_rows())


def _rows() -> Iterator[str]:
    for name, one in SETTINGS.items():
        about: About = one.metadata["about"]
        mark = " ●" if is_secret(one) else ""
        values = f" One of {', '.join(f'`{value}`' for value in about.one_of)}." if about.one_of else ""
        yield f"| `{name}`{mark} | {_shown(default_of(one), about)} | {about.help}{values} |\n"


def _shown(default: object, about: About) -> str:
    if default is None or default == () or isinstance(default, Secret):
        return ""
    text = f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return f"{text} {about.unit}" if about.unit else text


if __name__ == "__main__":
    sys.stdout.write(page())
