"""What is near: places around a place, vectors around a vector. The distance is a column of the row, and nearest comes first."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import asin, cos, degrees, pi, radians, sin

from baas.base.errors import BadRequest, did_you_mean
from baas.base.places import RADIUS
from baas.engines.query.answer import Beside
from baas.engines.query.table import FOUND, Column, Table
from baas.engines.query.text import Slot
from baas.engines.query.tree import List, Near
from baas.engines.schema.collection import Field
from baas.engines.schema.fields import FieldFault, kind_of
from baas.engines.schema.fields.geo_point import as_point
from baas.engines.schema.fields.vector import OPERATORS
from baas.infra.db.extensions import SCHEMA
from baas.infra.db.sql import Sql, ident, join, sql

DISTANCE = FOUND["_distance"]
_KEYS = {"geo_point": ("lat", "lon"), "vector": ("vector",)}
_MARGIN = 1e-6  # degrees, a hand's breadth: no rounding of the box may lose what the circle holds

Box = tuple[float, float, float, float]


def read(table: Table, names: Iterable[str], value: Mapping[str, object]) -> Near:
    """The `near` of a list: `{"field", "lat", "lon", "within"?}` or `{"field", "vector"}`, over these fields.

    Raises BadRequest (`bad_near`).
    """
    field = _field(table, names, value.get("field"))
    known = ("field", *_KEYS[field.type], *(("within",) if field.type == "geo_point" else ()))
    for key in value:
        if key not in known:
            raise _bad(f"near has no {key!r} for a field of type {field.type}.", did_you_mean(key, known))
    try:
        given = {key: value.get(key) for key in _KEYS[field.type]}
        target = kind_of(field).clean(field, given["vector"] if field.type == "vector" else given)
    except FieldFault as fault:
        raise _bad(f"near{fault.at}: {fault.message}") from None
    return Near(field.name, str(target), _within(value.get("within")), _centre(value) if field.type == "geo_point" else None)


def has_ring(table: Table, tree: List) -> bool:
    """Whether the page is the nearest places of all, and an index can say about which: then it lies within a circle that is known
    before anything is measured.
    """
    near = tree.near
    if near is None or near.centre is None or near.within is not None or not _nearest_first(tree):
        return False
    return any(one.using == "gist" and one.fields == (near.field,) and one.where is None for one in table.collection.indexes)


def _nearest_first(tree: List) -> bool:
    """Nothing but the order by distance decides what stands on the page, and nothing beside it is counted."""
    return tree.sort[0].field == DISTANCE.name and tree.search is None and tree.as_of is None and tree.count == "none"


def _field(table: Table, names: Iterable[str], name: object) -> Field:
    places = [one for one in names if (field := table.columns[one].field) is not None and field.type in _KEYS]
    field = table.columns[name].field if isinstance(name, str) and name in places else None
    if field is None:
        hint = did_you_mean(str(name), places) if places else "The collection has no field of type geo_point or vector."
        raise _bad("near needs the `field` to measure from, of type geo_point or vector.", hint)
    return field


def _within(value: object) -> float | None:
    if value is None:
        return None
    try:
        metres = float(value) if type(value) is not bool and not isinstance(value, str) else -1.0  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        metres = -1.0
    if not 0 <= metres < 1e9:
        raise _bad("within is a number of metres, 0 or more.")
    return metres


def _centre(value: Mapping[str, object]) -> tuple[float, float]:
    return float(value["lat"]), float(value["lon"])  # type: ignore[arg-type]


def _bad(detail: str, hint: str | None = None) -> BadRequest:
    return BadRequest(detail, code="bad_near", parameter="near", hint=hint)


class Nearness:
    """A `near` in one collection: its condition, its distance as a column of the row, and the values of both."""

    column: Column = DISTANCE

    def __init__(self, table: Table, near: Near) -> None:
        self._table = table
        self._near = near
        self._boxes = () if near.centre is None or near.within is None else boxes(*near.centre, near.within)

    @property
    def key(self) -> Hashable:
        """What the text depends on."""
        return ("near", self._near.field, self._near.within is None, len(self._boxes))

    def expression(self, alias: str) -> Sql:
        """The distance; less is nearer."""
        field = self._table.columns[self._near.field].field
        column = ident(alias, self._near.field)
        if field is not None and field.type == "vector":
            # As a sub-select it is read once; a plan that is kept for all values would else read it for every record.
            target = sql("(select {}::text::{})", Slot("near"), ident(SCHEMA, "vector"))
            return sql("{} {} {}", column, OPERATORS[str(field.options["metric"])], target)
        centre = sql("row({}::float8, {}::float8)::baas_rt.geo_point", Slot("lat"), Slot("lon"))
        return sql("baas_rt.distance({}, {})", column, centre)

    def condition(self, alias: str) -> Sql:
        """True for the records that have a value, not further away than `within`."""
        column = ident(alias, self._near.field)
        conditions = [sql("{} is not null", column)]
        if self._boxes:
            # What an index can answer; the circle is cut out of it.
            point = as_point(column)
            inside = (sql("{} <@ {}::text::box", point, Slot(("box", number))) for number in range(len(self._boxes)))
            conditions.append(sql("({})", join(" or ", inside)))
        if self._near.within is not None:
            conditions.append(sql("{} <= {}::float8", self.expression(alias), Slot("within")))
        return join(" and ", conditions)

    def about(self, alias: str) -> Sql:
        """An order of places that the index has: by the distance on a map of degrees, which is not the distance."""
        return sql("{} <-> point({}::float8, {}::float8)", as_point(ident(alias, self._near.field)), Slot("lon"), Slot("lat"))

    def slots(self) -> Mapping[Hashable, object]:
        boxes: dict[Hashable, object] = {}
        for number, (west, south, east, north) in enumerate(self._boxes):
            boxes["box", number] = f"(({west},{south}),({east},{north}))"
        lat, lon = self._near.centre or (None, None)
        return {"near": self._near.target, "lat": lat, "lon": lon, "within": self._near.within, **boxes}


@dataclass(frozen=True, slots=True)
class Told:
    """The distance beside the fields of a record, before whatever else stands there."""

    rest: Beside | None

    @property
    def key(self) -> Hashable:
        return ("distance", None if self.rest is None else self.rest.key)

    def members(self, alias: str) -> Sql:
        """Never null: records without a distance are not near."""
        distance = sql("""'"_distance":' || {}::text""", DISTANCE.of(alias))
        return distance if self.rest is None else sql("{} || ',' || {}", distance, self.rest.members(alias))


def boxes(lat: float, lon: float, metres: float) -> tuple[Box, ...]:
    """West, south, east and north of one or two boxes that hold the circle: two where it crosses the meridian of 180 degrees."""
    angle = min(metres / RADIUS, pi)
    south, north = lat - degrees(angle) - _MARGIN, lat + degrees(angle) + _MARGIN
    if south <= -90 or north >= 90:
        return ((-180.0, max(south, -90.0), 180.0, min(north, 90.0)),)
    width = degrees(asin(min(1.0, sin(angle) / cos(radians(lat))))) + _MARGIN
    west, east = lon - width, lon + width
    if west < -180:
        return ((-180.0, south, east, north), (west + 360, south, 180.0, north))
    if east > 180:
        return ((west, south, 180.0, north), (-180.0, south, east - 360, north))
    return ((west, south, east, north),)
