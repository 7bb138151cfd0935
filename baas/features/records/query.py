"""What a client asks for, from a query string or a body, as values: forms and limits checked, names not yet looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from baas.base.errors import BadRequest, Fault, Invalid
from baas.base.strict_json import loads_text
from baas.engines.query.expand import MAX_DEPTH, check_size
from baas.engines.query.expand import MAX_LIMIT as MAX_EXPANDED
from baas.engines.query.tree import Count, Expand, Filter, SortKey
from baas.features.records.model import DEFAULT_LIMIT, MAX_FILTER_LENGTH, MAX_LIMIT, MAX_SEARCH_LENGTH, MAX_SORT_KEYS, Wanted
from baas.infra.http import params

LIST = ("filter", "vars", "sort", "limit", "cursor", "fields", "expand", "count", "search", "near", "as_of")
COUNTS = ("none", "estimate", "exact")
_LONGEST_NAME = 100
_NULLS = {"nulls_first": True, "nulls_last": False}
_EXPANSION = ("filter", "vars", "sort", "limit", "fields", "expand")
_BODY_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "filter": (str, "a string"),
    "vars": (dict, "an object"),
    "sort": ((str, list), "a string or a list of strings"),
    "limit": (int, "a whole number"),
    "cursor": (str, "a string"),
    "fields": ((str, list), "a string or a list of strings"),
    "expand": ((str, list, dict), "a string, a list of strings or an object"),
    "count": (str, "a string"),
    "search": (str, "a string"),
    "near": (dict, "an object"),
    "as_of": (str, "a moment as text"),
}

_TEXTS: Mapping[str, object] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_EXPANSIONS: Mapping[str, object] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "filter": {"type": "string", "maxLength": MAX_FILTER_LENGTH, "description": "Over the records of this path."},
            "vars": {"type": "object"},
            "sort": _TEXTS,
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_EXPANDED},
            "fields": _TEXTS,
            "expand": {"type": ["object", "string", "array"], "description": "The same, from these records on."},
        },
    },
}
EXPAND_SCHEMA: Mapping[str, object] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, _EXPANSIONS],
    "description": "Dotted paths such as `author,comments.author`, or an object with wishes for each path.",
}

Selection = tuple[tuple[str, ...] | None, tuple[Expand, ...]]
"""The record's own fields (None for all) and what it is expanded by."""


def wanted_by_query(values: params.Query) -> Wanted:
    """A list asked for by a query string. Raises BadRequest, Invalid over a limit."""
    if not values:
        return Wanted()
    text = values.get("vars")
    given = {} if text is None else _object(text, "vars")
    count: Count = params.one_of(values, "count", COUNTS, "none")  # type: ignore[assignment]
    fields, expand = selection_by_query(values)
    return Wanted(
        filter=_filter(values.get("filter")),
        vars=given,
        sort=sort_keys(values.get("sort")),
        limit=_limit(params.integer(values, "limit", DEFAULT_LIMIT, minimum=1)),
        cursor=values.get("cursor"),
        fields=fields,
        expand=expand,
        expand_text=values.get("expand"),
        count=count,
        search=checked_search(values.get("search")),
        near=None if (around := values.get("near")) is None else _object(around, "near"),
        as_of=params.moment(values, "as_of"),
    )


def selection_by_query(values: params.Query) -> Selection:
    """`fields` and `expand` of a query string; `expand` is dotted paths, or the JSON object of a body as text."""
    expand: object = values.get("expand")
    if isinstance(expand, str) and expand.lstrip().startswith("{"):
        expand = loads_text(expand, "expand")
    try:
        return _selection(values.get("fields"), expand)
    except _Misshapen as error:
        raise BadRequest("expand is wrong.", code="bad_expand", parameter="expand", errors=error.under("")) from None


def wanted_by_body(body: dict[str, object]) -> Wanted:
    """The same from a JSON body. Raises Invalid with a pointer to every fault of form."""
    faults = _faults(body, LIST, "")
    if body.get("count") is not None and body["count"] not in COUNTS:
        faults.append(Fault("/count", "not_allowed", f"Must be one of {', '.join(COUNTS)}."))
    limit = body.get("limit")
    if faults:
        raise Invalid("The query is wrong.", errors=faults)
    try:
        fields, expand = _selection(body.get("fields"), body.get("expand"))
    except _Misshapen as error:
        raise Invalid("The query is wrong.", errors=error.under("/expand")) from None
    return Wanted(
        filter=_filter(body.get("filter")),  # type: ignore[arg-type]
        vars=body.get("vars") or {},  # type: ignore[arg-type]
        sort=sort_keys(body.get("sort")),
        limit=_limit(limit if isinstance(limit, int) else DEFAULT_LIMIT),
        cursor=body.get("cursor"),  # type: ignore[arg-type]
        fields=fields,
        expand=expand,
        expand_text=body["expand"] if isinstance(body.get("expand"), str) else None,  # type: ignore[arg-type]
        count=body.get("count") or "none",  # type: ignore[arg-type]
        search=checked_search(body.get("search")),  # type: ignore[arg-type]
        near=body.get("near"),  # type: ignore[arg-type]
        as_of=None if body.get("as_of") is None else params.moment({"as_of": str(body["as_of"])}, "as_of"),
    )


def sort_keys(value: object) -> tuple[SortKey, ...]:
    """`-created_at,author.name,due:nulls_first` as keys. Raises BadRequest (`bad_sort`), Invalid for too many."""
    if value is None:
        return ()
    texts = _names(value, "sort") or ()
    if len(texts) > MAX_SORT_KEYS:
        raise Invalid(f"At most {MAX_SORT_KEYS} sort keys are allowed.", code="limit_exceeded", limit=MAX_SORT_KEYS)
    keys: list[SortKey] = []
    for text in texts:
        key = _sort_key(text)
        if any((one.path, one.field) == (key.path, key.field) for one in keys):
            name = ".".join((*key.path, key.field))
            raise BadRequest(f"{name!r} stands in the sort twice.", code="bad_sort", parameter="sort")
        keys.append(key)
    return tuple(keys)


def _sort_key(text: str) -> SortKey:
    descending = text.startswith("-")
    dotted, colon, nulls = text.removeprefix("-").partition(":")
    if colon and nulls not in _NULLS:
        hint = f"It is {' or '.join(_NULLS)}."
        raise BadRequest(f"{nulls[:_LONGEST_NAME]!r} says nothing about nulls.", code="bad_sort", hint=hint, parameter="sort")
    *path, name = dotted.split(".")
    return SortKey(name, descending, tuple(path), _NULLS.get(nulls, False))


# Fields and expansions.


@dataclass(slots=True)
class _Draft:
    """An expansion while `fields` and `expand` are read, which may both name it."""

    named: bool = False
    fields: list[str] | None = None
    filter: Filter | None = None
    sort: tuple[SortKey, ...] = ()
    limit: int | None = None
    below: "dict[str, _Draft]" = field(default_factory=dict)

    def at(self, path: Sequence[str], *, named: bool) -> "_Draft":
        """What stands at the end of a path, made where it is missing. Raises Invalid for a path that is too deep."""
        if len(path) > MAX_DEPTH:
            raise Invalid(f"A path of expand has at most {MAX_DEPTH} names.", code="limit_exceeded", limit=MAX_DEPTH)
        found = self
        for name in path:
            found = found.below.setdefault(name, _Draft())
            found.named = found.named or named
        return found

    def settled(self) -> tuple[Expand, ...]:
        """What hangs below. Of a record that only lies on the way to a field nothing else is answered."""
        return tuple(
            Expand(
                name,
                tuple(dict.fromkeys(one.fields)) if one.fields is not None else None if one.named else (),
                one.filter,
                one.sort,
                one.limit,
                one.settled(),
                "expand" if one.named else "fields",
            )
            for name, one in self.below.items()
        )


class _Misshapen(Exception):
    """The object of `expand` has faults of form, each with a pointer below it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self._faults = faults

    def under(self, pointer: str) -> list[Fault]:
        return [Fault(pointer + one.pointer, one.code, one.message) for one in self._faults]


def _selection(fields: object, expand: object) -> Selection:
    """Raises BadRequest, Invalid over a limit, _Misshapen."""
    names = _names(fields, "fields")
    if expand is None and (names is None or not any("." in name for name in names)):
        return None if names is None else tuple(dict.fromkeys(names)), ()
    root = _Draft()
    if expand is not None:
        _read_expand(root, expand, ())
    _read_fields(root, names)
    made = root.settled()
    check_size(made)
    return None if root.fields is None else tuple(dict.fromkeys(root.fields)), made


def _read_fields(draft: _Draft, names: Sequence[str] | None) -> None:
    """`title,author.name`: names of the record's own, and paths through what it leads to."""
    if names is None:
        return
    draft.fields = draft.fields or []
    for name in names:
        *path, last = name.split(".")
        if not path:
            draft.fields.append(last)
            continue
        found = draft.at(path, named=False)
        found.fields = [*(found.fields or ()), last]


def _read_expand(draft: _Draft, value: object, path: tuple[str, ...]) -> None:
    """Dotted paths (text or list) or an object of expansions. Raises _Misshapen."""
    if not isinstance(value, dict):
        for text in _names(value, "expand") or ():
            _at(draft, path, text.split("."))
        return
    faults: list[Fault] = []
    for name, given in value.items():
        place = f"/{_escaped(name)}"
        if not isinstance(given, dict):
            faults.append(Fault(place, "wrong_type", "Must be an object."))
            continue
        wrong = _faults(given, _EXPANSION, place)
        faults += wrong
        if wrong:
            continue
        found = _at(draft, path, [name])
        found.filter = _nested_filter(given)
        found.sort = sort_keys(given.get("sort"))
        found.limit = _expanded_limit(given.get("limit"))
        try:
            if given.get("expand") is not None:
                _read_expand(found, given["expand"], (*path, name))
        except _Misshapen as error:
            faults += error.under(f"{place}/expand")
        _read_fields(found, _names(given.get("fields"), "fields"))
    if faults:
        raise _Misshapen(faults)


def _at(draft: _Draft, path: tuple[str, ...], names: list[str]) -> _Draft:
    if len(path) + len(names) > MAX_DEPTH:
        raise Invalid(f"A path of expand has at most {MAX_DEPTH} names.", code="limit_exceeded", limit=MAX_DEPTH)
    return draft.at(names, named=True)


def _nested_filter(given: Mapping[str, object]) -> Filter | None:
    values = given.get("vars") or {}
    source = _filter(given.get("filter"))  # type: ignore[arg-type]
    if source is None and values:
        raise BadRequest("vars has values, and there is no filter to use them.", code="bad_filter", parameter="vars")
    return None if source is None else Filter(source, values)  # type: ignore[arg-type]


def _expanded_limit(limit: object) -> int | None:
    if isinstance(limit, int) and limit > MAX_EXPANDED:
        raise Invalid(f"A list in expand has at most {MAX_EXPANDED} records.", code="limit_exceeded", limit=MAX_EXPANDED)
    return limit if isinstance(limit, int) else None


def condition_by_query(values: params.Query) -> Filter | None:
    """`where` and its `vars`. Raises BadRequest, Invalid over the limit."""
    if not values:
        return None
    source = _filter(values.get("where"))
    given = {} if values.get("vars") is None else _object(values["vars"], "vars")
    if source is None and values.get("vars") is not None:
        raise BadRequest("vars has values, and there is no where to use them.", code="bad_filter", parameter="vars")
    return None if source is None else Filter(source, given)


def body_filter(body: Mapping[str, object]) -> Filter:
    """`filter` and `vars` of a body that has them in their types. Raises BadRequest, Invalid over the limit."""
    source, values = _filter(str(body["filter"])), body.get("vars") or {}
    assert source is not None and isinstance(values, dict)  # noqa: S101, PT018  the body was looked at
    return Filter(source, values)


def strangers(body: Mapping[str, object], known: Sequence[str]) -> list[Fault]:
    """A fault for every key that means nothing here."""
    unknown = [name for name in body if name not in known]
    return [Fault(f"/{_escaped(name)}", "unknown_key", "There is no such key here.") for name in unknown]


# Parts.


def _faults(body: Mapping[str, object], known: Sequence[str], place: str) -> list[Fault]:
    """What is wrong with the form of an object: keys that mean nothing, values of another type."""
    strangers = [name for name in body if name not in known]
    faults = [Fault(f"{place}/{_escaped(name)}", "unknown_key", "There is no such key here.") for name in strangers]
    for name in known:
        kinds, words = _BODY_TYPES[name]
        value = body.get(name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            faults.append(Fault(f"{place}/{name}", "wrong_type", f"Must be {words}."))
        elif isinstance(value, list) and not all(isinstance(one, str) for one in value):
            faults.append(Fault(f"{place}/{name}", "wrong_type", "Must be a list of strings."))
        elif name == "limit" and isinstance(value, int) and value < 1:
            faults.append(Fault(f"{place}/limit", "out_of_range", "Must be at least 1."))
    return faults


def _object(text: str, parameter: Literal["vars", "near"]) -> Mapping[str, object]:
    value = loads_text(text, parameter)
    if not isinstance(value, dict):
        raise BadRequest(f"{parameter} must be a JSON object.", code="bad_parameter", parameter=parameter)
    return value


def checked_search(text: str | None) -> str | None:
    """Raises Invalid over the limit, BadRequest for a search without text, as for a filter."""
    if text is None:
        return None
    if len(text) > MAX_SEARCH_LENGTH:
        words = f"A search may have at most {MAX_SEARCH_LENGTH} characters."
        raise Invalid(words, code="limit_exceeded", limit=MAX_SEARCH_LENGTH)
    if not text.strip():
        raise BadRequest("The search is empty.", code="bad_search", parameter="search")
    return text


def _filter(text: str | None) -> str | None:
    """Raises Invalid over the limit, BadRequest for a filter without text: to leave it out says the same and is no accident."""
    if text is None:
        return None
    if len(text) > MAX_FILTER_LENGTH:
        raise Invalid(
            f"A filter may have at most {MAX_FILTER_LENGTH} characters.", code="limit_exceeded", limit=MAX_FILTER_LENGTH
        )
    if not text.strip():
        raise BadRequest("The filter is empty.", code="bad_filter", position=0, line=1, column=1)
    return text


def _limit(limit: int) -> int:
    if limit > MAX_LIMIT:
        raise Invalid(
            f"A page has at most {MAX_LIMIT} records.",
            code="limit_exceeded",
            limit=MAX_LIMIT,
            errors=[Fault("/limit", "limit_exceeded", f"Must be at most {MAX_LIMIT}.")],
        )
    return limit


def _names(value: object, parameter: str) -> tuple[str, ...] | None:
    """`id,title` or `["id", "title"]`; None when it is not given."""
    if value is None:
        return None
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(one, str) and one.strip() for one in names):
        form = "names with commas between them" if isinstance(value, str) else "a list of names"
        raise BadRequest(f"{parameter} must be {form}.", code=f"bad_{parameter}", parameter=parameter)
    return tuple(one.strip() for one in names)


def _escaped(name: str) -> str:
    """The name in a pointer, cut: an answer must not be as long as the longest request."""
    return name[:_LONGEST_NAME].replace("~", "~0").replace("/", "~1")
