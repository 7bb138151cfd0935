"""What a project may set about itself: the stored document, its check, and the effective settings made from it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace

from baas.base.errors import Fault, Invalid, did_you_mean
from baas.base.project import AuthSettings, CorsSettings, LimitSettings, ProjectSettings

_SECTIONS = {"auth": AuthSettings, "cors": CorsSettings, "limits": LimitSettings}
_MAX_ORIGINS = 50
# Of limits that may not be as low as 1, or may be off. A timeout that nothing keeps would lock a project out of its own records.
_LOWEST = {"statement_timeout_ms": 50, "list_timeout_ms": 50, "anonymous_cost": 0}
# What browsers send in Origin (RFC 6454, section 6.1): scheme, host in lower case, and a port unless it is the scheme's own.
_ORIGIN = re.compile(r"(https?|[a-z][a-z0-9+.-]{1,30})://(\[[0-9a-f:]+\]|[a-z0-9_*.-]+)(:[0-9]{1,5})?")

Stored = Mapping[str, Mapping[str, object]]
"""`settings` as in the database: only what the project has set itself, so that a new default reaches old projects."""


def effective(stored: Stored, ceilings: LimitSettings) -> ProjectSettings:
    """The settings in force: what is stored over the defaults, limits cut to what the server allows today.

    What a newer or older server stored and this one does not know is left alone.
    """
    made = {name: _section(kind, stored.get(name, {})) for name, kind in _SECTIONS.items()}
    settings = ProjectSettings(**made)  # type: ignore[arg-type]
    cut = {one.name: min(getattr(settings.limits, one.name), getattr(ceilings, one.name)) for one in fields(LimitSettings)}
    return replace(settings, limits=LimitSettings(**cut))


def as_json(settings: ProjectSettings) -> Mapping[str, object]:
    """All settings in force, as the API shows them."""
    return asdict(settings)


def merged(stored: Stored, patch: Mapping[str, object], ceilings: LimitSettings) -> Stored:
    """The stored document after a merge patch (RFC 7396): null takes a value back to its default.

    Raises Invalid with a pointer to every unknown name and every value that does not fit.
    """
    faults: list[Fault] = []
    result = {name: dict(section) for name, section in stored.items()}
    for name, changes in patch.items():
        if name not in _SECTIONS:
            faults.append(_unknown(f"/{_escaped(name)}", name, tuple(_SECTIONS)))
        elif changes is None:
            result.pop(name, None)
        elif not isinstance(changes, dict):
            faults.append(Fault(f"/{name}", "wrong_type", "This must be an object."))
        else:
            _merge_section(result.setdefault(name, {}), name, changes, ceilings, faults)
    if faults:
        raise Invalid("The settings have faults.", errors=faults)
    return result


def _merge_section(
    section: dict[str, object], name: str, changes: Mapping[str, object], ceilings: LimitSettings, faults: list[Fault]
) -> None:
    known = tuple(one.name for one in fields(_SECTIONS[name]))
    for key, value in changes.items():
        pointer = f"/{name}/{_escaped(key)}"
        if key not in known:
            faults.append(_unknown(pointer, key, known))
        elif value is None:
            section.pop(key, None)
        else:
            found = _CHECKS[name, key](pointer, value, ceilings)
            faults.extend(found)
            section[key] = value


def _section(kind: type, stored: Mapping[str, object]) -> object:
    known = {one.name for one in fields(kind)}
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items() if key in known})


def _check_bool(pointer: str, value: object, _: LimitSettings) -> list[Fault]:
    return [] if isinstance(value, bool) else [Fault(pointer, "wrong_type", "This must be true or false.")]


def _check_origins(pointer: str, value: object, _: LimitSettings) -> list[Fault]:
    if not isinstance(value, list):
        return [Fault(pointer, "wrong_type", "This must be a list of origins.")]
    if len(value) > _MAX_ORIGINS:
        return [Fault(pointer, "too_many", f"At most {_MAX_ORIGINS} origins.")]
    return [
        Fault(f"{pointer}/{index}", "bad_origin", "An origin is * or scheme://host[:port], as browsers send it, without a path.")
        for index, origin in enumerate(value)
        if not (isinstance(origin, str) and (origin == "*" or (_ORIGIN.fullmatch(origin) and "*" not in origin)))
    ]


def _check_limit(pointer: str, value: object, ceilings: LimitSettings) -> list[Fault]:
    ceiling: int = getattr(ceilings, pointer.rpartition("/")[2])
    if not isinstance(value, int) or isinstance(value, bool):
        return [Fault(pointer, "wrong_type", "This must be a whole number.")]
    lowest = _LOWEST.get(pointer.rpartition("/")[2], 1)
    if not lowest <= value <= ceiling:
        return [Fault(pointer, "out_of_range", f"From {lowest} to {ceiling}, which is this server's own limit.")]
    return []


_Check = Callable[[str, object, LimitSettings], list[Fault]]
_CHECKS: Mapping[tuple[str, str], _Check] = {
    ("auth", "sign_up"): _check_bool,
    ("cors", "origins"): _check_origins,
    **{("limits", one.name): _check_limit for one in fields(LimitSettings)},
}


def _unknown(pointer: str, name: str, known: tuple[str, ...]) -> Fault:
    hint = did_you_mean(name, known)
    return Fault(pointer, "unknown_key", " ".join(["There is no such setting.", *([hint] if hint else [])]))


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
