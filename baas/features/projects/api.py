"""Operators, projects, settings and keys over HTTP."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import BadRequest, NotFound
from baas.features.projects import settings as project_settings
from baas.features.projects.keys import Keys
from baas.features.projects.model import SCOPES
from baas.features.projects.operators import Operators
from baas.features.projects.service import Projects
from baas.infra.http import params
from baas.infra.http.answers import created, json_response, no_content
from baas.infra.http.body import read_object
from baas.infra.http.conditions import Condition, shown, tagged
from baas.infra.http.context import Context
from baas.infra.http.page import Cursors, linked, query_of
from baas.infra.http.routes import ANYONE, BOTH, OPERATOR, Body, Endpoint, scope
from baas.infra.http.shape import Shape

_MAX_BODY_BYTES = 64 * 1024
_MAX_KEY_LIFE_S = 10 * 365 * 24 * 3600
_ID = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}


def _object(required: tuple[str, ...] = (), **properties: object) -> Body:
    return Body({"type": "object", "properties": properties, "required": list(required), "additionalProperties": False})


def _items(body: Body) -> Body:
    cursor = {"type": ["string", "null"]}
    return _object(("items", "next_cursor"), items={"type": "array", "items": body.schema}, next_cursor=cursor)


_OPERATOR = _object(("id", "email", "created_at"), id=_ID, email=_TEXT, created_at=_TIME)
_SESSION = _object(("token", "expires_at", "operator"), token=_TEXT, expires_at=_TIME, operator=_OPERATOR.schema)
_CREDENTIALS = _object(("email", "password"), email=_TEXT, password=_TEXT)
_PROJECT = _object(("id", "name", "schema", "created_at"), id=_ID, name=_TEXT, schema=_TEXT, created_at=_TIME)
_NAME = _object(("name",), name={"type": "string", "pattern": "^[a-z][a-z0-9-]{1,40}$"})
_SETTINGS = Body({"type": "object", "properties": {name: {"type": "object"} for name in ("auth", "cors", "limits")}})
_SCOPES = {"type": "array", "items": {"enum": list(SCOPES)}}
_KEY_MEMBERS: Mapping[str, object] = {
    "id": _ID, "name": _TEXT, "hint": _TEXT, "scopes": _SCOPES, "created_at": _TIME, "expires_at": {"type": ["string", "null"]},
}  # fmt: skip
_KEY = _object(tuple(_KEY_MEMBERS), **_KEY_MEMBERS)
_NEW_KEY = _object((*_KEY_MEMBERS, "key"), **_KEY_MEMBERS, key=_TEXT)
_KEY_REQUEST = _object(("name",), name=_TEXT, scopes=_SCOPES, expires_in={"type": "integer", "description": "seconds"})
_PAGE: Mapping[str, Mapping[str, object]] = {"limit": {"type": "integer", "minimum": 1, "maximum": 500}, "cursor": _TEXT}


class OperatorsApi:
    """`/v1/operators`."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    def routes(self) -> tuple[Endpoint, ...]:
        base, tag = "/v1/operators", "operators"
        return (
            Endpoint("POST", f"{base}/sign-in", ANYONE, "Sign an operator in", self.sign_in, tag=tag,
                     request=_CREDENTIALS, responses={200: _SESSION}, once="late"),
            Endpoint("POST", f"{base}/setup", ANYONE, "Make the first operator, with the one-time token from the log", self.setup,
                     tag=tag, request=_object(("token", "email", "password"), token=_TEXT, email=_TEXT, password=_TEXT),
                     responses={201: _SESSION}, once="late"),
            Endpoint("POST", f"{base}/sign-out", OPERATOR, "End this operator's session", self.sign_out, tag=tag, vital=True,
                     responses={204: None}),
            Endpoint("GET", f"{base}/me", OPERATOR, "The operator who asks", self.me, tag=tag, responses={200: _OPERATOR}),
        )  # fmt: skip

    async def sign_in(self, request: Request) -> Response:
        """Answer with a token, or 401 for whatever is wrong."""
        body = Shape(await read_object(request, limit=_MAX_BODY_BYTES))
        email, password = body.text("email", max_chars=320), body.text("password", max_chars=256)
        body.done()
        session = await self._operators.sign_in(email, password, address=Context.of(request).address)
        return json_response(session.as_json())

    async def setup(self, request: Request) -> Response:
        """Make the first operator; 410 ever after."""
        body = Shape(await read_object(request, limit=_MAX_BODY_BYTES))
        token, email = body.text("token", max_chars=200), body.text("email", max_chars=320)
        password = body.text("password", max_chars=1024)
        body.done()
        session = await self._operators.setup(token, email, password)
        return created(session.as_json(), location="/v1/operators/me")

    async def sign_out(self, request: Request) -> Response:
        """End the session whose token the request carries."""
        token = request.headers.get("authorization", "").partition(" ")[2].strip()
        await self._operators.sign_out(token)
        return no_content()

    async def me(self, request: Request) -> Response:
        """The operator who asks."""
        operator = await self._operators.me(Context.of(request).principal)
        return json_response(operator.as_json())


class ProjectsApi:
    """`/v1/projects`."""

    def __init__(self, projects: Projects, cursors: Cursors) -> None:
        self._projects = projects
        self._cursors = cursors

    def routes(self) -> tuple[Endpoint, ...]:
        base, one, tag = "/v1/projects", "/v1/projects/{project}", "projects"
        return (
            Endpoint("GET", base, OPERATOR, "List projects", self.list, tag=tag, query=_PAGE, responses={200: _items(_PROJECT)}),
            Endpoint("POST", base, OPERATOR, "Make a project", self.create, tag=tag, request=_NAME, responses={201: _PROJECT}),
            Endpoint("GET", one, scope("settings"), "Get a project", self.get, tag=tag, responses={200: _PROJECT}),
            Endpoint("PATCH", one, OPERATOR, "Rename a project", self.rename, tag=tag, request=_NAME, responses={200: _PROJECT},
                     beyond=True, conditions=BOTH),
            Endpoint("DELETE", one, OPERATOR, "Delete a project and all its data", self.drop, tag=tag,
                     query={"confirm": {"type": "string", "description": "the project's name"}}, responses={204: None},
                     beyond=True, conditions=BOTH),
            Endpoint("GET", f"{one}/settings", scope("settings"), "Get a project's settings", self.settings, tag=tag,
                     responses={200: _SETTINGS}),
            Endpoint("PATCH", f"{one}/settings", scope("settings"), "Change a project's settings (merge patch)",
                     self.change_settings, tag=tag, request=_SETTINGS, responses={200: _SETTINGS}, conditions=BOTH),
        )  # fmt: skip

    async def list(self, request: Request) -> Response:
        """A page of projects by name."""
        asked, principal = params.query(request), Context.of(request).principal
        limit = params.integer(asked, "limit", 100, minimum=1, maximum=500)
        query = query_of("projects", principal.kind, principal.id)
        cursor = params.text(asked, "cursor")
        after = "" if cursor is None else str(self._cursors.open(cursor, query)[0])
        entries = await self._projects.list(after=after, limit=limit + 1)
        page = entries[:limit]
        following = self._cursors.seal((page[-1].name,), query) if len(entries) > limit else None
        items = [entry.as_json() for entry in page]
        return json_response({"items": items, "next_cursor": following}, headers=linked(request.scope, following))

    async def create(self, request: Request) -> Response:
        """Make a project."""
        entry = await self._projects.create(await _read_name(request))
        return created(entry.as_json(), location=f"/v1/projects/{entry.name}", headers=tagged(entry.as_json()))

    async def get(self, request: Request) -> Response:
        """One project."""
        return shown(request, (await self._projects.entry(Context.of(request).project)).as_json())

    async def rename(self, request: Request) -> Response:
        """Give a project another name."""
        entry = await self._projects.rename(Context.of(request).project, await _read_name(request), Condition.of(request))
        return json_response(entry.as_json(), headers=tagged(entry.as_json()))

    async def drop(self, request: Request) -> Response:
        """Delete a project."""
        confirm = params.text(params.query(request), "confirm")
        await self._projects.drop(Context.of(request).project, confirm=confirm, only=Condition.of(request))
        return no_content()

    async def settings(self, request: Request) -> Response:
        """The settings in force."""
        return shown(request, project_settings.as_json(Context.of(request).project.settings))

    async def change_settings(self, request: Request) -> Response:
        """Change what the merge patch names."""
        patch = await read_object(request, limit=_MAX_BODY_BYTES)
        changed = await self._projects.change_settings(Context.of(request).project, patch, Condition.of(request))
        document = project_settings.as_json(changed)
        return json_response(document, headers=tagged(document))


class KeysApi:
    """`/v1/projects/{project}/keys`."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def routes(self) -> tuple[Endpoint, ...]:
        base, tag, policy = "/v1/projects/{project}/keys", "keys", scope("keys")
        return (
            Endpoint("GET", base, policy, "List API keys", self.list, tag=tag, responses={200: _items(_KEY)}),
            Endpoint("POST", base, policy, "Make an API key; its secret is in this answer only", self.create, tag=tag,
                     request=_KEY_REQUEST, responses={201: _NEW_KEY}),
            Endpoint("GET", f"{base}/{{key}}", policy, "Get an API key, without its secret", self.get, tag=tag,
                     responses={200: _KEY}),
            Endpoint("DELETE", f"{base}/{{key}}", policy, "Revoke an API key", self.revoke, tag=tag, responses={204: None}),
        )  # fmt: skip

    async def list(self, request: Request) -> Response:
        """All keys, without their secrets."""
        keys = await self._keys.list(Context.of(request).project)
        return json_response({"items": [key.as_json() for key in keys], "next_cursor": None})

    async def create(self, request: Request) -> Response:
        """Make a key; without scopes it may do everything in the project."""
        context = Context.of(request)
        body = Shape(await read_object(request, limit=_MAX_BODY_BYTES))
        name = body.text("name", max_chars=100)
        scopes = body.maybe_texts("scopes", one_of=SCOPES)
        life_s = body.maybe_integer("expires_in", at_least=60, at_most=_MAX_KEY_LIFE_S)
        if scopes == ():
            body.fault("scopes", "too_short", "A key without scopes can do nothing.")
        body.done()
        life = timedelta(seconds=life_s) if life_s else None
        key, secret = await self._keys.create(context.project, context.principal, name=name, scopes=scopes or ("*",), life=life)
        return created({**key.as_json(), "key": secret}, location=f"/v1/projects/{context.project.name}/keys/{key.id}")

    async def get(self, request: Request) -> Response:
        """One key."""
        return shown(request, (await self._keys.get(Context.of(request).project, _key_id(request))).as_json())

    async def revoke(self, request: Request) -> Response:
        """Revoke a key."""
        await self._keys.revoke(Context.of(request).project, _key_id(request))
        return no_content()


def _key_id(request: Request) -> UUID:
    """What is no id names nothing."""
    try:
        return params.identifier(request.path_params["key"], "key")
    except BadRequest:
        raise NotFound("No such key.") from None


async def _read_name(request: Request) -> str:
    body = Shape(await read_object(request, limit=_MAX_BODY_BYTES))
    name = body.text("name", max_chars=200)
    body.done()
    return name
