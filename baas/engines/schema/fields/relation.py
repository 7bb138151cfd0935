"""A link to records of a collection."""

import re

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import MAX_ITEMS, NAME, Cast, FieldFault, Kind, Operator, Option, clean_items, is_many, whole
from baas.infra.db.sql import Sql, sql

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DEFAULT_ITEMS = 100
ON_DELETE = {
    "restrict": sql("on delete restrict"),
    "cascade": sql("on delete cascade"),
    "set_null": sql("on delete set null"),
}


class RelationKind(Kind):
    """The id of a record of `to`, kept true by a foreign key; with `many`, a list of ids.

    A list is a `uuid[]` column, and PostgreSQL has no foreign keys for the items of an array: targets are checked when they
    are written, but a target that is deleted later stays in the list. A collection in between has real foreign keys.
    """

    name = "relation"
    options = (
        Option("to", "text", "The collection linked to.", low=1, high=63, required=True),
        Option("many", "bool", "Whether the field holds a list of ids."),
        Option("max", "int", "Most ids of the list.", low=1, high=MAX_ITEMS),
        Option("inverse", "text", "What the target calls the records that link to it, in paths and expand.", low=1, high=63),
        Option("on_delete", "text", "What becomes of this record when the target is deleted.", choices=tuple(ON_DELETE)),
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        inverse = options.get("inverse")
        if isinstance(inverse, str) and not NAME.fullmatch(inverse):
            raise FieldFault("bad_name", "A name starts with a small letter and has small letters, digits and _.", at="/inverse")
        named = {} if inverse is None else {"inverse": inverse}
        most = options.get("max")
        many = options.get("many", isinstance(most, int) and most > 1)
        if not many:
            if most is not None:
                raise FieldFault("not_allowed", "max is for a field with many.", at="/max")
            return {"to": options["to"], "many": False, "on_delete": options.get("on_delete", "restrict"), **named}
        if "on_delete" in options:
            raise FieldFault("not_allowed", "A list of ids has no foreign key, so on_delete cannot be kept.", at="/on_delete")
        return {"to": options["to"], "many": True, "max": most or _DEFAULT_ITEMS, **named}

    def check_field(self, field: Field) -> None:
        super().check_field(field)
        if field.required and field.options.get("on_delete") == "set_null":
            raise FieldFault("not_allowed", "A required relation cannot be set to null.", at="/on_delete")
        if field.default is not None:
            raise FieldFault("not_allowed", "A relation has no default.", at="/default")

    def indexable(self, field: Field) -> bool:
        return not is_many(field)

    def accepts(self, old: Field, new: Field) -> bool:
        same = old.type == "relation" and is_many(old) == is_many(new)
        return same and old.options.get("to") == new.options.get("to")

    def column_type(self, field: Field) -> Sql:
        return sql("uuid[]") if is_many(field) else sql("uuid")

    def cast(self, field: Field) -> Cast:
        return "uuid[]" if is_many(field) else "uuid"

    def clean(self, field: Field, value: object) -> str | list[str]:
        return clean_items(value, field, clean_uuid) if is_many(field) else clean_uuid(value)

    def to_json(self, column: Sql, field: Field) -> Sql:
        return sql("{}::text[]", column) if is_many(field) else sql("{}::text", column)

    def operators(self, field: Field) -> tuple[Operator, ...]:
        return ("$append", "$add", "$remove") if is_many(field) else ()

    def rule_type(self, field: Field) -> str:
        target = f"ref({field.options['to']})"
        return f"list({target})" if is_many(field) else target

    def json_schema(self, field: Field) -> dict[str, object]:
        one: dict[str, object] = {"type": "string", "format": "uuid", "description": f"Id of a record of {field.options['to']}."}
        if not is_many(field):
            return one
        return {"type": "array", "items": one, "uniqueItems": True, "maxItems": whole(field, "max") or _DEFAULT_ITEMS}


def clean_uuid(value: object) -> str:
    """A UUID in its usual form, as lower case; raises FieldFault."""
    if type(value) is not str:
        raise FieldFault("wrong_type", "Must be the id of a record, a string.")
    if not UUID.fullmatch(value):
        raise FieldFault("bad_id", "Must be the id of a record, a UUID.")
    return value.lower()


def target(field: Field) -> str | None:
    """The collection a relation links to; None for other fields."""
    return str(field.options["to"]) if field.type == "relation" else None
