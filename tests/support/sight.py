"""A small world in which much is out of sight, and random questions about it: what a caller cannot see must change no answer."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from baas.infra.db.pool import Queries
from baas.infra.db.sql import ident, sql
from tests.support.callers import Caller, ProjectUnderTest

LOCKED = {"create": None, "update": None, "delete": None}
WORDS = ("a", "b", "open", "x%", "é", "")
# Collection -> what may be asked of it: fields by type, relations to one, lists of ids, and what leads back.
FIELDS: Mapping[str, Mapping[str, str]] = {
    "users": {"name": "string", "level": "int"},
    "teams": {"name": "string", "size": "int", "budget": "int"},
    "boards": {"name": "string", "rank": "int"},
    "cards": {"title": "string", "points": "int", "price": "decimal", "done": "bool", "note": "string"},
}
TO_ONE: Mapping[str, Mapping[str, str]] = {
    "users": {},
    "teams": {"lead": "users"},
    "boards": {"team": "teams", "owner": "users"},
    "cards": {"board": "boards", "author": "users"},
}
TO_MANY: Mapping[str, Mapping[str, str]] = {
    "users": {"boards": "boards", "assigned": "cards"},
    "teams": {"boards": "boards"},
    "boards": {"cards": "cards"},
    "cards": {"assignees": "users"},
}
# What decides sight; a change of it is a change of what may be seen, so it stays.
DECIDING = {"users": ("shown",), "teams": ("public", "lead"), "boards": ("shared", "owner"), "cards": ("open", "author")}
HIDDEN = {"teams": ("secret",), "cards": ("hush",)}
# What is searched by words and by place, and what keeps its past.
SEARCHED = {"teams": "name", "boards": "name", "cards": "title"}
PLACED = ("boards", "cards")
KEEPS = {"history": True, "search": {"typos": False}}
LATER = "2999-01-01T00:00:00Z"


def _text(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "text", **more}


def _link(name: str, to: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "to": to, **more}


def _flag(name: str) -> dict[str, Any]:
    return {"name": name, "type": "bool", "required": True, "default": False}


def _rules(text: str) -> dict[str, str | None]:
    return {"list": text, "view": text, **LOCKED}


@dataclass
class World:
    """The project, its callers, and for each of them the ids out of his sight by collection."""

    project: ProjectUnderTest
    callers: Sequence[Caller]
    ids: dict[str, list[str]] = field(default_factory=dict)
    made_at: str = LATER

    async def out_of_sight(self, caller: Caller) -> dict[str, list[str]]:
        hidden = {}
        for name in FIELDS:
            seen = {one["id"] for one in await caller.list(name, limit=500, fields="id")}
            hidden[name] = [one for one in self.ids[name] if one not in seen]
        return hidden


async def make_world(project: ProjectUnderTest, pick: random.Random, *, rows: int = 14) -> World:
    """Two users and a guest; a good half of everything is out of sight of each."""
    users = [_text("name"), {"name": "level", "type": "int"}, _flag("shown")]
    rule = "record.shown || record.id == auth.id"
    answer = await project.operator.patch("collections/users", json={"fields": users, "rules": {"list": rule, "view": rule}})
    assert answer.status_code == 200, answer.text
    number = {"type": "int"}
    teams = [
        _text("name", search=True),
        {"name": "size", **number},
        _text("secret", hidden=True),
        _flag("public"),
        _link("lead", "users"),
    ]
    teams.append({"name": "budget", **number, "read": "record.lead == auth.id"})
    await project.collection("teams", teams, _rules("record.public || record.lead == auth.id"), options=KEEPS)
    boards = [
        _text("name", search=True),
        {"name": "spot", "type": "geo_point"},
        {"name": "rank", **number},
        _link("team", "teams", inverse="boards"),
        _flag("shared"),
    ]
    boards.append(_link("owner", "users", inverse="boards"))
    await project.collection("boards", boards, _rules("record.shared || record.owner == auth.id"), options=KEEPS)
    cards = [
        _text("title", search=True),
        {"name": "spot", "type": "geo_point"},
        {"name": "points", **number},
        {"name": "price", "type": "decimal"},
        {"name": "done", "type": "bool"},
    ]
    cards += [_text("note", read="record.author == auth.id"), _text("hush", hidden=True), _flag("open")]
    cards += [_link("board", "boards", inverse="cards"), _link("author", "users")]
    cards.append(_link("assignees", "users", many=True, inverse="assigned"))
    near = [{"fields": ["spot"]}]  # with an index the nearest are found within a circle, which must be one of what is seen
    await project.collection("cards", cards, _rules("record.open || record.author == auth.id"), indexes=near, options=KEEPS)
    callers = [await project.user(name=name, level=level) for name, level in (("a", 1), ("b", 2))]
    world = World(project, [*callers, project.anonymous])
    for _ in range(4):
        await project.user(name=pick.choice(WORDS), level=pick.randrange(4), shown=pick.random() < 0.5)
    world.ids["users"] = [one["id"] for one in await project.operator.list("users", limit=500)]
    for name in ("teams", "boards", "cards"):
        made = [_row(name, world, pick) for _ in range(rows if name != "cards" else 2 * rows)]
        answer = await project.operator.post(f"collections/{name}/records", json=made)
        assert answer.status_code == 201, answer.text
        world.ids[name] = [one["id"] for one in answer.json()["items"]]
    world.made_at = datetime.now(UTC).isoformat()
    return world


def _row(name: str, world: World, pick: random.Random) -> dict[str, Any]:
    def maybe(value: Any) -> Any:
        return None if pick.random() < 0.2 else value

    row: dict[str, Any] = {one: maybe(_drawn(kind, pick)) for one, kind in FIELDS[name].items()}
    row |= {one: maybe(pick.choice(world.ids[to])) for one, to in TO_ONE[name].items()}
    row |= {one: pick.random() < 0.4 for one in DECIDING[name] if one not in TO_ONE[name]}
    row |= {one: pick.choice(WORDS) for one in HIDDEN.get(name, ())}
    if name in PLACED:
        row["spot"] = maybe(_spot(pick))
    if name == "cards":
        row["assignees"] = pick.sample(world.ids["users"], pick.randrange(4))
    return row


def _spot(pick: random.Random) -> dict[str, int]:
    return {"lat": pick.randrange(-3, 4), "lon": pick.randrange(-3, 4)}


def _drawn(kind: str, pick: random.Random) -> Any:
    match kind:
        case "string":
            return pick.choice(WORDS)
        case "int":
            return pick.randrange(4)
        case "decimal":
            return pick.choice(("0.5", "1.50", "2"))
    return pick.random() < 0.5


async def disturb(db: Queries, world: World, caller: Caller, pick: random.Random) -> int:
    """Change everything that this caller cannot see and nothing that decides his sight: rows out of sight, hidden fields, fields
    that he may not read. In SQL, because a revision is visible. Gives the number of values changed.
    """
    schema, hidden, changed = world.project.schema, await world.out_of_sight(caller), 0
    me = caller.id or "00000000-0000-0000-0000-000000000000"
    for name, ids in hidden.items():
        links = {one: to for one, to in TO_ONE[name].items() if one not in DECIDING[name]}
        for one in ids:
            for column, kind in FIELDS[name].items():
                changed += await _set(db, schema, name, column, kind, _drawn(kind, pick), one)
            if name in PLACED:
                lat, lon = _spot(pick).values()
                place = sql("{}::text::baas_rt.geo_point", f"({lat},{lon})")
                await db.execute(sql("update {} set spot = {} where id = {}::text::uuid", ident(schema, name), place, one))
                changed += 1
            for column, to in links.items():
                changed += await _set(db, schema, name, column, "uuid", pick.choice(world.ids[to]), one)
    for name, columns in HIDDEN.items():
        for column in columns:
            query = sql("update {} set {} = {} || {}", ident(schema, name), ident(column), ident(column), pick.choice("pqrs"))
            await db.execute(query)
            changed += len(world.ids[name])
    for name, column, owner, value in (("teams", "budget", "lead", "7"), ("cards", "note", "author", "'zz'")):
        new = sql("7") if value == "7" else sql("'zz'")
        where = sql("{} is distinct from {}::text::uuid", ident(owner), me)
        await db.execute(sql("update {} set {} = {} where {}", ident(schema, name), ident(column), new, where))
        changed += 1
    return changed


async def _set(db: Queries, schema: str, name: str, column: str, kind: str, value: Any, row: str) -> int:
    cast = {"string": "text", "int": "int8", "decimal": "numeric", "bool": "bool", "uuid": "uuid"}[kind]
    held = str(value).lower() if kind == "bool" else str(value)
    place = ident(schema, name)
    await db.execute(
        sql("update {} set {} = {}::text::{} where id = {}::text::uuid", place, ident(column), held, ident(cast), row)
    )
    return 1


class Questions:
    """Random questions about the world: a collection and the body of its query, or the parameters of its list or export."""

    def __init__(self, pick: random.Random, made_at: str = LATER) -> None:
        self._pick = pick
        self._made_at = made_at
        self._loops = 0

    def one(self) -> tuple[str, dict[str, Any]]:
        pick = self._pick
        name = pick.choice(tuple(FIELDS))
        body: dict[str, Any] = {"limit": pick.choice((3, 50, 50)), "count": pick.choice(("none", "exact", "estimate"))}
        if pick.random() < 0.85:
            self._loops = 0
            body["filter"] = self.condition(name, "", 2)
        if pick.random() < 0.5:
            body["sort"] = self._sort(name)
        if pick.random() < 0.5:
            body["expand"] = self._expand(name, 2)
        elif pick.random() < 0.4:
            body["fields"] = self._fields(name)
        return name, {**body, **self._sought(name, within=False)}

    def export(self) -> tuple[str, dict[str, Any]]:
        """The parameters of an export, as texts."""
        pick = self._pick
        name = pick.choice(tuple(FIELDS))
        asked: dict[str, Any] = {"format": pick.choice(("ndjson", "csv"))}
        if pick.random() < 0.8:
            self._loops = 0
            asked["filter"] = self.condition(name, "", 2)
        if pick.random() < 0.5:
            asked["sort"] = self._sort(name)
        if pick.random() < 0.4:
            asked["fields"] = ",".join(("id", *pick.sample(list(FIELDS[name]), 2)))
        found = self._sought(name, within=True)
        return name, {**asked, **found, **({"near": json.dumps(found["near"])} if "near" in found else {})}

    def past(self) -> tuple[str, dict[str, Any]]:
        """The parameters of a list of the past: when all was made, or the last that is known."""
        pick = self._pick
        name = pick.choice(tuple(SEARCHED))
        asked: dict[str, Any] = {"as_of": pick.choice((LATER, self._made_at)), "limit": pick.choice((3, 50))}
        if pick.random() < 0.85:
            self._loops = 0
            asked["filter"] = self.condition(name, "", 2)
        if pick.random() < 0.5:
            asked["sort"] = pick.choice(("", "-")) + pick.choice(tuple(FIELDS[name]))
        return name, asked

    def _fields(self, name: str) -> list[str]:
        """Fields to answer, some of them through relations."""
        paths = [self._path(name, 2) for _ in range(self._pick.randrange(1, 4))]
        back = TO_MANY[name]
        if back and self._pick.random() < 0.4:
            step = self._pick.choice(tuple(back))
            paths.append(f"{step}.{self._pick.choice(tuple(FIELDS[back[step]]))}")
        return list(dict.fromkeys(("id", *paths)))

    def _sought(self, name: str, *, within: bool) -> dict[str, Any]:
        """Now and then words, or a place; `within`: only which records count, and not their order."""
        pick, found = self._pick, dict[str, Any]()
        if name in SEARCHED and pick.random() < 0.2:
            found["search"] = pick.choice(("a", "b", "open", "o", "é", "a -b"))
        if name in PLACED and pick.random() < 0.2:
            found["near"] = {"field": "spot", **_spot(pick)}
            if within or pick.random() < 0.5:
                found["near"]["within"] = pick.choice((1, 150_000, 400_000))
        return found

    def aggregate(self) -> tuple[str, dict[str, Any]]:
        """The body of an aggregate."""
        pick = self._pick
        name = pick.choice(tuple(FIELDS))
        numbers = [one for one, kind in FIELDS[name].items() if kind in ("int", "decimal")]
        select = {"n": "count()", "t": f"sum({pick.choice(numbers)})", "m": f"max({pick.choice(list(FIELDS[name]))})"}
        body: dict[str, Any] = {"select": {key: select[key] for key in pick.sample(list(select), pick.randrange(1, 4))}}
        if pick.random() < 0.7:
            body["filter"] = self.condition(name, "", 1)
        if pick.random() < 0.8:
            body["group_by"] = [self._path(name, 2)]
            if "n" in body["select"] and pick.random() < 0.5:
                body["having"] = f"n {pick.choice(('<', '>=', '=='))} {pick.randrange(1, 4)}"
        return name, {**body, **self._sought(name, within=True)}

    def _sort(self, name: str) -> str:
        keys = dict.fromkeys(self._path(name, 2) for _ in range(self._pick.randrange(1, 3)))
        return ",".join(self._pick.choice(("", "-")) + key for key in keys)

    def _path(self, name: str, hops: int) -> str:
        """A field, through as many relations to one."""
        onward = TO_ONE[name]
        if hops and onward and self._pick.random() < 0.5:
            step = self._pick.choice(tuple(onward))
            return f"{step}.{self._path(onward[step], hops - 1)}"
        return self._pick.choice(tuple(FIELDS[name]))

    def _expand(self, name: str, depth: int) -> dict[str, Any]:
        onward = {**TO_ONE[name], **TO_MANY[name]}
        wanted = {}
        for step in self._pick.sample(list(onward), self._pick.randrange(min(2, len(onward)) + 1)):
            spec: dict[str, Any] = {}
            if step in TO_MANY[name] and self._pick.random() < 0.5:
                self._loops = 0
                spec = {"filter": self.condition(onward[step], "", 1), "limit": 5}
            if depth > 1 and self._pick.random() < 0.5:
                spec["expand"] = self._expand(onward[step], depth - 1)
            wanted[step] = spec
        return wanted

    def condition(self, name: str, at: str, depth: int) -> str:
        """A condition over a record of the collection, named by the prefix `at`."""
        pick = self._pick
        if depth <= 0:
            return self._compared(name, at)
        return pick.choice(
            (
                lambda: f"({self.condition(name, at, depth - 1)} && {self.condition(name, at, depth - 1)})",
                lambda: f"({self.condition(name, at, depth - 1)} || {self.condition(name, at, depth - 1)})",
                lambda: f"!({self.condition(name, at, depth - 1)})",
                lambda: f"({self._compared(name, at)} ? {self._compared(name, at)} : {self._compared(name, at)})",
                lambda: self._compared(name, at),
                lambda: self._looped(name, at, depth),
                lambda: f"!{self._looped(name, at, depth)}",
            )
        )()

    def _looped(self, name: str, at: str, depth: int) -> str:
        lists = TO_MANY[name]
        if self._loops >= 2 or not lists:
            return self._compared(name, at)
        self._loops += 1
        step = self._pick.choice(tuple(lists))
        element = f"e{self._loops}"
        body = self.condition(lists[step], f"{element}.", depth - 1)
        self._loops -= 1
        match self._pick.randrange(3):
            case 0:
                return f"{at}{step}.exists({element}, {body})"
            case 1:
                return f"{at}{step}.all({element}, {body})"
        return f"(size({at}{step}.filter({element}, {body})) {self._pick.choice(('<', '>=', '=='))} {self._pick.randrange(3)})"

    def _compared(self, name: str, at: str) -> str:
        pick = self._pick
        path, kind = at, ""
        here = name
        for _ in range(2):
            onward = TO_ONE[here]
            if onward and pick.random() < 0.45:
                step = pick.choice(tuple(onward))
                path, here = f"{path}{step}.", onward[step]
        column = pick.choice((*FIELDS[here], *(("id",) if pick.random() < 0.2 else ())))
        path, kind = path + column, FIELDS[here].get(column, "ref")
        if pick.random() < 0.2:
            return f"({path} {pick.choice(('==', '!='))} null)"
        match kind:
            case "string":
                text = json.dumps(pick.choice(WORDS), ensure_ascii=False)
                questions: tuple[str, ...] = (
                    f"({path} == {text})",
                    f"({path} < {text})",
                    f"{path}.startsWith({text})",
                    f"({path} in [{text}])",
                )
                return pick.choice(questions)
            case "bool":
                return str(path)
            case "ref":
                return f"({path} {pick.choice(('==', '!='))} auth.id)"
        return f"({path} {pick.choice(('==', '!=', '<', '>='))} {pick.randrange(4)})"
