"""Files: bytes in the blob store, a row in PostgreSQL, and the bucket's rules between them and everybody.

An upload is durable before its row, and visible with it. A blob without a row is nobody's: it is removed where the refusal is
known, and swept after a day where a crash left it.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import msgspec

from baas.base.clock import Clock
from baas.base.errors import (
    BaasError,
    BadRequest,
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from baas.base.ids import uuid7
from baas.base.paths import folder_and_name, path_fault
from baas.base.principal import Principal
from baas.base.project import Project
from baas.base.settings import Settings
from baas.base.words import counted
from baas.engines.query.advice import advise_beside
from baas.engines.query.asking import ALWAYS
from baas.engines.query.compile import Compiler
from baas.engines.query.guarded import Guarded
from baas.engines.rules.rule import Rule
from baas.engines.schema import store as definitions
from baas.engines.schema.catalog import Catalog
from baas.engines.schema.collection import ACTIONS, Action, Collection
from baas.features.auth.model import auth_in_rules
from baas.features.auth.service import Auth
from baas.features.files import manifest, store
from baas.features.files.buckets import KIND, Buckets
from baas.features.files.matters import noted, read_files, read_said, said_by, said_of
from baas.features.files.model import Bucket, Change, Draft, File, Matter, Page, Prospects, Saved, Stage, Upload, Written
from baas.features.files.rules import Access, BucketRules, guarded, rule_env
from baas.infra.blobs.base import Blob, BlobStore
from baas.infra.db.errors import ReferenceViolated, UniqueViolated
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database, Queries, Transaction
from baas.infra.http.conditions import Condition, etag_of
from baas.infra.http.content import check_if_match

_SCOPE = "files"
_TRIES = 3
_UNUSED = timedelta(hours=24)
_SWEEP_BATCH = 500
_MOST_BUCKETS = 500
_MOST_METADATA_BYTES = 64 << 10
_NOTHING_KNOWN: frozenset[str] = frozenset()


class Files:
    """Keeps buckets, and files in them as the buckets' rules allow."""

    def __init__(  # noqa: PLR0917  the parts it is made of, in the order in which they are made
        self,
        db: Database,
        blobs: BlobStore,
        catalog: Catalog,
        compiler: Compiler,
        auth: Auth,
        invalidations: Invalidations,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._catalog = catalog
        self._compiler = compiler
        self._auth = auth
        self._invalidations = invalidations
        self._clock = clock
        self._max_bytes = settings.max_file_bytes
        self._buckets = Buckets(db, invalidations)
        self._rules = BucketRules()

    # Buckets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def buckets(self, project: Project) -> list[Bucket]:
        """All buckets of the project by name."""
        return list((await self._buckets.all(project)).values())

    async def bucket(self, project: Project, name: str) -> Bucket:
        """Raises NotFound."""
        bucket = (await self._buckets.all(project)).get(name)
        if bucket is None:
            raise _no_bucket()
        return bucket

    async def create_bucket(self, project: Project, body: Mapping[str, object]) -> Saved:
        """Make a bucket from a manifest. Raises Invalid with every fault, Conflict when there is one of this name."""
        if len(await self._buckets.all(project)) >= _MOST_BUCKETS:
            raise Conflict(f"A project has at most {_MOST_BUCKETS} buckets.", code="too_many_buckets")
        manifest.check_shape(body, await self._catalog.collections(project))  # before others have to wait for the schema
        try:
            async with self._change(project) as tx:
                collections = await definitions.held(tx, project.schema)
                made = await store.make_bucket(tx, project.schema, manifest.new_bucket(body, collections))
        except UniqueViolated:
            message = f"There is a bucket named {body['name']!r}."
            faults = [Fault("/name", "already_exists", message)]
            raise Conflict(message, code="already_exists", errors=faults) from None
        return await _saved(made, collections)

    async def change_bucket(self, project: Project, name: str, body: Mapping[str, object], only: Condition) -> Saved:
        """Change what the body names; stored files stay as they are. Raises NotFound, PreconditionFailed, Invalid."""
        async with self._change(project) as tx:
            collections = await definitions.held(tx, project.schema)
            current = await store.lock_bucket(tx, project.schema, name)
            if current is None:
                raise _no_bucket()
            only.check(etag_of(current.as_json()))
            changed = manifest.changed_bucket(body, current, collections)
            stored = await store.change_bucket(tx, project.schema, changed)
        return await _saved(stored, collections)

    async def delete_bucket(self, project: Project, name: str, *, may_lose_data: bool, only: Condition) -> None:
        """Delete the bucket with its files. Raises NotFound, PreconditionFailed, and Conflict (`confirm_required`) when it has
        some that may not go.
        """
        async with self._change(project) as tx:
            current = await store.lock_bucket(tx, project.schema, name)
            if current is None:
                raise _no_bucket()
            only.check(etag_of(current.as_json()))
            if not may_lose_data and (files := await store.count_files(tx, project.schema, name)):
                detail = f"Bucket {name!r} holds {counted(files, 'file', 'files')}. Confirm their loss with ?confirm=data-loss."
                raise Conflict(detail, code="confirm_required", files=files)
            await store.drop_bucket(tx, project.schema, name)

    async def guarded(self, db: Queries, project: Project) -> list[Guarded]:
        """The buckets as stored, with their rules, for changes of the schema and lints."""
        return [guarded(bucket) for bucket in await store.buckets(db, project.schema)]

    # Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def file(self, project: Project, principal: Principal, bucket: str, path: str) -> File:
        """A file this caller may view. Raises NotFound when it is absent or invisible, Forbidden when the rule is locked."""
        access = await self._access(project, principal, bucket, "view")
        with noted(access, "view", path):
            _refuse_locked(access, "view")
            _check_path(path)
            found = None
            if access.judge("view").verdict is not False:
                found = await store.file(self._db, project.schema, path, access)
            if found is None:
                raise _absent()
            return found

    async def list(
        self, project: Project, principal: Principal, bucket: str, prefix: str, start: str, *, folders: bool, limit: int
    ) -> Page:
        """One page of the files below a prefix that the list rule shows; with `folders`, those right there and its folders.

        Raises NotFound for no such bucket, Forbidden or Unauthenticated when no file can be shown.
        """
        access = await self._access(project, principal, bucket, "list")
        with noted(access, "list"):
            _refuse_locked(access, "list")
            if access.judge("list").verdict is False:
                if principal.kind == "anonymous":
                    raise Unauthenticated("This list is not for anonymous callers.")
                raise _denied("list")
        read = store.folder_page if folders else store.page
        return await read(self._db, project.schema, access, prefix=prefix, start=start, limit=limit)

    # Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def taken(
        self, project: Project, principal: Principal, bucket: str, path: str, upload: Upload
    ) -> AsyncIterator["Taken"]:
        """The bytes of an upload, durable and not yet a file: `Taken.write` in the block makes them one.

        What can be judged is judged before a byte is read. Where the block ends without a file, or with a refusal, the bytes are
        removed. Raises Forbidden, NotFound, PreconditionFailed, Conflict, UnsupportedMediaType, TooLarge, Invalid
        (`digest_mismatch`), OutOfSpace.
        """
        access = await self._access(project, principal, bucket, "create", "update", "view")
        _check_path(path)
        draft = self._draft(access, path, upload)
        self._check_kind(project, access.bucket, upload)
        await self._refuse_early(project, access, draft, upload)
        sha512 = hashlib.sha512()
        body = _at_most(upload.body, self._limit(project, access.bucket))
        if upload.sha512 is not None:
            body = _hashed(body, sha512)
        blob = await self._blobs.put(f"{_prefix(project)}/{uuid7().hex}", body)
        try:
            if upload.sha256 not in (None, blob.sha256) or upload.sha512 not in (None, sha512.hexdigest()):
                raise digest_mismatch("The body's digest is not the one that Content-Digest states.")
            whole = replace(draft, size=blob.size, sha256=blob.sha256)
            taken = Taken(blob.sha256, partial(self._write, project, access, whole, blob, upload))
            yield taken
        except BaasError as error:
            # Only a refusal is certain: after a lost connection the row may stand, and its bytes with it.
            if error.status < 500:
                await self._blobs.delete(blob.key)
            raise
        if not taken.tried:
            await self._blobs.delete(blob.key)

    async def describe(self, project: Project, principal: Principal, bucket: str, path: str, change: Change) -> Written:
        """Change a file's metadata (merge patch, RFC 7396) and content type. Raises as `put` does, NotFound for no file."""
        access = await self._access(project, principal, bucket, "update", "view")
        with noted(access, "update", path, said_by(change)):
            return await self._describe(project, access, path, change)

    async def _describe(self, project: Project, access: Access, path: str, change: Change) -> Written:
        _refuse_locked(access, "update")
        _check_path(path)
        if change.content_type is not None and not access.bucket.accepts(change.content_type):
            raise _bad_type(access.bucket)
        async with self._db.transaction() as tx:
            stored = await store.lock(tx, project.schema, access.bucket.name, path)
            written = None
            if stored is not None:
                if change.if_match is not None:
                    await self._check_if_match(tx, project, access, stored, change.if_match)
                draft = _described(stored, change, self._clock.now())
                written = await store.describe(tx, project.schema, access, draft)
            if written is None:
                raise await self._why_not(tx, project, access, path, "update")
        return written

    async def delete(self, project: Project, principal: Principal, bucket: str, path: str, *, if_match: str | None) -> None:
        """Remove the file. Raises NotFound when it is absent or invisible, Forbidden, PreconditionFailed."""
        access = await self._access(project, principal, bucket, "delete", "view")
        with noted(access, "delete", path):
            _refuse_locked(access, "delete")
            _check_path(path)
            async with self._db.transaction() as tx:
                stored = await store.lock(tx, project.schema, bucket, path) if if_match is not None else None
                if stored is not None and if_match is not None:
                    await self._check_if_match(tx, project, access, stored, if_match)
                blob = await store.delete(tx, project.schema, access, path)
                if blob is None:
                    raise await self._why_not(tx, project, access, path, "delete")
        await self._db.when_committed(partial(self._blobs.delete, blob))

    # Explaining ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def matter(  # noqa: PLR0917  what a call is made of
        self,
        project: Project,
        principal: Principal,
        bucket: str,
        action: Action,
        path: str | None,
        sent: Mapping[str, object] | None,
    ) -> Matter:
        """The rule of an action for this caller and all that it takes to judge it on the file of a path, for an explanation.

        `sent` is what he would say of the file. Raises NotFound for no such bucket, BadRequest for a path that no file can have,
        Invalid for a `sent` that cannot be.
        """
        access = await self._access(project, principal, bucket, action, "view")
        stage = Stage(self._db, project.schema, await self._catalog.collections(project), access.tables, access.now)
        return await self._matter(stage, access, action, path, sent)

    async def matter_of_case(  # noqa: PLR0917  what a call is made of
        self,
        stage: Stage,
        project: Project,
        principal: Principal,
        auth: Mapping[str, object] | None,
        bucket: Bucket,
        action: Action,
        path: str,
        sent: Mapping[str, object] | None,
    ) -> Matter:
        """The same for a case about the files of a stage. Raises BadRequest, Invalid."""
        rules = self.rules_of(project, bucket, stage.collections)
        access = Access(bucket, rules, principal, auth=auth, now=stage.now, tables=stage.tables)
        return await self._matter(stage, access, action, path, sent)

    def rules_of(self, project: Project, bucket: Bucket, collections: Mapping[str, Collection]) -> Mapping[Action, Rule | None]:
        """The checked rules of a bucket; None where they are locked or no longer fit the schema."""
        return {action: self._rules.rule(project.schema, bucket, action, collections) for action in ACTIONS}

    async def set_up(self, stage: Stage, project: Project, rows: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
        """Files by bucket on a stage that has none yet: what is known of them, without bytes. Raises Invalid."""
        await store.make_stage(stage, project.schema)
        await self.add_files(stage, rows)

    async def add_files(self, stage: Stage, rows: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
        """More of them. Raises Invalid with every fault, at `/rows/buckets~1<name>/<number>`."""
        try:
            await store.add_files(stage, read_files(rows, stage.now))
        except UniqueViolated:
            message = "Two files of a bucket have the same path."
            raise Invalid(message, errors=[Fault("/rows", "does_not_fit", message)]) from None

    async def _matter(
        self, stage: Stage, access: Access, action: Action, path: str | None, sent: Mapping[str, object] | None
    ) -> Matter:
        env, facts = rule_env(action, stage.collections), access.facts(action)
        matter = Matter(access.bucket, env, facts, None, access.tables, open_to_all=access.judge(action) is ALWAYS)
        rule = access.rule(action)
        if rule is None:
            return matter
        draft, described = None, False
        if path is not None:
            _check_path(path)
        if action in ("create", "update"):
            said = read_said(sent or {}, action, rule if path is not None else None)
            described = action == "update" and not said.is_content
            draft = self._draft(access, path or "", said.upload)
            stored = await store.stored(stage.tx, stage.schema, access.bucket.name, path) if described and path else None
            draft = draft if stored is None else _described(stored, said.change, access.now)
        place = store.place(stage.schema, access, action, path or "", draft, described=described)
        return replace(matter, place=place, described=described)

    # Clean-up ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def sweep(self, project: Project) -> int:
        """Remove blobs that no file has and that are a day old; the number of them."""
        removed = 0
        old = [key async for key in self._blobs.keys(_prefix(project), before=datetime.now(UTC) - _UNUSED)]
        for start in range(0, len(old), _SWEEP_BATCH):
            batch = old[start : start + _SWEEP_BATCH]
            known = await store.known_blobs(self._db, project.schema, batch)
            for key in batch:
                if key not in known:
                    await self._blobs.delete(key)
                    removed += 1
        return removed

    async def forget_project(self, project: Project) -> None:
        """Remove the files of a project that was deleted."""
        self._buckets.forget(project.schema)
        await self._blobs.delete_all(_prefix(project))

    # Inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _change(self, project: Project) -> AsyncIterator[Transaction]:
        """A transaction that changes buckets; this server sees it at once, others soon."""
        async with self._db.transaction() as tx:
            yield tx
            await announce(tx, KIND, project.schema)
        await self._invalidations.catch_up()

    async def _access(self, project: Project, principal: Principal, bucket: str, *actions: Action) -> Access:
        """The bucket's rules for this caller; the user's record is fetched only when one of these actions looks at it.

        Every door to files is behind this one, so here a key must show its scope. Raises Forbidden.
        """
        if principal.kind == "key" and not principal.may(_SCOPE):
            raise Forbidden(f"This key lacks the scope {_SCOPE!r}.", code="scope_missing", scope=_SCOPE)
        found = await self.bucket(project, bucket)
        if principal.privileged:
            return Access(found, dict.fromkeys(ACTIONS), principal, auth=None, now=self._clock.now(), tables=lambda _: None)
        collections = await self._catalog.collections(project)
        rules = self.rules_of(project, found, collections)
        record = None
        whole = any(rule.needs_auth_record for action in actions if (rule := rules[action]) is not None)
        if whole and principal.kind == "user":
            record = await self._auth.record(project, UUID(principal.id))
            if record is None:
                raise Unauthenticated("The account of this credential is gone.")
        auth = auth_in_rules(principal, record)
        tables = partial(self._compiler.table, collections)
        return Access(found, rules, principal, auth=auth, now=self._clock.now(), tables=tables)

    def _draft(self, access: Access, path: str, upload: Upload) -> Draft:
        folder, name = folder_and_name(path)
        owner = UUID(access.principal.id) if access.principal.kind == "user" else None
        return Draft(path, name, folder, upload.size, upload.content_type, upload.sha256, owner, "{}", access.now)

    def _limit(self, project: Project, bucket: Bucket) -> int:
        return min(bucket.max_size or self._max_bytes, project.settings.limits.max_file_bytes, self._max_bytes)

    def _check_kind(self, project: Project, bucket: Bucket, upload: Upload) -> None:
        if not bucket.accepts(upload.content_type):
            raise _bad_type(bucket)
        if upload.size is not None and upload.size > (limit := self._limit(project, bucket)):
            raise _too_large(limit)

    async def _refuse_early(self, project: Project, access: Access, draft: Draft, upload: Upload) -> None:
        """Refuse what is refused whatever the bytes are. The same is judged again with the row, when they are here."""
        unknown = frozenset(name for name in ("size", "sha256") if getattr(draft, name) is None)
        found = await store.prospects(self._db, project.schema, access, draft, unknown)
        with noted(access, "create", draft.path, said_of(draft)):
            _refuse(found, access, upload)

    async def _write(self, project: Project, access: Access, draft: Draft, blob: Blob, upload: Upload) -> Written:
        written, replaced = await self._store(project, access, draft, blob, upload)
        if replaced is not None:
            await self._db.when_committed(partial(self._blobs.delete, replaced))
        return written

    async def _store(
        self, project: Project, access: Access, draft: Draft, blob: Blob, upload: Upload
    ) -> tuple[Written, str | None]:
        """The row of a stored blob, and the blob it replaces."""
        for _ in range(_TRIES):
            try:
                async with self._db.transaction() as tx:
                    old = await store.lock(tx, project.schema, access.bucket.name, draft.path)
                    found = await store.prospects(tx, project.schema, access, draft, _NOTHING_KNOWN)
                    with noted(access, "create", draft.path, said_of(draft)):
                        _refuse(found, access, upload)
                    if old is not None:
                        written = await store.replace(tx, project.schema, access, draft, blob)
                    else:
                        written = await store.insert(tx, project.schema, access, draft, blob)
            except ReferenceViolated:
                raise _no_bucket() from None
            if written is not None:
                return written, old.blob if old else None
        raise Unavailable("The file is being changed by many at once; try again.", code="busy")

    async def _check_if_match(self, tx: Transaction, project: Project, access: Access, stored: File, condition: str) -> None:
        """A caller who cannot see the file learns nothing of its version."""
        if await store.seen(tx, project.schema, access, stored.path):
            check_if_match(condition, stored.sha256)

    async def _why_not(self, tx: Transaction, project: Project, access: Access, path: str, action: Action) -> BaasError:
        if await store.seen(tx, project.schema, access, path):
            return _denied(action)
        return _absent()


class Taken:
    """Bytes that are here, with their SHA-256, and how they become a file."""

    def __init__(self, sha256: str, write: Callable[[], Awaitable[Written]]) -> None:
        self.sha256 = sha256
        self.tried = False
        self._write = write

    async def write(self) -> Written:
        """Create the file or replace its content. Raises as `Files.taken`."""
        self.tried = True
        return await self._write()


async def _saved(bucket: Bucket, collections: Mapping[str, Collection]) -> Saved:
    # As long as the rules are; others are served meanwhile, and nothing is locked any more.
    return Saved(bucket, await asyncio.to_thread(advise_beside, [guarded(bucket)], collections))


def _described(stored: File, change: Change, now: datetime) -> Draft:
    metadata = stored.metadata
    if change.metadata is not None:
        # Decimals keep every digit of a stored number that the patch does not touch.
        changed = merged(json.loads(stored.metadata, parse_float=Decimal), change.metadata)
        metadata = msgspec.json.Encoder(decimal_format="number").encode(changed).decode()
        if len(metadata) > _MOST_METADATA_BYTES:
            raise _metadata_too_large()
    return Draft(
        stored.path,
        stored.name,
        stored.folder,
        stored.size,
        change.content_type or stored.content_type,
        stored.sha256,
        stored.owner,
        metadata,
        now,
    )


def merged(target: object, patch: object) -> object:
    """The merge patch of RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _refuse(found: Prospects, access: Access, upload: Upload) -> None:
    """Raises what stands against an upload, in words that tell this caller nothing he may not know.

    Whoever may not view a file and may not create one of that path gets the same answer whether it is there or not.
    """
    hidden = found.etag is not None and not found.seen and found.may_update is False
    if found.etag is None or hidden:
        if found.may_create is False:
            raise _locked("create") if access.locked("create") else _denied("create")
        if hidden and found.may_create:
            raise Conflict("This path is taken.", code="already_exists")
        if upload.if_match is not None:
            check_if_match(upload.if_match, None)
    elif found.may_update is False:
        raise _denied("update")
    elif upload.create_only:
        raise PreconditionFailed("There is a file of this path already.")
    elif upload.if_match is not None:
        check_if_match(upload.if_match, found.etag, seen=bool(found.seen))


async def _at_most(body: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


async def _hashed(body: AsyncIterator[bytes], digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for chunk in body:
        digest.update(chunk)
        yield chunk


def digest_mismatch(detail: str) -> Invalid:
    return Invalid(detail, code="digest_mismatch", errors=[Fault("", "digest_mismatch", detail)])


def _check_path(path: str) -> None:
    if fault := path_fault(path):
        raise BadRequest(f"The path {fault}.", code="bad_path")


def _refuse_locked(access: Access, action: Action) -> None:
    if access.locked(action):
        raise _locked(action)


_ACTS: Mapping[Action, str] = {
    "list": "list these files",
    "view": "view this file",
    "create": "create this file",
    "update": "change this file",
    "delete": "delete this file",
}


def _denied(action: Action) -> Forbidden:
    return Forbidden(f"The rules do not allow you to {_ACTS[action]}.", code="rule_denied", action=action)


def _locked(action: Action) -> Forbidden:
    return Forbidden(f"Only operators and secret keys may {_ACTS[action]}.", code="rule_denied", action=action)


def _absent() -> NotFound:
    """The one answer for a file that is not there and for one that this caller cannot see."""
    return NotFound("No such file.", code="file_not_found")


def _no_bucket() -> NotFound:
    return NotFound("No such bucket.", code="bucket_not_found")


def _bad_type(bucket: Bucket) -> UnsupportedMediaType:
    types = list(bucket.types or ())
    return UnsupportedMediaType(f"This bucket takes {', '.join(types) or 'nothing'}.", types=types)


def _too_large(limit: int) -> TooLarge:
    # The connection stays open: closed under a client that is still sending, it would be reset, and the answer lost with it.
    return TooLarge(f"A file here may have at most {limit} bytes.", limit=limit)


def _metadata_too_large() -> TooLarge:
    detail = f"Metadata may have at most {_MOST_METADATA_BYTES} bytes as JSON."
    return TooLarge(detail, limit=_MOST_METADATA_BYTES, errors=[Fault("/metadata", "too_large", detail)])


def _prefix(project: Project) -> str:
    return f"{project.schema}/files"
