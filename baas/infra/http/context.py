"""What is known of a request before a room sees it; made by the middleware, carried in the ASGI scope, never changed after."""

from typing import Any, NamedTuple

from baas.base.errors import NotFound
from baas.base.principal import Principal
from baas.base.project import Project


class Context(NamedTuple):
    """`address` is the true client's (named proxies only); `site` is set when the request came by a site's host.

    `forwarded`: a header claims that a proxy passed it on, named or not. It proves nothing and only ever takes trust away.
    """

    request_id: str
    principal: Principal
    address: str
    maybe_project: Project | None = None
    site: str | None = None
    forwarded: bool = False

    @staticmethod
    def of(scope: Any) -> "Context":
        """The context of an ASGI scope or of anything that has one (`Request`)."""
        context: Context = getattr(scope, "scope", scope)["baas.context"]
        return context

    @property
    def project(self) -> Project:
        """The project of a route that has one; raises NotFound elsewhere."""
        if self.maybe_project is None:
            raise NotFound("No such project.")
        return self.maybe_project
