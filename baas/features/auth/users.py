"""Rows of the collection `users`, written and shown through the one compiler, as every other record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import msgspec

from baas.base.clock import Clock
from baas.base.errors import Conflict, Fault, Invalid, NotFound
from baas.base.ids import uuid7
from baas.base.principal import ANONYMOUS, Principal
from baas.base.project import Project
from baas.engines.query.asking import ALWAYS, Asking, Judgement
from baas.engines.query.compile import Compiler
from baas.engines.query.references import losses
from baas.engines.query.table import Table
from baas.engines.query.tree import Delete, Filter, Get, Insert, List, SortKey, Update
from baas.engines.query.written import Demanded
from baas.engines.schema.catalog import Catalog, on_fresh_definitions
from baas.engines.schema.collection import Action
from baas.engines.schema.constraints import violation_of
from baas.engines.schema.manifest import USERS
from baas.engines.schema.validate import Values, clean_create, clean_patch
from baas.features.auth import store
from baas.features.auth.claims import NONE, Claims, beside
from baas.features.auth.model import auth_in_rules
from baas.infra.db.errors import ConstraintViolated
from baas.infra.db.pool import Database, Queries
from baas.infra.http.conditions import ANY, Condition


class _Head(msgspec.Struct):
    id: UUID


_ITEMS = msgspec.json.Decoder(list[msgspec.Raw]).decode
_HEAD = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class UserJson:
    """A user's record as this caller gets it, with his claims: finished JSON, and its revision."""

    body: bytes
    rev: int


class Draft(NamedTuple):
    """Checked values, and the definition they were checked by: what is stored must be of the same one. `claims` are JSON text,
    None to leave them as they are.
    """

    table: Table
    values: Values
    claims: str | None = None

    @property
    def changes(self) -> bool:
        return bool(self.values) or self.claims is not None


class _OwnAccount(Asking):
    """A user who signs up or changes his own record: this room has decided that he may, whatever the rules of `users` say.
    What his record refers to is under rules as always.
    """

    def judge(self, table: Table, action: Action) -> Judgement:
        own = table.name == USERS and action in ("create", "update")
        return ALWAYS if own else super().judge(table, action)


class UserRows:
    """Reads and writes users. `by` is None for the users themselves and the operator or key that asks otherwise."""

    def __init__(self, db: Database, catalog: Catalog, compiler: Compiler, clock: Clock) -> None:
        self._db = db
        self._catalog = catalog
        self._compiler = compiler
        self._clock = clock

    @on_fresh_definitions
    async def show(self, project: Project, user_id: UUID, *, by: Principal | None = None) -> UserJson:
        """One user, to himself with what he may see of himself, or to `by` with everything. Raises NotFound."""
        table = await self._table(project)
        if by is not None:
            asking = Asking(by, now=self._clock.now())
        else:
            asking = await self._of_himself(project, table, user_id)
        row = await self._db.fetch_row(self._compiler.get(table, Get(user_id), asking))
        if row is None:
            raise NotFound("No such user.")
        # Read after the record: claims of another revision are newer ones, so that no `If-Match` passes with older.
        claims = await self.claims(project, user_id)
        return UserJson(beside(row["body"].encode(), claims), row["rev"])

    async def claims(self, project: Project, user_id: UUID) -> Claims:
        """The user's claims, read now."""
        return await store.claims_of(self._db, project.schema, user_id)

    async def _of_himself(self, project: Project, table: Table, user_id: UUID) -> Asking:
        now = self._clock.now()
        if not table.gated(table.names(masked=True)):
            return Asking(_user(project, user_id), now=now, judged=False, masked=True)
        user, auth = await self._known(project, user_id)
        return Asking(user, now=now, auth=auth, judged=False, masked=True)

    async def _known(self, project: Project, user_id: UUID) -> tuple[Principal, Mapping[str, object] | None]:
        """A user with his claims, and what rules see of him; None when the account is gone or disabled."""
        claims, record = await self.claims(project, user_id), await self.record(project, user_id)
        user = _user(project, user_id, claims.as_rules_see_them())
        return user, auth_in_rules(user, record) if record is not None else None

    @on_fresh_definitions
    async def page(
        self, project: Project, by: Principal, *, email: str | None, after: UUID | None, limit: int
    ) -> tuple[bytes, UUID | None]:
        """Users by id as JSON texts with commas between, and the last id when there are more."""
        table = await self._table(project)
        tree = List(
            (SortKey("id"),),
            limit,
            filter=Filter("email == $email", {"email": email}) if email is not None else None,
            after=(str(after),) if after else None,
        )
        row = await self._db.fetch_row(self._compiler.list(table, tree, Asking(by, now=self._clock.now())))
        if row is None or row["items"] is None:
            return b"", None
        return await self._with_claims(project, row["items"]), UUID(row["key0"]) if row["more"] else None

    async def _with_claims(self, project: Project, items: str) -> bytes:
        """JSON texts with commas between, each with the claims of its user."""
        bodies = [bytes(one) for one in _ITEMS(f"[{items}]".encode())]
        users = [_HEAD(body).id for body in bodies]
        found = await store.claims_of_many(self._db, project.schema, users)
        return b",".join(beside(body, found.get(user, NONE)) for body, user in zip(bodies, users, strict=True))

    async def read_new(self, project: Project, body: Mapping[str, object], *, by: Principal | None = None) -> Draft:
        """The checked values of a new user. Raises Invalid with every fault.

        Nobody chooses an id for himself: that of a deleted user would give him what that one left behind.
        """
        table = await self._table(project)
        if by is not None or "id" not in body:
            return Draft(table, clean_create(table.collection, body, privileged=by is not None))
        faults = [Fault("/id", "system_field", "Is written by the server alone.")]
        try:
            clean_create(table.collection, {key: body[key] for key in body if key != "id"}, privileged=False)
        except Invalid as error:
            faults += error.errors
        raise Invalid("The record does not fit the collection.", errors=faults)

    async def read_change(self, project: Project, body: Mapping[str, object], *, by: Principal | None = None) -> Draft:
        """The checked values of a merge patch. Raises Invalid with every fault."""
        table = await self._table(project)
        return Draft(table, clean_patch(table.collection, body, privileged=by is not None))

    async def insert(self, tx: Queries, project: Project, draft: Draft, *, by: Principal | None = None) -> UUID:
        """Store a new user. Raises Conflict (`already_exists`) and Invalid (`bad_reference`)."""
        table, values, claims = draft
        user_id = values.setdefault("id", uuid7())
        tree = Insert(values)
        asking = Asking(by, now=self._clock.now()) if by else _OwnAccount(ANONYMOUS, now=self._clock.now(), sent=values)
        try:
            row = await tx.fetch_row(self._compiler.insert(table, tree, asking))
        except ConstraintViolated as error:
            raise await self._violation(project, error) from None
        if row is None:
            why = await tx.fetch_row(self._compiler.why_not_inserted(table, tree, asking))
            demands = self._compiler.demands(table, asking, "create")
            met = [not failing for failing in why["failing"]] if why else []
            names = self._compiler.reference_names(table, table.columns, asking)
            raise _bad_values(names, why["targets"] if why else (), demands, met, asking)
        assert isinstance(user_id, UUID)  # noqa: S101  `clean_create` makes it one
        if claims is not None:
            await store.save_claims(tx, project.schema, user_id, claims)
        return user_id

    async def update(self, tx: Queries, project: Project, user_id: UUID, draft: Draft, *, by: Principal | None = None) -> None:
        """Change a stored user; other claims are another revision too. Raises NotFound, Conflict (`already_exists`) and Invalid
        (`bad_reference`).
        """
        (table, values, claims), now = draft, self._clock.now()
        if by is not None:
            asking = Asking(by, now=now)
        else:
            user, auth = await self._known(project, user_id)
            asking = _OwnAccount(user, now=now, auth=auth, sent=values, judged=True)
        tree = Update(user_id, values)
        try:
            row = await tx.fetch_row(self._compiler.update(table, tree, asking))
        except ConstraintViolated as error:
            raise await self._violation(project, error) from None
        if row is None:
            why = await tx.fetch_row(self._compiler.why_not_changed(table, tree, asking))
            if why is None:
                raise NotFound("No such user.")
            demands = self._compiler.demands(table, asking, "update", values)
            names = self._compiler.reference_names(table, values, asking)
            raise _bad_values(names, why["targets"], demands, why["valid"], asking)
        if claims is not None:
            await store.save_claims(tx, project.schema, user_id, claims)

    async def demand(self, tx: Queries, project: Project, user_id: UUID, only: Condition) -> None:
        """Keep the user as he is until the transaction ends. Raises NotFound, and PreconditionFailed unless that is demanded."""
        if only == ANY:
            return
        rev = await store.lock_user(tx, project.schema, user_id)
        if rev is None:
            raise NotFound("No such user.")
        only.check(str(rev))

    async def delete(self, tx: Queries, project: Project, user_id: UUID, *, by: Principal) -> None:
        """Delete a user. Raises NotFound, and Conflict (`reference_violated`) when records still need the user."""
        table = await self._table(project)
        asking = Asking(by, now=self._clock.now(), judged=False, masked=True)
        try:
            row = await tx.fetch_row(self._compiler.delete(table, Delete(user_id), asking))
        except ConstraintViolated:
            raise Conflict("Other records still refer to this account.", code="reference_violated") from None
        if row is None:
            raise NotFound("No such user.")

    @on_fresh_definitions
    async def record(self, project: Project, user_id: UUID) -> Mapping[str, object] | None:
        """The user's record as rules see it under `auth`: fresh, hidden fields too. None when it is gone or disabled."""
        table = await self._table(project)
        row = await store.enabled_user(self._db, table, user_id)
        if row is None:
            return None
        return {name: column.in_memory(row[name]) for name, column in table.columns.items()}

    async def _table(self, project: Project) -> Table:
        table = self._compiler.table(await self._catalog.collections(project), USERS)
        if table is None:
            raise NotFound("The project has no users.")
        return table

    async def _violation(self, project: Project, error: ConstraintViolated) -> Conflict | Invalid:
        violation = violation_of(error, await self._catalog.collections(project))
        if violation is None:
            return error
        code, words = _WORDS[violation.kind]
        faults = [Fault(f"/{name}", code, words) for name in violation.fields]
        if violation.kind == "unique":
            return Conflict("There is a user with this value.", code="already_exists", errors=faults)
        return Invalid("The user does not fit what is stored.", errors=faults)


_WORDS = {
    "unique": ("already_exists", "Another user has this value."),
    "reference": ("bad_reference", "What this refers to does not exist."),
    "required": ("required", "Must be given."),
    "check": ("invalid", "Does not fit the field."),
}


def _user(project: Project, user_id: UUID, claims: Mapping[str, object] | None = None) -> Principal:
    return Principal("user", str(user_id), str(project.id), claims=claims or {})


def _bad_values(
    names: Sequence[str], targets: Sequence[str | None], demands: Sequence[Demanded], met: Sequence[bool], asking: Asking
) -> Invalid:
    """What refers to nothing, and what the `validate` of a field does not take."""
    # The same words for a record that is not there and for one that the caller may not see.
    faults = [
        Fault(f"/{name}{item}", "bad_reference", "What this refers to does not exist.")
        for name, text in zip(names, targets, strict=False)
        for _, item in losses(text)
    ]
    unmet = [demand.fault(masked=asking.masked) for demand, one in zip(demands, met, strict=False) if not one]
    if unmet:
        return Invalid("The record does not fit the collection.", errors=[*faults, *unmet])
    return Invalid("The user refers to what does not exist.", code="bad_reference", errors=faults)
