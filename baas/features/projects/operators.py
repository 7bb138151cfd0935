"""Operators: the people who run the installation. The first is made by the command line or by the one-time set-up link."""

import time
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from baas.base.emails import normal_email
from baas.base.errors import Conflict, Fault, Forbidden, Gone, Invalid, Unauthenticated
from baas.base.ids import is_token, new_token, token_hash, uuid7
from baas.base.principal import Principal
from baas.features.projects import store
from baas.features.projects.keys import bad_token
from baas.features.projects.model import Operator, OperatorSession
from baas.infra.crypto.passwords import Passwords, fault_of
from baas.infra.db.errors import UniqueViolated
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database
from baas.infra.db.throttle import Limit, account_key, address_key, give_back, sweep, take

PREFIX = "opt"
SETUP_PREFIX = "set"
_LIFE = timedelta(hours=12)
_SETUP_LIFE = timedelta(hours=24)
# A session is moved on at most this often while it is used; also the longest that memory outlives a lost announcement.
_KEEP_S = 60.0
_KEEP_MOST = 1_000


class _Held(NamedTuple):
    principal: Principal
    until: float


class Operators:
    """Makes operators, signs them in and out, and knows whose an operator token is.

    `per_address` and `per_account` are failed sign-ins a minute.
    """

    def __init__(
        self, db: Database, invalidations: Invalidations, passwords: Passwords, *, per_address: int = 10, per_account: int = 5
    ) -> None:
        self._db = db
        self._invalidations = invalidations
        self._passwords = passwords
        self._address_limit = Limit("sign-in-address", per_address, per_address)
        self._account_limit = Limit("sign-in-account", per_account, per_account)
        self._held: dict[bytes, _Held] = {}
        self._changes = 0
        invalidations.on("operator", self._forget)

    async def create(self, email: str, password: str) -> Operator:
        """A new operator; set-up links are void from then on. Raises Invalid with every fault, Conflict (`already_exists`)."""
        email = _checked(email, password)
        digest = await self._passwords.hash(password)
        try:
            async with self._db.transaction() as tx:
                return await store.insert_operator(tx, uuid7(), email, digest)
        except UniqueViolated:
            message = "There is an operator with this address."
            raise Conflict(message, code="already_exists", errors=[Fault("/email", "already_exists", message)]) from None

    async def list(self) -> list[Operator]:
        """All operators, the first first."""
        return await store.operators(self._db)

    async def setup_token(self) -> str | None:
        """A new one-time token for the set-up page, good for a day, or None when there is an operator already."""
        if await store.has_operators(self._db):
            return None
        token = new_token(SETUP_PREFIX)
        async with self._db.transaction() as tx:
            await store.insert_setup_token(tx, token_hash(token), _SETUP_LIFE)
        return token

    async def setup(self, token: str, email: str, password: str) -> OperatorSession:
        """Make the first operator and sign in. Of many at once one wins.

        Raises Gone (`setup_done`) when there is an operator, Forbidden (`bad_setup_token`), Invalid with every fault.
        """
        await self._refuse_setup(token)
        email = _checked(email, password)
        digest = await self._passwords.hash(password)
        await self._db.begin()
        async with self._db.transaction() as tx:
            await store.lock_installation(tx)
            if await store.has_operators(tx):
                raise _setup_done()
            if not await store.take_setup_token(tx, token_hash(token)):
                raise _bad_setup_token()
            operator = await store.insert_operator(tx, uuid7(), email, digest)
        return await self._open_session(operator)

    async def sign_in(self, email: str, password: str, *, address: str) -> OperatorSession:
        """A session for the right password. Unknown addresses get the same answer after the same work.

        Raises Unauthenticated (`wrong_credentials`), TooManyRequests, Unavailable when hashing is overloaded.
        """
        account = _folded(email)
        keys = ((address_key("operator", address), self._address_limit), (account_key("operator", account), self._account_limit))
        for key, limit in keys:
            await take(self._db, store.THROTTLE, key, limit)
        found = await store.operator_by_email(self._db, account)
        if not await self._passwords.verify(password, found[1] if found else None) or found is None:
            raise Unauthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")
        for key, limit in keys:
            await give_back(self._db, store.THROTTLE, key, limit)
        operator, stored = found
        await sweep(self._db, store.THROTTLE)
        fresh = await self._passwords.hash(password) if self._passwords.is_outdated(stored) else None
        await self._db.begin()
        if fresh is not None:
            await store.save_operator_password(self._db, operator.id, fresh)
        return await self._open_session(operator)

    async def sign_out(self, token: str) -> None:
        """End the session of this token everywhere within two seconds, here at once."""
        async with self._db.transaction() as tx:
            operator_id = await store.delete_operator_session(tx, token_hash(token))
            if operator_id is not None:
                await announce(tx, "operator", str(operator_id))
        await self._invalidations.catch_up()

    async def me(self, principal: Principal) -> Operator:
        """The operator who asks. Raises Unauthenticated when it was deleted."""
        operator = await store.operator_by_id(self._db, UUID(principal.id))
        if operator is None:
            raise bad_token()
        return operator

    async def principal(self, token: str) -> Principal:
        """Whose token this is, from memory except the first time in a minute; using it moves its end on by twelve hours.

        Raises Unauthenticated (`bad_token`).
        """
        if not is_token(token, PREFIX):
            raise bad_token()
        digest = token_hash(token)
        held = self._held.get(digest)
        if held and held.until > time.monotonic():
            return held.principal
        changes = self._changes
        operator_id = await store.touch_operator_session(self._db, digest, _LIFE)
        if operator_id is None:
            raise bad_token()
        principal = Principal("operator", str(operator_id))
        if changes == self._changes:
            if len(self._held) >= _KEEP_MOST:
                self._held.clear()
            self._held[digest] = _Held(principal, time.monotonic() + _KEEP_S)
        return principal

    async def _open_session(self, operator: Operator) -> OperatorSession:
        token = new_token(PREFIX)
        expires_at = await store.insert_operator_session(self._db, operator.id, token_hash(token), _LIFE)
        return OperatorSession(token, expires_at, operator)

    async def _refuse_setup(self, token: str) -> None:
        """Before any hashing, so that strangers cannot make the server work."""
        if await store.has_operators(self._db):
            raise _setup_done()
        if not is_token(token, SETUP_PREFIX) or not await store.has_setup_token(self._db, token_hash(token)):
            raise _bad_setup_token()

    def _forget(self, operator_id: str) -> None:
        self._changes += 1
        self._held = {digest: held for digest, held in self._held.items() if held.principal.id != operator_id}


def _checked(email: str, password: str) -> str:
    """The address in its one spelling. Raises Invalid with the faults of both."""
    faults, normal = [], ""
    try:
        normal = normal_email(email)
    except ValueError as error:
        faults.append(Fault("/email", "bad_email", str(error)))
    refusal = fault_of(password, email=normal)
    if refusal:
        faults.append(Fault("/password", *refusal))
    if faults:
        raise Invalid("The body has faults.", errors=faults)
    return normal


def _folded(email: str) -> str:
    """The spelling to look an address up by; what is no address is looked up too, and not found."""
    try:
        return normal_email(email)
    except ValueError:
        return email.strip().lower()


def _setup_done() -> Gone:
    return Gone("This server has been set up. Sign in, or make another operator with `baas operators create`.", code="setup_done")


def _bad_setup_token() -> Forbidden:
    return Forbidden("The set-up link was used, has expired, or is not of this server.", code="bad_setup_token")
