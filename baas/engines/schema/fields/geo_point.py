"""A point on the earth."""

from baas.base.places import Geo
from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import Cast, FieldFault, Kind
from baas.engines.schema.fields.float_ import clean_double
from baas.infra.db.sql import Sql, sql

_PARTS = (("lat", 90.0), ("lon", 180.0))


class GeoPointKind(Kind):
    """Degrees north and east (WGS 84), kept as a row of two doubles, of our own type `baas_rt.geo_point`."""

    name = "geo_point"

    def column_type(self, field: Field) -> Sql:
        return sql("baas_rt.geo_point")

    def cast(self, field: Field) -> Cast:
        return "geo_point"

    def fits(self, column: Sql, field: Field) -> Sql | None:
        # NaN is above all numbers, so `between` refuses it too; a row of nulls is no value and must not be stored as one.
        return sql("{} is null or (({}).lat between -90 and 90 and ({}).lon between -180 and 180)", column, column, column)

    def clean(self, field: Field, value: object) -> str:
        if not isinstance(value, dict):
            raise FieldFault("wrong_type", 'Must be an object with lat and lon, such as {"lat": 52.52, "lon": 13.4}.')
        for name in value:
            if name not in ("lat", "lon"):
                raise FieldFault("unknown_key", "A place has lat and lon, nothing else.", at=f"/{name}")
        return str(Geo(*(_degrees(value, name, most) for name, most in _PARTS)))

    def to_json(self, column: Sql, field: Field) -> Sql:
        return column

    def rule_type(self, field: Field) -> str:
        return "geo"

    def json_schema(self, field: Field) -> dict[str, object]:
        parts = {name: {"type": "number", "minimum": -most, "maximum": most} for name, most in _PARTS}
        return {"type": "object", "properties": parts, "required": ["lat", "lon"], "additionalProperties": False}


def _degrees(value: dict[str, object], name: str, most: float) -> float:
    try:
        if value.get(name) is None:
            raise FieldFault("required", "Must be given.")
        degrees = clean_double(value[name]) + 0.0
        if not -most <= degrees <= most:
            raise FieldFault("out_of_range", f"Must be between {-most:g} and {most:g}.")
    except FieldFault as fault:
        raise FieldFault(fault.code, fault.message, at=f"/{name}") from None
    return degrees


def as_point(column: Sql) -> Sql:
    """The place as PostgreSQL's own planar point, east before north: what its GiST index can look up in a box."""
    return sql("point(({}).lon, ({}).lat)", column, column)
