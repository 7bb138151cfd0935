"""Random expressions that mostly type-check, over everything `rule_world` has: small texts, every operator, every function."""

import random

from tests.support.rule_values import DECIMALS, DOUBLES, IDS, INTS, TEXTS

_BY_TYPE = {
    "string": ("s", "sn"),
    "ref": ("id", "owner", "team"),
    "int": ("n", "nn"),
    "double": ("d", "dn"),
    "decimal": ("p", "pn"),
    "bool": ("ok", "okn"),
    "timestamp": ("at", "atn"),
    "json": ("j",),
    "list(string)": ("tags", "tagsn"),
    "list(ref)": ("members",),
    "list(int)": ("nums",),
    "list(double)": ("scores",),
    "geo": ("place", "placen"),
}
# Variables that hold such values as the API answers them.
_SENT = {"timestamp": "$f", "decimal": "$g", "geo": "$h", "list(int)": "$i", "duration": "$j"}
_ORDERED = ("string", "int", "double", "decimal", "timestamp", "duration", "bool", "ref")
_PRINTED = ("int", "double", "decimal", "timestamp", "duration", "bool", "json", "ref")
_NUMBERS = ("decimal", "int", "double")
_ZONES = ('"Europe/Berlin"', '"America/St_Johns"', '"+05:30"', '"-09:30"', '"Nowhere/City"')
_PARTS = (
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
)


_PATHS = {
    "string": ("owner.name", "team.name", "owner.team.name", "team.lead.name"),
    "int": ("owner.level", "team.size", "owner.team.size"),
    "bool": ("team.open", "owner.team.open"),
    "ref": ("owner.id", "owner.team", "team.lead", "team.lead.team"),
}
_RECORDS = {  # lists of records that lead to one, and what these records hold
    "record.notes": "notes",
    "next.notes": "notes",
    "record.owner.notes": "notes",
    "record.owner.led": "teams",
    "record.team.players": "users",
    "record.team.praise": "notes",
    "record.team.lead.notes": "notes",
}
_HELD = {
    "users": {"string": ("name", "team.name"), "int": ("level", "team.size"), "ref": ("id", "team"), "bool": ("team.open",)},
    "teams": {"string": ("name", "lead.name"), "int": ("size",), "bool": ("open",), "ref": ("id", "lead")},
    "notes": {
        "string": ("body", "author.name"),
        "int": ("score", "author.level"),
        "ref": ("id", "thing", "author", "author.team"),
        "timestamp": ("at",),
        "list(ref)": ("fans",),
    },
}


def quoted(text: str) -> str:
    """The text as a literal of the language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Expressions:
    """A stream of expressions from one seed."""

    def __init__(self, seed: int, *, variables: bool) -> None:
        self._pick = random.Random(seed)
        self._variables = variables
        self._bound: list[tuple[str, str]] = []

    def one(self) -> str:
        self._bound = []
        return self.condition(self._pick.choice((1, 2, 2, 3)))

    def condition(self, depth: int) -> str:
        pick = self._pick
        if depth <= 0:
            return pick.choice((self._column("bool"), self._comparison(0), self._comparison(0), self._membership(0)))
        return pick.choice(
            (
                lambda: f"({self.condition(depth - 1)} && {self.condition(depth - 1)})",
                lambda: f"({self.condition(depth - 1)} || {self.condition(depth - 1)})",
                lambda: f"!({self.condition(depth - 1)})",
                lambda: f"({self.condition(depth - 1)} ? {self.condition(depth - 1)} : {self.condition(depth - 1)})",
                lambda: self._comparison(depth - 1),
                lambda: self._comparison(depth - 1),
                lambda: self._comparison(depth - 1),
                lambda: self._membership(depth - 1),
                lambda: self._test(depth - 1),
                lambda: self._loop(depth - 1),
                lambda: f"!{self._loop(depth - 1)}",
                self._presence,
            )
        )()

    def value(self, kind: str, depth: int) -> str:
        """An expression of this type."""
        names = [name for name, held in self._bound if held == kind]
        names += [f"{name}.{field}" for name, held in self._bound for field in _HELD.get(held, {}).get(kind, ())]
        if kind == "string":
            names += [f"{name}.name" for name, held in self._bound if held == "members"]
        if names and self._pick.random() < 0.6:
            return self._pick.choice(names)
        if depth <= 0 or self._pick.random() < 0.3:
            return self._simple(kind)
        if self._pick.random() < 0.1:
            return f"({self.condition(depth - 1)} ? {self.value(kind, depth - 1)} : {self.value(kind, depth - 1)})"
        return self._made(kind, depth - 1)

    def _simple(self, kind: str) -> str:
        if self._pick.random() < 0.6 and kind in _BY_TYPE:
            return self._column(kind)
        if self._variables and self._pick.random() < 0.2:
            return "$" + self._pick.choice(("f", "g", "h", "i", *"abcde")) if kind not in _SENT else _SENT[kind]
        return self._literal(kind)

    def _column(self, kind: str) -> str:
        root = self._pick.choice(("record", "record", "record", "next"))
        if kind in _PATHS and self._pick.random() < 0.2:
            return f"{root}.{self._pick.choice(_PATHS[kind])}" if self._pick.random() < 0.9 else "auth.team.name"
        return f"{root}.{self._pick.choice(_BY_TYPE[kind])}"

    def _literal(self, kind: str) -> str:
        pick = self._pick
        match kind:
            case "string":
                return pick.choice(
                    (quoted(pick.choice(TEXTS)), quoted(pick.choice(TEXTS)), "auth.name", "auth.id", "request.via")
                )
            case "ref":
                return pick.choice(("auth.id", quoted(pick.choice(IDS)), quoted(IDS[0].upper()), '"x"'))
            case "int":
                return pick.choice((str(pick.choice(INTS)), str(pick.choice((0, 1, 2, -1))), "auth.level"))
            case "double":
                return repr(pick.choice(DOUBLES))
            case "decimal":
                return f"decimal({quoted(pick.choice(DECIMALS))})"
            case "bool":
                return pick.choice(("true", "false", "auth.level == 7"))
            case "timestamp":
                return pick.choice(("now", 'timestamp("2024-03-31T01:00:00Z")', "timestamp(0)", 'timestamp("bad")'))
            case "duration":
                return f'duration("{pick.choice(("1h", "-24h", "0s", "0.000001s", "8760h", "1ms"))}")'
            case "geo":
                return f"geo({pick.choice(('52.5', '0', '-90', '91.0', '5e-324'))}, {pick.choice(('13.4', '180', '-180.0'))})"
            case "json":
                return pick.choice(("auth.claims.role", "auth.claims.n", "auth.claims.l", "auth.claims.none", "auth.claims"))
            case "list(ref)":
                return pick.choice(("auth.teams", f"[{quoted(IDS[0])}, {quoted(IDS[1])}]", '["x"]', "[]"))
        item = kind[5:-1]
        return "[" + ", ".join(self._literal(item) for _ in range(pick.choice((0, 1, 2, 3)))) + "]"

    def _made(self, kind: str, depth: int) -> str:
        pick, value = self._pick, self.value
        match kind:
            case "string":
                return pick.choice(
                    (
                        f"({value('string', depth)} + {value('string', depth)})",
                        f"{value('string', depth)}.{pick.choice(('lowerAscii', 'upperAscii'))}()",
                        f"string({value(pick.choice(_PRINTED), depth)})",
                        f"{value('list(string)', depth)}[{value('int', 0)}]",
                    )
                )
            case "ref":
                return pick.choice((self._column("ref"), f"{self._column('list(ref)')}[{pick.choice('01')}]"))
            case "int":
                return pick.choice(
                    (
                        f"({value('int', depth)} {pick.choice('+-*/%')} {value('int', depth)})",
                        f"-({value('int', depth)})",
                        f"size({value(pick.choice(('string', 'json', 'list(string)', 'list(ref)', 'ref')), depth)})",
                        f"int({value(pick.choice(('double', 'decimal', 'string', 'json', 'timestamp')), depth)})",
                        f"{value('timestamp', depth)}.{pick.choice(_PARTS)}()",
                        f"{self._column('timestamp')}.{pick.choice(_PARTS)}({pick.choice(_ZONES)})",
                        f"{value('duration', depth)}.{pick.choice(('getHours', 'getMinutes', 'getSeconds'))}()",
                        self._count(depth),
                        f"{value('list(int)', 0)}[{value('int', 0)}]",
                    )
                )
            case "double":
                return pick.choice(
                    (
                        f"({value('double', depth)} {pick.choice('+-*/')} {value('double', depth)})",
                        f"-({value('double', depth)})",
                        f"double({value(pick.choice(('int', 'decimal', 'string', 'json')), depth)})",
                        f"distance({value('geo', depth)}, {value('geo', depth)})",
                        f"{value('geo', depth)}.{pick.choice(('lat', 'lon()'))}",
                    )
                )
            case "decimal":
                return pick.choice(
                    (
                        f"({value('decimal', depth)} {pick.choice('+-*')} {value(pick.choice(_NUMBERS), depth)})",
                        f"-({value('decimal', depth)})",
                        f"decimal({value(pick.choice(('int', 'double', 'string', 'json')), depth)})",
                    )
                )
            case "timestamp":
                return pick.choice(
                    (
                        f"({value('timestamp', depth)} {pick.choice('+-')} {value('duration', depth)})",
                        f"timestamp({value(pick.choice(('string', 'json', 'int')), depth)})",
                    )
                )
            case "duration":
                return pick.choice(
                    (f"({value('timestamp', depth)} - {value('timestamp', depth)})", f"-({value('duration', depth)})")
                )
            case "geo":
                return f"geo({value(pick.choice(('double', 'int')), depth)}, {value(pick.choice(('double', 'int')), depth)})"
            case "bool":
                return pick.choice((f"bool({value(pick.choice(('string', 'json')), depth)})", self.condition(depth)))
            case "json":
                return pick.choice(
                    (f"{value('json', 0)}.a", f"{value('json', 0)}.a.b", f"{value('json', 0)}[0]", f'{value("json", 0)}["b"]')
                )
            case "list(string)":
                return f"({self._column('list(string)')} + {pick.choice((self._column('list(string)'), self._literal(kind)))})"
        return self._simple(kind)

    def _comparison(self, depth: int) -> str:
        pick = self._pick
        operator = pick.choice(("==", "!=", "<", "<=", ">", ">="))
        if pick.random() < 0.05:
            right = pick.choice((self.value("geo", depth), "null", "$d" if self._variables else "null"))
            return f"{self.value('geo', depth)} {pick.choice(('==', '!='))} {right}"
        left = pick.choice((*_ORDERED, "json", "json"))
        match left:
            case "int" | "double" | "decimal":
                right = pick.choice(("int", "double", "decimal", "json", left))
            case "string" | "ref":
                right = pick.choice(("string", "ref", "json", left))
            case "json":
                right = pick.choice(("string", "int", "double", "decimal", "json", "bool"))
            case _:
                right = left
        if pick.random() < 0.12:
            return f"{self.value(pick.choice((*_ORDERED, 'json', 'list(string)')), depth)} {pick.choice(('==', '!='))} null"
        if pick.random() < 0.06:
            kind = pick.choice(("list(string)", "list(ref)", "list(int)", "list(double)"))
            return f"{self._column(kind)} {pick.choice(('==', '!='))} {self.value(pick.choice((kind, 'json', kind)), depth)}"
        return f"{self.value(left, depth)} {operator} {self.value(right, depth)}"

    def _membership(self, depth: int) -> str:
        pick = self._pick
        kind = pick.choice(("string", "ref", "int", "double", "decimal", "json"))
        held = {
            "string": (self.value("list(string)", depth), self.value("json", depth), "auth.teams", self._column("list(ref)")),
            "ref": (self.value("list(ref)", depth), self.value("list(string)", depth), "auth.teams"),
            "int": (
                self.value("list(int)", depth),
                self.value("json", depth),
                self._literal("list(double)"),
                self._column("list(double)"),
            ),
            "double": (self.value("list(double)", depth), self._literal("list(int)"), self._column("list(int)")),
            "decimal": (self._literal("list(double)"), self._literal("list(int)"), self._literal("list(decimal)")),
            "json": (
                self._literal("list(string)"),
                self.value("json", depth),
                self._literal("list(int)"),
                self._literal("list(double)"),
            ),
        }[kind]
        written = f"[{self.value(kind, 0)}, {self.value(kind, 0)}, null]"
        where = pick.choice((*held, written, "$c") if self._variables else (*held, written))
        return f"{self.value(kind, depth)} in {where}"

    def _test(self, depth: int) -> str:
        name = self._pick.choice(("contains", "startsWith", "endsWith"))
        kind = self._pick.choice(("string", "string", "ref", "json"))
        return f"{self.value(kind, depth)}.{name}({self.value(self._pick.choice(('string', 'string', 'json')), depth)})"

    def _loop(self, depth: int) -> str:
        if len(self._bound) >= 2:
            return self._comparison(depth)
        kind = self._pick.choice(("string", "ref", "int", "double", "json", "records", "records", "members"))
        if kind == "records":
            return self._over_records(depth)
        held = self._column("list(ref)") if kind == "members" else ""
        held = held or self.value(f"list({kind})" if kind != "json" else "json", depth)
        name = "xy"[len(self._bound)]
        body = self._inside(name, kind, depth)
        return f"{held}.{self._pick.choice(('exists', 'all'))}({name}, {body})"

    def _over_records(self, depth: int) -> str:
        held, kind = self._records()
        name = "xy"[len(self._bound)]
        return f"{held}.{self._pick.choice(('exists', 'all'))}({name}, {self._inside(name, kind, depth)})"

    def _records(self) -> tuple[str, str]:
        if not self._variables and self._pick.random() < 0.3:
            kind = self._pick.choice(tuple(_HELD))
            return f'rows("{kind}")', kind
        held = self._pick.choice(tuple(_RECORDS))
        return held, _RECORDS[held]

    def _count(self, depth: int) -> str:
        if len(self._bound) >= 2:
            return "2"
        if self._pick.random() < 0.4:
            held, records = self._records()
            if self._pick.random() < 0.3:
                return f"size({held})"
            name = "xy"[len(self._bound)]
            return f"size({held}.filter({name}, {self._inside(name, records, depth)}))"
        kind = self._pick.choice(("string", "int", "json"))
        held = self.value(f"list({kind})" if kind != "json" else "json", 0)
        name = "xy"[len(self._bound)]
        return f"size({held}.filter({name}, {self._inside(name, kind, depth)}))"

    def _inside(self, name: str, kind: str, depth: int) -> str:
        self._bound.append((name, kind))
        plain = self._about(name, kind)
        body = self._pick.choice((plain, plain, self.condition(min(depth, 1))))
        self._bound.pop()
        return body

    def _about(self, name: str, kind: str) -> str:
        """A comparison of the element, or of a field of it."""
        if kind in _HELD:
            kind, fields = self._pick.choice([(one, fields) for one, fields in _HELD[kind].items() if one != "list(ref)"])
            name = f"{name}.{self._pick.choice(fields)}"
        elif kind == "members":
            name, kind = self._pick.choice(((name, "ref"), (f"{name}.name", "string"), (f"{name}.team", "ref")))
        return f"{name} {self._pick.choice(('==', '!=', '<', '>='))} {self.value(kind, 0)}"

    def _presence(self) -> str:
        pick = self._pick
        every = [name for names in _BY_TYPE.values() for name in names]
        return pick.choice(
            (
                f"has(record.{pick.choice(every)})",
                f"has({self.value('json', 0)}.a)",
                f"has(record.{pick.choice([path for paths in _PATHS.values() for path in paths])})",
                f"has(input.{pick.choice(every)})",
                f'changed("{pick.choice(every)}", "{pick.choice(every)}")',
                f"has(auth.{pick.choice(('name', 'teams', 'level'))})",
                "auth == null",
                self._column("json"),
            )
        )
