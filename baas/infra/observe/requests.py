"""Which request runs here, for what is written down far from HTTP: the change log names the request of each change."""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that runs here; empty for work of the server's own."""
