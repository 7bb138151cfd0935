"""The values that come back. Resources are read-only mappings with attributes, so a field the server adds is there at once."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, runtime_checkable

Json = dict[str, Any]
_MOMENTS = ("created_at", "updated_at", "last_used_at", "expires_at", "activated_at")


class Resource(Mapping[str, Any]):
    """A JSON object of the server: `todo["title"]` and `todo.title` are the same; nothing can be assigned.

    A field that is named like a method of mappings (`items`, `keys`, `values`, `get`, `dict`) is reached by `[...]`.
    """

    __slots__ = ("_data", "_json")

    def __init__(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_json", dict(data))
        object.__setattr__(self, "_data", {name: self._read(name, value) for name, value in data.items()})

    @staticmethod
    def _read(name: str, value: Any) -> Any:
        """What stands under a name, of its JSON."""
        return _moment(name, value)

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __getattr__(self, name: str) -> Any:
        if name in type(self).__slots__ or name.startswith("__"):  # not made yet: copy and pickle ask before __init__ has run
            raise AttributeError(name)
        try:
            return self._data[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(self._data)}") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} is read-only; send changes with update()")

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Resource):
            return bool(self._json == other._json)
        return bool(self._data == other) if isinstance(other, Mapping) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._json.get("id"), self._json.get("rev")))

    def __reduce__(self) -> tuple[type["Resource"], tuple[Json]]:
        return type(self), (self._json,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data!r})"

    def dict(self) -> Json:
        """A copy of the JSON object as the server sent it."""
        return copy.deepcopy(self._json)


class Record(Resource):
    """A record of a collection; its `rev` lets `update` refuse to overwrite somebody else's change.

    `expand` holds the records it leads to, when they were asked for; `expand_more` the names of those lists that were cut.
    """

    __slots__ = ()
    id: str
    rev: int
    created_at: datetime
    updated_at: datetime
    expand: "Expanded"

    @staticmethod
    def _read(name: str, value: Any) -> Any:
        return Expanded(value) if name == "expand" and isinstance(value, Mapping) else _moment(name, value)


class Expanded(Resource):
    """The records that another one leads to, by the name of the relation: one `Record` or None, or a list of them."""

    __slots__ = ()

    @staticmethod
    def _read(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [Record(one) for one in value]
        return Record(value) if isinstance(value, Mapping) else value

    def one(self, name: str) -> Record | None:
        """The record of a relation to one; None where it is empty or hidden.

        Raises:
            KeyError: the name was not expanded. TypeError: it leads to many.
        """
        found = self[name]
        if isinstance(found, list):
            raise TypeError(f"{name} leads to many records: say many({name!r}).")
        return cast("Record | None", found)

    def many(self, name: str) -> list[Record]:
        """The records of a relation to many, or of a back-relation.

        Raises:
            KeyError: the name was not expanded. TypeError: it leads to one.
        """
        found = self[name]
        if not isinstance(found, list):
            raise TypeError(f"{name} leads to one record: say one({name!r}).")
        return found


class Group(Resource):
    """One row of an aggregate: what it is grouped by, and its figures."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Groups:
    """The rows of an aggregate. `more` tells whether there were more than the limit."""

    items: list[Group]
    more: bool

    def __iter__(self) -> Iterator[Group]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class User(Record):
    """An account of the project, with the project's own fields beside these. `claims` are what rules see as `auth.claims`."""

    __slots__ = ()
    email: str
    email_verified: bool
    claims: dict[str, Json]


class File(Resource):
    """What is known of a stored file; `path` is its key in the bucket, `sha256` the hash of its content."""

    __slots__ = ()
    path: str
    name: str
    folder: str
    size: int
    content_type: str
    sha256: str
    owner: str | None
    metadata: Json
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> str:
        """What `download`, `open` and `delete` of the bucket take; the same as `path`."""
        return self.path


class Project(Resource):
    """A project of the installation."""

    __slots__ = ()
    id: str
    name: str
    created_at: datetime


class Key(Resource):
    """An API key. `key` is there once, in the answer of its creation."""

    __slots__ = ()
    id: str
    name: str
    key: str
    scopes: list[str]


class SigningKey(Resource):
    """A key that signs the project's access tokens, or verifies those that it signed until it retires."""

    __slots__ = ()
    id: str
    signs: bool
    created_at: datetime
    retires_at: datetime | None


class CollectionInfo(Resource):
    """A collection's definition: its fields, indexes and rules."""

    __slots__ = ()
    name: str
    fields: list[Json]
    rules: dict[str, str | None]


class BucketInfo(Resource):
    """A bucket's definition."""

    __slots__ = ()
    name: str
    public: bool
    max_size: int
    types: list[str]
    rules: dict[str, str | None]


class Site(Resource):
    """A static site of the project."""

    __slots__ = ()
    name: str
    url: str
    spa: bool


class Release(Resource):
    """One uploaded state of a site."""

    __slots__ = ()
    id: str
    url: str
    created_at: datetime


class AuthSession(Resource):
    """One place where an account is signed in."""

    __slots__ = ()
    id: str
    created_at: datetime


class Operator(Resource):
    """The operator who signed in, with the token to use."""

    __slots__ = ()
    token: str


@runtime_checkable
class Model(Protocol):
    """Your own class for a collection's records: a dataclass (or any class that takes its fields as keywords)."""

    __collection__: ClassVar[str]


TModel = TypeVar("TModel", bound=Model)
M = TypeVar("M")
"""What a collection gives: Record, or your Model."""


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """One page of a list. `next_cursor` is None on the last page; `total` is there when it was asked for.

    `feed` is a place in the changes of the project, from before the list was read: `subscribe(since=page.feed, initial=False)`
    goes on from this page without a hole. What the page shows may be told again; `rev` tells.
    """

    items: list[M]
    next_cursor: str | None = None
    total: int | None = None
    feed: str | None = None

    def __iter__(self) -> Iterator[M]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Version(Generic[M]):
    """One entry of a history. `record` is as it was then; of a delete, as it was last.

    `principal` and `request_id` are there for operators and keys.
    """

    action: str
    rev: int
    at: datetime
    record: M
    principal: str | None = None
    request_id: str | None = None


class ImportReport(Resource):
    """What became of a file's lines. `errors` are the first hundred: `line`, `pointer`, `code`, `message`.

    `resume`, where it is there, is the line to go on from: what stands before it is done.
    """

    __slots__ = ()
    read: int
    created: int
    updated: int
    failed: int
    errors: list[Json]
    resume: int


@dataclass(frozen=True, slots=True)
class Upserted(Generic[M]):
    """What an upsert left, in the order that was given, and how many were created and changed."""

    items: list[M]
    created: int
    updated: int


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user: the short-lived access token, the token that renews it, and who it is."""

    access_token: str
    refresh_token: str
    expires_at: datetime
    session_id: str
    user: User

    def __repr__(self) -> str:
        return f"Session(session_id={self.session_id!r}, user={self.user.get('id')!r}, expires_at={self.expires_at.isoformat()})"

    @classmethod
    def of_answer(cls, answer: Mapping[str, Any], *, now: datetime) -> "Session":
        """From the server's JSON; `expires_in` counts from `now`, so no clock but ours matters."""
        expires_at = now + timedelta(seconds=float(answer["expires_in"]))
        return cls(answer["access_token"], answer["refresh_token"], expires_at, answer["session_id"], User(answer["user"]))

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> "Session":
        """From `as_json`."""
        expires_at = datetime.fromisoformat(stored["expires_at"])
        return cls(stored["access_token"], stored["refresh_token"], expires_at, stored["session_id"], User(stored["user"]))

    def as_json(self) -> Json:
        """A JSON object that holds the whole session, secrets included."""
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "expires_at": self.expires_at.isoformat(),
            "session_id": self.session_id,
            "user": self.user.dict(),
        }

    def near_end(self, now: datetime) -> bool:
        """Whether the access token ends within 30 seconds."""
        return self.expires_at - now < timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is, in bytes; `total` is None when the source does not know its size."""

    sent: int
    total: int | None


def utc_now() -> datetime:
    """Now, with its time zone."""
    return datetime.now(UTC)


def _moment(name: str, value: Any) -> Any:
    if name not in _MOMENTS or not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:  # a project's own text field of that name
        return value
