"""Places on the earth in memory, as `baas_rt` has them in SQL: the same steps in the same order, so the same to the last bit."""

from math import asin, cos, floor, radians, sin, sqrt
from typing import NamedTuple

RADIUS = 6_371_008.7714
"""Metres: the mean radius (2a + b) / 3 of the WGS 84 ellipsoid, as the IUGG defines it."""
_LEAST = 1e-10  # degrees; PostgreSQL raises on the underflow that smaller angles lead to


class Geo(NamedTuple):
    """Degrees north and east."""

    lat: float
    lon: float

    def __str__(self) -> str:
        """As PostgreSQL reads a row."""
        return f"({self.lat!r},{self.lon!r})"


def geo(lat: float, lon: float) -> Geo | None:
    """None off the map."""
    return Geo(lat + 0.0, lon + 0.0) if -90 <= lat <= 90 and -180 <= lon <= 180 else None


def distance(a: Geo, b: Geo) -> float:
    """Metres along the great circle, to the millimetre: the haversine formula."""
    over, across = sin(_radians(b.lat - a.lat) / 2), sin(_radians(b.lon - a.lon) / 2)
    angle = over * over + cos(_radians(a.lat)) * cos(_radians(b.lat)) * (across * across)
    return floor(2_000 * RADIUS * asin(min(1.0, sqrt(angle))) + 0.5) / 1000


def _radians(degrees: float) -> float:
    return 0.0 if abs(degrees) < _LEAST else radians(degrees)
