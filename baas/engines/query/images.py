"""Records as they were or became, out of the change log: judged and shown by the same conditions as those that are stored.

An image is a row as JSON. In SQL it becomes a row of its table's type again, so rules, filters and answers take it as any other.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from baas.engines.query.table import Table
from baas.engines.query.text import Slot, Template
from baas.infra.db.pool import Row
from baas.infra.db.sql import Sql, ident, join, sql

Members = Mapping[str, msgspec.Raw]
"""Field name -> its value as JSON text."""
_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Picture(NamedTuple):
    """One image: `values` as rules compute with them in memory, `members` as answers have them. Hidden fields are in both."""

    values: Mapping[str, object]
    members: Members


def packed(image: Mapping[str, object]) -> str:
    """An image as the text that the statements take."""
    return _encode(image).decode()


def source(table: Table) -> Sql:
    """The images in the slot `images` as rows `r` of the table's type, each with its place `i.n` from 1."""
    return sql(
        "unnest({}::text[]) with ordinality i(image, n), jsonb_populate_record(null::{}, i.image::jsonb) r",
        Slot("images"),
        table.sql,
    )


def pictures(table: Table) -> Template:
    """A row for each image: `n`, `body` (every field as answers have it), and `c0…`, every field as rules have it."""
    shown = join(", ", (sql("{} as {}", column.json("r"), ident(name)) for name, column in table.columns.items()))
    held = (sql("{} as {}", column.in_rules(column.of("r")), ident(f"c{at}")) for at, column in enumerate(table.columns.values()))
    return Template(
        sql(
            "select i.n, row_to_json((select _one from (select {}) _one))::text as body, {} from {}",
            shown,
            join(", ", held),
            source(table),
        )
    )


def picture(table: Table, row: Row) -> Picture:
    """What one row of `pictures` says."""
    values = {name: column.in_memory(row[f"c{at}"]) for at, (name, column) in enumerate(table.columns.items())}
    return Picture(values, _decode(row["body"]))
