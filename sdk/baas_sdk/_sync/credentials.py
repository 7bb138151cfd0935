# Made from _async/credentials.py by sdk/unasync.py; change that one.
"""Who the client is: a fixed key or token, or a session that renews itself."""

from collections.abc import Callable

from baas_sdk._sync.compat import SingleFlight, blocking
from baas_sdk.errors import APIError, BaasError, NotAuthenticated, RateLimited, ServerError
from baas_sdk.models import Session, utc_now
from baas_sdk.stores import Store

Exchange = Callable[[str], Session]
"""A refresh token for a new session, by the server."""
Listener = Callable[[Session | None], None]


class Credentials:
    """The credential of a client and of every client made from it by `with_options`."""

    def __init__(self, store: Store, scope: str, fixed: str | None) -> None:
        self.fixed = fixed
        self._store = store
        self._scope = scope
        self._session: Session | None = None
        self._loaded = False
        self._flight = SingleFlight()
        self._listeners: list[Listener] = []

    def session(self) -> Session | None:
        """The stored session, read from the store once."""
        if not self._loaded:
            self._session = blocking(self._store.load, self._scope)
            self._loaded = True
        return self._session

    def token(self, exchange: Exchange) -> str | None:
        """The bearer credential to send, renewed when it ends within 30 seconds; None for an anonymous caller.

        When renewal fails for a passing reason, a token that has not ended yet is sent all the same.
        """
        if self.fixed is not None:
            return self.fixed
        session = self.session()
        if session is None:
            return None
        if session.near_end(utc_now()):
            try:
                self.renew(session.access_token, exchange)
            except BaasError:
                if self._session is None or session.expires_at <= utc_now():
                    raise
        return self._session.access_token if self._session is not None else None

    def renew(self, stale: str, exchange: Exchange) -> bool:
        """Renews the session unless somebody else has replaced `stale` already; whether there is a newer token now.

        One renewal runs at a time. Only the server's refusal ends the session; a network failure never does.
        """
        if self.fixed is not None or self.session() is None:
            return False

        def act() -> None:
            if self._session is not None and self._session.access_token == stale:
                self._renew(self._session, exchange)

        self._flight.run(act)
        return self._session is not None and self._session.access_token != stale

    def _renew(self, held: Session, exchange: Exchange) -> None:
        stored = blocking(self._store.load, self._scope)
        if stored is not None and stored.refresh_token != held.refresh_token:  # another process was first
            self._session = stored
            return
        try:
            fresh = exchange(held.refresh_token)
        except APIError as error:
            if isinstance(error, ServerError | RateLimited) or error.status == 408:
                raise
            if self._session is held:
                self.forget()
            if isinstance(error, NotAuthenticated):
                raise
            raise NotAuthenticated(401, code=error.code, detail=error.detail, request_id=error.request_id) from error
        if self._session is held:  # or somebody signed in, or out, meanwhile, and that counts
            self.remember(fresh)

    def remember(self, session: Session) -> None:
        """Stores the session, and only then lets go of the one before."""
        blocking(self._store.save, self._scope, session)
        self._session = session
        self._loaded = True
        self._tell(session)

    def forget(self) -> None:
        """Drops the session here and in the store."""
        blocking(self._store.clear, self._scope)
        self._session = None
        self._loaded = True
        self._tell(None)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` with each new session, and with None when it ends; the answer stops that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _tell(self, session: Session | None) -> None:
        for listener in tuple(self._listeners):
            listener(session)
