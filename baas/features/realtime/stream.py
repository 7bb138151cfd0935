"""What one client follows, as events in the order in which they must be sent; whatever carries them is not known here.

Every event has the place behind it, and a client that comes back with that place has missed nothing. So a place is never behind
what has yet to be told: of several events of one change, only the last one's is behind that change; while a comparison is due,
all are before the change that made it so, whatever was told since.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from uuid import UUID

from baas.base.errors import BaasError, Forbidden, Gone, NotFound, Unauthenticated, Unavailable
from baas.base.principal import Principal
from baas.engines.changes.log import Cursor
from baas.engines.schema.manifest import USERS
from baas.features.auth.model import auth_in_rules
from baas.features.auth.service import Auth
from baas.features.realtime.batch import Batch
from baas.features.realtime.hub import Hub
from baas.features.realtime.model import (
    BOOKMARK_S,
    MAX_QUEUE,
    MAX_QUEUE_BYTES,
    UNCHECKED_S,
    UNSETTLED,
    Place,
    Subscription,
    Told,
)
from baas.features.realtime.watch import Item, Parts, Watch, open_watch
from baas.infra.http.answers import encode
from baas.infra.http.sse import Event

_BY_RULE = frozenset({"rule_denied", "unauthenticated"})
_SNAPSHOT_ITEMS = 500
_STUCK_S = 30.0
_COMPARE_S = 0.2
"""The least time between two comparisons of a subscription; a slow one rests ten times as long as it took."""
_JITTER_MS = 5_000
_PAUSE_S = 0.5


class Stream:
    """Made by the service, which has admitted it; `events` is taken once."""

    def __init__(  # noqa: PLR0917  what it is made of
        self, hub: Hub, parts: Parts, auth: Auth, principal: Principal, credential: str | None, place: Place, *, resumed: bool
    ) -> None:
        self.interest: frozenset[str] = frozenset()
        self.principal = principal
        self.on_renewed: Callable[[], None] | None = None
        """Called when something else is said of the principal by now."""
        self._hub, self._parts, self._auth = hub, parts, auth
        self.checked_at = time.monotonic()
        self.use(credential)
        self._epoch, self._pos = place.cursor
        self._generation = hub.generation
        self._definitions, self._claims = hub.definitions, _digest(principal)
        self._resumed, self._owed = resumed, place.owed
        # What the client holds may be of other rules: show everything again.
        self._unsettled = resumed and place.definitions != self.terms
        self._watches: dict[str, Watch] = {}
        self._beginning: list[Watch] = []  # those that have yet to show what they begin with
        self._record: Mapping[str, object] | None = None
        self._wake = asyncio.Event()
        self._last_word: Event | None = None
        self._cut: asyncio.Task[object] | None = None
        self._sending_since: float | None = None
        self._sent_at = time.monotonic()
        self._compare_at = 0.0
        self.cut_off = False

    def use(self, credential: str | None) -> None:
        """Another credential of the same principal; its end is known without asking anybody."""
        self.credential: str | None = credential
        self._ends_at = None if credential is None else self._auth.ends_at(credential)

    # What is followed.

    @property
    def terms(self) -> str:
        """The definitions and the claims by which was judged what the client has been shown."""
        return self._definitions + self._claims

    @property
    def subscriptions(self) -> frozenset[str]:
        """The ids of what is followed."""
        return frozenset(self._watches)

    async def add_more(self, subscriptions: Sequence[Subscription]) -> None:
        """Follow more while it runs, all of it or nothing; the first time on from where the client was. Raises as `add`."""
        if self._owed and all(one.initial for one in subscriptions):
            self._resumed = self._unsettled = False
        if not self._watches and not self._resumed:
            self._pos = max(self._pos, (await self._hub.head()).pos) if self._epoch == self._hub.cursor.epoch else self._pos
        added = []
        try:
            for one in subscriptions:
                await self.add(one)
                added.append(one.id)
        except BaasError as error:
            for name in added:
                self.remove(name)
            raise subscriptions[len(added)].blamed(error) from None
        self._resumed = self._owed = False
        self._wake.set()

    def remove(self, name: str) -> None:
        """Follow this no more."""
        watch = self._watches.pop(name, None)
        if watch is not None and watch in self._beginning:
            self._beginning.remove(watch)
        self._interested()

    async def add(self, subscription: Subscription) -> None:
        """Raises what the list would be refused with; what a rule refused can be explained like it."""
        try:
            watch = await open_watch(self._parts, self._hub.project, self.principal, subscription)
        except (Forbidden, Unauthenticated) as error:
            if error.code in _BY_RULE and not self.principal.privileged:
                # A ticket or a first message tells who asks: the edge knows of neither.
                error.denial = subscription.denial(self.principal)
            raise
        if watch.needs_auth or self.principal.kind == "user":
            await self._load_record(needed=watch.needs_auth)
        self._watches[subscription.id] = watch
        begins = not self._resumed or (self._owed and subscription.initial)
        if begins and (subscription.initial or watch.remembers):
            self._beginning.append(watch)
        self._interested()

    # While it runs: called by the hub.

    def wake(self) -> None:
        self._wake.set()

    def arrived(self, batch: Batch) -> None:
        if self.interest & batch.collections:
            self._wake.set()
        elif self._pos == batch.after and (self._watches or not self._resumed):
            self._pos = batch.last  # nothing in it for this client

    def takes(self, pos: int) -> bool:
        return self._pos < pos and self._sending_since is None and bool(self.interest)

    def checked(self, at: float) -> None:
        paused, self.checked_at = not self.trusted, at
        if paused:
            self._wake.set()

    @property
    def trusted(self) -> bool:
        """Whether it has been found lately that the principal may still follow."""
        return time.monotonic() - self.checked_at <= UNCHECKED_S

    def look(self, now: float) -> None:
        if self._ends_at is not None and self._parts.clock.now().timestamp() >= self._ends_at:
            self.end(Unauthenticated("The credential has expired.", code="bad_token"))
        if self._sending_since is None:
            late = now >= self._compare_at and any(watch.due is not None for watch in self._watches.values())
            if late or now - self._sent_at >= BOOKMARK_S:
                self._wake.set()
            return
        changes, size = self._hub.behind(self._pos, self.interest)
        if changes > MAX_QUEUE or size > MAX_QUEUE_BYTES or now - self._sending_since > _STUCK_S:
            self.cut()

    def cut(self) -> None:
        """The client does not take what is sent."""
        self.cut_off = True
        if self._cut is not None:
            self._cut.cancel()

    def end(self, error: BaasError) -> None:
        said = {"title": error.title, "status": error.status, "code": error.code, "detail": error.detail}
        self._say_last("closed", said)

    def renew(self, principal: Principal) -> None:
        """Judge by these claims from now on. What the client holds was judged by others: where they matter, show it again."""
        if principal.claims == self.principal.claims:
            return
        self.principal = principal
        for watch in self._watches.values():
            watch.ask_as(principal)
        if any(watch.needs_claims for watch in self._watches.values()) or (self._resumed and not self._watches):
            self._unsettled = True
            self._wake.set()
        else:
            self._claims = _digest(principal)
        if self.on_renewed is not None:
            self.on_renewed()

    def drain(self) -> None:
        wait_ms = random.randrange(_JITTER_MS)  # noqa: S311  spread, not a secret
        self._say_last("reconnect", {"after_ms": wait_ms}, wait_ms)

    def _say_last(self, name: str, data: Mapping[str, object], retry_ms: int | None = None) -> None:
        if self._last_word is None:
            self._last_word = Event(name, "", encode(data), retry_ms)
            self._wake.set()

    # The events.

    async def events(self) -> AsyncIterator[Sequence[Event]]:
        """Until the client is gone (the task is cancelled), has been cut off, or may follow no longer."""
        self._cut = asyncio.current_task()
        ready = self._event("ready", encode({"cursor": self._place()}))
        async for some in self._counted([ready]):
            yield some
        while True:
            self._wake.clear()
            if self._last_word is not None:
                yield [self._last_word._replace(id=self._place())]
                return
            if not self.trusted:
                await self._wake.wait()
                continue
            try:
                async for some in self._next():
                    async for counted in self._counted(some):
                        yield counted
            except Unauthenticated as error:
                self.end(error)
                continue
            except Gone:
                self._unsettled = True
                continue
            except Unavailable:
                await asyncio.sleep(_PAUSE_S)  # the database is away, or another server has just changed the definitions
                await self._look_again()
                continue
            if not self._more():
                await self._wake.wait()

    async def _counted(self, events: Sequence[Event]) -> AsyncIterator[Sequence[Event]]:
        if events:
            self._sending_since = time.monotonic()
            yield events
            self._sending_since, self._sent_at = None, time.monotonic()

    async def _next(self) -> AsyncIterator[Sequence[Event]]:
        """What there is to say now."""
        if self._beginning:
            async for some in self._begin():
                yield some
        if not self._watches:
            self._nothing_shown()
        elif self._unsettled or self._generation != self._hub.generation:
            async for some in self._show_again():
                yield some
        while self._watches and self._pos < self._hub.cursor.pos and not self._interrupted() and not self._beginning:
            batch = self._hub.held(self._pos) or await self._hub.older(self._pos)
            if batch is None:
                break
            yield await self._told(batch)
            self._pos = batch.last
        if any(watch.due is not None for watch in self._watches.values()):
            async for some in self._compare():
                yield some
        if time.monotonic() - self._sent_at >= BOOKMARK_S:
            yield [self._event("bookmark", encode({"cursor": self._place()}))]

    def _more(self) -> bool:
        behind = self._pos < self._hub.cursor.pos and bool(self.interest)
        return behind or bool(self._beginning) or (self._unsettled and bool(self._watches)) or self._interrupted()

    def _interrupted(self) -> bool:
        return self._is_over() or self._generation != self._hub.generation

    def _is_over(self) -> bool:
        """Whether nothing may be read for the client: access has ended, or whether it goes on is not known at present."""
        return self._last_word is not None or not self.trusted

    async def _begin(self) -> AsyncIterator[Sequence[Event]]:
        while self._beginning and not self._interrupted():
            watch, refused, items = self._beginning[0], None, list[Item]()
            try:
                items = await watch.everything()
            except (Unavailable, Gone, Unauthenticated):
                raise
            except BaasError as error:
                refused = error
            if watch not in self._beginning:
                continue  # unsubscribed meanwhile
            before = self._place()
            self._beginning.remove(watch)
            if not watch.subscription.initial:
                continue  # it was read to know it
            if refused is not None:
                yield [self._ended(watch, refused)]
                continue
            for some in self._snapshot(watch, items, before, self._place()):
                yield some

    def _nothing_shown(self) -> None:
        """Nothing is followed yet, so there is nothing to show again; what the client holds from before may be of other rules."""
        if self._generation == self._hub.generation:
            return
        self._generation = self._hub.generation
        if self._resumed:
            self._unsettled = True
        else:
            self._epoch, self._pos = self._hub.cursor
            self._definitions = self._hub.definitions

    async def _show_again(self) -> AsyncIterator[Sequence[Event]]:
        """Other definitions, or a log with another beginning: read the place, then everything, under the rules of now."""
        self._unsettled = True  # until the last of it is out
        self._generation, self._definitions = self._hub.generation, self._hub.definitions
        self._claims = _digest(self.principal)
        self._epoch, self._pos = self._hub.cursor
        waiting = list(self._watches)
        await self._load_record(needed=any(watch.needs_auth for watch in self._watches.values()))
        self._beginning.clear()
        while waiting:
            if self._is_over():
                return  # still unsettled: it starts over if it may go on
            watch = self._watches.get(waiting.pop(0))
            if watch is not None:
                async for some in self._show_one_again(watch, last=not waiting):
                    yield some
        self._unsettled = self._others_claims()
        self._interested()

    def _others_claims(self) -> bool:
        """Whether something else is said of the principal than when the showing began."""
        return self._claims != _digest(self.principal)

    async def _show_one_again(self, watch: Watch, *, last: bool) -> AsyncIterator[Sequence[Event]]:
        subscription, before = watch.subscription, self._place()
        try:
            fresh = await open_watch(self._parts, self._hub.project, self.principal, subscription)
            items = await fresh.everything()
        except (Unavailable, Gone):
            raise
        except BaasError as error:
            for some in self._snapshot(watch, [], before, before):
                yield some
            self._unsettled = not last or self._others_claims()
            yield [self._ended(watch, error)]
            return
        if self._watches.get(subscription.id) is watch:
            self._watches[subscription.id] = fresh
            self._unsettled = not last or self._others_claims()
            for some in self._snapshot(fresh, items, before, self._place()):
                yield some

    async def _told(self, batch: Batch) -> Sequence[Event]:
        if not batch.collections & self.interest:
            return ()
        if self.principal.kind == "user" and self._record is not None and self.principal.id in batch.records(USERS):
            await self._load_record(needed=True)
        told: list[tuple[int, str, Told]] = []
        done: list[Watch] = []
        try:
            for name, watch in tuple(self._watches.items()):
                if watch.concerns(batch):
                    auth = auth_in_rules(self.principal, self._record)
                    told += [(one.pos, name, one) for one in await watch.told(batch, self._pos, auth)]
                    done.append(watch)
        except BaasError:
            for watch in done:  # it takes for told what nobody will be told
                watch.doubt(self._pos + 1)
            raise
        if len(self._watches) > 1:
            told.sort(key=lambda one: one[0])
        most = self._most(batch.last)
        return [
            self._change(name, one, min(most, pos if at + 1 == len(told) or told[at + 1][0] > pos else pos - 1))
            for at, (pos, name, one) in enumerate(told)
        ]

    async def _compare(self) -> AsyncIterator[Sequence[Event]]:
        """Something beside the records has changed what may be seen of them."""
        now = time.monotonic()
        if now < self._compare_at:
            return
        started, self._compare_at = now, 0.0
        for watch in [one for one in self._watches.values() if one.due is not None]:
            if self._is_over():
                return
            told, items = list[Told](), list[Item]()
            try:
                if differs := watch.knows:
                    told = await watch.compared(self._pos)
                else:
                    items = await watch.everything()
            except (Unavailable, Gone):
                raise
            except (Forbidden, Unauthenticated, NotFound):
                self._unsettled = True
                return
            except BaasError as error:
                yield [self._ended(watch, error)]
                continue
            if self._watches.get(watch.subscription.id) is not watch:
                continue  # unsubscribed meanwhile
            before, watch.due = self._most(self._pos), None
            if differs:
                places = [before] * (len(told) - 1) + [self._most(self._pos)]
                yield [self._change(watch.subscription.id, one, place) for one, place in zip(told, places, strict=False)]
            else:
                for some in self._snapshot(watch, items, self._place(before), self._place()):
                    yield some
        took = time.monotonic() - started
        self._compare_at = time.monotonic() + max(_COMPARE_S, 10 * took)

    # Within.

    async def _look_again(self) -> None:
        try:
            await self._hub.look_at_definitions()
        except BaasError:
            return

    def _interested(self) -> None:
        found = {watch.collection for watch in self._watches.values()}
        for watch in self._watches.values():
            found |= watch.depends
        if self.principal.kind == "user" and any(watch.needs_auth for watch in self._watches.values()):
            found.add(USERS)
        self.interest = frozenset(found)

    async def _load_record(self, *, needed: bool) -> None:
        """The user's record for rules. Raises Unauthenticated when the account is gone."""
        if self.principal.kind != "user" or not needed:
            return
        self._record = await self._auth.record(self._hub.project, UUID(self.principal.id))
        if self._record is None:
            raise Unauthenticated("The account of this credential is gone.", code="bad_token")

    def _most(self, pos: int) -> int:
        """The position, or what is before the first change whose comparison is due."""
        return min([pos, *(watch.due - 1 for watch in self._watches.values() if watch.due is not None)])

    def _place(self, pos: int | None = None) -> str:
        """Now, or behind `pos`, which the caller has taken by `_most`."""
        owed = any(watch.subscription.initial for watch in self._beginning) or (self._owed and not self._watches)
        definitions = UNSETTLED if self._unsettled else self.terms
        at = self._most(self._pos) if pos is None else pos
        return str(Place(Cursor(self._epoch, at), definitions, owed and not self._unsettled))

    def _event(self, name: str, data: bytes) -> Event:
        return Event(name, self._place(), data)

    def _snapshot(self, watch: Watch, items: Sequence[Item], before: str, after: str) -> Iterable[Sequence[Event]]:
        """Everything that the subscription shows, in parts; whatever the client held of it before is no more. Only the last part
        has the place `after` it: the others are nothing without that.
        """
        name = encode(watch.subscription.id)
        for start in range(0, max(len(items), 1), _SNAPSHOT_ITEMS):
            some = items[start : start + _SNAPSHOT_ITEMS]
            more = start + _SNAPSHOT_ITEMS < len(items)
            data = b'{"subscription":%b,"items":[%b],"first":%b,"more":%b}' % (
                name,
                b",".join([item.body for item in some]),
                b"false" if start else b"true",
                b"true" if more else b"false",
            )
            yield [Event("snapshot", before if more else after, data)]

    def _change(self, name: str, told: Told, pos: int) -> Event:
        what = b'"id":"%b"' % told.record.encode() if told.body is None else b'"record":%b' % told.body
        rev = b',"rev":%d' % told.rev if told.rev else b""
        data = b'{"subscription":%b,"action":"%b",%b%b}' % (encode(name), told.action.encode(), what, rev)
        return Event("change", self._place(pos), data)

    def _ended(self, watch: Watch, error: BaasError) -> Event:
        """The subscription is followed no longer."""
        subscription = watch.subscription
        if self._watches.get(subscription.id) is watch:
            self.remove(subscription.id)
        hint = {} if error.hint is None else {"hint": error.hint}
        return self._event("ended", encode({"subscription": subscription.id, "code": error.code, "detail": error.detail, **hint}))


def _digest(principal: Principal) -> str:
    """Of the claims, short; none has none."""
    return hashlib.sha256(repr(sorted(principal.claims.items())).encode()).hexdigest()[:8] if principal.claims else ""
