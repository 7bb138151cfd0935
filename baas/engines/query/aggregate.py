"""Groups of visible records and figures over them, as one statement whose JSON PostgreSQL writes.

Four levels, from the inside: `s` the fields that are read, as this caller may read them; `p` the groups with the parts that
figures are made of; `v` the finished figures; and the page of them. Nothing on the way raises: PostgreSQL ends a statement when
a sum or a mean of doubles overflows, so large doubles are summed apart, as decimals.
"""

from collections.abc import Hashable

from baas.engines.query.asking import Asking, Judgement
from baas.engines.query.grouping import Figure, Grouping, Key
from baas.engines.query.reach import Reached, Way, reach
from baas.engines.query.rows import rows
from baas.engines.query.table import Table
from baas.engines.query.text import Slot
from baas.engines.rules.rows import Alone
from baas.infra.db.sql import Sql, ident, join, literal, sql

# 10^18 doubles below this cannot reach the end of their range.
_SMALL = sql("1e280::float8")
_ZONE = "time zone"

Path = tuple[str, ...]


class Aggregate:
    """The statement of one grouping for one caller. `having` is the condition on the groups, already folded."""

    def __init__(self, table: Table, grouping: Grouping, asking: Asking, having: Judgement) -> None:
        self._table = table
        self._grouping = grouping
        self._asking = asking
        self._having = having
        ways = (one.of for one in grouping.columns if one.of is not None)
        self._fields: dict[Path, Reached] = {_path(way): reach(way, asking) for way in ways}

    @property
    def key(self) -> Hashable:
        """All that the text depends on, besides the table, its list rule and the filter."""
        grouping = self._grouping
        keys = tuple((one.name, _path(one.of), one.bucket) for one in grouping.keys)
        figures = tuple((one.name, one.function, _path(one.of) if one.of else None) for one in grouping.figures)
        gates = tuple(reached.key for reached in self._fields.values())
        return (keys, figures, gates, grouping.order, grouping.limit, grouping.zone is None, self._having.key)

    @property
    def slots(self) -> dict[Hashable, object]:
        return {_ZONE: self._grouping.zone}

    def sql(self, visible: Sql) -> Sql:
        """One row: `items` (JSON texts with commas between, null for none) and `more`. `visible`: which records count."""
        limit = self._grouping.limit
        return sql(
            "select string_agg({}, ',') filter (where v._position <= {}) as items, count(*) > {} as more"
            " from (select v.*, row_number() over () as _position"
            " from (select v.* from ({}) v where {} order by {} limit {}) v) v",
            self._json(),
            literal(limit),
            literal(limit),
            self._finished(visible),
            self._having.where(Alone(self._in_having)),
            self._order(),
            literal(limit + 1),
        )

    def _json(self) -> Sql:
        members = (sql("{} as {}", one.shape.json(self._output(one)), ident(one.name)) for one in self._grouping.columns)
        return sql("row_to_json((select _one from (select {}) _one))::text", join(", ", members))

    def _output(self, one: Key | Figure) -> Sql:
        return ident("v", f"c{self._grouping.columns.index(one)}")

    def _in_having(self, _root: str, name: str) -> Sql:
        one = next(one for one in self._grouping.columns if one.name == name)
        return one.shape.in_rules(self._output(one))

    def _order(self) -> Sql:
        columns = {one.name: one for one in self._grouping.columns}
        keys = [
            sql(
                "{} {} {}",
                self._output(columns[one.name]),
                sql("desc") if one.descending else sql("asc"),
                sql("nulls first") if one.nulls_first else sql("nulls last"),
            )
            for one in self._grouping.order
        ]
        return join(", ", keys or [sql("1")])

    def _finished(self, visible: Sql) -> Sql:
        columns = [
            sql("{} as {}", ident("p", f"c{at}") if isinstance(one, Key) else _finished(one, at), ident(f"c{at}"))
            for at, one in enumerate(self._grouping.columns)
        ]
        return sql("select {} from ({}) p", join(", ", columns), self._grouped(visible))

    def _grouped(self, visible: Sql) -> Sql:
        columns: list[Sql] = []
        for at, one in enumerate(self._grouping.columns):
            if isinstance(one, Key):
                columns.append(sql("{} as {}", self._bucket(one), ident(f"c{at}")))
            else:
                columns += _parts(one, at, sql("null") if one.of is None else self._field(one.of))
        keys = len(self._grouping.keys)
        by = sql(" group by {}", join(", ", (literal(at + 1) for at in range(keys)))) if keys else sql("")
        return sql("select {} from ({}) s{}", join(", ", columns), self._read(visible), by)

    def _read(self, visible: Sql) -> Sql:
        fields, joins = [], []
        for at, reached in enumerate(self._fields.values()):
            value, joined = _joined(reached, f"x{at}")
            fields.append(sql("{} as {}", value, ident(f"x{at}")))
            joins.append(joined)
        return sql("select {} from {} r{} where {}", join(", ", fields), self._table.sql, join("", joins), visible)

    def _field(self, way: Way) -> Sql:
        return ident("s", f"x{list(self._fields).index(_path(way))}")

    def _bucket(self, key: Key) -> Sql:
        value = self._field(key.of)
        if key.bucket is None:
            return value
        if key.of.column.cast == "date":
            return sql("date_trunc({}, {}::timestamp)::date", literal(key.bucket), value)
        zone = literal("UTC") if self._grouping.zone is None else sql("{}::text", Slot(_ZONE))
        if key.bucket == "hour":
            return sql("date_trunc({}, {}, {})", literal("hour"), value, zone)
        return sql("date_trunc({}, {} at time zone {})::date", literal(key.bucket), value, zone)


def _joined(reached: Reached, scope: str) -> tuple[Sql, Sql]:
    """The value, and the joins that it needs: each record by its id, so that none comes twice. Over many records a join costs a
    quarter of a sub-select for each.
    """
    links = reached.way.links
    if not links or any(judgement.verdict is False for _, _, judgement in reached.conditions):
        return reached.sql("r", scope), sql("")
    names = ["r", *(f"{scope}h{hop}" for hop in range(1, len(links) + 1))]
    joins = []
    for hop, link in enumerate(links, 1):
        on = [sql("{} = {}", ident(names[hop], "id"), link.column.of(names[hop - 1]))]
        on += [
            judgement.where(rows(table, record=names[at]), scope=names[at])
            for at, table, judgement in reached.conditions
            if judgement.verdict is None and max(at, 1) == hop
        ]
        joins.append(sql(" left join {} {} on {}", link.target.sql, ident(names[hop]), join(" and ", on)))
    return reached.column.of(names[-1]), join("", joins)


def _path(way: Way) -> Path:
    return (*(link.name for link in way.links), way.column.name)


def _is_double(one: Figure) -> bool:
    return one.of is not None and one.function in ("sum", "avg") and one.of.column.cast == "float8"


def _parts(one: Figure, at: int, value: Sql) -> list[Sql]:
    """What PostgreSQL aggregates for a figure: one column, or of doubles the small ones, the large ones and their number."""
    name = ident(f"c{at}")
    if one.of is None:
        return [sql("count(*) as {}", name)]
    if _is_double(one):
        return [
            sql("sum({}) filter (where abs({}) < {}) as {}", value, value, _SMALL, name),
            sql("sum(baas_rt.dec({})) filter (where not abs({}) < {}) as {}", value, value, _SMALL, ident(f"c{at}_large")),
            sql("count({}) as {}", value, ident(f"c{at}_count")),
        ]
    call = {
        "count": sql("count({})", value),
        "count_distinct": sql("count(distinct {})", value),
        "sum": sql("sum({})", value),
        "avg": sql("avg({})", value),
        "min": sql("min({})", value),
        "max": sql("max({})", value),
    }
    return [sql("{} as {}", call[one.function], name)]


def _finished(one: Figure, at: int) -> Sql:
    value = ident("p", f"c{at}")
    if _is_double(one):
        return _double(one, value, ident("p", f"c{at}_large"), ident("p", f"c{at}_count"))
    if one.function == "avg":
        return sql("trim_scale({})", value) if one.of and one.of.column.cast == "numeric" else sql("{}::float8", value)
    return value


def _double(one: Figure, small: Sql, large: Sql, count: Sql) -> Sql:
    """The sum or the mean as a double, null where none can hold it."""
    whole = sql("(coalesce(baas_rt.dec({}), 0) + coalesce({}, 0))", small, large)
    if one.function == "avg":
        return sql("case when {} > 0 then {} end", count, _as_double(sql("({} / nullif({}, 0))", whole, count)))
    return sql("case when {} = 0 then null when {} is null then {} else {} end", count, large, small, _as_double(whole))


def _as_double(number: Sql) -> Sql:
    return sql(
        "case when abs({}) < 1e-300 then 0::float8 when abs({}) <= 1.797693134862315e308 then {}::float8 end",
        number,
        number,
        number,
    )
