"""Who calls the API in a test, and a project to call it in."""

from dataclasses import dataclass, field
from typing import Any

import httpx2

from baas.base.ids import short_id

PASSWORD = "correct horse battery"


@dataclass
class Caller:
    """One principal's door to the API: paths are relative to `base`, absolute when they start with a slash."""

    http: httpx2.AsyncClient
    base: str
    token: str | None = None
    id: str = ""
    email: str = ""
    session: dict[str, Any] = field(default_factory=dict)

    async def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", None) or {}
        return await self.http.request(
            method, path if path.startswith("/") else f"{self.base}/{path}", headers=headers, **options
        )

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("HEAD", path, **options)

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("DELETE", path, **options)

    async def create(self, collection: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create a record and return it; fails the test on anything but 201."""
        answer = await self.post(f"collections/{collection}/records", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def list(self, collection: str, **params: Any) -> list[dict[str, Any]]:
        """The items of one page; fails the test on anything but 200."""
        answer = await self.get(f"collections/{collection}/records", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]


@dataclass
class ProjectUnderTest:
    """A fresh project with its operator and an anonymous caller; users, keys and collections are made on demand."""

    name: str
    id: str
    schema: str
    operator: Caller
    anonymous: Caller

    async def user(self, email: str | None = None, **own_fields: Any) -> Caller:
        """A signed-in user, made by the operator and signed in through the front door."""
        email = email or f"{short_id()}@example.com"
        made = await self.operator.post("users", json={"email": email, "password": PASSWORD, **own_fields})
        assert made.status_code == 201, made.text
        answer = await self.anonymous.post("auth/sign-in", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        session = answer.json()
        return Caller(self.anonymous.http, self.anonymous.base, session["access_token"], session["user"]["id"], email, session)

    async def key(self, *scopes: str) -> Caller:
        answer = await self.operator.post("keys", json={"name": "test", "scopes": list(scopes or ("*",))})
        assert answer.status_code == 201, answer.text
        return Caller(self.anonymous.http, self.anonymous.base, answer.json()["key"], answer.json()["id"])

    async def collection(
        self, name: str, fields: list[dict[str, Any]] | None = None, rules: dict[str, str | None] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A collection; without fields it has a `title` text and an `owner` relation to users."""
        fields = fields or [{"name": "title", "type": "text"}, {"name": "owner", "type": "relation", "to": "users"}]
        answer = await self.operator.post("collections", json={"name": name, "fields": fields, "rules": rules or {}, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def settings(self, **patch: Any) -> dict[str, Any]:
        answer = await self.operator.patch("settings", json=patch)
        assert answer.status_code == 200, answer.text
        return answer.json()
