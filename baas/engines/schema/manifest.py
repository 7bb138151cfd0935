"""Collections as JSON, both ways: what people write, what is stored, what is shown. Every fault is reported, all at once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, cast

from baas.base.errors import Fault, did_you_mean
from baas.engines.schema import search
from baas.engines.schema.collection import ACTIONS, SYSTEM_FIELDS, Action, Collection, Field, Index, Using, View
from baas.engines.schema.fields import KINDS, FieldFault, kind_named, kind_of
from baas.engines.schema.fields.base import NAME, is_many, write_int64
from baas.engines.schema.fields.vector import EXTENSION as VECTOR
from baas.infra.db.extensions import missing as missing_extension

MAX_COLLECTIONS = 500
MAX_FIELDS = 200
MAX_INDEXES = 32
MAX_INDEX_FIELDS = 8
MAX_RULE_LENGTH = 4096
MAX_DESCRIPTION_LENGTH = 1000
MAX_MESSAGE_LENGTH = 200
MAX_VIEW_LENGTH = 20_000
USERS = "users"

_FLAGS = ("required", "unique", "hidden", "immutable", "readonly")
_EXPRESSIONS = ("read", "validate")
_FIELD_KEYS = ("name", "type", *_FLAGS, "default", *_EXPRESSIONS, "validate_message", "system", "renamed_from")
_SAID_OF_A_VIEW = ("name", "type", "hidden", "read", "options", "system")
_INDEX_KEYS = ("fields", "unique", "where", "using")
_FLAG_OPTIONS = ("history", "require_if_match")
_OPTIONS = ("description", *_FLAG_OPTIONS, search.OPTION)
_KEYS = ("name", "fields", "indexes", "rules", "options", "view")
# Column names that PostgreSQL keeps for itself, our own, what answers put beside fields, and words of the rule language.
RESERVED_FIELDS = frozenset(
    (*SYSTEM_FIELDS, "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "expand", "expand_more", "true", "false", "null", "in")
)
# In `users`: parts of a sign-up, and what `auth` has beside the fields of its record.
_RESERVED_USER_FIELDS = frozenset(("password", "collection", "claims"))
NAME_WORDS = "A name starts with a small letter and has up to 63 small letters, digits and underscores."

USER_FIELDS = (
    Field("email", "email", required=True, unique=True, system=True),
    Field("email_verified", "bool", required=True, default=False, readonly=True, system=True),
    Field("disabled", "bool", required=True, default=False, readonly=True, system=True),
)
USER_RULES: Mapping[Action, str | None] = MappingProxyType(
    {"list": "record.id == auth.id", "view": "record.id == auth.id", "create": None, "update": None, "delete": None}
)


class Faults:
    """Collects faults; a pointer is given as parts and written by RFC 6901."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, at: str, code: str, message: str) -> None:
        self.found.append(Fault(at, code, message))

    def unknown_keys(self, at: str, value: Mapping[str, object], known: Sequence[str]) -> None:
        for key in value:
            if key not in known:
                hint = did_you_mean(key, known)
                self.add(pointer(at, key), "unknown_key", "No such key here." + (f" {hint}" if hint else ""))


def pointer(at: str, *steps: str | int) -> str:
    """A JSON pointer (RFC 6901) below another."""
    return at + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


# From JSON.


def read_collection(body: Mapping[str, object], *, schema: str, faults: Faults) -> Collection:
    """A new collection from its manifest; what is wrong is in `faults`, and the value is only good when there are none.

    Says nothing about other collections or about rules: `check_relations` and the rules engine do.
    """
    faults.unknown_keys("", body, _KEYS)
    name = read_name(body.get("name"), "/name", faults)
    fields = read_fields(body.get("fields", []), (), faults, reserved=RESERVED_FIELDS)
    _refuse_renames(body.get("fields"), faults)
    view = read_view(body["view"], faults) if body.get("view") is not None else None
    collection = Collection(name=name, schema=schema, fields=fields, view=view)
    if view is not None:
        refuse_in_view(body, collection, faults)
    return replace(
        collection,
        indexes=read_indexes(body.get("indexes", []), collection, faults),
        rules=read_rules(body.get("rules", {}), {}, faults),
        options=read_options(body.get("options", {}), {}, faults),
    )


def read_change(body: Mapping[str, object], old: Collection, faults: Faults) -> tuple[Collection, Mapping[str, str]]:
    """An existing collection as a partial manifest changes it, and old field name -> new one for those renamed.

    `fields` and `indexes` replace the whole list, `rules` and `options` are merged key by key.
    """
    faults.unknown_keys("", body, _KEYS)
    if body.get("name", old.name) != old.name:
        faults.add("/name", "immutable", "A collection keeps its name.")
    new, renames = old, {}
    if "fields" in body:
        system = tuple(field for field in old.fields if field.system)
        reserved = RESERVED_FIELDS | _RESERVED_USER_FIELDS if old.system else RESERVED_FIELDS
        new = replace(old, fields=read_fields(body["fields"], system, faults, reserved=reserved))
        renames = read_renames(body["fields"], old, new, faults)
    if "indexes" in body or "fields" in body:
        given = body.get("indexes", [_index_json(index) for index in old.indexes])
        new = replace(new, indexes=read_indexes(given, new, faults))
    new = replace(
        new,
        rules=read_rules(body.get("rules", {}), old.rules, faults),
        options=read_options(body.get("options", {}), old.options, faults),
    )
    return _read_view_change(body, old, new, faults), renames


def read_name(value: object, at: str, faults: Faults) -> str:
    if value is None:
        faults.add(at, "required", "A name is needed.")
    elif not isinstance(value, str) or not NAME.fullmatch(value):
        faults.add(at, "bad_name", NAME_WORDS)
    return value if isinstance(value, str) else ""


def read_fields(value: object, system: tuple[Field, ...], faults: Faults, *, reserved: frozenset[str]) -> tuple[Field, ...]:
    """The fields of a manifest after the fixed ones of a system collection, which a manifest may repeat but not change."""
    if not isinstance(value, list):
        faults.add("/fields", "wrong_type", "Must be a list of fields.")
        return system
    if len(value) > MAX_FIELDS:
        faults.add("/fields", "too_many", f"A collection has at most {MAX_FIELDS} fields.")
        return system
    fixed = {field.name: field for field in system}
    fields: dict[str, Field] = {}
    for index, entry in enumerate(value):
        at = pointer("/fields", index)
        if not isinstance(entry, dict):
            faults.add(at, "wrong_type", "A field is an object.")
            continue
        name = entry.get("name")
        if isinstance(name, str) and name in fixed:
            _same_as_fixed(entry, fixed[name], at, faults)
            continue
        field = read_field(entry, at, faults, reserved=reserved)
        if field.name in fields:
            faults.add(pointer(at, "name"), "duplicate", f"There is another field named {field.name!r}.")
        fields[field.name] = field
    return (*system, *fields.values())


def read_field(entry: Mapping[str, object], at: str, faults: Faults, *, reserved: frozenset[str]) -> Field:
    """One field; see `read_collection` about faults."""
    name = read_name(entry.get("name"), pointer(at, "name"), faults)
    if name in reserved:
        faults.add(pointer(at, "name"), "reserved_name", f"{name!r} is a reserved name.")
    flags: dict[str, Any] = {flag: _flag(entry, flag, at, faults) for flag in _FLAGS}
    if entry.get("system"):
        faults.add(pointer(at, "system"), "not_allowed", "Only the platform's own fields are system fields.")
    kind = kind_named(str(entry.get("type")))
    if kind is None:
        hint = did_you_mean(str(entry.get("type")), [one.name for one in KINDS])
        words = f"Must be one of {', '.join(one.name for one in KINDS)}." + (f" {hint}" if hint else "")
        faults.add(pointer(at, "type"), "unknown_type" if "type" in entry else "required", words)
        return Field(name, "text", **flags)
    known = (*_FIELD_KEYS, *(option.name for option in kind.options))
    faults.unknown_keys(at, entry, known)
    given = {option.name: plain(entry.get(option.name)) for option in kind.options}
    options, option_faults = kind.check_options(given)
    faults.found += [fault.under(at) for fault in option_faults]
    said: dict[str, Any] = {one: _expression(entry.get(one), pointer(at, one), faults) for one in _EXPRESSIONS}
    said["validate_message"] = _message(entry, at, faults)
    field = Field(name, kind.name, **flags, **said, options=MappingProxyType(dict(options)))
    if option_faults:
        return field
    return _with_default(field, entry.get("default"), at, faults)


def _refuse_renames(value: object, faults: Faults) -> None:
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        if isinstance(entry, dict) and entry.get("renamed_from") is not None:
            faults.add(pointer("/fields", index, "renamed_from"), "not_allowed", "A new collection has no field to rename.")


def read_renames(value: object, old: Collection, new: Collection, faults: Faults) -> dict[str, str]:
    """Old name -> new name of the fields that say `renamed_from`."""
    renames: dict[str, str] = {}
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        source = entry.get("renamed_from") if isinstance(entry, dict) else None
        if source is None or source == entry.get("name"):
            continue
        at = pointer("/fields", index, "renamed_from")
        field = old.field(source) if isinstance(source, str) else None
        if field is None:
            faults.add(at, "unknown_field", "The collection has no such field.")
        elif field.system:
            faults.add(at, "system_field", f"{source!r} belongs to the platform and keeps its name.")
        elif source in renames or (new.field(field.name) and not _is_renamed(value, field.name)):
            faults.add(at, "duplicate", f"{source!r} cannot become two fields.")
        else:
            renames[field.name] = str(entry.get("name"))
    return renames


def read_indexes(value: object, collection: Collection, faults: Faults) -> tuple[Index, ...]:
    if not isinstance(value, list):
        faults.add("/indexes", "wrong_type", "Must be a list of indexes.")
        return ()
    if len(value) > MAX_INDEXES:
        faults.add("/indexes", "too_many", f"A collection has at most {MAX_INDEXES} indexes.")
        return ()
    indexes: list[Index] = []
    for number, entry in enumerate(value):
        at = pointer("/indexes", number)
        index = _read_index(entry, collection, at, faults)
        if index in indexes:
            faults.add(at, "duplicate", "There is another index like this.")
        indexes.append(index)
    return tuple(indexes)


def read_rules(value: object, old: Mapping[Action, str | None], faults: Faults) -> Mapping[Action, str | None]:
    """All five rules: the given ones, then those of `old`, else null. Their text is not compiled here."""
    given = value if isinstance(value, dict) else {}
    if not isinstance(value, dict):
        faults.add("/rules", "wrong_type", "Must be an object of rules.")
    faults.unknown_keys("/rules", given, ACTIONS)
    return MappingProxyType(
        {
            action: _expression(given[action], pointer("/rules", action), faults) if action in given else old.get(action)
            for action in ACTIONS
        }
    )


def read_options(value: object, old: Mapping[str, object], faults: Faults) -> Mapping[str, object]:
    """The collection's options: `description`, a text for people, `history`, `require_if_match` and `search`. A null
    removes one, and so does false."""
    given = value if isinstance(value, dict) else {}
    if not isinstance(value, dict):
        faults.add("/options", "wrong_type", "Must be an object.")
    faults.unknown_keys("/options", given, _OPTIONS)
    words = given.get("description")
    if words is not None and (not isinstance(words, str) or len(words) > MAX_DESCRIPTION_LENGTH):
        faults.add("/options/description", "wrong_type", f"Must be a string of at most {MAX_DESCRIPTION_LENGTH} characters.")
    for name in _FLAG_OPTIONS:
        if given.get(name) is not None and not isinstance(given[name], bool):
            faults.add(f"/options/{name}", "wrong_type", "Must be true or false.")
        elif given.get(name) is False:
            given = {**given, name: None}
    if given.get(search.OPTION) is not None:
        given = {**given, search.OPTION: _read_search(given[search.OPTION], faults)}
    merged = {**old, **{key: given[key] for key in given if key in _OPTIONS}}
    return MappingProxyType({key: one for key, one in merged.items() if one is not None})


def read_view(value: object, faults: Faults) -> View | None:
    """`{"sql": …}`; `system_fields` is what answers say beside it, and is not read."""
    if not isinstance(value, dict):
        faults.add("/view", "wrong_type", "A view is an object with its SQL.")
        return None
    faults.unknown_keys("/view", value, ("sql", "system_fields"))
    text = value.get("sql")
    if not isinstance(text, str) or not text.strip():
        faults.add("/view/sql", "required" if text is None else "wrong_type", "A SELECT is needed, as a string.")
    elif len(text) > MAX_VIEW_LENGTH:
        faults.add("/view/sql", "too_long", f"It has at most {MAX_VIEW_LENGTH} characters.")
    elif "\0" in text or re.search("[\ud800-\udfff]", text):
        faults.add("/view/sql", "bad_character", "It holds no U+0000 and no half of a surrogate pair.")
    return View(text) if isinstance(text, str) else None


def refuse_in_view(body: Mapping[str, object], view: Collection, faults: Faults) -> None:
    """What a collection that is only read cannot have: constraints, defaults, indexes, rules for writing."""
    plain_field = Field("", "")
    for field in view.fields:
        for one in fields_of(Field):
            if one.name not in _SAID_OF_A_VIEW and getattr(field, one.name) != getattr(plain_field, one.name):
                faults.add(pointer(place(body, field.name), one.name), "not_allowed", f"A view has no {one.name}.")
        for option in ("inverse", "search"):
            if field.options.get(option):
                faults.add(pointer(place(body, field.name), option), "not_allowed", f"A view has no {option}.")
        if field.type == "file":
            faults.add(pointer(place(body, field.name), "type"), "not_allowed", "A view has no files.")
    if body.get("indexes"):
        faults.add("/indexes", "not_allowed", "A view has no indexes; those of its collections serve it.")
    rules = body.get("rules")
    for action in ("create", "update", "delete"):
        if isinstance(rules, dict) and rules.get(action) is not None:
            faults.add(pointer("/rules", action), "not_allowed", "A view is only read.")


def _read_view_change(body: Mapping[str, object], old: Collection, new: Collection, faults: Faults) -> Collection:
    if old.view is None:
        if body.get("view") is not None:
            faults.add("/view", "immutable", "A collection cannot become a view. Make another one.")
        return new
    if "view" in body:
        view = read_view(body["view"], faults)
        if view is not None and view.sql != old.view.sql:
            new = replace(new, view=view)
    entries = body.get("fields")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and entry.get("renamed_from") is not None:
            faults.add(pointer("/fields", index, "renamed_from"), "not_allowed", "The SELECT names the columns of a view.")
    refuse_in_view(body, new, faults)
    return new


def _read_search(value: object, faults: Faults) -> Mapping[str, object]:
    """How the fields marked `search` are searched: `language`, and `typos`, which is left open where nothing is said."""
    at = pointer("/options", search.OPTION)
    if not isinstance(value, dict):
        faults.add(at, "wrong_type", "Must be an object.")
        return {}
    faults.unknown_keys(at, value, ("language", "typos"))
    language, typos = value.get("language"), value.get("typos")
    if language is not None and language not in search.LANGUAGES:
        hint = did_you_mean(str(language), search.LANGUAGES)
        words = f"Must be one of {', '.join(search.LANGUAGES)}." + (f" {hint}" if hint else "")
        faults.add(pointer(at, "language"), "not_allowed", words)
    if typos is not None and type(typos) is not bool:
        faults.add(pointer(at, "typos"), "wrong_type", "Must be true or false.")
    settled = {"language": language or search.DEFAULT_LANGUAGE, "typos": typos}
    return {key: one for key, one in settled.items() if one is not None}


def check_relations(collection: Collection, known: Mapping[str, object], body: Mapping[str, object], faults: Faults) -> None:
    """Every relation links to a collection that exists, this one included."""
    for field in collection.fields:
        target = field.options.get("to") if field.type == "relation" else None
        if getattr(known.get(str(target)), "view", None) is not None:
            at = pointer(place(body, field.name), "to")
            faults.add(at, "not_allowed", f"{target!r} is a view: no relation leads to one.")
        if target is not None and target != collection.name and str(target) not in known:
            hint = did_you_mean(str(target), list(known))
            at = pointer(place(body, field.name), "to")
            faults.add(at, "unknown_collection", f"There is no collection {target!r}." + (f" {hint}" if hint else ""))


def check_inverses(collection: Collection, known: Mapping[str, Collection], body: Mapping[str, object], faults: Faults) -> None:
    """What leads to a collection has a name of its own there: no field's and no other relation's.

    `known` are the collections as they were; a fault is only added where this change brings it.
    """
    changed = {**known, collection.name: collection}
    for field in collection.fields:
        inverse, target = field.options.get("inverse"), changed.get(str(field.options.get("to")))
        if inverse is None or target is None:
            continue
        at = pointer(place(body, field.name), "inverse")
        if inverse in RESERVED_FIELDS or target.field(str(inverse)) is not None:
            faults.add(at, "duplicate", f"{target.name!r} has a field named {inverse!r}.")
        elif any(one is not field and one.options["inverse"] == inverse for one in _leading_to(target.name, changed)):
            faults.add(at, "duplicate", f"Another relation to {target.name!r} has the inverse {inverse!r}.")
    taken = {str(one.options["inverse"]) for one in _leading_to(collection.name, known)}
    for field in collection.fields:
        if field.name in taken and not any(one.name == field.name for one in known.get(collection.name, collection).fields):
            at = pointer(place(body, field.name), "name")
            faults.add(at, "duplicate", f"{field.name!r} is the inverse of a relation to {collection.name!r}.")


def _leading_to(name: str, collections: Mapping[str, Collection]) -> Iterator[Field]:
    """The relations with an inverse that lead to a collection."""
    for one in collections.values():
        for field in one.fields:
            if field.options.get("inverse") is not None and field.options["to"] == name:
                yield field


def useful_extensions(body: Mapping[str, object]) -> tuple[str, ...]:
    """The extensions that a collection of this body would use."""
    entries = [entry for entry in _list(body.get("fields")) if isinstance(entry, dict)]
    options = body.get("options")
    words = any(entry.get("search") for entry in entries) or (isinstance(options, dict) and search.OPTION in options)
    vectors = any(entry.get("type") == VECTOR for entry in entries)
    inside = any(isinstance(one, dict) and one.get("using") == "trigram" for one in _list(body.get("indexes")))
    return (*((search.TRIGRAMS,) if words or inside else ()), *((VECTOR,) if vectors else ()))


def settle(collection: Collection, extensions: frozenset[str], body: Mapping[str, object], faults: Faults) -> Collection:
    """The collection as a server with these extensions can keep it: typos are forgiven unless that is declined.

    What needs an extension that is not there is a fault.
    """
    for field in collection.fields:
        if field.type == VECTOR and VECTOR not in extensions and "fields" in body:
            faults.add(pointer(place(body, field.name), "type"), "extension_missing", missing_extension(VECTOR))
    for number, index in enumerate(collection.indexes):
        if index.using == "trigram" and search.TRIGRAMS not in extensions and "indexes" in body:
            faults.add(pointer("/indexes", number, "using"), "extension_missing", missing_extension(search.TRIGRAMS))
    options = collection.options.get(search.OPTION)
    given = dict(options) if isinstance(options, Mapping) else {}
    if given.get("typos") is True and search.TRIGRAMS not in extensions and search.TRIGRAMS in useful_extensions(body):
        faults.add(pointer("/options", search.OPTION, "typos"), "extension_missing", missing_extension(search.TRIGRAMS))
    if not search.searched(collection) or "typos" in given:
        return collection
    settled = {"language": search.DEFAULT_LANGUAGE, **given, "typos": search.TRIGRAMS in extensions}
    return replace(collection, options=MappingProxyType({**collection.options, search.OPTION: settled}))


def check_types(old: Collection, new: Collection, renames: Mapping[str, str], body: Mapping[str, object], faults: Faults) -> None:
    """Every field that stays can keep its column: the same type, or one that takes all values of the old."""
    origins = {new_name: old_name for old_name, new_name in renames.items()}
    for field in new.fields:
        before = old.field(origins.get(field.name, field.name))
        if before is None or (field.name not in origins and field.name in renames):
            continue
        if not kind_of(field).accepts(before, field):
            words = "Stored values cannot become values of this. Add a new field and copy them, or make the field wider."
            faults.add(place(body, field.name), "type_change", words)


def place(body: Mapping[str, object], name: str) -> str:
    """Where the body defines the field: a pointer into its `fields`."""
    entries = body.get("fields")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and entry.get("name") == name:
            return pointer("/fields", index)
    return "/fields"


def users(schema: str) -> Collection:
    """The system collection that every project has from its start."""
    return Collection(USERS, schema, fields=USER_FIELDS, rules=USER_RULES, system=True)


def plain(value: object) -> object:
    """A decoded JSON value with doubles for its fractions: definitions need no more, and everything can write them."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


# To JSON, and back from the store.


def as_json(collection: Collection) -> dict[str, object]:
    """The manifest of one collection, complete: what `POST` takes, with every default written out."""
    view = collection.view
    return {
        "name": collection.name,
        "fields": [field_json(field) for field in collection.fields],
        "indexes": [_index_json(index) for index in collection.indexes],
        "rules": {action: collection.rules.get(action) for action in ACTIONS},
        "options": dict(collection.options),
        **({} if view is None else {"view": {"sql": view.sql, "system_fields": list(view.system_fields)}}),
    }


def field_json(field: Field) -> dict[str, object]:
    shown: dict[str, object] = {"name": field.name, "type": field.type}
    shown |= {flag: getattr(field, flag) for flag in _FLAGS}
    shown |= {"default": field.default, "read": field.read}
    shown |= {"validate": field.validate, "validate_message": field.validate_message}
    shown |= {name: write_int64(value) if type(value) is int else value for name, value in field.options.items()}
    if field.system:
        shown["system"] = True
    return shown


def stored(definition: Mapping[str, object], *, schema: str, version: int) -> Collection:
    """A collection from what `as_json` made; it was checked when it was saved, so it is not checked again."""
    name = str(definition["name"])
    entries = cast("list[dict[str, object]]", definition["fields"])
    indexes = cast("list[dict[str, object]]", definition["indexes"])
    return Collection(
        name=name,
        schema=schema,
        fields=tuple(_stored_field(entry) for entry in entries),
        indexes=tuple(_stored_index(entry) for entry in indexes),
        rules=MappingProxyType(cast("dict[Action, str | None]", definition["rules"])),
        options=MappingProxyType(cast("dict[str, object]", definition["options"])),
        system=name == USERS,
        version=version,
        view=_stored_view(cast("dict[str, object] | None", definition.get("view"))),
    )


def _stored_field(entry: Mapping[str, object]) -> Field:
    known = {key: entry[key] for key in ("name", "type", *_FLAGS, "default", *_EXPRESSIONS, "validate_message")}
    options = {key: value for key, value in entry.items() if key not in known and key != "system"}
    kind = kind_named(str(entry["type"]))
    settled = options if kind is None else dict(kind.settle(options))
    return Field(**known, options=MappingProxyType(settled), system="system" in entry)  # type: ignore[arg-type]


def _stored_view(entry: Mapping[str, object] | None) -> View | None:
    return None if entry is None else View(str(entry["sql"]), tuple(cast("list[str]", entry["system_fields"])))


def _stored_index(entry: Mapping[str, object]) -> Index:
    using = cast("Using", entry.get("using", "btree"))
    return Index(tuple(cast("list[str]", entry["fields"])), bool(entry["unique"]), cast("str | None", entry["where"]), using)


def _index_json(index: Index) -> dict[str, object]:
    shown = {"fields": list(index.fields), "unique": index.unique, "where": index.where}
    return shown if index.using == "btree" else {**shown, "using": index.using}


# Parts.


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _flag(entry: Mapping[str, object], flag: str, at: str, faults: Faults) -> bool:
    value = entry.get(flag, False)
    if type(value) is not bool:
        faults.add(pointer(at, flag), "wrong_type", f"{flag} must be true or false.")
    return value is True


def _expression(value: object, at: str, faults: Faults) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        faults.add(at, "wrong_type", "An expression is a string, or null.")
        return None
    if not value.strip():
        faults.add(at, "empty", 'An expression is not empty: "true" is everyone, null is operators and secret keys only.')
    elif len(value) > MAX_RULE_LENGTH:
        faults.add(at, "too_long", f"An expression has at most {MAX_RULE_LENGTH} characters.")
    elif "\0" in value or re.search("[\ud800-\udfff]", value):
        faults.add(at, "bad_character", "An expression holds no U+0000 and no half of a surrogate pair.")
    return value


def _message(entry: Mapping[str, object], at: str, faults: Faults) -> str | None:
    """What callers are told when the field's `validate` does not hold."""
    words = entry.get("validate_message")
    at = pointer(at, "validate_message")
    if words is None:
        return None
    if not isinstance(words, str) or not 1 <= len(words) <= MAX_MESSAGE_LENGTH:
        faults.add(at, "wrong_type", f"Must be a string of 1 to {MAX_MESSAGE_LENGTH} characters.")
        return None
    if "\0" in words or re.search("[\ud800-\udfff]", words):
        faults.add(at, "bad_character", "A message holds no U+0000 and no half of a surrogate pair.")
    if entry.get("validate") is None:
        faults.add(at, "not_allowed", "It says what `validate` demands, and there is none.")
    return words


def _with_default(field: Field, default: object, at: str, faults: Faults) -> Field:
    kind = kind_of(field)
    if type(default) is int and field.type == "int":
        default = write_int64(default)
    field = replace(field, default=plain(default))
    try:
        if default is not None:
            try:
                kind.clean(field, default)
            except FieldFault as fault:
                raise FieldFault(fault.code, fault.message, at="/default" + fault.at) from None
        kind.check_field(field)
        if field.hidden and field.required and default is None:
            # Its absence would have to be reported to callers for whom it does not exist.
            raise FieldFault("required", "A hidden field that is required needs a default.", at="/default")
    except FieldFault as fault:
        faults.found.append(fault.under(at))
    return field


def _same_as_fixed(entry: Mapping[str, object], fixed: Field, at: str, faults: Faults) -> None:
    shown = field_json(fixed)
    for key, value in entry.items():
        if key not in shown or shown[key] != value:
            faults.add(pointer(at, key), "system_field", f"{fixed.name!r} belongs to the platform and cannot be changed.")


def _is_renamed(entries: object, name: str) -> bool:
    """Whether the field that now has this name came from another one, so that the old holder of the name is free to move."""
    return any(
        isinstance(entry, dict) and entry.get("name") == name and entry.get("renamed_from") not in (None, name)
        for entry in cast("list[object]", entries)
    )


def _read_index(entry: object, collection: Collection, at: str, faults: Faults) -> Index:
    if not isinstance(entry, dict):
        faults.add(at, "wrong_type", "An index is an object.")
        return Index(())
    faults.unknown_keys(at, entry, _INDEX_KEYS)
    names = entry.get("fields")
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_INDEX_FIELDS:
        faults.add(pointer(at, "fields"), "wrong_type", f"Must be a list of 1 to {MAX_INDEX_FIELDS} field names.")
        names = []
    unique, where = _flag(entry, "unique", at, faults), _expression(entry.get("where"), pointer(at, "where"), faults)
    using = _index_method(entry.get("using"), names, collection, unique=unique)
    if entry.get("using") not in (None, using):
        words = "Must be gin over one list, gist over one geo_point, hnsw over one vector, trigram over one text; else btree."
        faults.add(pointer(at, "using"), "not_allowed", words)
    for number, fault in _index_field_faults(names, collection, using):
        faults.add(pointer(at, "fields", number), fault.code, fault.message)
    return Index(tuple(str(name) for name in names), unique, where, using)


def _index_method(wanted: object, names: Sequence[object], collection: Collection, *, unique: bool) -> Using:
    """What serves the fields best: a list is asked what it holds, a place by area, a vector by neighbourhood.

    What stands inside a text is asked only where that is wanted: such an index is larger than the text.
    """
    field = collection.field(names[0]) if len(names) == 1 and isinstance(names[0], str) else None
    if field is None or unique or (wanted == "btree" and field.type == "geo_point"):
        return "btree"
    if is_many(field):
        return "gin"
    if wanted == "trigram" and kind_of(field).cast(field) == "text":
        return "trigram"
    return cast("Using", {"geo_point": "gist", "vector": "hnsw"}.get(field.type, "btree"))


def _index_field_faults(names: Sequence[object], collection: Collection, using: Using) -> Iterator[tuple[int, FieldFault]]:
    seen = set()
    for number, name in enumerate(names):
        bare = name.removeprefix("-") if isinstance(name, str) else ""
        field = collection.field(bare)
        if field is None and bare not in SYSTEM_FIELDS:
            hint = did_you_mean(bare, [one.name for one in collection.fields])
            yield number, FieldFault("unknown_field", "The collection has no such field." + (f" {hint}" if hint else ""))
        elif bare in seen:
            yield number, FieldFault("duplicate", "The index has this field already.")
        elif field is not None and using == "btree" and not kind_of(field).indexable(field):
            yield number, FieldFault("not_indexable", f"A field of type {field.type} holding this cannot be indexed.")
        seen.add(bare)
