"""Which server, which project, which token: from flags, the environment, and a file only its owner can read."""

import contextlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"


_TRUTHS = {"": False, "false": False, "0": False, "no": False, "off": False, "true": True, "1": True, "yes": True, "on": True}


class BadEnvironment(Exception):
    """A variable of the environment cannot be used; the text says which and what it may be."""


class BadProfiles(Exception):
    """The file of profiles, or a name in it, cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A server and how to be known there. `token` is an operator's, or a key of a project."""

    name: str = "default"
    url: str = DEFAULT_URL
    token: str | None = field(default=None, repr=False)
    project: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles of this user, and which one is meant when none is named."""

    current: str
    by_name: Mapping[str, Profile]

    def with_profile(self, profile: Profile) -> "Profiles":
        """With this profile in it, as the current one."""
        return Profiles(profile.name, {**self.by_name, profile.name: profile})


def profiles_path() -> Path:
    """Where the file is: `$BAAS_CONFIG_DIR`, or the system's place for a user's settings."""
    from platformdirs import user_config_path

    folder = os.environ.get("BAAS_CONFIG_DIR")
    return (Path(folder) if folder else user_config_path("baas")) / "profiles.toml"


def load_profiles() -> Profiles:
    """What the file holds; no file is no profiles.

    Raises:
        BadProfiles: the file is there and cannot be read.
    """
    path = profiles_path()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
        entries = document.get("profiles", {})
        by_name = {name: _profile(name, entry) for name, entry in entries.items()}
        return Profiles(str(document.get("current", "default")), by_name)
    except FileNotFoundError:
        return Profiles("default", {})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadProfiles(f"{path} cannot be read: {error}. Mend it, or delete it and sign in again.") from error


def save_profiles(profiles: Profiles) -> None:
    """Writes the file, 0600 from its first byte, beside the old one and then over it.

    Raises:
        BadProfiles: the place cannot be written.
    """
    path = profiles_path()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(_toml(profiles))
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise BadProfiles(f"{path} cannot be written: {error.strerror}.") from error


def chosen_profile(*, name: str | None, url: str | None, project: str | None) -> Profile:
    """The profile in force: flags, then `BAAS_PROFILE BAAS_URL BAAS_TOKEN BAAS_KEY BAAS_PROJECT`, then the file.

    A token of the file goes only to the server it was made for: another URL leaves it behind.

    Raises:
        BadProfiles: a profile is named that is not there, or the file cannot be read.
    """
    profiles = load_profiles()
    wanted = name or os.environ.get("BAAS_PROFILE") or None
    held = profiles.by_name.get(wanted or profiles.current)
    if held is None and wanted is not None:
        raise BadProfiles(
            f"There is no profile {wanted!r}. Known: {', '.join(profiles.by_name) or 'none'}. Make it: baas login URL."
        )
    profile = held or Profile(wanted or profiles.current)
    address = url or os.environ.get("BAAS_URL")
    if address and address.rstrip("/") != profile.url.rstrip("/"):
        profile = Profile(profile.name, address)
    token = os.environ.get("BAAS_TOKEN") or os.environ.get("BAAS_KEY") or profile.token
    return replace(profile, token=token, project=project or os.environ.get("BAAS_PROJECT") or profile.project)


def default_format() -> str | None:
    """`BAAS_OUTPUT`, which a program sets once instead of `--json` everywhere."""
    return os.environ.get("BAAS_OUTPUT") or None


def default_timeout_s() -> float | None:
    """`BAAS_TIMEOUT` in seconds.

    Raises:
        BadEnvironment: it is no such number.
    """
    text = os.environ.get("BAAS_TIMEOUT")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadEnvironment(f"BAAS_TIMEOUT is {text!r}, but must be a number of seconds above 0, such as 30.")
    return seconds


def no_input_by_default() -> bool:
    """`BAAS_NO_INPUT`, for a machine where nobody can be asked.

    Raises:
        BadEnvironment: it is neither true nor false.
    """
    text = os.environ.get("BAAS_NO_INPUT", "").lower()
    if text not in _TRUTHS:
        raise BadEnvironment(f"BAAS_NO_INPUT is {text!r}, but must be true or false.")
    return _TRUTHS[text]


def no_color_by_default() -> bool:
    """`NO_COLOR` with any value (no-color.org), or a terminal that calls itself dumb."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def _profile(name: str, entry: Mapping[str, object]) -> Profile:
    def text(key: str) -> str | None:
        value = entry.get(key)
        return value if isinstance(value, str) and value else None

    return Profile(name, text("url") or DEFAULT_URL, text("token"), text("project"), text("email"))


def _toml(profiles: Profiles) -> str:
    lines = [f"current = {_quoted(profiles.current)}"]
    for profile in profiles.by_name.values():
        lines.append(f"\n[profiles.{_quoted(profile.name)}]")
        values = {"url": profile.url, "token": profile.token, "project": profile.project, "email": profile.email}
        lines += [f"{name} = {_quoted(value)}" for name, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes, but for what JSON leaves as it is and TOML does not."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
