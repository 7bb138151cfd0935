"""The command `baas`: its list of commands, and how a run ends."""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from baas_cli import __version__

if TYPE_CHECKING:
    import typer


def main() -> None:
    """The program: runs the command line and exits with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command and gives its exit code (`failures.Exit`). An expected failure is told on stderr, never as a traceback."""
    if list(arguments) in (["--version"], ["-V"]):  # answered before anything is imported
        from baas_cli.output import Output

        Output().show_text(__version__)
        return 0
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough; nothing may be flushed into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: Sequence[str]) -> int:
    import typer

    from baas_cli.failures import failure_of
    from baas_cli.output import Output

    command = typer.main.get_command(build())
    try:
        code = command.main(list(arguments), prog_name="baas", standalone_mode=False)
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a page of help, not a sentence about a mistake
            Output().say(str(error))
            return 2
        return _told(arguments, error.exit_code, _usage(error))
    except Exception as error:
        if isinstance(error, BrokenPipeError) or (failure := failure_of(error)) is None:
            raise
        return _told(arguments, *failure)
    return code if isinstance(code, int) else 0


def build() -> "typer.Typer":
    """The tree of all commands, in the order of the help page."""
    import typer

    from baas_cli.command import adopt
    from baas_cli.commands import (
        buckets,
        collections,
        config,
        db,
        dev,
        files,
        keys,
        login,
        operators,
        projects,
        records,
        rules,
        serve,
        settings,
        signing_keys,
        sites,
        tail,
        users,
    )

    app = typer.Typer(
        help="Run a baas server, and manage what is on one. Nothing is ever sent anywhere but to the server you name.",
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    for command in (
        dev.dev,
        serve.serve,
        login.login,
        login.logout,
        login.status,
        login.version,
        sites.deploy,
        rules.explain,
        tail.tail,
    ):
        app.command()(command)
    for name, group in {
        "config": config.app,
        "db": db.app,
        "operators": operators.app,
        "projects": projects.app,
        "keys": keys.app,
        "signing-keys": signing_keys.app,
        "collections": collections.app,
        "records": records.app,
        "rules": rules.app,
        "users": users.app,
        "buckets": buckets.app,
        "files": files.app,
        "releases": sites.releases,
        "settings": settings.app,
    }.items():
        app.add_typer(group, name=name)
    return adopt(app)


def _usage(error: Exception) -> dict[str, object]:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    path = getattr(getattr(error, "ctx", None), "command_path", "baas")
    return {"title": "Not understood", "code": "usage", "detail": text, "hint": f"{path} --help"}


def _told(arguments: Sequence[str], code: int, problem: object) -> int:
    """Says what failed, in the form that was asked for: the flags may not have been read yet."""
    from collections.abc import Mapping

    from baas_cli.output import FORMATS, Format, Output
    from baas_cli.profiles import default_format, no_color_by_default

    said = _after(arguments, ("-o", "--output"))
    wanted = "json" if "--json" in arguments else said[-1] if said else default_format()
    form: Format = next((one for one in FORMATS if one == wanted), "table")
    if isinstance(problem, Mapping):
        Output(form, no_color=no_color_by_default() or "--no-color" in arguments).fail(problem)
    return code


def _after(arguments: Sequence[str], flags: tuple[str, ...]) -> list[str]:
    apart = [value for flag, value in pairwise(arguments) if flag in flags]
    return apart + [value for flag in flags for one in arguments if (value := one.removeprefix(f"{flag}=")) != one]
