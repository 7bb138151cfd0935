"""All SQL of the hosting room. Every table is in the project's own schema."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from baas.features.hosting.model import HeaderRule, Redirect, Release, Shown, Site, SiteOptions, StoredFile, Wanted
from baas.infra.blobs.base import Blob
from baas.infra.db.pool import Queries, Row, Transaction
from baas.infra.db.sql import Sql, ident, sql

_OPTIONS = sql("spa, clean_urls, headers, redirects")
_SITE = sql("id, name, {}, active_release, created_at, updated_at", _OPTIONS)
_RELEASE = sql(
    "r.id, r.ready, r.message, r.files, r.size, r.created_at, r.activated_at, coalesce(s.active_release = r.id, false) active"
)

# Sites ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def sites(db: Queries, schema: str) -> list[Site]:
    """By name."""
    return [_site_of(row) for row in await db.fetch(sql("select {} from {} order by name", _SITE, ident(schema, "_sites")))]


async def site(db: Queries, schema: str, name: str) -> Site | None:
    row = await db.fetch_row(sql("select {} from {} where name = {}", _SITE, ident(schema, "_sites"), name))
    return _site_of(row) if row else None


async def lock_site(tx: Transaction, schema: str, name: str) -> Site | None:
    """The site, held until the transaction ends."""
    row = await tx.fetch_row(sql("select {} from {} where name = {} for update", _SITE, ident(schema, "_sites"), name))
    return _site_of(row) if row else None


async def make_site(db: Queries, schema: str, site_id: UUID, name: str, options: SiteOptions) -> Site:
    """Raises UniqueViolated."""
    row = await db.fetch_row(
        sql(
            "insert into {} (id, name, spa, clean_urls, headers, redirects) values ({}, {}, {}) returning {}",
            ident(schema, "_sites"),
            site_id,
            name,
            _values(options),
            _SITE,
        )
    )
    assert row is not None  # noqa: S101  an insert without `on conflict` returns its row
    return _site_of(row)


async def change_site(db: Queries, schema: str, site_id: UUID, options: SiteOptions) -> Site | None:
    row = await db.fetch_row(
        sql(
            "update {} set ({}) = ({}), updated_at = now() where id = {} returning {}",
            ident(schema, "_sites"),
            _OPTIONS,
            _values(options),
            site_id,
            _SITE,
        )
    )
    return _site_of(row) if row else None


async def drop_site(db: Queries, schema: str, name: str) -> bool:
    return bool(await db.execute(sql("delete from {} where name = {}", ident(schema, "_sites"), name)))


async def shown(db: Queries, schema: str, name: str) -> Shown | None:
    """The site's options and its active release; None when there is no site or nothing to show.

    The pointer is read once, in one row with the options. A ready release never changes, so reading its files afterwards cannot
    mix two.
    """
    row = await db.fetch_row(
        sql(
            "select s.spa, s.clean_urls, s.headers, s.redirects, s.active_release, r.activated_at from {} s"
            " join {} r on r.id = s.active_release where s.name = {}",
            ident(schema, "_sites"),
            ident(schema, "_releases"),
            name,
        )
    )
    if row is None:
        return None
    files = await db.fetch(
        sql(
            "select f.path, f.sha256, b.size, b.blob from {} f join {} b on b.sha256 = f.sha256 where f.release = {}",
            ident(schema, "_release_files"),
            ident(schema, "_site_blobs"),
            row["active_release"],
        )
    )
    found = {one["path"]: StoredFile(one["path"], one["sha256"], one["size"], one["blob"]) for one in files}
    return Shown(_options_of(row), row["active_release"], row["activated_at"], found)


# Releases ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def releases(db: Queries, schema: str, site_id: UUID, *, before: UUID | None, limit: int) -> list[Release]:
    """The newest first; ids are in the order of time."""
    older = sql("") if before is None else sql(" and r.id < {}", before)
    query = sql("{} where r.site = {}{} order by r.id desc limit {}", _releases(schema), site_id, older, limit)
    return [_release_of(row) for row in await db.fetch(query)]


async def release(db: Queries, schema: str, site_id: UUID, release_id: UUID) -> Release | None:
    row = await db.fetch_row(sql("{} where r.site = {} and r.id = {}", _releases(schema), site_id, release_id))
    return _release_of(row) if row else None


async def make_release(
    tx: Queries, schema: str, site_id: UUID, release_id: UUID, *, message: str | None, files: Sequence[Wanted], ready: bool
) -> None:
    """The release's row; one that is not ready keeps the list of what it wants."""
    wanted = None if ready else json.dumps({one.path: [one.sha256, one.size] for one in files})
    await tx.execute(
        sql(
            "insert into {} (id, site, ready, message, wanted, files, size) values ({}, {}, {}, {}, {}::jsonb, {}, {})",
            ident(schema, "_releases"),
            release_id,
            site_id,
            ready,
            message,
            wanted,
            len(files),
            sum(one.size for one in files),
        )
    )


async def add_files(tx: Queries, schema: str, release_id: UUID, files: Sequence[Wanted]) -> None:
    """The files of a release; raises ReferenceViolated when the content of one is not stored."""
    await tx.execute(
        sql(
            "insert into {} (release, path, sha256) select {}, path, sha256 from unnest({}::text[], {}::text[]) f(path, sha256)",
            ident(schema, "_release_files"),
            release_id,
            [one.path for one in files],
            [one.sha256 for one in files],
        )
    )


async def wanted(tx: Transaction, schema: str, site_id: UUID, release_id: UUID) -> list[Wanted] | None:
    """What a release that is not ready is to hold, held until the transaction ends; None when there is no such release."""
    text = await tx.fetch_value(
        sql(
            "select wanted from {} where site = {} and id = {} and not ready for update",
            ident(schema, "_releases"),
            site_id,
            release_id,
        )
    )
    return None if text is None else [Wanted(path, sha256, size) for path, (sha256, size) in json.loads(text).items()]


async def make_ready(tx: Queries, schema: str, release_id: UUID) -> None:
    await tx.execute(sql("update {} set ready = true, wanted = null where id = {}", ident(schema, "_releases"), release_id))


async def activate(tx: Transaction, schema: str, site_id: UUID, release_id: UUID) -> None:
    """The switch: one update of one row. Its moment is the Last-Modified of what the site shows."""
    await tx.execute(sql("update {} set activated_at = now() where id = {}", ident(schema, "_releases"), release_id))
    await tx.execute(
        sql("update {} set active_release = {}, updated_at = now() where id = {}", ident(schema, "_sites"), release_id, site_id)
    )


# Contents ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def stored(db: Queries, schema: str, sha256s: Sequence[str]) -> dict[str, int]:
    """Those of the contents that the project has, with their sizes; each is safe from the sweep for a day from now."""
    rows = await db.fetch(
        sql(
            "update {} set used_at = now() where sha256 = any ({}::text[]) returning sha256, size",
            ident(schema, "_site_blobs"),
            list(sha256s),
        )
    )
    return {row["sha256"]: row["size"] for row in rows}


async def add_blob(db: Queries, schema: str, blob: Blob) -> bool:
    """Note a stored content; False when another upload of the same was first, and this blob is not needed."""
    added = await db.execute(
        sql(
            "insert into {} (sha256, blob, size) values ({}, {}, {}) on conflict do nothing",
            ident(schema, "_site_blobs"),
            blob.sha256,
            blob.key,
            blob.size,
        )
    )
    return bool(added)


async def drop_unused(db: Queries, schema: str, *, after: timedelta) -> list[str]:
    """Forget contents that no release holds and nobody used for so long; the keys of their blobs."""
    rows = await db.fetch(
        sql(
            "delete from {} b where used_at < now() - {}::interval"
            " and not exists (select from {} f where f.sha256 = b.sha256) returning blob",
            ident(schema, "_site_blobs"),
            after,
            ident(schema, "_release_files"),
        )
    )
    return [row["blob"] for row in rows]


async def known_blobs(db: Queries, schema: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys that a row names."""
    rows = await db.fetch(sql("select blob from {} where blob = any ({}::text[])", ident(schema, "_site_blobs"), list(keys)))
    return {row["blob"] for row in rows}


def _releases(schema: str) -> Sql:
    return sql("select {} from {} r join {} s on s.id = r.site", _RELEASE, ident(schema, "_releases"), ident(schema, "_sites"))


def _values(options: SiteOptions) -> Sql:
    written = options.as_json()
    return sql(
        "{}, {}, {}::jsonb, {}::jsonb",
        options.spa,
        options.clean_urls,
        json.dumps(written["headers"]),
        json.dumps(written["redirects"]),
    )


def _options_of(row: Row) -> SiteOptions:
    def headers(one: Mapping[str, object]) -> HeaderRule:
        return HeaderRule(str(one["path"]), one["headers"])  # type: ignore[arg-type]

    return SiteOptions(
        row["spa"],
        row["clean_urls"],
        tuple(headers(one) for one in json.loads(row["headers"])),
        tuple(Redirect(one["from"], one["to"], one["status"]) for one in json.loads(row["redirects"])),
    )


def _site_of(row: Row) -> Site:
    options = _options_of(row)
    return Site(row["id"], row["name"], options, row["active_release"], row["created_at"], row["updated_at"])


def _release_of(row: Row) -> Release:
    return Release(
        row["id"],
        row["ready"],
        row["active"],
        row["message"],
        row["files"],
        row["size"],
        row["created_at"],
        row["activated_at"],
    )
