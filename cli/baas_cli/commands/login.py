"""Which server, and as whom: login, logout, status, version."""

import sys
from dataclasses import replace
from typing import Annotated

import typer

from baas_cli.input import read_password
from baas_cli.invocation import Invocation, NotLoggedIn, Usage
from baas_cli.profiles import Profile, load_profiles, save_profiles


def login(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="The server, like https://baas.example.com.")],
    email: Annotated[str | None, typer.Option(help="The operator's e-mail.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read a token or API key from stdin instead.")] = False,
) -> None:
    """Log in at a server as an operator, or with a token or API key."""
    from baas_sdk import Client

    asked = Invocation.of(ctx)
    profiles = load_profiles()
    held = profiles.by_name.get(asked.profile_name or "default", Profile(asked.profile_name or "default"))
    if token_stdin:
        token = sys.stdin.readline().strip()
        if not token:
            raise Usage("There was no token on stdin.")
        with Client(url, project=asked.project, token=token, timeout=asked.timeout_s) as client:
            address = client.url
            known = _checked(client)
    else:
        address_given = email or asked.output.ask("E-mail", flag="--email")
        with Client(url, timeout=asked.timeout_s) as client:
            operator = client.operators.sign_in(address_given, read_password(asked.output, password_stdin))
            address, token, known = client.url, operator.token, address_given
    same_server = held.url.rstrip("/") == address
    profile = Profile(held.name, address, token, asked.project or (held.project if same_server else None), known or None)
    save_profiles(profiles.with_profile(profile))
    asked.output.done(f"Logged in at {address}{f' as {known}' if known else ''}.", _facts(profile))


def logout(ctx: typer.Context) -> None:
    """Forget the token of this profile, and end its session on the server."""
    from baas_sdk import BaasError, Client

    asked = Invocation.of(ctx)
    profiles = load_profiles()
    profile = profiles.by_name.get(asked.profile_name or profiles.current)
    if profile is None or profile.token is None:
        raise NotLoggedIn("You are not logged in.")
    ended = False
    try:
        with Client(profile.url, token=profile.token, timeout=asked.timeout_s) as client:
            client.operators.sign_out()
            ended = True
    except BaasError as error:
        asked.output.say(f"The server did not end the session ({error}); the token is forgotten here all the same.")
    save_profiles(profiles.with_profile(replace(profile, token=None)))
    asked.output.done(f"Logged out of {profile.url}.", {"profile": profile.name, "url": profile.url, "session_ended": ended})


def status(ctx: typer.Context) -> None:
    """Show the server in use, whether it is well, and who you are there."""
    from baas_sdk import Client, NotAuthenticated

    asked = Invocation.of(ctx)
    profile = asked.profile
    with Client(profile.url, timeout=asked.timeout_s or 5.0, max_retries=0) as client:
        client.request("GET", "/readyz")
    known: str | None = None
    if profile.token is not None:
        with Client(profile.url, project=profile.project, token=profile.token, timeout=asked.timeout_s) as client:
            try:
                known = _checked(client)
            except NotAuthenticated:
                asked.output.say("The token is not good any more: baas login URL.")
    asked.output.show({**_facts(profile), "ready": True, "as": known})


def version(ctx: typer.Context) -> None:
    """Show the versions of this tool and of the client in it."""
    import platform

    import baas_sdk

    from baas_cli import __version__

    Invocation.of(ctx).output.show({"version": __version__, "sdk": baas_sdk.__version__, "python": platform.python_version()})


def _checked(client: "object") -> str:
    """Who the token is, by asking the server: an operator's e-mail, or a key."""
    from baas_sdk import Client, Forbidden, NotFound

    assert isinstance(client, Client)  # noqa: S101  # the type is named late to keep start-up fast
    try:
        return str(client.operators.me().get("email", "operator"))
    except (Forbidden, NotFound):
        return "API key"


def _facts(profile: Profile) -> dict[str, object]:
    return {"profile": profile.name, "url": profile.url, "project": profile.project, "logged_in": profile.token is not None}
