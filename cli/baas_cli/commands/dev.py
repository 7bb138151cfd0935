"""`baas dev`: everything on this machine, for its user alone."""

import shlex
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baas_cli.commands.serve import run_server
from baas_cli.invocation import Invocation
from baas_cli.output import Output
from baas_cli.profiles import BadProfiles, Profile, load_profiles, save_profiles

if TYPE_CHECKING:
    from baas.base.settings import Settings
    from baas.features.projects.model import OperatorSession
    from baas.process_server import Running

PROFILE = "local"
Host = Annotated[str | None, typer.Option(help="Address of this machine only.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port; when it is taken, the next free one.", show_default="8000")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of everything.", show_default="./.baas")]
Demo = Annotated[bool, typer.Option("--demo", help="Make the demo projects and put their apps on the server.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]


def dev(  # noqa: PLR0917  one parameter is one flag
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    demo: Demo = False,
    open_page: Open = False,
) -> None:
    """Run a server for development: nothing to set up, reached from this machine only, you are its operator."""
    from baas.process_server import open_log

    output = Invocation.of(ctx).output
    started = _Started(output, demo, open_page)
    settings = _settings({"host": host, "port": port, "data_dir": data_dir})
    how = {"prepare": started.prepare, "ready": started.ready, "next_free_port": True}
    raise typer.Exit(run_server(output, settings, open_log(settings), **how))


def _settings(flags: dict[str, object]) -> "Settings":
    from baas.base.settings import is_loopback
    from baas.process import USAGE, CannotStart, load

    defaults = {"data_dir": Path(".baas"), "log_format": "text", "log_level": "warning"}
    settings = load({**flags, "workers": 1, "insecure_http": True}, defaults=defaults).settings
    if not is_loopback(settings.host):
        raise CannotStart(
            f"`baas dev` listens on this machine only, and {settings.host} can be reached from others: whoever reaches it would"
            " be on a server without a set-up. Use `baas serve` for that.",
            USAGE,
        )
    return settings


class _Started:
    """What happens around the start: the operator and the profile before, the demo and the addresses after."""

    def __init__(self, output: Output, demo: bool, open_page: bool) -> None:
        self._output = output
        self._demo = demo
        self._open = open_page
        self._session: OperatorSession | None = None

    async def prepare(self, settings: "Settings", url: str) -> None:
        from baas.process_operators import local_session

        self._session = await local_session(settings, url)

    def ready(self, running: "Running") -> None:
        """In a thread of its own: the demo is made through the server, which runs in this one."""
        threading.Thread(target=self._tell, args=(running,), name="welcome", daemon=True).start()

    def _tell(self, running: "Running") -> None:
        assert self._session is not None  # noqa: S101  prepared before
        address = running.settings.url
        pages = {"url": address, "docs": f"{address}/docs"}
        self._keep_profile(address, self._session)
        if self._demo:
            pages |= self._seed(address, self._session.token)
        if self._output.json:
            self._output.show({**pages, "database": running.database, "profile": PROFILE})
        else:
            self._output.say(_banner(pages, running))
        if self._open:
            import webbrowser

            webbrowser.open(pages.get("app") or pages["docs"])

    def _seed(self, address: str, token: str) -> dict[str, str]:
        """The address of each example's app; the first one is the app to open."""
        from baas_sdk import BaasError

        from baas_cli.demo import EXAMPLES, seed

        pages: dict[str, str] = {}
        try:
            for example in EXAMPLES:
                pages[example if pages else "app"] = seed(address, token, example)
        except (BaasError, OSError) as error:
            self._output.say(f"The demo could not be made: {error}")
        return pages

    def _keep_profile(self, address: str, session: "OperatorSession") -> None:
        """So that every other command talks to this server without a login."""
        try:
            profiles = load_profiles()
            held = profiles.by_name.get(PROFILE)
            project = held.project if held and held.url == address else None
            save_profiles(profiles.with_profile(Profile(PROFILE, address, session.token, project, session.operator.email)))
        except BadProfiles as error:
            self._output.say(f"The login was not kept: {error}")


def _banner(pages: dict[str, str], running: "Running") -> str:
    lines = [f"✓ {running.database}, data in {running.settings.data_dir}"]
    names = {"app": "App", "todo": "Todo", "url": "Server", "docs": "Docs"}
    lines += [f"  {label:<7} {pages[key]}{_people(key)}" for key, label in names.items() if pages.get(key)]
    lines.append(f"You are its operator: try `{_command()} projects list` in another terminal. Ctrl-C stops everything.")
    return "\n".join(lines)


def _people(page: str) -> str:
    """Who may try the app at once."""
    from baas_cli.demo import EXAMPLES, people

    found = people(EXAMPLES[0]) if page == "app" else []
    return f"  {' and '.join(one['email'] for one in found)}, password {found[0]['password']}" if found else ""


def _command() -> str:
    """How this program is called here: its name where the shell finds it, else as it was called: its path (of an environment
    that is not activated), or `python -m baas`, where the path would be that of a module that is no program.
    """
    if shutil.which("baas"):
        return "baas"
    by_module = Path(sys.argv[0]).name == "__main__.py"
    return f"{shlex.quote(_python())} -m baas" if by_module else shlex.quote(sys.argv[0])


def _python() -> str:
    """As short as it means this very interpreter."""
    found = shutil.which("python")
    return "python" if found and Path(found) == Path(sys.executable) else sys.executable
