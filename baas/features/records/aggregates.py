"""An aggregate as HTTP has it: the body that asks, the JSON that answers, and both in the API document."""

from collections.abc import Mapping

from baas.base.errors import BadRequest, Fault, Invalid
from baas.engines.query.grouping import BUCKETS, DEFAULT_GROUPS, FUNCTIONS, MAX_FIGURES, MAX_GROUPS, MAX_KEYS, Asked
from baas.engines.rules.values import zone
from baas.features.records.model import MAX_FILTER_LENGTH, MAX_SEARCH_LENGTH, Groups
from baas.features.records.query import checked_search
from baas.infra.http.routes import Body

NO_ZONE = Fault("/time_zone", "not_allowed", "There is no such time zone; name one such as Europe/Berlin.")
_TEXTS = ("filter", "having", "time_zone", "search")
_KEYS = (*_TEXTS, "vars", "near", "group_by", "select", "sort", "limit")


def asked_by_body(body: Mapping[str, object]) -> Asked:
    """What the body asks, types and limits checked. Raises Invalid with every fault, BadRequest for an empty expression."""
    faults = [Fault(f"/{_escaped(name)}", "unknown_key", "There is no such key here.") for name in body if name not in _KEYS]
    given = {name: value for name, value in body.items() if value is not None}
    texts: dict[str, str] = {}
    for name in _TEXTS:
        value = given.get(name)
        if isinstance(value, str):
            texts[name] = value
        elif value is not None:
            faults.append(Fault(f"/{name}", "wrong_type", "Must be a string."))
    made = Asked(
        group_by=_group_by(given.get("group_by", ()), faults),
        select=_select(given.get("select", {}), faults),
        having=texts.get("having"),
        sort=_sort(given.get("sort", ()), faults),
        limit=_limit(given.get("limit", DEFAULT_GROUPS), faults),
        filter=texts.get("filter"),
        vars=_members("vars", given.get("vars", {}), faults),
        time_zone=texts.get("time_zone"),
        search=texts.get("search"),
        near=None if "near" not in given else _members("near", given["near"], faults),
    )
    if made.time_zone is not None and (not made.time_zone[:1].isalpha() or zone(made.time_zone) is None):
        faults.append(NO_ZONE)
    if faults:
        raise Invalid("The aggregate is wrong.", errors=faults)
    _check_expression("filter", made.filter)
    _check_expression("having", made.having)
    checked_search(made.search)
    return made


def groups_json(groups: Groups) -> bytes:
    """The answer."""
    return b'{"items":[' + groups.items.encode() + b'],"more":' + (b"true}" if groups.more else b"false}")


def _group_by(value: object, faults: list[Fault]) -> tuple[str | Mapping[str, object], ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        faults.append(Fault("/group_by", "wrong_type", "Must be a list of fields."))
        return ()
    wrong = [at for at, one in enumerate(value) if not isinstance(one, str | dict)]
    faults += [Fault(f"/group_by/{at}", "wrong_type", "Must be a string or an object.") for at in wrong]
    return () if wrong else tuple(value)


def _select(value: object, faults: list[Fault]) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        faults.append(Fault("/select", "wrong_type", "Must be an object of names and functions."))
        return {}
    wrong = [name for name, one in value.items() if not isinstance(one, str)]
    faults += [Fault(f"/select/{_escaped(name)}", "wrong_type", "Must be a string, such as sum(price).") for name in wrong]
    return {} if wrong else value


def _sort(value: object, faults: list[Fault]) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) and one.strip() for one in names):
        faults.append(Fault("/sort", "wrong_type", "Must be names, in a list or with commas between them."))
        return ()
    return tuple(one.strip() for one in names)


def _limit(value: object, faults: list[Fault]) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        faults.append(Fault("/limit", "wrong_type", "Must be a whole number."))
    elif not 1 <= value <= MAX_GROUPS:
        faults.append(Fault("/limit", "out_of_range", f"Must be from 1 to {MAX_GROUPS}."))
    else:
        return value
    return DEFAULT_GROUPS


def _members(name: str, value: object, faults: list[Fault]) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    faults.append(Fault(f"/{name}", "wrong_type", "Must be an object."))
    return {}


def _check_expression(name: str, text: str | None) -> None:
    """Raises Invalid over the limit, BadRequest for an expression without text."""
    if text is None:
        return
    if len(text) > MAX_FILTER_LENGTH:
        words = f"{name} may have at most {MAX_FILTER_LENGTH} characters."
        raise Invalid(words, code="limit_exceeded", limit=MAX_FILTER_LENGTH, errors=[Fault(f"/{name}", "limit_exceeded", words)])
    if not text.strip():
        code = "bad_filter" if name == "filter" else "bad_aggregate"
        raise BadRequest(f"The expression of {name} is empty.", code=code, position=0, line=1, column=1)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


REQUEST = Body(
    {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "group_by": {
                "type": "array",
                "maxItems": MAX_KEYS,
                "description": "Fields, also through relations (`author.country`), and of moments and days a part of time "
                "(`created_at:month`).",
                "items": {
                    "anyOf": [
                        {"type": "string"},
                        {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["field"],
                            "properties": {
                                "field": {"type": "string"},
                                "by": {"type": "string", "enum": list(BUCKETS)},
                                "as": {"type": "string", "description": "The name in the answer."},
                            },
                        },
                    ]
                },
            },
            "select": {
                "type": "object",
                "maxProperties": MAX_FIGURES,
                "description": f"Names and what they count: {', '.join(FUNCTIONS)} of a field, or count().",
                "additionalProperties": {"type": "string"},
                "examples": [{"n": "count()", "total": "sum(price)"}],
            },
            "filter": {"type": "string", "maxLength": MAX_FILTER_LENGTH},
            "search": {"type": "string", "maxLength": MAX_SEARCH_LENGTH, "description": "As of a list; no typo is forgiven."},
            "near": {"type": "object", "description": 'A place: {"field", "lat", "lon", "within": metres}.'},
            "having": {
                "type": "string",
                "maxLength": MAX_FILTER_LENGTH,
                "description": "An expression over the names in the answer; groups for which it is not true are left out.",
            },
            "vars": {"type": "object", "description": "The values of the $names in filter and having."},
            "sort": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_GROUPS, "default": DEFAULT_GROUPS},
            "time_zone": {"type": "string", "default": "UTC", "description": "Where parts of time begin, such as Europe/Berlin."},
        },
    }
)
ANSWER = Body(
    {
        "type": "object",
        "required": ["items", "more"],
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "more": {"type": "boolean", "description": "Whether there are groups beyond the limit."},
        },
    }
)
