"""Moments and durations: arithmetic, parts, names of zones."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import trunc

from baas.engines.rules import values
from baas.engines.rules.functions.conversions import same, same_sql
from baas.engines.rules.functions.function import FAILS, ZONE, Function
from baas.engines.rules.types import DURATION, INT, STRING, TIMESTAMP
from baas.infra.db.sql import Sql, literal, sql


def time_functions() -> tuple[Function, ...]:
    moment, day = datetime(2024, 2, 29, 12, 0, tzinfo=UTC), timedelta(days=1)
    return (
        Function("timestamp", ("timestamp",), TIMESTAMP, same, same_sql, ((moment, moment),), total=True),
        Function(
            "timestamp",
            ("string",),
            TIMESTAMP,
            values.parse_timestamp,
            lambda s: sql("baas_rt.parse_ts({})", s),
            (
                ("2024-02-29T12:00:00Z", moment),
                ("2024-02-29T13:30:00.000000999+01:30", moment),
                ("2023-02-29T12:00:00Z", FAILS),
                ("0000-01-01T00:00:00Z", FAILS),
                ("0001-01-01T00:00:00+10:00", FAILS),
                ("9999-12-31T23:59:59.999999Z", FAILS),
                ("2024-02-29", FAILS),
                ("2024-02-29T24:00:00Z", FAILS),
                ("2024-02-29T12:00:00Z\n", FAILS),
            ),
        ),
        Function(
            "timestamp",
            ("json",),
            TIMESTAMP,
            lambda j: values.parse_timestamp(j) if isinstance(j, str) else None,
            lambda j: sql("baas_rt.parse_ts(baas_rt.j_text({}))", j),
            (("2024-02-29T12:00:00Z", moment), (5, FAILS)),
        ),
        Function(
            "timestamp",
            ("int",),
            TIMESTAMP,
            lambda n: _moment(n * 1_000_000),
            lambda n: sql("baas_rt.ts({}::numeric * 1000000)", n),
            ((0, values.EPOCH), (253402300800, FAILS), (-62135596801, FAILS), (values.INT_MAX, FAILS)),
        ),
        Function("duration", ("duration",), DURATION, same, same_sql, ((day, day),), total=True),
        Function(
            "duration",
            ("string",),
            DURATION,
            values.parse_duration,
            None,
            (("1h30m", timedelta(minutes=90)), ("-1.5s", timedelta(seconds=-1.5)), ("1d", FAILS), ("320000000000s", FAILS)),
        ),
        Function(
            "+",
            ("timestamp", "duration"),
            TIMESTAMP,
            lambda t, d: _moment(_micro(t) + values.microseconds(d)),
            lambda t, d: sql("baas_rt.ts(baas_rt.us({}) + {})", t, d),
            ((moment, day, datetime(2024, 3, 1, 12, 0, tzinfo=UTC)), (values.LATEST, day, FAILS)),
        ),
        Function(
            "+",
            ("duration", "timestamp"),
            TIMESTAMP,
            lambda d, t: _moment(_micro(t) + values.microseconds(d)),
            lambda d, t: sql("baas_rt.ts(baas_rt.us({}) + {})", t, d),
            ((day, moment, datetime(2024, 3, 1, 12, 0, tzinfo=UTC)),),
        ),
        Function(
            "-",
            ("timestamp", "duration"),
            TIMESTAMP,
            lambda t, d: _moment(_micro(t) - values.microseconds(d)),
            lambda t, d: sql("baas_rt.ts(baas_rt.us({}) - {})", t, d),
            ((moment, day, datetime(2024, 2, 28, 12, 0, tzinfo=UTC)), (values.EARLIEST, day, FAILS)),
        ),
        Function(
            "-",
            ("timestamp", "timestamp"),
            DURATION,
            lambda a, b: values.duration_result(_micro(a) - _micro(b)),
            lambda a, b: sql("baas_rt.span(baas_rt.us({}) - baas_rt.us({}))", a, b),
            ((moment, values.EPOCH, moment - values.EPOCH),),
        ),
        Function(
            "+",
            ("duration", "duration"),
            DURATION,
            lambda a, b: values.duration_result(values.microseconds(a) + values.microseconds(b)),
            lambda a, b: sql("baas_rt.span({}::numeric + {})", a, b),
            ((day, day, 2 * day), (values.LONGEST, day, FAILS)),
        ),
        Function(
            "-",
            ("duration", "duration"),
            DURATION,
            lambda a, b: values.duration_result(values.microseconds(a) - values.microseconds(b)),
            lambda a, b: sql("baas_rt.span({}::numeric - {})", a, b),
            ((day, day, 0 * day),),
        ),
        Function("neg", ("duration",), DURATION, lambda d: -d, lambda d: sql("(-{})", d), ((day, -day),), total=True),
        *_clock_parts(),
        *_duration_parts(),
    )


def _micro(moment: datetime) -> int:
    return (moment - values.EPOCH) // values.MICROSECOND


def _moment(micro: int) -> datetime | None:
    return values.EPOCH + timedelta(microseconds=micro) if _FIRST <= micro <= _LAST else None


_FIRST, _LAST = _micro(values.EARLIEST), _micro(values.LATEST)


def _clock_parts() -> tuple[Function, ...]:
    """`getHours()` and its kin: in UTC, or in the zone named by the argument."""
    moment = datetime(2009, 2, 13, 23, 31, 20, 123_456, UTC)
    parts: tuple[tuple[str, Callable[[datetime], int], Callable[[Sql], Sql], int, int], ...] = (
        (".getFullYear", lambda t: t.year, lambda t: sql("extract(year from {})::int8", t), 2009, 2009),
        (".getMonth", lambda t: t.month - 1, lambda t: sql("extract(month from {})::int8 - 1", t), 1, 1),
        (".getDate", lambda t: t.day, lambda t: sql("extract(day from {})::int8", t), 13, 14),
        (".getDayOfMonth", lambda t: t.day - 1, lambda t: sql("extract(day from {})::int8 - 1", t), 12, 13),
        (".getDayOfWeek", lambda t: t.isoweekday() % 7, lambda t: sql("extract(dow from {})::int8", t), 5, 6),
        (".getDayOfYear", lambda t: t.timetuple().tm_yday - 1, lambda t: sql("extract(doy from {})::int8 - 1", t), 43, 44),
        (".getHours", lambda t: t.hour, lambda t: sql("extract(hour from {})::int8", t), 23, 10),
        (".getMinutes", lambda t: t.minute, lambda t: sql("extract(minute from {})::int8", t), 31, 31),
        (".getSeconds", lambda t: t.second, lambda t: sql("floor(extract(second from {}))::int8", t), 20, 20),
        (
            ".getMilliseconds",
            lambda t: t.microsecond // 1000,
            lambda t: sql("floor(extract(milliseconds from {}))::int8 % 1000", t),
            123,
            123,
        ),
    )
    return tuple(
        one for name, python, part, utc, sydney in parts for one in _clock_part(name, python, part, (moment, utc, sydney))
    )


def _clock_part(
    name: str, python: Callable[[datetime], int], part: Callable[[Sql], Sql], example: tuple[datetime, int, int]
) -> tuple[Function, Function]:
    moment, utc, sydney = example

    def there(t: datetime, zone: str) -> int | None:
        clock = values.local(t, zone)
        return None if clock is None else python(clock)

    return (
        Function(
            name,
            ("timestamp",),
            INT,
            python,
            lambda t: sql("({})", part(sql("({} at time zone 'UTC')", t))),
            ((moment, utc),),
            total=True,
        ),
        Function(
            name,
            ("timestamp", "string"),
            INT,
            there,
            lambda t, zone: sql("({})", part(sql("baas_rt.local({}, {})", t, zone))),
            (
                (moment, "Australia/Sydney", sydney),
                (moment, "+11:00", sydney),
                (moment, "Mars/Olympus", FAILS),
                (values.LATEST, "+14:00", FAILS),
            ),
        ),
    )


def _duration_parts() -> tuple[Function, ...]:
    length = timedelta(seconds=-3730, milliseconds=-250)
    units = ((".getHours", 3_600_000_000, -1), (".getMinutes", 60_000_000, -62), (".getSeconds", 1_000_000, -3730))
    return tuple(_duration_part(name, unit, length, expected) for name, unit, expected in units)


def _duration_part(name: str, unit: int, example: timedelta, expected: int) -> Function:
    return Function(
        name,
        ("duration",),
        INT,
        lambda d: trunc(Decimal(values.microseconds(d)) / unit),
        lambda d: sql("({} / {}::int8)", d, literal(unit)),
        ((example, expected),),
        total=True,
    )


def zone_names() -> tuple[Function, ...]:
    """Not callable by a text: the checker puts it around the argument of `getHours("Asia/Tokyo")`."""
    return (
        Function(
            ZONE,
            ("string",),
            STRING,
            lambda name: name if values.zone(name) is not None else None,
            None,
            (("Asia/Tokyo", "Asia/Tokyo"), ("-09:30", "-09:30"), ("Mars/Olympus", FAILS), ("../etc", FAILS), ("", FAILS)),
        ),
    )
