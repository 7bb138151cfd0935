"""Bodies of records against a collection's fields: typed, closed, complete; every fault at once.

What comes out is bound as it is: name -> value for the driver (the casts are `kind_of(field).cast(field)`). Privileged callers
may write `readonly`, `immutable` and `hidden` fields; types and limits hold for everybody, and nobody writes system fields.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from baas.base.errors import Fault, Invalid
from baas.engines.schema.collection import SYSTEM_FIELDS, Collection, Field
from baas.engines.schema.fields import FieldFault, kind_of
from baas.engines.schema.fields.relation import clean_uuid
from baas.engines.schema.manifest import pointer
from baas.engines.schema.operations import clean_operation, is_operation

Values = dict[str, object]

_INDEX_ROW_BYTES = 2600  # a btree entry holds 2,704 bytes, its header and alignment included
_TEXTUAL = ("text", "email", "url", "file", "select")
_SHORT = 80  # characters that fit any index, whatever they are and whoever shares it


class Unfit(Invalid):
    """A body with faults. `values` are those of the fields that have none."""

    def __init__(self, values: Values, faults: list[Fault]) -> None:
        super().__init__("The record does not fit the collection.", errors=faults)
        self.values = values


def clean_create(collection: Collection, body: Mapping[str, object], *, privileged: bool) -> Values:
    """Values of every field for a new record, defaults and nulls filled in; `id`, a UUID, when the caller named one.

    Raises Unfit.
    """
    faults = list(_strangers(collection, body, privileged=privileged, new=True))
    values: Values = {}
    for field in collection.fields:
        if field.name not in body or (field.hidden and not privileged):
            values[field.name] = _default(field, faults)
        elif field.readonly and not privileged:
            faults.append(_readonly(field))
        else:
            values[field.name] = _clean(collection, field, body[field.name], faults)
    if "id" in body:
        _clean_id(body["id"], values, faults)
    return _complete(values, faults)


def clean_patch(collection: Collection, body: Mapping[str, object], *, privileged: bool) -> Values:
    """Values of the fields that a merge-patch names, or Operations on them; a null clears a field. Raises Unfit."""
    faults = list(_strangers(collection, body, privileged=privileged, new=False))
    values: Values = {}
    for field in collection.fields:
        if field.name not in body or (field.hidden and not privileged):
            continue
        if field.readonly and not privileged:
            faults.append(_readonly(field))
        elif field.immutable and not privileged:
            faults.append(Fault(pointer("", field.name), "immutable", "Cannot be changed once the record exists."))
        elif is_operation(field, value := body[field.name]):
            values[field.name] = _operation(field, value, faults)
        else:
            values[field.name] = _clean(collection, field, body[field.name], faults)
    return _complete(values, faults)


def immutable_names(collection: Collection, *, privileged: bool) -> tuple[str, ...]:
    """The fields whose stored value this caller cannot change."""
    return () if privileged else tuple(field.name for field in collection.fields if field.immutable)


def index_bytes(collection: Collection, name: str) -> int | None:
    """Most bytes of UTF-8 that the text in this field may have, because it stands in an index; None when it stands in none.

    The fields of one index share what a btree entry holds, whatever the others happen to contain.
    """
    field = collection.field(name)
    if field is None or field.type not in _TEXTUAL:
        return None
    sharers = [1] if field.unique else []
    for index in collection.indexes:
        names = [one.removeprefix("-") for one in index.fields]
        if name in names and index.using != "trigram":
            sharers.append(sum(1 for one in names if (other := collection.field(one)) and other.type in _TEXTUAL))
    return _INDEX_ROW_BYTES // max(sharers) if sharers else None


def _strangers(collection: Collection, body: Mapping[str, object], *, privileged: bool, new: bool) -> Iterable[Fault]:
    known = {field.name for field in collection.fields if privileged or not field.hidden}
    for name in body:
        if name in known:
            continue
        if name == "id" and new:
            continue
        if name in SYSTEM_FIELDS:
            yield Fault(pointer("", name), "system_field", "Is written by the server alone.")
        else:
            # The same words for a hidden field and for one that is not there.
            yield Fault(pointer("", name), "unknown_field", "The collection has no such field.")


def _readonly(field: Field) -> Fault:
    return Fault(pointer("", field.name), "readonly", "Cannot be written by this caller.")


def _default(field: Field, faults: list[Fault]) -> object:
    if field.default is not None:
        return kind_of(field).clean(field, field.default)
    if field.required:
        faults.append(Fault(pointer("", field.name), "required", "Must be given."))
    return None


def _clean(collection: Collection, field: Field, value: object, faults: list[Fault]) -> object:
    if value is None:
        if field.required:
            faults.append(Fault(pointer("", field.name), "required", "Must not be null."))
        return None
    try:
        cleaned = kind_of(field).clean(field, value)
        if type(cleaned) is str and len(cleaned) > _SHORT and field.type in _TEXTUAL:
            _check_index(collection, field.name, cleaned)
    except FieldFault as fault:
        faults.append(fault.under(pointer("", field.name)))
        return None
    return cleaned


def _operation(field: Field, value: object, faults: list[Fault]) -> object:
    try:
        return clean_operation(field, value)  # type: ignore[arg-type]  # `is_operation` saw an object
    except FieldFault as fault:
        faults.append(fault.under(pointer("", field.name)))
        return None


def _check_index(collection: Collection, name: str, text: str) -> None:
    most = index_bytes(collection, name)
    if most is not None and len(text.encode()) > most:
        raise FieldFault("too_long", f"Must have at most {most} bytes, because the field stands in an index.")


def _clean_id(value: object, values: Values, faults: list[Fault]) -> None:
    try:
        values["id"] = UUID(clean_uuid(value))
    except FieldFault as fault:
        faults.append(fault.under("/id"))


def _complete(values: Values, faults: list[Fault]) -> Values:
    if faults:
        wrong = {fault.pointer.split("/")[1] for fault in faults}
        raise Unfit({name: value for name, value in values.items() if name not in wrong}, faults)
    return values
