"""What a write is made of: the values, which record in which revision, and what else must hold of it."""

from collections.abc import Mapping

from baas_sdk.errors import ConfigError
from baas_sdk.filters import Filter, compile_filters
from baas_sdk.models import Record
from baas_sdk.wire import encode


def merged(values: Mapping[str, object] | None, fields: Mapping[str, object]) -> dict[str, object]:
    """The mapping and the keywords as one body; a name in both is refused, because one of them would be lost."""
    if isinstance(values, Record):
        raise ConfigError("A record holds its system fields too; send the fields that should be stored.")
    if twice := (values or {}).keys() & fields.keys():
        raise ConfigError(f"{', '.join(sorted(twice))} is given twice.")
    return {**(values or {}), **fields}


def identity(record: object) -> tuple[str, int | None]:
    """Id and revision of a record or model; an id alone has no revision."""
    if isinstance(record, str):
        return record, None
    record_id, rev = getattr(record, "id", None), getattr(record, "rev", None)
    if not isinstance(record_id, str):
        raise ConfigError(f"{record!r} is neither a record nor an id.")
    return record_id, rev if isinstance(rev, int) else None


def condition(where: Filter | None, variables: Mapping[str, object] | None) -> dict[str, str]:
    """The parameters `where` and `vars` of an address."""
    compiled = compile_filters({"where": where}, variables)
    return {name: value if isinstance(value, str) else encode(value).decode() for name, value in compiled.items()}
