"""What one run of the command was asked: the flags that every command takes, and what they lead to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from baas_cli.output import Output
from baas_cli.profiles import Profile, chosen_profile, default_format

if TYPE_CHECKING:
    from baas_sdk import Client


class Usage(Exception):
    """The command was not said as it can be understood."""


class NotLoggedIn(Exception):
    """There is no token to use."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """The flags of all commands. `format` is None until a flag or `BAAS_OUTPUT` says it."""

    format: str | None = None
    quiet: bool = False
    yes: bool = False
    no_input: bool = False
    profile_name: str | None = None
    url: str | None = None
    project: str | None = None
    timeout_s: float | None = None

    @classmethod
    def of(cls, ctx: typer.Context) -> "Invocation":
        """Of the running command."""
        return ctx.obj if isinstance(ctx.obj, cls) else cls()

    def with_flags(self, given: Mapping[str, object]) -> "Invocation":
        """With what a group or command was given on top; a flag said before the subcommand is not undone after it."""
        return replace(self, **{name: value for name, value in given.items() if value not in (None, False)})  # type: ignore[arg-type]

    @property
    def output(self) -> Output:
        """How to speak.

        Raises:
            Usage: the format is unknown.
        """
        chosen = self.format or default_format() or "table"
        if chosen not in ("table", "json"):
            raise Usage(f"There is no output format {chosen!r}: table or json.")
        return Output("json" if chosen == "json" else "table", self.quiet, self.yes, self.no_input)

    @property
    def profile(self) -> Profile:
        """Where to and as whom.

        Raises:
            BadProfiles: see `chosen_profile`.
        """
        return chosen_profile(name=self.profile_name, url=self.url, project=self.project)

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """A client of the server, with the token.

        Raises:
            NotLoggedIn: there is no token for this server.
        """
        from baas_sdk import Client

        profile = self.profile
        if profile.token is None:
            raise NotLoggedIn(f"You are not logged in at {profile.url}.")
        with Client(profile.url, project=profile.project, token=profile.token, timeout=self.timeout_s) as client:
            yield client

    @contextmanager
    def project_client(self) -> Iterator["Client"]:
        """A client of the project that is meant.

        Raises:
            Usage: no project is named, and the server has not exactly one. NotLoggedIn: as `client`.
        """
        with self.client() as client:
            yield client if client.project is not None else client.in_project(_only_project(client))


def _only_project(client: "Client") -> str:
    """An installation with one project needs no `--project`."""
    from baas_sdk import Forbidden

    try:
        names = [project.name for project in client.projects.list(limit=20)]
    except Forbidden:
        names = []
    if len(names) != 1:
        known = f" There are: {', '.join(names)}." if names else ""
        raise Usage(f"Which project? Say --project NAME, or set BAAS_PROJECT.{known}")
    return str(names[0])
