"""What a view may hold: looked up in the tree that PostgreSQL stored, where every name is resolved, not in the text.

Allowed are the project's collections, known constructs, plain types and functions that depend on their arguments alone; all else
is refused, also what a later PostgreSQL may add. So nothing in a view runs other SQL, changes the session, waits, locks, looks
at the catalogue or at another project, whoever runs it. That it runs as the project's reader is the second wall.
"""

import re
from collections.abc import Iterable, Sequence

from baas.infra.db.pool import Queries, Row
from baas.infra.db.sql import Sql, sql

# Labels as PostgreSQL 15 to 18 write them; 15 writes some without their EXPR. Missing on purpose: TABLEFUNC and XMLEXPR (XML),
# ROWMARKCLAUSE (locks), TABLESAMPLECLAUSE, NEXTVALUEEXPR, CURRENTOFEXPR.
_NODES = frozenset((
    "QUERY", "RANGETBLENTRY", "RTEPERMISSIONINFO", "RANGETBLFUNCTION", "RANGETBLREF", "ALIAS", "FROMEXPR", "JOINEXPR",
    "TARGETENTRY", "SUBLINK", "VAR", "CONST", "PARAM", "FUNCEXPR", "NAMEDARGEXPR", "OPEXPR", "DISTINCTEXPR", "NULLIFEXPR",
    "SCALARARRAYOPEXPR", "BOOLEXPR", "BOOLEANTEST", "NULLTEST", "RELABELTYPE", "COERCEVIAIO", "ARRAYCOERCEEXPR",
    "CONVERTROWTYPEEXPR", "COLLATEEXPR", "COLLATE", "FIELDSELECT", "SUBSCRIPTINGREF", "CASEEXPR", "CASE", "CASEWHEN",
    "WHEN", "CASETESTEXPR", "COALESCEEXPR", "COALESCE", "MINMAXEXPR", "MINMAX", "ARRAYEXPR", "ARRAY", "ROWEXPR", "ROW",
    "ROWCOMPAREEXPR", "ROWCOMPARE", "SQLVALUEFUNCTION", "AGGREF", "WINDOWFUNC", "WINDOWCLAUSE", "GROUPINGFUNC",
    "GROUPINGSET", "SORTGROUPCLAUSE", "SETOPERATIONSTMT", "COMMONTABLEEXPR", "CTESEARCHCLAUSE", "CTECYCLECLAUSE",
    "JSONCONSTRUCTOREXPR", "JSONRETURNING", "JSONFORMAT", "JSONVALUEEXPR", "JSONISPREDICATE", "JSONEXPR", "JSONBEHAVIOR",
))  # fmt: skip
# No `oid`, no `reg…` but the name of a text search configuration: they would tell what there is beyond the project.
_TYPES = (
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "money", "text", "varchar", "bpchar", "char", "name",
    "bytea", "unknown", "date", "time", "timetz", "timestamp", "timestamptz", "interval", "uuid", "json", "jsonb",
    "jsonpath", "tsvector", "tsquery", "regconfig", "bit", "varbit", "inet", "cidr", "macaddr", "point", "record",
    "int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange", "int4multirange", "int8multirange",
    "nummultirange", "datemultirange", "tsmultirange", "tstzmultirange",
)  # fmt: skip
# Functions that are not immutable only because time zone, language or number format of the session count.
_STABLE = (
    "age", "array_to_json", "array_to_string", "concat", "concat_ws", "convert_from", "convert_to", "date", "date_add",
    "date_part", "date_subtract", "date_trunc", "extract", "format", "generate_series", "in_range", "json_agg",
    "json_agg_strict", "json_build_array", "json_build_object", "json_object_agg", "json_object_agg_strict",
    "json_object_agg_unique", "json_object_agg_unique_strict", "json_populate_record", "json_populate_recordset",
    "json_to_record", "json_to_recordset", "jsonb_agg", "jsonb_agg_strict", "jsonb_build_array", "jsonb_build_object",
    "jsonb_object_agg", "jsonb_object_agg_strict", "jsonb_object_agg_unique", "jsonb_object_agg_unique_strict",
    "jsonb_path_exists_tz", "jsonb_path_match_tz", "jsonb_path_query_array_tz", "jsonb_path_query_first_tz",
    "jsonb_path_query_tz", "jsonb_populate_record", "jsonb_populate_recordset", "jsonb_to_record", "jsonb_to_recordset",
    "length", "make_timestamptz", "now", "overlaps", "phraseto_tsquery", "plainto_tsquery", "quote_literal",
    "quote_nullable", "row_to_json", "statement_timestamp", "timezone", "to_char", "to_date", "to_json", "to_jsonb",
    "to_number", "to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp", "ts_headline",
    "websearch_to_tsquery",
)  # fmt: skip

# PostgreSQL escapes a brace inside a name, so no alias can pass for a node, nor hide one.
_NODE = re.compile(r"(?<!\\)\{([A-Z_]+)")
_BRACE = re.compile(r"(?<!\\)[{}]")
_ORIGIN = re.compile(r" :resno (\d+) :resname .*? :ressortgroupref \d+ :resorigtbl (\d+)")
_NUMBERS = re.compile(r" :(\w+) (?:(\d+)(?![\w.])|\(o((?: \d+)+)\))")
_FUNCTION = re.compile(r"funcid$|fnoid$|Func$", re.IGNORECASE)
_OPERATOR = re.compile(r"^opnos?$|eqop$|sortop$|neop$", re.IGNORECASE)
_TYPE = re.compile(r"typ(e|eid|id|es)?$", re.IGNORECASE)
_FIRST_TYPE = 16  # below are the numbers of enumerations: join type, command type, …


async def forbidden(tx: Queries, schema: str, name: str, collections: Iterable[str]) -> Sequence[str]:
    """What stands in a stored view and may not, in words: `function pg_sleep`, `table pg_class`; nothing when all is well.

    `collections` are the names that it may read. Nothing of the view has been run or planned so far.
    """
    tree = await _tree(tx, schema, name)
    numbers = _numbers(tree)
    row = await tx.fetch_row(_question(numbers, schema, [*collections, name]))
    unknown = sorted({*_NODE.findall(tree)} - _NODES)
    return [*(f"construct {node.lower()}" for node in unknown), *_words(row)]


async def stored_columns(tx: Queries, schema: str, name: str) -> frozenset[int]:
    """Positions, from 1, of the columns that show a stored column as it is: their values have been checked when written."""
    return _shown_as_stored(await _tree(tx, schema, name))


async def _tree(tx: Queries, schema: str, name: str) -> str:
    tree: str = await tx.fetch_value(
        sql(
            "select w.ev_action::text from pg_rewrite w join pg_class c on c.oid = w.ev_class"
            " join pg_namespace n on n.oid = c.relnamespace where n.nspname = {} and c.relname = {} and w.rulename = '_RETURN'",
            schema,
            name,
        )
    )
    return tree


def _shown_as_stored(tree: str) -> frozenset[int]:
    """Of the outermost query's target entries, which PostgreSQL marks with the table that a plain column comes from."""
    found, opened = set(), list[int]()
    for brace in _BRACE.finditer(tree):
        if brace[0] == "{":
            opened.append(brace.start())
            continue
        start = opened.pop()
        if len(opened) == 1 and tree.startswith("{TARGETENTRY", start):
            # What the entry says of itself comes after its expression, so the last one is its own.
            number, table = _ORIGIN.findall(tree[start : brace.start()])[-1]
            if table != "0":
                found.add(int(number))
    return frozenset(found)


def _numbers(tree: str) -> dict[str, list[int]]:
    """The oids in the tree, by what they are of."""
    found: dict[str, set[int]] = {"functions": set(), "operators": set(), "types": set(), "relations": set()}
    for label, one, several in _NUMBERS.findall(tree):
        values = {int(one)} if one else {int(value) for value in several.split()}
        if _FUNCTION.search(label):
            found["functions"] |= values
        elif _OPERATOR.search(label):
            found["operators"] |= values
        elif label == "relid":
            found["relations"] |= values
        elif _TYPE.search(label):
            found["types"] |= {value for value in values if value >= _FIRST_TYPE}
    return {kind: sorted(values - {0}) for kind, values in found.items()}


def _question(numbers: dict[str, list[int]], schema: str, relations: Sequence[str]) -> Sql:
    return sql(
        "with mine as (select c.oid, c.reltype from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = {} and c.relname = any({}::text[]) and c.relkind in ('r', 'v')),"
        " plain as (select oid from pg_type where typnamespace = 'pg_catalog'::regnamespace and typname = any({}::text[])"
        " union select reltype from mine"
        " union select a.atttypid from pg_attribute a join mine on a.attrelid = mine.oid"
        "  where a.attnum > 0 and not a.attisdropped),"
        " types as (select oid from plain union select typarray from pg_type join plain using (oid)),"
        " spaces as (select oid from pg_namespace where nspname in ('pg_catalog', 'baas_rt', 'baas_ext'))"
        " select array(select distinct coalesce(p.proname, '?') from unnest({}::oid[]) f(oid) left join pg_proc p using (oid)"
        "  where p.oid is null or p.prosecdef or p.pronamespace not in (select oid from spaces)"
        "  or not (p.provolatile = 'i' or (p.pronamespace = 'pg_catalog'::regnamespace and p.provolatile = 's' and ("
        "   p.proname = any({}::text[]) or exists (select from pg_operator o where o.oprcode = p.oid"
        "    and o.oprnamespace = 'pg_catalog'::regnamespace)"
        "   or exists (select from pg_cast c where c.castfunc = p.oid))))) as functions,"
        " array(select distinct coalesce(o.oprname, '?') from unnest({}::oid[]) f(oid) left join pg_operator o using (oid)"
        "  where o.oid is null or o.oprnamespace not in (select oid from spaces)) as operators,"
        " array(select distinct coalesce(t.typname, '?') from unnest({}::oid[]) f(oid) left join pg_type t using (oid)"
        "  where t.oid is null or t.oid not in (select oid from types)) as types,"
        " array(select distinct coalesce(c.relname, '?') from unnest({}::oid[]) f(oid) left join pg_class c using (oid)"
        "  where c.oid is null or c.oid not in (select oid from mine)) as tables",
        schema,
        list(relations),
        list(_TYPES),
        numbers["functions"],
        list(_STABLE),
        numbers["operators"],
        numbers["types"],
        numbers["relations"],
    )


def _words(row: Row | None) -> Iterable[str]:
    if row is None:
        return ("everything",)
    return (f"{kind.removesuffix('s')} {name}" for kind in ("tables", "functions", "operators", "types") for name in row[kind])
