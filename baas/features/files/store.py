"""All SQL of the files room. Whatever returns a file's row for a caller has the rule of the bucket inside it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from baas.engines.query.probe import Place
from baas.engines.query.rows import Columns, RowsOf
from baas.engines.query.table import Column
from baas.engines.query.text import Template
from baas.engines.schema.collection import Action
from baas.engines.schema.fields.base import Cast
from baas.features.files.model import Bucket, Draft, File, Page, Prospects, Stage, Written
from baas.features.files.rules import FILE, Access
from baas.infra.blobs.base import Blob
from baas.infra.db.pool import Queries, Row, Transaction
from baas.infra.db.sql import Sql, Statement, ident, join, sql

_BUCKET = sql("name, public, max_size, types, rules, version, created_at, updated_at")
_FILE = sql(
    "r.bucket, r.path, r.name, r.folder, r.blob, r.size, r.content_type, r.sha256, r.owner, r.metadata,"
    " r.created_at, r.updated_at"
)
_FOLDER_END = "0"  # the character after "/": nothing in a folder sorts between

# Buckets ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def buckets(db: Queries, schema: str) -> list[Bucket]:
    """By name."""
    return [_bucket_of(row) for row in await db.fetch(sql("select {} from {} order by name", _BUCKET, ident(schema, "_buckets")))]


async def lock_bucket(tx: Transaction, schema: str, name: str) -> Bucket | None:
    """The bucket, held until the transaction ends."""
    row = await tx.fetch_row(sql("select {} from {} where name = {} for update", _BUCKET, ident(schema, "_buckets"), name))
    return _bucket_of(row) if row else None


async def make_bucket(db: Queries, schema: str, bucket: Bucket) -> Bucket:
    """Raises UniqueViolated."""
    row = await db.fetch_row(
        sql(
            "insert into {} (name, public, max_size, types, rules) values ({}, {}) returning {}",
            ident(schema, "_buckets"),
            bucket.name,
            _values(bucket),
            _BUCKET,
        )
    )
    assert row is not None  # noqa: S101  an insert without `on conflict` returns its row
    return _bucket_of(row)


async def change_bucket(db: Queries, schema: str, bucket: Bucket) -> Bucket:
    row = await db.fetch_row(
        sql(
            "update {} set (public, max_size, types, rules) = ({}), version = version + 1, updated_at = now()"
            " where name = {} returning {}",
            ident(schema, "_buckets"),
            _values(bucket),
            bucket.name,
            _BUCKET,
        )
    )
    assert row is not None  # noqa: S101  its row is held
    return _bucket_of(row)


async def count_files(db: Queries, schema: str, bucket: str) -> int:
    count: int = await db.fetch_value(sql("select count(*) from {} where bucket = {}", ident(schema, "_files"), bucket))
    return count


async def drop_bucket(db: Queries, schema: str, name: str) -> None:
    await db.execute(sql("delete from {} where name = {}", ident(schema, "_buckets"), name))


# Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def file(db: Queries, schema: str, path: str, access: Access) -> File | None:
    """The file when this caller may view it; None when it is absent or invisible."""
    view = _allowed(access, "view", record="r")
    query = sql("select {} from {} r where {} and {}", _FILE, ident(schema, "_files"), _here(access, path), view)
    row = await db.fetch_row(_bound(query, access))
    return _file_of(row) if row else None


async def page(db: Queries, schema: str, access: Access, *, prefix: str, start: str, limit: int) -> Page:
    """Files below a prefix in order of their paths, from `start` on."""
    query = sql(
        "select {} from {} r where {} and r.path >= {} order by r.path limit {}",
        _FILE,
        ident(schema, "_files"),
        _below(access, prefix),
        start,
        limit + 1,
    )
    files = [_file_of(row) for row in await db.fetch(_bound(query, access))]
    return Page(tuple(files[:limit]), (), _behind(files[limit - 1].path, None) if len(files) > limit else None)


async def folder_page(db: Queries, schema: str, access: Access, *, prefix: str, start: str, limit: int) -> Page:
    """Files right below a prefix, and the folders there, in one order. Each entry is one step down the index of paths, which
    skips all that a folder holds, so that a folder of a million files costs as much as an empty one.
    """
    files = ident(schema, "_files")
    entry = sql("left(r.path, {}::int + strpos(substr(r.path, {}::int + 1), '/'))", len(prefix), len(prefix))
    is_folder = sql("strpos(substr(r.path, {}::int + 1), '/') > 0", len(prefix))
    one = sql("case when {} then {} end as folder, r.path", is_folder, entry)
    below = _below(access, prefix)
    query = sql(
        "with recursive walk (number, folder, path) as ("
        " (select 1, {} from {} r where {} and r.path >= {} order by r.path limit 1)"
        " union all"
        " select walk.number + 1, step.folder, step.path from walk cross join lateral ("
        "  select {} from {} r where {}"
        "  and r.path >= case when walk.folder is null then walk.path || chr(1) else left(walk.folder, -1) || {}::text end"
        "  order by r.path limit 1) step"
        " where walk.number <= {}"
        ") select walk.folder as found_folder, {} from walk left join {} r on walk.folder is null and r.bucket = {}"
        " and r.path = walk.path order by walk.number",
        one,
        files,
        below,
        start,
        one,
        files,
        below,
        _FOLDER_END,
        limit,
        _FILE,
        files,
        access.bucket.name,
    )
    rows = await db.fetch(_bound(query, access))
    kept = rows[:limit]
    rest = _behind(kept[-1]["path"], kept[-1]["found_folder"]) if len(rows) > limit else None
    return Page(
        tuple(_file_of(row) for row in kept if row["found_folder"] is None),
        tuple(row["found_folder"] for row in kept if row["found_folder"] is not None),
        rest,
    )


def _behind(path: str | None, folder: str | None) -> str:
    """Where what follows a file or a folder begins; the same as the step in `folder_page`."""
    return folder[:-1] + _FOLDER_END if folder else f"{path}\x01"


# Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def prospects(db: Queries, schema: str, access: Access, draft: Draft, unknown: frozenset[str]) -> Prospects:
    """What this caller may do with the path of the draft, whose `unknown` fields are not known yet."""
    create = _allowed(access, "create", next="n") if access.knows("create", unknown) else sql("null::boolean")
    update = sql("null::boolean")
    if access.knows("update", unknown):
        update = _condition(access, "update", _before_and_after("r", "n", _REPLACED))
    query = sql(
        "select r.sha256, coalesce({}, false) as seen, {} as may_create, {} as may_update from {} left join {} r on {}",
        _allowed(access, "view", record="r"),
        _known(access, "create", unknown, create),
        _known(access, "update", unknown, update),
        _draft(draft),
        ident(schema, "_files"),
        _here(access, draft.path),
    )
    row = await db.fetch_row(_bound(query, access))
    assert row is not None  # noqa: S101  the draft is one row
    return Prospects(row["sha256"], row["seen"], row["may_create"], row["may_update"])


async def lock(tx: Transaction, schema: str, bucket: str, path: str) -> File | None:
    """The stored file, whoever asks, held until the transaction ends."""
    row = await tx.fetch_row(
        sql("select {} from {} r where r.bucket = {} and r.path = {} for update", _FILE, ident(schema, "_files"), bucket, path)
    )
    return _file_of(row) if row else None


async def stored(db: Queries, schema: str, bucket: str, path: str) -> File | None:
    """The stored file, whoever asks."""
    row = await db.fetch_row(
        sql("select {} from {} r where r.bucket = {} and r.path = {}", _FILE, ident(schema, "_files"), bucket, path)
    )
    return _file_of(row) if row else None


async def insert(tx: Queries, schema: str, access: Access, draft: Draft, blob: Blob) -> Written | None:
    """The new file; None when the create rule says no or there is a file of this path by now."""
    names = join(", ", (ident(name) for name in FILE.fields))
    query = sql(
        "insert into {} as r (bucket, blob, {}) select {}, {}, {} from {} where {} on conflict do nothing returning {}, {}",
        ident(schema, "_files"),
        names,
        access.bucket.name,
        blob.key,
        names,
        _draft(draft),
        _allowed(access, "create", next="n"),
        _FILE,
        _seen(access),
    )
    return _written(await tx.fetch_row(_bound(query, access)), created=True)


async def replace(tx: Queries, schema: str, access: Access, draft: Draft, blob: Blob) -> Written | None:
    """The file with new content; None when the update rule says no. Owner, metadata and time of creation stay."""
    return await _update(tx, schema, access, draft, names=_REPLACED, more=sql("blob = {}, ", blob.key))


async def describe(tx: Queries, schema: str, access: Access, draft: Draft) -> Written | None:
    """The file with other metadata and content type; None when the update rule says no."""
    return await _update(tx, schema, access, draft, names=_DESCRIBED, more=sql(""))


async def delete(tx: Queries, schema: str, access: Access, path: str) -> str | None:
    """The blob of the file that is gone; None when it is absent or the delete rule says no."""
    query = sql(
        "delete from {} r where {} and {} returning r.blob",
        ident(schema, "_files"),
        _here(access, path),
        _allowed(access, "delete", record="r"),
    )
    row = await tx.fetch_row(_bound(query, access))
    return row["blob"] if row else None


async def seen(db: Queries, schema: str, access: Access, path: str) -> bool:
    """Whether there is a file of this path that the caller may view."""
    return await file(db, schema, path, access) is not None


async def known_blobs(db: Queries, schema: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys that a row names."""
    rows = await db.fetch(sql("select blob from {} where blob = any ({}::text[])", ident(schema, "_files"), list(keys)))
    return {row["blob"] for row in rows}


_CASTS: Mapping[str, Cast] = {
    "string": "text",
    "int": "int8",
    "json": "jsonb",
    "timestamp": "timestamptz",
    "ref(users)": "uuid",
}
_COLUMNS = {name: Column(name, _CASTS[one.type], None, None) for name, one in FILE.fields.items()}
_ROOTS: Mapping[Action, tuple[str, ...]] = {"create": ("next",), "update": ("record", "next")}


def place(schema: str, access: Access, action: Action, path: str, draft: Draft | None, *, described: bool) -> Place:
    """Where the rule of an action meets the file of a path; `draft` is what a create or an update makes of it."""
    changed = tuple(FILE.fields) if action == "create" else _DESCRIBED if described else _REPLACED
    here = sql("{} r where {}", ident(schema, "_files"), _here(access, path))
    if draft is not None:
        new = _draft(draft)
        here = new if action == "create" else sql("{}, {}", new, here)
    identity = [sql("{} as id", ident("n" if action == "create" else "r", "path"))]
    if action in ("update", "delete"):
        identity.append(_seen(access))
    found = RowsOf(_before_and_after("r", "n", changed), access.tables)
    return Place(found, _COLUMNS, here, identity, _ROOTS.get(action, ("record",)), {}, access.leaves)


async def make_stage(stage: Stage, schema: str) -> None:
    """The project's buckets, and a table for files that has none."""
    for name in ("_buckets", "_files"):
        await stage.tx.execute(
            sql("create table {} (like {} including defaults including indexes)", ident(stage.schema, name), ident(schema, name))
        )
    await stage.tx.execute(sql("insert into {} select * from {}", ident(stage.schema, "_buckets"), ident(schema, "_buckets")))


async def add_files(stage: Stage, files: Sequence[File]) -> None:
    """Raises UniqueViolated for a path that is there."""
    for one in files:
        await stage.tx.execute(
            sql(
                "insert into {} (bucket, path, name, folder, blob, size, content_type, sha256, owner, metadata, created_at,"
                " updated_at)"
                " values ({}, {}, {}, {}, {}, {}, {}, {}, {}, {}::jsonb, {}, {})",
                ident(stage.schema, "_files"),
                one.bucket,
                one.path,
                one.name,
                one.folder,
                one.blob,
                one.size,
                one.content_type,
                one.sha256,
                one.owner,
                one.metadata,
                one.created_at,
                one.updated_at,
            )
        )


_REPLACED = ("size", "content_type", "sha256", "updated_at")
_DESCRIBED = ("content_type", "metadata", "updated_at")


async def _update(tx: Queries, schema: str, access: Access, draft: Draft, *, names: tuple[str, ...], more: Sql) -> Written | None:
    query = sql(
        "update {} r set {}{} from {} where {} and {} returning {}, {}",
        ident(schema, "_files"),
        more,
        join(", ", (sql("{} = n.{}", ident(name), ident(name)) for name in names)),
        _draft(draft),
        _here(access, draft.path),
        _condition(access, "update", _before_and_after("r", "n", names)),
        _FILE,
        _seen(access),
    )
    return _written(await tx.fetch_row(_bound(query, access)), created=False)


def _draft(draft: Draft) -> Sql:
    """One row `n` of the draft, with the columns' types; text compares by code point, as the stored columns do."""
    return sql(
        '(select {}::text collate "C" as path, {}::text collate "C" as name, {}::text collate "C" as folder, {}::bigint as size,'
        ' {}::text collate "C" as content_type, {}::text collate "C" as sha256, {}::uuid as owner, {}::jsonb as metadata,'
        " {}::timestamptz as created_at, {}::timestamptz as updated_at) n",
        draft.path,
        draft.name,
        draft.folder,
        draft.size,
        draft.content_type,
        draft.sha256,
        draft.owner,
        draft.metadata,
        draft.now,
        draft.now,
    )


def _here(access: Access, path: str) -> Sql:
    return sql("r.bucket = {} and r.path = {}", access.bucket.name, path)


def _below(access: Access, prefix: str) -> Sql:
    """Files below a prefix that the list rule shows; the upper end lets the index of paths serve the whole condition."""
    rule = _allowed(access, "list", record="r")
    if not prefix:
        return sql("r.bucket = {} and {}", access.bucket.name, rule)
    return sql("r.bucket = {} and r.path >= {} and starts_with(r.path, {}) and {}", access.bucket.name, prefix, prefix, rule)


def _allowed(access: Access, action: Action, **aliases: str) -> Sql:
    return _condition(access, action, lambda root, name: ident(aliases[root], name))


def _condition(access: Access, action: Action, columns: Columns) -> Sql:
    return sql("({})", access.judge(action).where(RowsOf(columns, access.tables)))


def _before_and_after(record: str, draft: str, changed: tuple[str, ...]) -> Columns:
    """`next` of a change: the changed fields from the draft, the others as they are stored."""
    return lambda root, name: ident(draft if root == "next" and name in changed else record, name)


def _known(access: Access, action: Action, unknown: frozenset[str], condition: Sql) -> Sql:
    return sql("coalesce({}, false)", condition) if access.knows(action, unknown) else condition


def _seen(access: Access) -> Sql:
    return sql("coalesce({}, false) as seen", _allowed(access, "view", record="r"))


def _bound(query: Sql, access: Access) -> Statement:
    return Template(query).bind({}, access.leaves)


def _written(row: Row | None, *, created: bool) -> Written | None:
    return Written(_file_of(row), row["seen"], created) if row else None


def _values(bucket: Bucket) -> Sql:
    return sql(
        "{}, {}, {}::text[], {}::jsonb",
        bucket.public,
        bucket.max_size,
        None if bucket.types is None else list(bucket.types),
        json.dumps(dict(bucket.rules)),
    )


def _bucket_of(row: Row) -> Bucket:
    rules: Mapping[Any, Any] = json.loads(row["rules"])
    types = None if row["types"] is None else tuple(row["types"])
    return Bucket(row["name"], row["public"], row["max_size"], types, rules, row["version"], row["created_at"], row["updated_at"])


def _file_of(row: Row) -> File:
    owner: UUID | None = row["owner"]
    return File(
        row["bucket"],
        row["path"],
        row["name"],
        row["folder"],
        row["blob"],
        row["size"],
        row["content_type"],
        row["sha256"],
        owner,
        row["metadata"],
        row["created_at"],
        row["updated_at"],
    )
