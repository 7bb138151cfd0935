"""Accounts of the project's users, and the session of this client."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from baas_sdk._async.paging import id_of, page_of
from baas_sdk._async.transport import AsyncTransport
from baas_sdk.errors import NotAuthenticated
from baas_sdk.models import AuthSession, Page, Session, User, utc_now
from baas_sdk.wire import segment


class AsyncAuth:
    """Sign-up, sign-in and the signed-in user. The session is kept by the client and renews itself.

    A client made with a key or token stays that caller: its `sign_in` gives the session and keeps nothing.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._credentials = transport.credentials

    async def session(self) -> Session | None:
        """The session this client holds, or None."""
        return await self._credentials.session()

    async def sign_up(self, email: str, password: str, **fields: object) -> Session:
        """Makes an account, with the project's own fields, and signs in.

        Raises:
            Forbidden: the project has sign-up off (`sign_up_disabled`).
            Invalid, Conflict: the address or password will not do, or the address is taken.
            RateLimited: too many from here.
        """
        body = {"email": email, "password": password, **fields}
        return await self._begin(await self._post("sign-up", body, anonymous=True))

    async def sign_in(self, email: str, password: str) -> Session:
        """Signs in.

        Raises:
            NotAuthenticated: address or password is wrong; nothing says which.
            RateLimited: too many tries.
        """
        body = {"email": email, "password": password}
        return await self._begin(await self._post("sign-in", body, anonymous=True))

    async def sign_out(self) -> None:
        """Ends the session on the server and here. One that has ended already is no error.

        Raises:
            ConnectionFailed: the server was not reached, so the session lives on, here too.
        """
        if self._credentials.fixed is None and await self._credentials.session() is None:
            return
        try:
            await self._post("sign-out", None)
        except NotAuthenticated:
            if self._credentials.fixed is not None:
                raise
        if self._credentials.fixed is None:
            await self._credentials.forget()

    async def refresh(self) -> Session:
        """Renews the session now; calls do so by themselves when it is due.

        Raises:
            NotAuthenticated: nobody is signed in, or the server ended the session.
        """
        held = await self._credentials.session()
        if held is None:
            raise NotAuthenticated(401, code="not_signed_in", detail="Nobody is signed in on this client.")
        await self._transport.renew(held.access_token)
        return await self._credentials.session() or held

    def on_change(self, listener: Callable[[Session | None], None]) -> Callable[[], None]:
        """Calls `listener` with each new session and with None when it ends; call the answer to stop that."""
        return self._credentials.listen(listener)

    async def me(self) -> User:
        """The signed-in user as stored now.

        Raises:
            NotAuthenticated: nobody is signed in.
        """
        return User(await self._transport.json("GET", self._path("me")))

    async def update_me(self, values: Mapping[str, object] | None = None, /, **fields: object) -> User:
        """Changes own fields of the signed-in user.

        Raises:
            Invalid: a field is unknown, not the user's to change, or wrong.
        """
        return User(await self._transport.json("PATCH", self._path("me"), {**(values or {}), **fields}))

    async def change_password(self, current: str, password: str) -> None:
        """Sets another password; the user's other sessions end.

        Raises:
            Invalid, Forbidden, NotAuthenticated: the current password is wrong, or the new one will not do.
        """
        await self._post("password-change", {"current": current, "password": password})

    async def delete_me(self) -> None:
        """Deletes the signed-in user's account, and with it the session.

        Raises:
            NotAuthenticated: nobody is signed in; or the account is gone already, by an attempt whose answer was lost.
        """
        await self._transport.json("DELETE", self._path("me"))
        if self._credentials.fixed is None:
            await self._credentials.forget()

    async def sessions(self) -> list[AuthSession]:
        """Where this user is signed in."""
        answer = await self._transport.json("GET", self._path("sessions"))
        return [AuthSession(one) for one in answer["items"]]

    async def end_session(self, session_id: str) -> None:
        """Signs one of the user's sessions out.

        Raises:
            NotFound: there is no such session of this user.
        """
        path = self._path(f"sessions/{segment(session_id)}")
        await self._transport.json("DELETE", path)

    async def end_other_sessions(self) -> None:
        """Signs the user out everywhere but here."""
        await self._transport.json("DELETE", self._path("sessions"), params={"except": "current"})

    async def _begin(self, answer: Mapping[str, Any]) -> Session:
        session = Session.of_answer(answer, now=utc_now())
        if self._credentials.fixed is None:
            await self._credentials.remember(session)
        return session

    async def _post(self, act: str, body: object, **call: Any) -> Any:
        return await self._transport.json("POST", self._path(act), body, **call)

    def _path(self, rest: str) -> str:
        return self._transport.options.path_of(f"auth/{rest}")


class AsyncUsers:
    """The accounts of the project, for operators and keys with the scope `users`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, email: str, password: str | None = None, **fields: object) -> User:
        """Makes an account; without a password nobody can sign in with one.

        Raises:
            Invalid, Conflict: the values will not do, or the address is taken.
        """
        body = {"email": email, **({} if password is None else {"password": password}), **fields}
        return User(await self._transport.json("POST", self._path(), body))

    async def get(self, user_id: str) -> User:
        """One account.

        Raises:
            NotFound: there is none with this id.
        """
        return User(await self._transport.json("GET", self._path(user_id)))

    async def list(self, *, email: str | None = None, limit: int | None = None, cursor: str | None = None) -> Page[User]:
        """One page of accounts in the order they were made, or the one with this `email`."""
        query = {"email": email, "limit": limit, "cursor": cursor}
        return await page_of(self._transport, self._path(), User, query)

    async def iter(self, *, page_size: int = 100) -> AsyncIterator[User]:
        """Every account, page after page."""
        cursor: str | None = None
        while True:
            page = await self.list(limit=page_size, cursor=cursor)
            for user in page.items:
                yield user
            cursor = page.next_cursor
            if cursor is None:
                return

    async def update(self, user: User | str, values: Mapping[str, object] | None = None, /, **fields: object) -> User:
        """Changes an account: its e-mail, password, `disabled`, `claims`, or the project's own fields.

        Raises:
            NotFound: there is none with this id. Invalid, Conflict: as `create`.
        """
        return User(await self._transport.json("PATCH", self._path(id_of(user)), {**(values or {}), **fields}))

    async def set_claims(self, user: User | str, claims: Mapping[str, object]) -> User:
        """Says this of a user, and nothing else: what rules see as `auth.claims`, within five seconds everywhere.

        Raises:
            NotFound: there is none with this id. Invalid: they are too long or too deep.
        """
        return await self.update(user, {"claims": dict(claims)})

    async def delete(self, user: User | str) -> None:
        """Deletes an account; its sessions end.

        Raises:
            NotFound: there is none with this id. Conflict: records refer to it.
        """
        await self._transport.json("DELETE", self._path(id_of(user)))

    def _path(self, user_id: str | None = None) -> str:
        return self._transport.options.path_of("users" if user_id is None else f"users/{segment(user_id)}")
