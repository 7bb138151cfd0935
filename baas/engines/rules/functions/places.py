"""Places: made of degrees, taken apart, and the way between two."""

from baas.base import places
from baas.base.places import Geo
from baas.engines.rules.functions.function import FAILS, Function
from baas.engines.rules.types import DOUBLE, GEO
from baas.infra.db.sql import sql


def place_functions() -> tuple[Function, ...]:
    berlin, paris = Geo(52.52, 13.405), Geo(48.8566, 2.3522)
    pairs = (("double", "double"), ("double", "int"), ("int", "double"), ("int", "int"))
    return (
        *(
            Function(
                "geo",
                params,
                GEO,
                lambda lat, lon: places.geo(float(lat), float(lon)),
                lambda lat, lon: sql("baas_rt.geo({}, {})", lat, lon),
                tuple((*(_number(one, kind) for one, kind in zip(given, params, strict=True)), made) for *given, made in _MADE),
            )
            for params in pairs
        ),
        Function(
            "distance",
            ("geo", "geo"),
            DOUBLE,
            places.distance,
            lambda a, b: sql("baas_rt.distance({}, {})", a, b),
            (
                (berlin, berlin, 0.0),
                (berlin, paris, 877464.534),
                (Geo(0.0, 180.0), Geo(0.0, -180.0), 0.0),
                (Geo(90.0, 0.0), Geo(-90.0, 77.0), 20015114.352),
                (Geo(0.0, 0.0), Geo(5e-324, 1e-200), 0.0),
            ),
            total=True,
        ),
        Function(".lat", ("geo",), DOUBLE, lambda a: a.lat, lambda a: sql("({}).lat", a), ((berlin, 52.52),), total=True),
        Function(".lon", ("geo",), DOUBLE, lambda a: a.lon, lambda a: sql("({}).lon", a), ((berlin, 13.405),), total=True),
    )


_MADE = ((-90, 180, Geo(-90.0, 180.0)), (0, 0, Geo(0.0, 0.0)), (91, 0, FAILS), (0, -181, FAILS))


def _number(value: object, kind: str) -> object:
    return float(value) if kind == "double" else value  # type: ignore[arg-type]
