# Made from _async/admin.py by sdk/unasync.py; change that one.
"""What operators, and keys with the scope for it, manage: projects, keys, collections, buckets, settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from baas_sdk._sync.paging import id_of, page_of
from baas_sdk._sync.transport import Transport
from baas_sdk.models import BucketInfo, CollectionInfo, Key, Operator, Page, Project, SigningKey
from baas_sdk.wire import segment


class Operators:
    """The people who run the installation."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def sign_in(self, email: str, password: str) -> Operator:
        """Signs in; this client, and those made from it, are then that operator.

        Raises:
            NotAuthenticated: address or password is wrong; nothing says which.
            RateLimited: too many tries.
        """
        body = {"email": email, "password": password}
        answer = self._transport.json("POST", "/v1/operators/sign-in", body, anonymous=True)
        self._transport.credentials.fixed = answer["token"]
        return Operator(answer)

    def sign_out(self) -> None:
        """Ends the operator's session on the server.

        Raises:
            NotAuthenticated: it has ended already.
        """
        self._transport.json("POST", "/v1/operators/sign-out")
        self._transport.credentials.fixed = None

    def me(self) -> Operator:
        """The operator this client is.

        Raises:
            NotAuthenticated, Forbidden: it is none.
        """
        return Operator(self._transport.json("GET", "/v1/operators/me"))


class Projects:
    """All projects of the installation, for operators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Project]:
        """One page of projects."""
        return page_of(self._transport, "/v1/projects", Project, {"limit": limit, "cursor": cursor})

    def iter(self, *, page_size: int = 100) -> Iterator[Project]:
        """Every project, page after page."""
        cursor: str | None = None
        while True:
            page = self.list(limit=page_size, cursor=cursor)
            for project in page.items:
                yield project
            cursor = page.next_cursor
            if cursor is None:
                return

    def get(self, name: str) -> Project:
        """One project.

        Raises:
            NotFound: there is none of this name.
        """
        return Project(self._transport.json("GET", _project(name)))

    def create(self, name: str) -> Project:
        """Makes a project, empty but for its collection `users`.

        Raises:
            Conflict: the name is taken. Invalid: it is no name for a project.
        """
        return Project(self._transport.json("POST", "/v1/projects", {"name": name}))

    def rename(self, name: str, to: str) -> Project:
        """Gives a project another name; its addresses change with it.

        Raises:
            NotFound, Conflict, Invalid: as `get` and `create`.
        """
        return Project(self._transport.json("PATCH", _project(name), {"name": to}))

    def delete(self, name: str) -> None:
        """Deletes a project with everything in it, for good.

        Raises:
            NotFound: there is none of this name.
        """
        self._transport.json("DELETE", _project(name), params={"confirm": name})


class Keys:
    """Secret API keys of the project, for operators and keys with the scope `keys`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Key]:
        """All keys, without their secrets."""
        answer = self._transport.json("GET", self._path())
        return [Key(one) for one in answer["items"]]

    def create(self, name: str, *, scopes: Sequence[str] = ("*",)) -> Key:
        """Makes a key. Its secret, `.key`, is told this once.

        Raises:
            Invalid: a scope is unknown. Forbidden: a key cannot give what it lacks.
        """
        body = {"name": name, "scopes": list(scopes)}
        return Key(self._transport.json("POST", self._path(), body))

    def revoke(self, key: Key | str) -> None:
        """Ends a key, everywhere within two seconds.

        Raises:
            NotFound: there is none with this id.
        """
        path = f"{self._path()}/{segment(id_of(key))}"
        self._transport.json("DELETE", path)

    def _path(self) -> str:
        return self._transport.options.path_of("keys")


class SigningKeys:
    """The keys that sign the project's access tokens, for operators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[SigningKey]:
        """The keys that have not retired, newest first; never their secrets."""
        answer = self._transport.json("GET", self._path())
        return [SigningKey(one) for one in answer["items"]]

    def rotate(self) -> SigningKey:
        """Signs with a new key from now on; tokens of those before it stay good.

        Raises:
            Conflict: there are as many keys as there may be; drop one.
        """
        return SigningKey(self._transport.json("POST", self._path()))

    def drop(self, key: SigningKey | str) -> None:
        """Ends every access token that this key has signed, everywhere within two seconds. The sessions live on.

        Raises:
            NotFound: there is none with this id.
        """
        self._transport.json("DELETE", f"{self._path()}/{segment(id_of(key))}")

    def _path(self) -> str:
        return self._transport.options.path_of("auth/signing-keys")


class Collections:
    """Collections as definitions, for operators and keys with the scope `schema`. Their records: `client.collection(name)`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[CollectionInfo]:
        """All collections, `users` among them."""
        answer = self._transport.json("GET", self._path())
        return [CollectionInfo(one) for one in answer["items"]]

    def get(self, name: str) -> CollectionInfo:
        """One collection.

        Raises:
            NotFound: there is none of this name.
        """
        return CollectionInfo(self._transport.json("GET", self._path(name)))

    def create(self, manifest: Mapping[str, object] | None = None, /, **parts: object) -> CollectionInfo:
        """Makes a collection: `name`, `fields`, and, as wanted, `indexes`, `rules`, `options`.

        Raises:
            Invalid: every fault of fields and rules, with its place. Conflict: the name is taken.
        """
        body = {**(manifest or {}), **parts}
        return CollectionInfo(self._transport.json("POST", self._path(), body))

    def update(
        self, name: str, changes: Mapping[str, object] | None = None, /, *, confirm: str | None = None, **parts: object
    ) -> CollectionInfo:
        """Changes a collection. What loses data needs `confirm="data-loss"`.

        Raises:
            Conflict: it would lose data, or break rules, which are listed. NotFound, Invalid: as `get` and `create`.
        """
        body = {**(changes or {}), **parts}
        return CollectionInfo(self._transport.json("PATCH", self._path(name), body, params=_confirm(confirm)))

    def delete(self, name: str, *, confirm: str | None = None) -> None:
        """Deletes a collection; one that holds records needs `confirm="data-loss"`.

        Raises:
            NotFound: there is none of this name. Conflict: it holds records, or others refer to it.
        """
        params = _confirm(confirm)
        self._transport.json("DELETE", self._path(name), params=params)

    def schema(self) -> dict[str, Any]:
        """The manifest of the whole project."""
        answer: dict[str, Any] = self._transport.json("GET", self._transport.options.path_of("schema"))
        return answer

    def _path(self, name: str | None = None) -> str:
        return self._transport.options.path_of("collections" if name is None else f"collections/{segment(name)}")


class Buckets:
    """Buckets as definitions, for operators and keys with the scope `files`. Their files: `client.bucket(name)`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[BucketInfo]:
        """All buckets."""
        answer = self._transport.json("GET", self._path())
        return [BucketInfo(one) for one in answer["items"]]

    def get(self, name: str) -> BucketInfo:
        """One bucket.

        Raises:
            NotFound: there is none of this name.
        """
        return BucketInfo(self._transport.json("GET", self._path(name)))

    def create(self, name: str, **settings: object) -> BucketInfo:
        """Makes a bucket: `public`, `max_size`, `types`, `rules`.

        Raises:
            Conflict: the name is taken. Invalid: every fault, with its place.
        """
        return BucketInfo(self._transport.json("POST", self._path(), {"name": name, **settings}))

    def update(self, name: str, **settings: object) -> BucketInfo:
        """Changes a bucket's settings.

        Raises:
            NotFound: there is none of this name. Invalid: every fault, with its place.
        """
        return BucketInfo(self._transport.json("PATCH", self._path(name), settings))

    def delete(self, name: str, *, confirm: str | None = None) -> None:
        """Deletes a bucket; one that holds files needs `confirm="data-loss"`.

        Raises:
            NotFound: there is none of this name. Conflict: it holds files.
        """
        params = _confirm(confirm)
        self._transport.json("DELETE", self._path(name), params=params)

    def _path(self, name: str | None = None) -> str:
        return self._transport.options.path_of("buckets" if name is None else f"buckets/{segment(name)}")


class Settings:
    """The project's own settings, for operators and keys with the scope `settings`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> dict[str, Any]:
        """All settings in force."""
        answer: dict[str, Any] = self._transport.json("GET", self._transport.options.path_of("settings"))
        return answer

    def update(self, changes: Mapping[str, object]) -> dict[str, Any]:
        """Merges `changes` (RFC 7396): what is not named stays, None goes back to the default.

        Raises:
            Invalid: every unknown name and wrong value, with its place.
        """
        path = self._transport.options.path_of("settings")
        answer: dict[str, Any] = self._transport.json("PATCH", path, changes)
        return answer


def _project(name: str) -> str:
    return f"/v1/projects/{segment(name)}"


def _confirm(word: str | None) -> dict[str, str]:
    return {} if word is None else {"confirm": word}
