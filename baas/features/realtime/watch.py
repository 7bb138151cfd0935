"""One subscription at work: which changes its subscriber may see, as of now, and what of them.

Rules and filters are judged in memory first, where what depends on other records is unknown; only what stays unknown is asked
of the database, once for all changes that were read together. True and false in memory are final.

Where sight depends on more than the record itself (other collections, the user's own record), the watch remembers what it has
shown, and compares when one of those changes.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from baas.base.clock import Clock
from baas.base.errors import Invalid
from baas.base.principal import Principal
from baas.base.project import Project
from baas.engines.query.asking import Asking, Judgement
from baas.engines.query.compile import Compiler
from baas.engines.query.expand import Node
from baas.engines.query.images import Picture
from baas.engines.query.table import Table
from baas.engines.rules.rule import Facts, Rule
from baas.engines.schema.manifest import USERS
from baas.features.realtime.batch import Batch, Step
from baas.features.realtime.model import MAX_SNAPSHOT, Action, Subscription, Told
from baas.features.realtime.together import Together
from baas.features.records.model import MAX_LIMIT, Followed, Wanted
from baas.features.records.service import Records
from baas.infra.db.pool import Database

_ITEMS = msgspec.json.Decoder(list[msgspec.Raw]).decode
_MOST_SHARED = 64


class _Head(msgspec.Struct):
    id: str
    rev: int


_HEAD = msgspec.json.Decoder(_Head).decode


class Parts(NamedTuple):
    """What every watch of a server works with."""

    db: Database
    compiler: Compiler
    records: Records
    clock: Clock
    together: Together


class Item(NamedTuple):
    """A record as it is shown."""

    id: str
    rev: int
    body: bytes


class Watch:
    """Made by `open_watch`. `depends` are the collections besides its own that decide what it shows."""

    def __init__(  # noqa: PLR0917  what it is made of
        self, parts: Parts, project: Project, principal: Principal, subscription: Subscription, wanted: Wanted, followed: Followed
    ) -> None:
        self.subscription = subscription
        self.collection = followed.table.name
        self.due: int | None = None
        """The first change that decides what it shows and with which it has not been compared since."""
        self._parts, self._project, self._principal = parts, project, principal
        self._wanted = wanted
        self._table, self._tree, self._filter = followed.table, followed.tree, followed.filter
        self.depends, self.needs_auth, self.needs_claims = _dependencies(followed)
        self._names = followed.tree.fields or followed.table.names(masked=followed.asking.masked)
        self._gated = followed.table.gated(self._names) if followed.asking.masked else ()
        # What a filter may not read, or may not enter, makes it neither true nor false; the database knows.
        reads = () if self._filter is None else tuple(name for root, name in self._filter.names if root == "record")
        masked = followed.asking.masked
        self._opaque = self._filter is not None and (bool(masked and followed.table.gated(reads)) or bool(self._filter.entered))
        self._seen: dict[str, int] | None = None

    def ask_as(self, principal: Principal) -> None:
        """The same subscriber, of whom the server says something else by now."""
        self._principal = principal

    @property
    def remembers(self) -> bool:
        """Whether it must know what it has shown."""
        return bool(self.depends) or self.needs_auth

    @property
    def knows(self) -> bool:
        """Whether it does."""
        return self._seen is not None

    # Everything that it shows now.

    async def everything(self) -> list[Item]:
        """Raises as a list does, and Invalid (`snapshot_too_large`)."""
        items: list[Item] = []
        cursor: str | None = None
        while True:
            wanted = Wanted(
                self._wanted.filter,
                self._wanted.vars,
                limit=MAX_LIMIT,
                cursor=cursor,
                fields=self._wanted.fields,
                expand=self._wanted.expand,
                expand_text=self._wanted.expand_text,
            )
            page = await self._parts.records.list(self._project, self._principal, self.collection, wanted)
            for raw in _ITEMS(f"[{page.items}]".encode()):
                body = bytes(raw)
                head = _HEAD(body)
                items.append(Item(head.id, head.rev, body))
            cursor = page.next_cursor
            if cursor is None:
                break
            if len(items) >= MAX_SNAPSHOT:
                raise Invalid(
                    f"A subscription begins with at most {MAX_SNAPSHOT:,} records.",
                    code="snapshot_too_large",
                    hint="Narrow the filter, or read the list by pages and follow from its X-Feed-Cursor.",
                    limit=MAX_SNAPSHOT,
                )
        if self.remembers:
            self._seen = {item.id: hash(item.body) for item in items}
        return items

    async def compared(self, pos: int) -> list[Told]:
        """What has come into sight, changed or gone since, by other changes than those of the records themselves."""
        before = self._seen or {}
        items = await self.everything()
        now = {item.id for item in items}
        told = [Told(pos, "leave", record, 0, None) for record in before if record not in now]
        for item in items:
            held = before.get(item.id)
            if held is None:
                told.append(Told(pos, "enter", item.id, item.rev, item.body))
            elif held != hash(item.body):
                told.append(Told(pos, "update", item.id, item.rev, item.body))
        return told

    # Changes.

    def concerns(self, batch: Batch) -> bool:
        """Whether there is anything in it for this watch."""
        return self.collection in batch.collections or self._is_hit(batch)

    def _is_hit(self, batch: Batch) -> bool:
        if self.depends & batch.collections:
            return True
        return self.needs_auth and self._principal.id in batch.records(USERS)

    def doubt(self, pos: int) -> None:
        """What it holds for shown may not have been sent: begin anew at the next comparison."""
        if self._seen is not None:
            self._seen = None
            self.due = pos if self.due is None else min(self.due, pos)

    def _first_hit(self, batch: Batch, after: int) -> int | None:
        own = self._principal.id if self.needs_auth else None
        for change in batch.changes:
            if change.pos > after and (
                change.collection in self.depends or (change.collection == USERS and change.record == own)
            ):
                return change.pos
        return None

    async def told(self, batch: Batch, after: int, auth: Mapping[str, object] | None) -> Sequence[Told]:
        """What the changes behind `after` mean to this subscriber as of now; `auth` is his record for rules."""
        if self.due is None and self._is_hit(batch):
            self.due = self._first_hit(batch, after)
        steps = [step for step in batch.steps(self.collection) if step.change.pos > after]
        if not steps:
            return ()
        now = self._parts.clock.now()
        asking = Asking(self._principal, now=now, via="realtime", auth=auth)
        judge = _Judge(self, asking, Facts(auth, now, "list", "realtime", self._wanted.vars))
        key = None if self._seen is not None else judge.key(after)
        if key is not None and (known := batch.memory.get(key)) is not None:
            return known
        pictures = await batch.pictures(self._parts.db, self._parts.compiler, self._table)
        bodies = await self._bodies(batch, steps, pictures, judge)
        told = tuple(one for step in steps if (one := self._one(step, bodies)) is not None)
        if key is not None and len(batch.memory) < _MOST_SHARED:
            batch.memory[key] = told
        return told

    def _one(self, step: Step, bodies: Mapping[int, bytes | None]) -> Told | None:
        change = step.change
        after = None if step.after is None else bodies[step.after]
        if self._seen is not None:
            before = change.record in self._seen
        else:
            before = step.before is not None and bodies[step.before] is not None
        self._remember(change.record, after)
        action: Action
        if after is None:
            if not before:
                return None
            action = "delete" if change.action == "delete" else "leave"
        elif change.action == "create":
            action = "update" if before else "create"
        else:
            action = "update" if before else "enter"
        return Told(change.pos, action, change.record, change.rev, after)

    def _remember(self, record: str, body: bytes | None) -> None:
        if self._seen is None:
            return
        if body is None:
            self._seen.pop(record, None)
        else:
            self._seen[record] = hash(body)
            if len(self._seen) > 2 * MAX_SNAPSHOT:
                self._seen = None  # too many to compare: the next comparison begins anew

    async def _bodies(
        self, batch: Batch, steps: Sequence[Step], pictures: Sequence[Picture], judge: "_Judge"
    ) -> Mapping[int, bytes | None]:
        """Place of an image -> the record as this subscriber may see it, None when he may not; of old images only whether."""
        new = [step.after for step in steps if step.after is not None]
        old = [step.before for step in steps if step.before is not None] if self._seen is None else []
        found: dict[int, bytes | None] = {}
        asked: list[int] = []
        for at, shown in (*((one, True) for one in new), *((one, False) for one in old)):
            verdict = judge.verdict(pictures[at])
            if verdict is False:
                found[at] = None
            elif verdict is True and not shown:
                found[at] = b""
            elif verdict is True and (body := judge.body(pictures[at])) is not None:
                found[at] = body
            else:
                asked.append(at)
        if asked:
            crowd = self._parts.compiler.crowd(self._table, self._tree, judge.asking, bodies=judge.leaves_bodies)
            asker = crowd.asker(judge.asking.leaves)
            seen = await self._parts.together.ask(batch, self.collection, crowd, asker, asked)
            for at in asked:
                body = seen.get(at)
                found[at] = body if body is None or crowd.bodies else judge.body(pictures[at])
        return found


class _Judge:
    """The rule, the filter and the fields of a watch for its subscriber, as of now."""

    def __init__(self, watch: Watch, asking: Asking, facts: Facts) -> None:
        self.asking = asking
        self._watch, self._facts = watch, facts
        self._rule = asking.judge(watch._table, "list")
        wanted = watch._filter
        self._wanted = None if wanted is None else asking.filter(watch._table, wanted, watch._wanted.vars)
        self._gates = [(name, asking.may_read(watch._table, name)) for name in watch._gated]

    @property
    def leaves_bodies(self) -> bool:
        """Whether only the database can put a record together."""
        gates = (gate for _, gate in self._gates)
        return bool(self._watch._tree.expand) or any(gate.verdict is None and gate.rule and gate.rule.entered for gate in gates)

    def key(self, after: int) -> Hashable | None:
        """Equal for two subscribers who are told the same; None when that cannot be said."""
        watch = self._watch
        if watch._opaque or watch.depends or watch._tree.expand:
            return None
        leaves = tuple((source, tuple(values)) for source, values in self.asking.leaves.items() if source != "caller")
        wanted = None if self._wanted is None else (watch._tree.filter, self._wanted.key)
        gates = tuple(gate.key for _, gate in self._gates)
        key = (watch._table.key, after, self._rule.key, wanted, watch._names, gates, leaves)
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def verdict(self, picture: Picture) -> bool | None:
        """Whether the subscriber may see this and asked for it; None when only the database knows."""
        rule = self._holds(self._rule, picture)
        if rule is False or self._wanted is None:
            return rule
        wanted = None if self._watch._opaque and self._wanted.verdict is None else self._holds(self._wanted, picture)
        return False if wanted is False else True if rule and wanted else None

    def body(self, picture: Picture) -> bytes | None:
        """The record with the fields that he may read and asked for; None when only the database knows."""
        if self._watch._tree.expand:
            return None
        closed = set()
        for name, gate in self._gates:
            open_ = self._holds(gate, picture)
            if open_ is None:
                return None
            if not open_:
                closed.add(name)
        members = picture.members
        return b"{%b}" % b",".join(
            [b'"%b":%b' % (name.encode(), members[name]) for name in self._watch._names if name not in closed]
        )

    def _holds(self, judgement: Judgement, picture: Picture) -> bool | None:
        if judgement.verdict is not None or judgement.rule is None:
            return bool(judgement.verdict)
        verdict = judgement.rule.evaluate(self._facts, record=picture.values)
        if isinstance(verdict, bool):
            return verdict
        return None if judgement.rule.entered else False


async def open_watch(parts: Parts, project: Project, principal: Principal, subscription: Subscription) -> Watch:
    """Raises what the list would be refused with, and Invalid (`not_followed`)."""
    wanted = parts.records.wanted(subscription.wanted)
    if wanted.fields is not None:
        # Whoever follows must know which record it is, and which of two is newer.
        wanted = Wanted(
            wanted.filter,
            wanted.vars,
            fields=tuple(dict.fromkeys((*wanted.fields, "id", "rev"))),
            expand=wanted.expand,
            expand_text=wanted.expand_text,
        )
    followed = await parts.records.followed(project, principal, subscription.collection, wanted)
    return Watch(parts, project, principal, subscription, wanted, followed)


def _dependencies(followed: Followed) -> tuple[frozenset[str], bool, bool]:
    """The collections besides the own one that decide what is shown; whether the user's record does, and whether his claims."""
    table, masked = followed.table, followed.asking.masked
    found: set[str] = set()
    rules: list[Rule | None] = [table.rule("list")] if followed.asking.judged else []
    if masked:
        rules += [table.read(name) for name in table.gated(table.columns)]
    clients = [followed.filter]
    for node in (one for top in followed.nodes for one in top.walk()):
        found.update(_ways(node))
        if masked:
            rules += _rules_of(node.link.target, "view")
        clients.append(node.filter)
    for rule in clients:
        if rule is None:
            continue
        rules.append(rule)
        for name, _ in rule.entered:
            if masked and (other := table.other(name)) is not None:
                rules += _rules_of(other, "list")
    entered = [rule for rule in rules if rule is not None]
    found.update(name for rule in entered for name, _ in rule.entered)
    claims = any(("auth", "claims") in rule.names for rule in entered)
    return frozenset(found), any(rule.needs_auth_record for rule in entered), claims


def _rules_of(table: Table, action: Action | str) -> list[Rule | None]:
    return [table.rule(action), *(table.read(name) for name in table.gated(table.columns))]  # type: ignore[arg-type]


def _ways(node: Node) -> set[str]:
    return {node.link.target.name, node.holder.name}
