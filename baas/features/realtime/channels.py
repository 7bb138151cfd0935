"""Channels: what clients say to each other, and who is there, under rules of the project. Nothing of it is kept.

A message reaches who has joined on this server at once, and those on other servers by a notification; one that is lost is lost.
Who is there stands in the database under a lease, which his server renews: when the server dies, it runs out; when the database
forgets it, it is written again.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from uuid import UUID, uuid4

import msgspec

from baas.base.clock import Clock
from baas.base.errors import BaasError, Fault, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from baas.base.principal import Principal
from baas.base.project import Project
from baas.base.tasks import end, going_on
from baas.engines.query.advice import Advice, advise_beside
from baas.engines.query.guarded import Guarded
from baas.engines.query.table import auth_type
from baas.engines.query.text import Kept
from baas.engines.rules.rule import Env, Facts, RowField, RowType, Rule, RuleError, check
from baas.engines.schema import store as definitions
from baas.engines.schema.catalog import Catalog
from baas.engines.schema.collection import Collection
from baas.engines.schema.manifest import USERS
from baas.features.auth.model import auth_in_rules
from baas.features.auth.service import Auth
from baas.features.realtime import store
from baas.features.realtime.model import (
    CHANNEL_ACTIONS,
    MAX_QUEUE,
    MAX_QUEUE_BYTES,
    UNCHECKED_S,
    ChannelRules,
    Pattern,
    Present,
)
from baas.infra.db.listen import Invalidations, announce
from baas.infra.db.pool import Database, Queries
from baas.infra.db.signals import Signals

MAX_DATA = 6_000
"""Bytes of a message or a state: a notification holds eight thousand."""
MAX_CHANNELS = 100
_KIND = "channels"
_SIGNAL, _PRESENCE = "say ", "who "
_LOOK_S = 2.0
LEASE_S = 10.0
_STUCK_S = 30.0
_TICK_S = 1.0
_AT_ONCE = 8
"""Members whose rules are judged at the same time."""
_LOG = logging.getLogger("baas.realtime")

_Records = dict[tuple[str, str], asyncio.Task[Mapping[str, object] | None]]
"""Of users, by project and id, as they are read once for all that is judged together."""


class Member:
    """One connection in the channels. What waits for it is bounded; one that does not take it is cut off.

    `trusted` tells whether it is known that the principal still has access.
    """

    def __init__(
        self, project: Project, who: Callable[[], Principal], cut: Callable[[], None], trusted: Callable[[], bool]
    ) -> None:
        self.id, self.project = uuid4(), project
        self._who = who
        self.joined: set[str] = set()
        self.tracked: dict[str, str] = {}
        """The state as JSON text, by channel."""
        self.sending_since: float | None = None
        self.checked_at = time.monotonic()
        self._trusted = trusted
        self._waiting: list[tuple[str, int]] = []
        self._size = 0
        self._came = asyncio.Event()
        self._answered = asyncio.Event()
        self._answered.set()
        self._cut = cut

    @property
    def principal(self) -> Principal:
        """Who it is, with the claims of now."""
        return self._who()

    def may_hear(self) -> bool:
        """Whether credential and rules have been found good lately."""
        return self._trusted() and time.monotonic() - self.checked_at <= UNCHECKED_S

    async def next(self) -> str:
        while not self._waiting or not self.may_hear():
            self._came.clear()
            await self._came.wait()
        text, size = self._waiting.pop(0)
        self._size -= size
        if not size:
            self._answered.set()
        return text

    async def answer(self, text: str) -> None:
        """What was asked for, in its place among the words; it is no load that others make, so nobody is cut off for it. One
        waits at a time: who asks on without taking the answers is not read until he has taken the one before.
        """
        await self._answered.wait()
        self._answered.clear()
        self._waiting.append((text, 0))
        self._came.set()

    def hear(self, text: str) -> None:
        self._waiting.append((text, len(text)))
        self._size += len(text)
        if len(self._waiting) > MAX_QUEUE or self._size > MAX_QUEUE_BYTES:
            self._cut()
        self._came.set()

    def look(self, now: float) -> None:
        if self._waiting:
            self._came.set()  # perhaps it may hear again
        if self.sending_since is not None and now - self.sending_since > _STUCK_S:
            self._cut()


class _Room:
    """One channel of one project on this server."""

    def __init__(self) -> None:
        self.members: dict[UUID, Member] = {}
        self.present: Mapping[UUID, Present] = {}
        self.read = 0
        """The number of the look by which `present` is known."""


class Channels:
    """`auth` gives the record of who asks, `signals` carries words to the other servers."""

    def __init__(  # noqa: PLR0917  the parts of the server, made once
        self, db: Database, catalog: Catalog, auth: Auth, clock: Clock, invalidations: Invalidations, signals: Signals
    ) -> None:
        self._db, self._catalog, self._auth, self._clock = db, catalog, auth, clock
        self._invalidations, self._signals = invalidations, signals
        self._rooms: dict[tuple[str, str], _Room] = {}
        self._members: dict[UUID, Member] = {}
        self._rules: dict[str, Sequence[ChannelRules]] = {}
        self._checked: Kept[Rule] = Kept(1000)
        self._server, self._numbers = str(uuid4()), itertools.count()
        self._looks = itertools.count(1)
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._hurry = asyncio.Event()
        self._due = asyncio.Event()
        invalidations.on(_KIND, self._forget)
        signals.on_signal(self._heard)

    async def start(self) -> None:
        watching = (self._watch_over(), self._check_over(), self._look_after())
        self._tasks = tuple(asyncio.create_task(one) for one in watching)

    async def stop(self) -> None:
        await end(*self._tasks)

    def _forget(self, key: str) -> None:
        self._rules.pop(key, None)

    # Definitions.

    async def definitions(self, project: Project) -> Sequence[ChannelRules]:
        """The patterns of the project, the most particular first."""
        found = self._rules.get(project.key)
        if found is None:
            found = self._rules[project.key] = sorted(
                await store.channel_rules(self._db, project.schema), key=lambda one: one.pattern.rank
            )
        return found

    async def define(self, project: Project, rules: ChannelRules) -> list[Advice]:
        """Make a pattern, or give it other rules; what lints say of them. Raises Invalid with every fault."""
        async with self._db.transaction() as tx:
            collections = await definitions.held(tx, project.schema)
            if faults := list(_faults(_guarded(rules), collections)):
                raise Invalid("The channel is not right.", errors=faults)
            await store.save_channel_rules(tx, project.schema, rules)
            await announce(tx, _KIND, project.key)
        await self._invalidations.catch_up()
        return await asyncio.to_thread(advise_beside, [_guarded(rules)], collections)

    async def undefine(self, project: Project, pattern: str) -> None:
        """Raises NotFound."""
        async with self._db.transaction() as tx:
            if not await store.drop_channel_rules(tx, project.schema, pattern):
                raise NotFound("No such channel pattern.", code="channel_not_found")
            await announce(tx, _KIND, project.key)
        await self._invalidations.catch_up()

    async def guarded(self, db: Queries, project: Project) -> list[Guarded]:
        """The patterns as stored, with their rules, for changes of the schema and lints."""
        return [_guarded(one) for one in await store.channel_rules(db, project.schema)]

    # Members.

    def enter(
        self, project: Project, who: Callable[[], Principal], cut: Callable[[], None], trusted: Callable[[], bool]
    ) -> Member:
        """A connection, in no channel yet."""
        member = Member(project, who, cut, trusted)
        self._members[member.id] = member
        return member

    async def join(self, member: Member, channel: str) -> list[Mapping[str, object]]:
        """Hear what is said there; who is there now. Raises Forbidden, Unauthenticated (by the rule), Invalid over a limit."""
        await self._admit(member, channel, "join")
        if channel not in member.joined and len(member.joined) >= MAX_CHANNELS:
            raise Invalid(f"One connection is in at most {MAX_CHANNELS} channels.", code="limit_exceeded", limit=MAX_CHANNELS)
        member.joined.add(channel)
        room = self._rooms.setdefault((member.project.key, channel), _Room())
        room.members[member.id] = member
        look = next(self._looks)
        found = await store.present(self._db, member.project.schema, [channel])
        # The others may not have heard yet of all who are found; they are told now or would never be.
        self._tell_difference(member.project.key, channel, found.get(channel, {}), look, but=member.id)
        return [one.shown() for one in room.present.values()]

    async def leave(self, member: Member, channel: str) -> None:
        """Hear no more, and be there no more."""
        member.joined.discard(channel)
        room = self._rooms.get((member.project.key, channel))
        if room is not None:
            room.members.pop(member.id, None)
            if not room.members:
                del self._rooms[member.project.key, channel]
        if member.tracked.pop(channel, None) is not None:
            await store.forget_present(self._db, member.project.schema, member.id, channel)
            self._tell_presence(member.project, channel)

    async def leave_all(self, member: Member) -> None:
        self._members.pop(member.id, None)
        for channel in tuple(member.joined):
            with contextlib.suppress(BaasError):
                await self.leave(member, channel)

    async def send(self, member: Member, channel: str, event: str, data: object) -> None:
        """Say something to everybody else who has joined. Raises as `join`."""
        await self._admit(member, channel, "send")
        if channel not in member.joined:
            raise Forbidden("Join the channel first.", code="not_joined")
        text = _ENCODE(
            {"type": "message", "channel": channel, "event": event, "data": data, "from": _from(member.principal)}
        ).decode()
        if len(text.encode()) > MAX_DATA:
            raise Invalid(f"A message has at most {MAX_DATA} bytes.", code="limit_exceeded", limit=MAX_DATA)
        self._say(member.project.key, channel, text, but=member.id)
        number = next(self._numbers)  # the same words twice are two messages
        self._signals.send(f"{_SIGNAL}{self._server} {number} {json.dumps([member.project.key, channel])}\n{text}")

    async def track(self, member: Member, channel: str, state: object) -> None:
        """Be there for the others with a state; null ends it. Raises as `join`."""
        await self._admit(member, channel, "track")
        if channel not in member.joined:
            raise Forbidden("Join the channel first.", code="not_joined")
        if state is None:
            member.tracked.pop(channel, None)
            await store.forget_present(self._db, member.project.schema, member.id, channel)
        else:
            text = _ENCODE(state).decode()
            if len(text.encode()) > MAX_DATA:
                raise Invalid(f"A state has at most {MAX_DATA} bytes.", code="limit_exceeded", limit=MAX_DATA)
            before, member.tracked[channel] = member.tracked.get(channel), text
            try:
                await store.keep_present(
                    self._db, member.project.schema, channel, Present(member.id, _from(member.principal), text), LEASE_S
                )
            except BaasError:
                if before is None:
                    del member.tracked[channel]
                else:
                    member.tracked[channel] = before
                raise
        self._tell_presence(member.project, channel)

    # Rules.

    async def _admit(self, member: Member, channel: str, action: str) -> None:
        if not member.may_hear():
            raise Unavailable("Whether your access goes on cannot be checked at present; try again.")
        if await self._allowed(member, channel, action):
            return
        if member.principal.kind == "anonymous":
            raise Unauthenticated("This channel is not for anonymous callers.")
        raise Forbidden("The rule of the channel says no.", code="rule_denied", action=action)

    async def _allowed(self, member: Member, channel: str, action: str, records: _Records | None = None) -> bool:
        principal = member.principal
        for one in await self.definitions(member.project):
            parts = one.pattern.parts_of(channel)
            if parts is None:
                continue
            if principal.privileged:
                return principal.may("records")
            source = one.rules.get(action)
            if source is None:
                return False
            rule = await self._rule(member.project, one.pattern, action, source)
            facts = Facts(await self._facts(member.project, principal, rule, records), self._clock.now(), action, "realtime")
            return rule.evaluate(facts, record={**parts, "name": channel}) is True
        return False

    async def _rule(self, project: Project, pattern: Pattern, action: str, source: str) -> Rule:
        """The checked rule; a field of `users` that it names may be gone by now, then nobody is let in."""
        collections = await self._catalog.collections(project)
        key = (project.key, pattern.text, action, source, collections[USERS].version)
        try:
            return self._checked.get(key, lambda: check(source, _env(pattern, action, collections)))
        except RuleError:
            raise Forbidden("The rule of the channel cannot be judged any more.", code="rule_denied", action=action) from None

    async def _facts(
        self, project: Project, principal: Principal, rule: Rule, records: _Records | None
    ) -> Mapping[str, object] | None:
        record = None
        if rule.needs_auth_record and principal.kind == "user":
            if records is None:
                records = {}
            key = (project.key, principal.id)
            if key not in records:
                records[key] = asyncio.create_task(self._auth.record(project, UUID(principal.id)))
            record = await records[key]
            if record is None:
                raise Unauthenticated("The account of this credential is gone.", code="bad_token")
        return auth_in_rules(principal, record)

    def look_soon(self) -> None:
        """Something else is said of a member by now: see whether he may still be where he is."""
        self._due.set()

    # Words between servers, and who is there.

    def _say(self, key: str, channel: str, text: str, *, but: UUID | None = None) -> None:
        room = self._rooms.get((key, channel))
        if room is not None:
            for member in tuple(room.members.values()):
                if member.id != but:
                    member.hear(text)

    def _tell_presence(self, project: Project, channel: str) -> None:
        self._hurry.set()
        self._signals.send(f"{_PRESENCE}{self._server} {json.dumps([project.key, channel])}")

    def _heard(self, text: str) -> None:
        if text.startswith(_SIGNAL):
            head, _, body = text.partition("\n")
            _, server, _, place = head.split(" ", 3)
            if server != self._server:
                key, channel = json.loads(place)
                self._say(key, channel, body)
        elif text.startswith(_PRESENCE):
            _, server, place = text.split(" ", 2)
            if server != self._server and tuple(json.loads(place)) in self._rooms:
                self._hurry.set()

    async def _look_after(self) -> None:
        """Asks nobody anything, so that it goes on while the database is silent."""
        while True:
            await asyncio.sleep(_TICK_S)
            for member in tuple(self._members.values()):
                with going_on(_LOG, "A look at a member of channels failed."):
                    member.look(time.monotonic())

    async def _watch_over(self) -> None:
        """Renew leases, and tell who came and went."""
        renewed = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._hurry.wait()
            self._hurry.clear()
            with going_on(_LOG, "Who is there could not be looked at."):
                if time.monotonic() - renewed >= _LOOK_S:
                    await self._renew()
                    renewed = time.monotonic()
                await self._look_who_is_there()

    async def _check_over(self) -> None:
        """Look whether those who have joined still may. Whatever fails must not end this task: the end of access hangs on it."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def check(member: Member, records: _Records) -> None:
            async with turns:
                began = time.monotonic()
                with going_on(_LOG, "A member of channels could not be checked."):
                    await self._check_access(member, records)
                    member.checked_at = began

        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._due.wait()
            self._due.clear()
            records: _Records = {}
            await asyncio.gather(*(check(one, records) for one in tuple(self._members.values())))

    async def _renew(self) -> None:
        by_schema: dict[str, list[tuple[Member, str, str]]] = {}
        for member in self._members.values():
            for channel, state in member.tracked.items():
                by_schema.setdefault(member.project.schema, []).append((member, channel, state))
        for schema, there in by_schema.items():
            with going_on(_LOG, "Who is there could not be renewed."):
                rows = [(channel, Present(member.id, _from(member.principal), state)) for member, channel, state in there]
                await store.renew_present(self._db, schema, rows, LEASE_S)
                for member, channel, _ in there:
                    if channel not in member.tracked:  # he went meanwhile, and may have been put back
                        await store.forget_present(self._db, schema, member.id, channel)

    async def _check_access(self, member: Member, records: _Records) -> None:
        """Put him out where he may not be any longer. Raises what keeps it from being known."""
        for channel in tuple(member.joined):
            try:
                allowed = await self._allowed(member, channel, "join", records)
            except (Unauthenticated, Forbidden):
                allowed = False
            if not allowed:
                member.hear(_ENCODE({"type": "left", "channel": channel, "code": "rule_denied"}).decode())
                await self.leave(member, channel)

    async def _look_who_is_there(self) -> None:
        by_project: dict[str, tuple[Project, list[str]]] = {}
        for (key, channel), room in self._rooms.items():
            member = next(iter(room.members.values()), None)
            if member is not None:
                by_project.setdefault(key, (member.project, []))[1].append(channel)
        for key, (project, channels) in by_project.items():
            with going_on(_LOG, "Who is there could not be read."):
                look = next(self._looks)
                found = await store.present(self._db, project.schema, channels)
                for channel in channels:
                    self._tell_difference(key, channel, found.get(channel, {}), look)

    def _tell_difference(
        self, key: str, channel: str, now: Mapping[UUID, Present], look: int, *, but: UUID | None = None
    ) -> None:
        room = self._rooms.get((key, channel))
        if room is None or look < room.read:  # somebody who looked later was answered sooner
            return
        room.read = look
        joined = [one.shown() for id_, one in now.items() if room.present.get(id_) != one]
        left = [one.shown() for id_, one in room.present.items() if id_ not in now]
        room.present = now
        if joined or left:
            text = _ENCODE({"type": "presence", "channel": channel, "joined": joined, "left": left}).decode()
            self._say(key, channel, text, but=but)


_encoder = msgspec.json.Encoder(decimal_format="number")
_ENCODE = _encoder.encode


def _from(principal: Principal) -> str | None:
    return f"{principal.kind}:{principal.id}" if principal.id else None


def _guarded(rules: ChannelRules) -> Guarded:
    ordered = {action: rules.rules.get(action) for action in CHANNEL_ACTIONS}
    return Guarded("channel", rules.pattern.text, ordered, partial(_env, rules.pattern))


def _faults(rules: Guarded, collections: Mapping[str, Collection]) -> Iterator[Fault]:
    for action in rules.rules:
        try:
            rules.check(action, collections)
        except RuleError as error:
            facts = error.as_dict()
            yield Fault(f"/rules/{action}", str(facts.pop("code")), str(facts.pop("message")), facts)


def _env(pattern: Pattern, action: str, collections: Mapping[str, Collection]) -> Env:
    """A rule names the parts of the channel, the whole as `name`, and `auth`; it enters no collection."""
    row = RowType({name: RowField("string", nullable=False) for name in (*pattern.names, "name")})
    return Env(
        action, record=row, auth=auth_type(collections), bare="record", closed="a rule of a channel knows its name and the caller"
    )
