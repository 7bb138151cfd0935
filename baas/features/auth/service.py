"""Accounts of a project's users: sign-up, sign-in, the own account, and their administration."""

import time
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from baas.base.clock import Clock
from baas.base.emails import normal_email
from baas.base.errors import Fault, Forbidden, Invalid, NotFound, TooManyRequests, Unauthenticated
from baas.base.principal import Principal
from baas.base.project import Project
from baas.base.settings import Settings
from baas.engines.query.compile import Compiler
from baas.engines.schema.catalog import Catalog, on_fresh_definitions
from baas.features.auth import claims, store
from baas.features.auth.keyring import Keyring
from baas.features.auth.model import Device, Family, Session, SessionEntry, SigningKey
from baas.features.auth.sessions import Sessions
from baas.features.auth.tokens import AccessTokens, end_of
from baas.features.auth.users import Draft, UserJson, UserRows
from baas.features.projects.service import Projects
from baas.infra.crypto.passwords import Passwords, fault_of
from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.listen import Invalidations
from baas.infra.db.pool import Database, Transaction
from baas.infra.db.throttle import Limit, account_key, address_key, give_back, sweep, take
from baas.infra.http.conditions import ANY, Condition

_SWEEP_EVERY_S = 60.0


class _Counted(NamedTuple):
    """An attempt that was counted and can be given back."""

    key: str
    limit: Limit


class Auth:
    """Signs users up, in and out, keeps their accounts, and tells whose a token is."""

    def __init__(  # noqa: PLR0917  the parts of the server, made once
        self,
        db: Database,
        projects: Projects,
        catalog: Catalog,
        compiler: Compiler,
        passwords: Passwords,
        clock: Clock,
        settings: Settings,
        box: SecretBox,
        invalidations: Invalidations,
    ) -> None:
        self._db = db
        self._catalog = catalog
        self._passwords = passwords
        self._keyring = Keyring(db, box, invalidations, life_s=settings.access_token_s)
        self._users = UserRows(db, catalog, compiler, clock)
        self._sessions = Sessions(
            db,
            projects,
            self._keyring,
            box,
            clock,
            invalidations,
            tokens=AccessTokens(settings.url, settings.access_token_s),
            idle_s=settings.refresh_idle_s,
            absolute_s=settings.refresh_absolute_s,
        )
        per_address, per_account = settings.sign_in_per_address, settings.sign_in_per_account
        self._address_limit = Limit("sign-in-address", per_address, per_address)
        self._account_limit = Limit("sign-in-account", per_account, per_account)
        self._swept: dict[UUID, float] = {}

    # For the other parts of the server.

    async def principal(self, token: str, project: Project | None) -> Principal:
        """Whose access token this is. Raises Unauthenticated (`bad_token`)."""
        return await self._sessions.principal(token, project)

    def ends_at(self, credential: str) -> float | None:
        """The moment in Unix time when an access token that was found good ends; None for credentials that do not say."""
        return end_of(credential)

    async def record(self, project: Project, user_id: UUID) -> Mapping[str, object] | None:
        """The user's record as rules see it under `auth`, read now; None when the account is gone or disabled."""
        return await self._users.record(project, user_id)

    async def claims(self, project: Project, user_id: UUID) -> Mapping[str, object]:
        """What operators have said of a user, read now: `auth.claims` of the tokens that he gets."""
        return (await self._users.claims(project, user_id)).as_rules_see_them()

    async def found_project(self, tx: Transaction, project: Project) -> None:
        """Give a new project its first signing key and watch over its `users`, which must be there already."""
        await self._keyring.found(tx, project)

    async def jwks(self, project: Project) -> Mapping[str, object]:
        """The keys that verify the project's access tokens, as a JWK set (RFC 7517)."""
        return await self._keyring.jwks(project)

    async def sweep(self, project: Project) -> int:
        """Delete sessions that are long over and counters that are full again, a bounded number of each; the number of both."""
        sessions = await store.sweep_sessions(self._db, project.schema)
        return sessions + await sweep(self._db, store.throttle(project.schema))

    # Getting in and out.

    @on_fresh_definitions
    async def sign_up(self, project: Project, body: Mapping[str, object], device: Device) -> Session:
        """A new account with its first session. `body` has `email`, `password` and the project's own fields.

        Raises Forbidden (`sign_up_disabled`), TooManyRequests, Invalid with every fault, Conflict (`already_exists`).
        """
        if not project.settings.auth.sign_up:
            raise Forbidden("This project does not let people sign up by themselves.", code="sign_up_disabled")
        await self._count(project, address_key("sign-up", device.address), self._address_limit)
        missing = [] if "password" in body else [Fault("/password", "required", "Must be given.")]
        draft, password = await self._read_new(project, body, None, missing)
        digest = await self._passwords.hash(password or "")
        await self._db.begin()
        async with self._db.transaction() as tx:
            user_id = await self._users.insert(tx, project, draft)
            await store.save_password(tx, project.schema, user_id, digest)
            family = await self._sessions.open(tx, project, user_id, device)
        if family is None:
            raise _wrong_credentials()
        return await self._session(project, family)

    async def sign_in(self, project: Project, email: str, password: str, device: Device) -> Session:
        """A session for the right password. For an account that does not exist the same work is done and the same said.

        Raises Unauthenticated (`wrong_credentials`), Forbidden (`account_disabled`, after the right password only),
        TooManyRequests, Unavailable when hashing is overloaded.
        """
        email = _folded(email)
        counted = await self._count_sign_in(project, email, device.address)
        account = await store.account_by_email(self._db, project.schema, email)
        stored = account.password_hash if account else None
        if not await self._passwords.verify(password, stored) or account is None or stored is None:
            raise _wrong_credentials()
        for attempt in counted:
            await give_back(self._db, store.throttle(project.schema), attempt.key, attempt.limit)
        if account.disabled:
            raise Forbidden("This account is disabled.", code="account_disabled")
        await self._sweep_sometimes(project)
        fresh = await self._passwords.hash(password) if self._passwords.is_outdated(stored) else None
        await self._db.begin()
        family = await self._sessions.open(self._db, project, account.id, device, verified=stored)
        if family is None:
            raise _wrong_credentials()
        if fresh is not None:
            await store.replace_hash(self._db, project.schema, account.id, old=stored, new=fresh)
        return await self._session(project, family)

    async def refresh(self, project: Project, token: str) -> Session:
        """The session with new tokens. Raises Unauthenticated (`bad_token`); a token used twice ends its session."""
        # Not within what a refusal undoes: a session that was ended stays so. A crash between is what the grace is for.
        family = await self._sessions.refresh(project, token)
        await self._db.begin()
        return await self._session(project, family)

    async def sign_out(self, project: Project, principal: Principal) -> None:
        """End the session that asks; its access token dies here now and elsewhere within five seconds."""
        await self._sessions.end(project, UUID(principal.id), only=UUID(principal.session_id))

    # The own account.

    async def me(self, project: Project, principal: Principal) -> UserJson:
        """The user's own record. Raises NotFound when it has just been deleted."""
        return await self._users.show(project, UUID(principal.id))

    @on_fresh_definitions
    async def change_me(
        self, project: Project, principal: Principal, body: Mapping[str, object], only: Condition = ANY
    ) -> UserJson:
        """Change the own record by merge patch; the address and the flags of the account are not changed this way.

        Raises Invalid with every fault, Conflict (`already_exists`), PreconditionFailed, NotFound.
        """
        faults = [Fault("/email", "readonly", "The address is not changed this way.")] if "email" in body else []
        own = claims.refuse({key: body[key] for key in body if key != "email"}, faults)
        draft = await self._read_change(project, own, None, faults)
        async with self._db.transaction() as tx:
            await self._users.demand(tx, project, UUID(principal.id), only)
            if draft.changes:
                await self._users.update(tx, project, UUID(principal.id), draft)
        return await self.me(project, principal)

    async def delete_me(self, project: Project, principal: Principal, only: Condition = ANY) -> None:
        """Delete the own account and end its sessions. Raises as `delete_user`."""
        await self.delete_user(project, principal, UUID(principal.id), only)

    async def change_password(self, project: Project, principal: Principal, current: str, new: str) -> None:
        """Set another password and end all other sessions.

        Raises Forbidden (`wrong_password`), Invalid, TooManyRequests, Unavailable when hashing is overloaded.
        """
        user_id = UUID(principal.id)
        key = account_key("password", principal.id)
        account = await store.account_by_id(self._db, project.schema, user_id)
        refusal = fault_of(new)
        if refusal:
            raise Invalid("The body has faults.", errors=[Fault("/password", *refusal)])
        await self._count(project, key, self._account_limit)
        if not await self._passwords.verify(current, account.password_hash if account else None):
            raise Forbidden("The present password is another.", code="wrong_password")
        await give_back(self._db, store.throttle(project.schema), key, self._account_limit)
        digest = await self._passwords.hash(new)
        await self._db.begin()
        async with self._db.transaction() as tx:
            await store.save_password(tx, project.schema, user_id, digest)
            await self._sessions.end_within(tx, project, user_id, but=UUID(principal.session_id))
        await self._sessions.have_changed(project)

    async def sessions(self, project: Project, user_id: UUID) -> list[SessionEntry]:
        """The user's living sessions, newest first."""
        return await self._sessions.list(project, user_id)

    async def end_session(self, project: Project, user_id: UUID, session_id: UUID) -> None:
        """End one session of this user. Raises NotFound."""
        if not await self._sessions.end(project, user_id, only=session_id):
            raise NotFound("No such session.")

    async def end_sessions(self, project: Project, user_id: UUID, *, but: str | None = None) -> None:
        """End all sessions of this user, or all `but` the one with this id."""
        await self._sessions.end(project, user_id, but=UUID(but) if but else None)

    # Administration, by operators and keys.

    async def users(
        self, project: Project, by: Principal, *, email: str | None, after: UUID | None, limit: int
    ) -> tuple[bytes, UUID | None]:
        """A page of users by id as JSON texts with commas between, and where the next page begins."""
        return await self._users.page(project, by, email=_folded(email) if email else None, after=after, limit=limit)

    async def user(self, project: Project, by: Principal, user_id: UUID) -> UserJson:
        """One user with everything. Raises NotFound."""
        return await self._users.show(project, user_id, by=by)

    @on_fresh_definitions
    async def create_user(self, project: Project, by: Principal, body: Mapping[str, object]) -> tuple[UUID, UserJson]:
        """A new account, with a password or without. Raises Invalid with every fault, Conflict (`already_exists`)."""
        draft, password = await self._read_new(project, body, by, [])
        digest = await self._passwords.hash(password) if password is not None else None
        await self._db.begin()
        async with self._db.transaction() as tx:
            user_id = await self._users.insert(tx, project, draft, by=by)
            if digest is not None:
                await store.save_password(tx, project.schema, user_id, digest)
        return user_id, await self.user(project, by, user_id)

    @on_fresh_definitions
    async def change_user(
        self, project: Project, by: Principal, user_id: UUID, body: Mapping[str, object], only: Condition = ANY
    ) -> UserJson:
        """Change an account by merge patch, its address, flags, password and claims included. A new password, another address and
        disabling end all its sessions; claims are replaced as a whole, and other ones hold everywhere within five seconds.

        Raises Invalid with all faults, Conflict (`already_exists`), NotFound, PreconditionFailed.
        """
        faults: list[Fault] = []
        password = _password_of(body, faults)
        draft = await self._read_change(project, {key: body[key] for key in body if key != "password"}, by, faults)
        digest = await self._passwords.hash(password) if password is not None else None
        await self._db.begin()
        async with self._db.transaction() as tx:
            await self._users.demand(tx, project, user_id, only)
            if draft.changes:
                await self._users.update(tx, project, user_id, draft, by=by)
            elif await store.account_by_id(tx, project.schema, user_id) is None:
                raise NotFound("No such user.")
            if digest is not None:
                await store.save_password(tx, project.schema, user_id, digest)
                await self._sessions.end_within(tx, project, user_id)
        # What the trigger on `users` ended is among it.
        await self._sessions.have_changed(project)
        return await self.user(project, by, user_id)

    async def user_sessions(self, project: Project, user_id: UUID) -> list[SessionEntry]:
        """The living sessions of any user. Raises NotFound when there is no such user."""
        if await store.account_by_id(self._db, project.schema, user_id) is None:
            raise NotFound("No such user.")
        return await self._sessions.list(project, user_id)

    async def end_user_sessions(self, project: Project, user_id: UUID) -> None:
        """End all sessions of any user. Raises NotFound when there is no such user."""
        if await store.account_by_id(self._db, project.schema, user_id) is None:
            raise NotFound("No such user.")
        await self._sessions.end(project, user_id)

    @on_fresh_definitions
    async def delete_user(self, project: Project, by: Principal, user_id: UUID, only: Condition = ANY) -> None:
        """Delete an account and end its sessions. Raises Conflict (`reference_violated`), PreconditionFailed, NotFound."""
        async with self._db.transaction() as tx:
            await self._users.demand(tx, project, user_id, only)
            await self._users.delete(tx, project, user_id, by=by)
        await self._sessions.have_changed(project)

    # Signing keys, by operators.

    async def signing_keys(self, project: Project) -> list[SigningKey]:
        """The keys that sign and verify the project's access tokens, newest first, without their secrets."""
        return await self._keyring.keys(project)

    async def rotate_signing_key(self, project: Project) -> SigningKey:
        """A new key signs from now on; what those before it signed stays good. Raises Conflict (`too_many_signing_keys`)."""
        return await self._keyring.rotate(project)

    async def drop_signing_key(self, project: Project, key_id: str) -> None:
        """End every access token that this key has signed, everywhere within two seconds. Raises NotFound."""
        await self._keyring.drop(project, key_id)

    # Within.

    async def _session(self, project: Project, family: Family) -> Session:
        said = await self._users.claims(project, family.user_id)
        user = await self._users.show(project, family.user_id)
        access, refresh = await self._sessions.pair(project, family, said)
        return Session(access, self._sessions.access_token_s, refresh, family.id, user.body)

    async def _read_new(
        self, project: Project, body: Mapping[str, object], by: Principal | None, faults: list[Fault]
    ) -> tuple[Draft, str | None]:
        """The values of a new account and its password, if any. Raises Invalid with all faults, those given included."""
        password, said = _password_of(body, faults), None
        if by is None:
            body = claims.refuse(body, faults)
        elif claims.NAME in body:
            said = claims.read(body[claims.NAME], faults)
        own = claims.without({key: body[key] for key in body if key != "password"})
        try:
            draft = await self._users.read_new(project, own, by=by)
        except Invalid as error:
            raise Invalid(error.detail, errors=[*error.errors, *faults]) from None
        if faults:
            raise Invalid("The body has faults.", errors=faults)
        return draft._replace(claims=said), password

    async def _read_change(
        self, project: Project, body: Mapping[str, object], by: Principal | None, faults: list[Fault]
    ) -> Draft:
        said = claims.read(body[claims.NAME], faults) if claims.NAME in body else None
        try:
            draft = await self._users.read_change(project, claims.without(body), by=by)
        except Invalid as error:
            raise Invalid(error.detail, errors=[*faults, *error.errors]) from None
        if faults:
            raise Invalid("The body has faults.", errors=faults)
        return draft._replace(claims=said)

    async def _count(self, project: Project, key: str, limit: Limit) -> _Counted:
        await take(self._db, store.throttle(project.schema), key, limit)
        return _Counted(key, limit)

    async def _count_sign_in(self, project: Project, email: str, address: str) -> list[_Counted]:
        """Per address and per account. Strangers who use an account's attempts up do not lock its owner out: an address that
        the account was signed in from before has attempts of its own.
        """
        by_address = await self._count(project, address_key("sign-in", address), self._address_limit)
        try:
            by_account = await self._count(project, account_key("sign-in", email), self._account_limit)
        except TooManyRequests:
            if not await store.knows_address(self._db, project.schema, email, address):
                raise
            by_account = await self._count(project, account_key("sign-in", f"{email} {address}"), self._account_limit)
        return [by_address, by_account]

    async def _sweep_sometimes(self, project: Project) -> None:
        now = time.monotonic()
        if self._swept.get(project.id, 0.0) < now - _SWEEP_EVERY_S:
            if len(self._swept) > 10_000:
                self._swept.clear()
            self._swept[project.id] = now
            await self.sweep(project)


def _password_of(body: Mapping[str, object], faults: list[Fault]) -> str | None:
    """The new password in a body, or None when there is none; what is wrong with it goes to `faults`."""
    if "password" not in body:
        return None
    password = body["password"]
    if not isinstance(password, str):
        faults.append(Fault("/password", "wrong_type", "Must be a string."))
        return None
    email = body.get("email")
    refusal = fault_of(password, email=email if isinstance(email, str) else "")
    if refusal:
        faults.append(Fault("/password", *refusal))
    return password


def _folded(email: str) -> str:
    """The spelling to look an address up by; what is no address is looked up too, and not found."""
    try:
        return normal_email(email)
    except ValueError:
        return email.strip().lower()


def _wrong_credentials() -> Unauthenticated:
    return Unauthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")
