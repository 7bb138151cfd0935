"""`baas tail`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from baas_cli.input import read_pairs
from baas_cli.invocation import Invocation


def tail(  # noqa: PLR0917  # Typer makes an option of each
    ctx: typer.Context,
    collection: Annotated[str, typer.Argument(help="The collection's name.")],
    filter: Annotated[str | None, typer.Option(help="A condition, like 'done == $d'.")] = None,  # noqa: A002  # the option's name
    var: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A value of the filter; repeatable.")] = None,
    fields: Annotated[str, typer.Option(help="Fields to show, like 'id,title'.")] = "",
    initial: Annotated[bool, typer.Option("--initial", help="Show first what is there already.")] = False,
    since: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on from the cursor of an event shown before.")] = None,
    events: Annotated[int | None, typer.Option("--events", "-n", help="Stop after so many; runs on otherwise.")] = None,
) -> None:
    """Show each change of a collection as it happens, until Ctrl-C; with --json one object a line."""
    asked = Invocation.of(ctx)
    names = tuple(name for one in fields.split(",") if (name := one.strip()))
    shown = 0
    with (
        asked.project_client() as client,
        client.collection(collection).subscribe(
            filter=filter, vars=read_pairs(var or ()), fields=names, initial=initial, since=since
        ) as subscription,
    ):
        asked.output.say(f"Following {collection}; Ctrl-C stops.")
        for event in subscription:
            for line in _lines(event):
                asked.output.show_event(line)
                shown += 1
                if events is not None and shown >= events:
                    return


def _lines(event: Any) -> Iterator[Mapping[str, Any]]:
    """An event as lines; each record of a snapshot is one."""
    if event.action == "snapshot":
        yield from ({"action": "snapshot", "id": one.get("id"), "record": one, "cursor": event.cursor} for one in event.items)
        return
    yield {"action": event.action, "id": event.id, "record": event.record, "cursor": event.cursor}
