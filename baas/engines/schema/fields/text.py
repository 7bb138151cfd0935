"""Text of any language, ordered by code point."""

from baas.base.words import counted
from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import SEARCH, FieldFault, Option, Texts, clean_text, whole
from baas.infra.db.sql import Sql, join, literal, sql


class TextKind(Texts):
    """Unicode text as it was sent: no trimming, no normalisation. Lengths count code points."""

    name = "text"
    options = (
        Option("min", "int", "Fewest characters (Unicode code points).", low=0, high=1_000_000),
        Option("max", "int", "Most characters (Unicode code points).", low=1, high=1_000_000),
        SEARCH,
    )

    def settle(self, options: dict[str, object]) -> dict[str, object]:
        low, high = options.get("min"), options.get("max")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise FieldFault("out_of_range", "min must not be above max.", at="/min")
        return options

    def accepts(self, old: Field, new: Field) -> bool:
        return old.type in ("text", "email", "url")

    def fits(self, column: Sql, field: Field) -> Sql | None:
        low, high = whole(field, "min"), whole(field, "max")
        bounds = []
        if low:
            bounds.append(sql("char_length({}) >= {}", column, literal(low)))
        if high is not None:
            bounds.append(sql("char_length({}) <= {}", column, literal(high)))
        return join(" and ", bounds) if bounds else None

    def clean(self, field: Field, value: object) -> str:
        text = clean_text(value)
        low, high = whole(field, "min"), whole(field, "max")
        if low is not None and len(text) < low:
            raise FieldFault("too_short", f"Must have at least {counted(low, 'character', 'characters')}.")
        if high is not None and len(text) > high:
            raise FieldFault("too_long", f"Must have at most {counted(high, 'character', 'characters')}.")
        return text

    def json_schema(self, field: Field) -> dict[str, object]:
        schema: dict[str, object] = {"type": "string"}
        if (low := whole(field, "min")) is not None:
            schema["minLength"] = low
        if (high := whole(field, "max")) is not None:
            schema["maxLength"] = high
        return schema
