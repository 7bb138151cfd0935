"""The field types, one file each; a new one is a file and a line here."""

from baas.engines.schema.collection import Field
from baas.engines.schema.fields.base import FieldFault, Kind, Option
from baas.engines.schema.fields.bool_ import BoolKind
from baas.engines.schema.fields.date_ import DateKind
from baas.engines.schema.fields.datetime_ import DatetimeKind
from baas.engines.schema.fields.decimal_ import DecimalKind
from baas.engines.schema.fields.email import EmailKind
from baas.engines.schema.fields.file import FileKind
from baas.engines.schema.fields.float_ import FloatKind
from baas.engines.schema.fields.geo_point import GeoPointKind
from baas.engines.schema.fields.integer import IntKind
from baas.engines.schema.fields.json_ import JsonKind
from baas.engines.schema.fields.relation import RelationKind
from baas.engines.schema.fields.select import SelectKind
from baas.engines.schema.fields.text import TextKind
from baas.engines.schema.fields.url import UrlKind
from baas.engines.schema.fields.vector import VectorKind

__all__ = ["KINDS", "FieldFault", "Kind", "Option", "kind_named", "kind_of"]

KINDS: tuple[Kind, ...] = (
    TextKind(),
    EmailKind(),
    UrlKind(),
    IntKind(),
    FloatKind(),
    DecimalKind(),
    BoolKind(),
    DateKind(),
    DatetimeKind(),
    SelectKind(),
    JsonKind(),
    RelationKind(),
    FileKind(),
    GeoPointKind(),
    VectorKind(),
)
_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(field: Field) -> Kind:
    """The type of a field of a checked definition."""
    return _BY_NAME[field.type]


def kind_named(name: str) -> Kind | None:
    """The field type of this name, or None."""
    return _BY_NAME.get(name)
