"""Sign-up, sign-in, the own account and sessions over HTTP, and the administration of users."""

from collections.abc import Mapping
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from baas.base.errors import BadRequest, NotFound
from baas.features.auth.model import Device
from baas.features.auth.service import Auth
from baas.features.auth.users import UserJson
from baas.infra.http import params
from baas.infra.http.answers import json_response, no_content, not_modified
from baas.infra.http.body import read_object
from baas.infra.http.conditions import Condition
from baas.infra.http.content import matches
from baas.infra.http.context import Context
from baas.infra.http.page import decode_cursor, encode_cursor
from baas.infra.http.routes import ANYONE, OPERATOR, USER, Body, Endpoint, scope
from baas.infra.http.shape import Shape

_PROJECT = "/v1/projects/{project}"
_MAX_CREDENTIALS_BYTES = 16 * 1024
_JWKS_AGE_S = 300
_ID = {"type": "string", "format": "uuid"}
_TEXT = {"type": "string"}
_CLAIMS: Mapping[str, object] = {"type": "object", "description": "What operators say of him: `auth.claims` in rules."}
_USER = Body(
    {"type": "object", "description": "a record of the collection users, and its claims", "properties": {"claims": _CLAIMS}}
)
_OWN = Body({"type": "object", "description": "fields of the collection users"})
_CHANGES = Body(
    {
        "type": "object",
        "description": "fields of the collection users, the password, and claims, which are replaced as a whole",
        "properties": {"email": _TEXT, "password": _TEXT, "claims": {**_CLAIMS, "type": ["object", "null"]}},
    }
)
_SIGN_UP = Body(
    {"type": "object", "properties": {"email": _TEXT, "password": _TEXT}, "required": ["email", "password"]},
    description="The address, the password, and the project's own fields of users.",
)
_SESSION = Body(
    {
        "type": "object",
        "properties": {
            "access_token": _TEXT,
            "token_type": {"const": "Bearer"},
            "expires_in": {"type": "integer"},
            "refresh_token": _TEXT,
            "session_id": _ID,
            "user": _USER.schema,
        },
        "required": ["access_token", "token_type", "expires_in", "refresh_token", "session_id", "user"],
    }
)
_SESSION_ENTRY = {
    "type": "object",
    "properties": {
        "id": _ID,
        "created_at": _TEXT,
        "refreshed_at": _TEXT,
        "expires_at": _TEXT,
        "address": _TEXT,
        "user_agent": _TEXT,
        "current": {"type": "boolean"},
    },
}
_SESSIONS = Body({"type": "object", "properties": {"items": {"type": "array", "items": _SESSION_ENTRY}}, "required": ["items"]})
_USERS = Body(
    {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _USER.schema}, "next_cursor": {"type": ["string", "null"]}},
        "required": ["items", "next_cursor"],
    }
)
_SIGNING_KEY: Mapping[str, object] = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "signs": {"type": "boolean", "description": "It signs what is made now; the others verify until they retire."},
        "created_at": _TEXT,
        "retires_at": {"type": ["string", "null"]},
    },
    "required": ["id", "signs", "created_at", "retires_at"],
}
_SIGNING_KEYS = Body({"type": "object", "properties": {"items": {"type": "array", "items": _SIGNING_KEY}}, "required": ["items"]})
_EXCEPT = {"except": {"enum": ["current"]}}
_PAGE: Mapping[str, Mapping[str, object]] = {
    "email": _TEXT,
    "limit": {"type": "integer", "minimum": 1, "maximum": 500},
    "cursor": _TEXT,
}


def _members(*names: str) -> Body:
    return Body({"type": "object", "properties": dict.fromkeys(names, _TEXT), "required": list(names)})


class AuthApi:
    """`/v1/projects/{project}/auth`, and the project's public keys."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def routes(self) -> tuple[Endpoint, ...]:
        base, tag = f"{_PROJECT}/auth", "auth"
        return (
            Endpoint("POST", f"{base}/sign-up", ANYONE, "Make an account and sign in", self.sign_up, tag=tag,
                     request=_SIGN_UP, responses={201: _SESSION}, once="late"),
            Endpoint("POST", f"{base}/sign-in", ANYONE, "Sign in", self.sign_in, tag=tag,
                     request=_members("email", "password"), responses={200: _SESSION}, once="late"),
            Endpoint("POST", f"{base}/refresh", ANYONE, "Exchange a refresh token for new tokens", self.refresh, tag=tag,
                     vital=True, request=_members("refresh_token"), responses={200: _SESSION}, once="late"),
            Endpoint("POST", f"{base}/sign-out", USER, "End this session", self.sign_out, tag=tag, vital=True,
                     responses={204: None}),
            Endpoint("GET", f"{base}/me", USER, "Get the own account", self.me, tag=tag, responses={200: _USER}),
            Endpoint("PATCH", f"{base}/me", USER, "Change the own account (merge patch)", self.change_me, tag=tag,
                     request=_OWN, responses={200: _USER}),
            Endpoint("DELETE", f"{base}/me", USER, "Delete the own account", self.delete_me, tag=tag, responses={204: None}),
            Endpoint("POST", f"{base}/password-change", USER, "Set another password; other sessions end", self.change_password,
                     tag=tag, request=_members("current", "password"), responses={204: None}, once="late"),
            Endpoint("GET", f"{base}/sessions", USER, "List the own sessions", self.sessions, tag=tag,
                     responses={200: _SESSIONS}),
            Endpoint("DELETE", f"{base}/sessions", USER, "End the own sessions, or all but this one", self.end_sessions, tag=tag,
                     query=_EXCEPT, responses={204: None}),
            Endpoint("DELETE", f"{base}/sessions/{{session}}", USER, "End one of the own sessions", self.end_session, tag=tag,
                     responses={204: None}),
            Endpoint("GET", f"{_PROJECT}/.well-known/jwks.json", ANYONE, "Keys that verify access tokens", self.jwks, tag=tag,
                     responses={200: Body({"type": "object"})}),
        )  # fmt: skip

    async def sign_up(self, request: Request) -> Response:
        """Make an account and its first session."""
        project = Context.of(request).project
        body = await read_object(request, limit=project.settings.limits.max_json_bytes)
        session = await self._auth.sign_up(project, body, _device(request))
        return json_response(session.as_json(), 201, {"Location": f"/v1/projects/{project.name}/auth/me"})

    async def sign_in(self, request: Request) -> Response:
        """Answer with a session, or 401 for whatever is wrong."""
        body = Shape(await read_object(request, limit=_MAX_CREDENTIALS_BYTES))
        email, password = body.text("email", max_chars=320), body.text("password", max_chars=256)
        body.done()
        session = await self._auth.sign_in(Context.of(request).project, email, password, _device(request))
        return json_response(session.as_json())

    async def refresh(self, request: Request) -> Response:
        """Rotate the refresh token."""
        body = Shape(await read_object(request, limit=_MAX_CREDENTIALS_BYTES))
        token = body.text("refresh_token", max_chars=200)
        body.done()
        return json_response((await self._auth.refresh(Context.of(request).project, token)).as_json())

    async def sign_out(self, request: Request) -> Response:
        """End the session that asks."""
        context = Context.of(request)
        await self._auth.sign_out(context.project, context.principal)
        return no_content()

    async def me(self, request: Request) -> Response:
        """The own record."""
        context = Context.of(request)
        return _shown_user(request, await self._auth.me(context.project, context.principal))

    async def change_me(self, request: Request) -> Response:
        """Change the own record."""
        context = Context.of(request)
        body = await read_object(request, limit=context.project.settings.limits.max_json_bytes)
        return _user_response(await self._auth.change_me(context.project, context.principal, body, Condition.of(request)))

    async def delete_me(self, request: Request) -> Response:
        """Delete the own account."""
        context = Context.of(request)
        await self._auth.delete_me(context.project, context.principal, Condition.of(request))
        return no_content()

    async def change_password(self, request: Request) -> Response:
        """Set another password."""
        context = Context.of(request)
        body = Shape(await read_object(request, limit=_MAX_CREDENTIALS_BYTES))
        current, new = body.text("current", max_chars=256), body.text("password", max_chars=1024)
        body.done()
        await self._auth.change_password(context.project, context.principal, current, new)
        return no_content()

    async def sessions(self, request: Request) -> Response:
        """The own living sessions."""
        context = Context.of(request)
        entries = await self._auth.sessions(context.project, UUID(context.principal.id))
        return json_response({"items": [entry.as_json(current=context.principal.session_id) for entry in entries]})

    async def end_sessions(self, request: Request) -> Response:
        """End all sessions, or all others."""
        context = Context.of(request)
        keep = params.one_of(params.query(request), "except", ("current",))
        but = context.principal.session_id if keep else None
        await self._auth.end_sessions(context.project, UUID(context.principal.id), but=but)
        return no_content()

    async def end_session(self, request: Request) -> Response:
        """End one session."""
        context = Context.of(request)
        await self._auth.end_session(context.project, UUID(context.principal.id), _path_id(request, "session"))
        return no_content()

    async def jwks(self, request: Request) -> Response:
        """The project's public keys."""
        keys = await self._auth.jwks(Context.of(request).project)
        return json_response(keys, headers={"Cache-Control": f"public, max-age={_JWKS_AGE_S}"})


class UsersApi:
    """`/v1/projects/{project}/users`, for operators and keys."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def routes(self) -> tuple[Endpoint, ...]:
        base, one, tag, policy = f"{_PROJECT}/users", f"{_PROJECT}/users/{{user}}", "users", scope("users")
        return (
            Endpoint("GET", base, policy, "List users", self.list, tag=tag, query=_PAGE, responses={200: _USERS}),
            Endpoint("POST", base, policy, "Make a user, with a password or without", self.create, tag=tag, request=_SIGN_UP,
                     responses={201: _USER}, once="late"),
            Endpoint("GET", one, policy, "Get a user", self.get, tag=tag, responses={200: _USER}),
            Endpoint("PATCH", one, policy, "Change a user (merge patch), password and claims included", self.change, tag=tag,
                     request=_CHANGES, responses={200: _USER}, once="late"),
            Endpoint("DELETE", one, policy, "Delete a user", self.delete, tag=tag, responses={204: None}),
            Endpoint("GET", f"{one}/sessions", policy, "List a user's sessions", self.sessions, tag=tag,
                     responses={200: _SESSIONS}),
            Endpoint("DELETE", f"{one}/sessions", policy, "End a user's sessions", self.end_sessions, tag=tag,
                     responses={204: None}),
        )  # fmt: skip

    async def list(self, request: Request) -> Response:
        """A page of users in the order they were made."""
        context, query = Context.of(request), params.query(request)
        items, following = await self._auth.users(
            context.project,
            context.principal,
            email=params.text(query, "email", max_length=320),
            after=_cursor(params.text(query, "cursor")),
            limit=params.integer(query, "limit", 30, minimum=1, maximum=500),
        )
        cursor = b'"%s"' % encode_cursor(str(following)).encode() if following else b"null"
        return json_response(b'{"items":[%s],"next_cursor":%s}' % (items, cursor))

    async def create(self, request: Request) -> Response:
        """Make a user."""
        context = Context.of(request)
        body = await read_object(request, limit=context.project.settings.limits.max_json_bytes)
        user_id, user = await self._auth.create_user(context.project, context.principal, body)
        return _user_response(user, 201, location=f"/v1/projects/{context.project.name}/users/{user_id}")

    async def get(self, request: Request) -> Response:
        """One user."""
        context = Context.of(request)
        return _shown_user(request, await self._auth.user(context.project, context.principal, _path_id(request, "user")))

    async def change(self, request: Request) -> Response:
        """Change a user."""
        context, user_id = Context.of(request), _path_id(request, "user")
        body = await read_object(request, limit=context.project.settings.limits.max_json_bytes)
        only = Condition.of(request)
        return _user_response(await self._auth.change_user(context.project, context.principal, user_id, body, only))

    async def delete(self, request: Request) -> Response:
        """Delete a user."""
        context = Context.of(request)
        user_id, only = _path_id(request, "user"), Condition.of(request)
        await self._auth.delete_user(context.project, context.principal, user_id, only)
        return no_content()

    async def sessions(self, request: Request) -> Response:
        """A user's living sessions."""
        entries = await self._auth.user_sessions(Context.of(request).project, _path_id(request, "user"))
        return json_response({"items": [entry.as_json(current=None) for entry in entries]})

    async def end_sessions(self, request: Request) -> Response:
        """End all sessions of a user."""
        await self._auth.end_sessions(Context.of(request).project, _path_id(request, "user"))
        return no_content()


class SigningKeysApi:
    """`/v1/projects/{project}/auth/signing-keys`, for operators: whoever holds such a key can be every user."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def routes(self) -> tuple[Endpoint, ...]:
        base, tag = f"{_PROJECT}/auth/signing-keys", "auth"
        return (
            Endpoint("GET", base, OPERATOR, "List the keys that sign and verify access tokens", self.list, tag=tag,
                     responses={200: _SIGNING_KEYS}),
            Endpoint("POST", base, OPERATOR, "Sign with a new key; those before it go on verifying", self.rotate, tag=tag,
                     responses={201: Body(_SIGNING_KEY)}),
            Endpoint("DELETE", f"{base}/{{key}}", OPERATOR, "Drop a key, and with it every token that it signed", self.drop,
                     tag=tag, responses={204: None}),
        )  # fmt: skip

    async def list(self, request: Request) -> Response:
        """The keys, newest first."""
        keys = await self._auth.signing_keys(Context.of(request).project)
        return json_response({"items": [key.as_json() for key in keys]})

    async def rotate(self, request: Request) -> Response:
        """Make a key that signs from now on."""
        project = Context.of(request).project
        key = await self._auth.rotate_signing_key(project)
        return json_response(key.as_json(), 201)

    async def drop(self, request: Request) -> Response:
        """Drop a key at once."""
        await self._auth.drop_signing_key(Context.of(request).project, request.path_params["key"])
        return no_content()


def _user_response(user: UserJson, status: int = 200, *, location: str | None = None) -> Response:
    headers = {"ETag": f'"{user.rev}"', **({"Location": location} if location else {})}
    return json_response(user.body, status, headers)


def _shown_user(request: Request, user: UserJson) -> Response:
    """The answer to a GET; 304 for whoever has this revision."""
    known = Condition.of(request).if_none_match
    if known is not None and matches(known, str(user.rev), weak=True):
        return not_modified({"ETag": f'"{user.rev}"'})
    return _user_response(user)


def _device(request: Request) -> Device:
    agent = request.headers.get("user-agent", "")
    return Device(Context.of(request).address, "".join(one for one in agent if one.isprintable())[:200])


def _path_id(request: Request, name: str) -> UUID:
    """An id in the path; what is none names nothing."""
    try:
        return params.identifier(request.path_params[name], name)
    except BadRequest:
        raise NotFound(f"No such {name}.") from None


def _cursor(text: str | None) -> UUID | None:
    place = decode_cursor(text)
    try:
        return UUID(place) if place else None
    except ValueError:
        raise BadRequest("The cursor is not one of this list; start without.", code="bad_cursor", parameter="cursor") from None
