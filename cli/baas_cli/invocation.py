"""What one run of the command was asked: the flags that every command takes, and what they lead to."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from baas_cli.output import FORMATS, Output
from baas_cli.profiles import (
    Profile,
    chosen_profile,
    default_format,
    default_timeout_s,
    no_color_by_default,
    no_input_by_default,
)

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
    no_color: bool = False
    verbose: bool = False
    debug_http: bool = False
    fields: str | None = None
    profile_name: str | None = None
    url: str | None = None
    project: str | None = None
    timeout_s: float | None = None

    @classmethod
    def of(cls, ctx: typer.Context) -> "Invocation":
        """Of the running command; at first what the environment says.

        Raises:
            BadEnvironment: it says what cannot be.
        """
        if isinstance(ctx.obj, cls):
            return ctx.obj
        return cls(no_input=no_input_by_default(), no_color=no_color_by_default(), timeout_s=default_timeout_s())

    def with_flags(self, given: Mapping[str, object]) -> "Invocation":
        """With what a group or command was given on top; a flag said before the subcommand is not undone after it."""
        return replace(self, **{name: value for name, value in given.items() if value not in (None, False)})  # type: ignore[arg-type]

    @property
    def output(self) -> Output:
        """How to speak.

        Raises:
            Usage: the format is unknown.
        """
        wanted = self.format or default_format() or "table"
        chosen = next((one for one in FORMATS if one == wanted), None)
        if chosen is None:
            raise Usage(f"There is no output format {wanted!r}: {', '.join(FORMATS)}.")
        names = tuple(name for one in (self.fields or "").split(",") if (name := one.strip()))
        return Output(chosen, self.quiet, self.yes, self.no_input, self.no_color, names)

    @property
    def profile(self) -> Profile:
        """Where to and as whom.

        Raises:
            BadProfiles: see `chosen_profile`.
        """
        return chosen_profile(name=self.profile_name, url=self.url, project=self.project)

    @contextmanager
    def told_calls(self) -> Iterator[None]:
        """With --verbose a line of each call to a server, with --debug-http all of it but credentials, on stderr."""
        if not (self.verbose or self.debug_http):
            yield
            return
        log, handler = logging.getLogger("baas_sdk"), _Told(Output())
        level = log.level
        log.setLevel(logging.DEBUG if self.debug_http else logging.INFO)
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)

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


class _Told(logging.Handler):
    """Lines of the client as talk; the client hides credentials before they come here."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.say(record.getMessage())


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
