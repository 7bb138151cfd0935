"""One or several of a fixed list of words."""

from collections.abc import Sequence

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import (
    MAX_ITEMS,
    SEARCH,
    FieldFault,
    Option,
    Texts,
    clean_items,
    clean_text,
    is_many,
    whole,
)
from baas.infra.db.sql import Sql, join, literal, sql


class SelectKind(Texts):
    """One of `values`; with `many`, a list of them, each at most once, in the order sent."""

    name = "select"
    options = (
        Option("values", "texts", "What may be chosen, each up to 200 characters.", low=1, high=500, required=True),
        Option("many", "bool", "Whether the field holds a list."),
        Option("max", "int", "Most items of the list; above 1 it implies many.", low=1, high=MAX_ITEMS),
        SEARCH,
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        values = _values(options["values"])
        seen: set[str] = set()
        for index, value in enumerate(values):
            try:
                if not 1 <= len(clean_text(value)) <= 200:
                    raise FieldFault("out_of_range", "A value has 1 to 200 characters.")
                if value in seen:
                    raise FieldFault("duplicate", f"{value!r} stands in the list twice.")
            except FieldFault as fault:
                raise FieldFault(fault.code, fault.message, at=f"/values/{index}") from None
            seen.add(value)
        most = options.get("max")
        many = options.get("many", isinstance(most, int) and most > 1)
        if most is not None and not many:
            raise FieldFault("not_allowed", "max is for a field with many.", at="/max")
        return {**options, "many": many}

    def accepts(self, old: Field, new: Field) -> bool:
        return old.type == "select" and is_many(old) == is_many(new)

    def fits(self, column: Sql, field: Field) -> Sql | None:
        values = join(", ", [literal(value) for value in _values(field.options["values"])])
        if is_many(field):
            return sql("{} <@ array[{}]::text[]", column, values)
        return sql("{} = any (array[{}]::text[])", column, values)

    def clean(self, field: Field, value: object) -> str | list[str]:
        values = _values(field.options["values"])

        def one(item: object) -> str:
            if type(item) is not str:
                raise FieldFault("wrong_type", "Must be a string.")
            if item not in values:
                raise FieldFault("not_allowed", f"Must be one of {', '.join(values[:20])}{', …' if values[20:] else ''}.")
            return item

        return clean_items(value, field, one) if is_many(field) else one(value)

    def json_schema(self, field: Field) -> dict[str, object]:
        one: dict[str, object] = {"type": "string", "enum": list(_values(field.options["values"]))}
        if not is_many(field):
            return one
        return {"type": "array", "items": one, "uniqueItems": True, "maxItems": whole(field, "max") or MAX_ITEMS}


def _values(value: object) -> Sequence[str]:
    return value if isinstance(value, list | tuple) else ()
