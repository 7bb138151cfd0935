"""Commands and groups that all take the same flags, before and after the subcommand."""

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from baas_cli.invocation import Invocation

PANEL = "Everywhere"


def _shared(  # noqa: PLR0917  # nobody calls it: Typer reads its signature
    format: Annotated[  # noqa: A002  # the parameter's name is the field's
        str | None, typer.Option("--output", "-o", help="table, json, jsonl or csv.", metavar="FORMAT", rich_help_panel=PANEL)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.", rich_help_panel=PANEL)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Ids only, no talk.", rich_help_panel=PANEL)] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer questions with yes.", rich_help_panel=PANEL)] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask; fail instead.", rich_help_panel=PANEL)] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour, at a terminal either.", rich_help_panel=PANEL)] = False,
    fields: Annotated[
        str | None, typer.Option("--fields", help="Show these alone, like 'id,name'.", metavar="NAMES", rich_help_panel=PANEL)
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell each call to the server.", rich_help_panel=PANEL)
    ] = False,
    debug_http: Annotated[
        bool, typer.Option("--debug-http", help="Tell all that is sent and answered, but credentials.", rich_help_panel=PANEL)
    ] = False,
    profile_name: Annotated[
        str | None, typer.Option("--profile", help="Which login to use.", metavar="NAME", rich_help_panel=PANEL)
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Which server.", metavar="URL", rich_help_panel=PANEL)] = None,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Which project.", metavar="NAME", rich_help_panel=PANEL)
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", help="Seconds to wait.", metavar="SECONDS", rich_help_panel=PANEL)
    ] = None,
) -> None:
    """Only its signature counts: Typer makes the options of it."""


def _shared_params(taken: set[str]) -> list[Any]:
    """Fresh options for one command, leaving out those that it defines itself."""
    app = typer.Typer(add_completion=False)
    app.command()(_shared)
    params = typer.main.get_command(app).params
    return [param for param in params if not taken & {*param.opts, param.name}]


class _TakesSharedFlags:
    """Adds the flags to a command's own, and hands their values on in `ctx.obj`."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **more: Any) -> None:
        own = list(params or [])
        shared = _shared_params({"help", *(name for param in own for name in (*param.opts, param.name))})
        self._shared_names = tuple(param.name for param in shared)
        super().__init__(*args, params=own + shared, **more)  # type: ignore[call-arg]  # of the class it is mixed into

    def invoke(self, ctx: Any) -> Any:
        given = {name: ctx.params.pop(name) for name in self._shared_names if name in ctx.params}
        if given.pop("as_json", False):
            given["format"] = "json"
        ctx.obj = Invocation.of(ctx).with_flags(given)
        return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        return super().invoke(ctx)  # type: ignore[misc]  # the class it is mixed into has it


class Command(_TakesSharedFlags, TyperCommand):
    """A command with the flags of all."""

    def _invoke(self, ctx: Any) -> Any:
        with ctx.obj.told_calls():
            return super()._invoke(ctx)


class Group(_TakesSharedFlags, TyperGroup):
    """A group with the flags of all."""


def noun(help: str) -> typer.Typer:  # noqa: A002  # Typer's word
    """A group of commands on one noun: `baas records list`."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)


def adopt(app: typer.Typer) -> typer.Typer:
    """Gives the flags of all to an app and everything in it."""
    app.info.cls = Group
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            adopt(group.typer_instance)
    return app
