"""`baas records`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.input import read_lines, read_pairs, read_values
from baas_cli.invocation import Invocation

app = noun("Records of a collection.")
Name = Annotated[str, typer.Argument(help="The collection's name.")]
Id = Annotated[str, typer.Argument(help="The record's id.")]
Data = Annotated[str | None, typer.Argument(help="JSON: a file, - for stdin, or the text itself.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="NAME=VALUE", help="One field; repeatable.")]
IMPORT_BATCH = 200
IMPORT_BYTES = 512 * 1024
"""A batch is sent at either: the server takes a thousand records and a mebibyte of JSON at once."""


@app.command("list")
def list_(  # noqa: PLR0917  # Typer makes an option of each
    ctx: typer.Context,
    collection: Name,
    filter: Annotated[str | None, typer.Option(help="A condition, like 'done == $d'.")] = None,  # noqa: A002  # the option's name
    var: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A value of the filter; repeatable.")] = None,
    sort: Annotated[str, typer.Option(help="Fields, like '-created_at,title'.")] = "",
    limit: Annotated[int | None, typer.Option(help="How many at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    fields: Annotated[str, typer.Option(help="Fields to show, like 'id,title'.")] = "",
) -> None:
    """List records, a page at a time."""
    asked = Invocation.of(ctx)
    names = tuple(name for name in fields.split(",") if name)
    with asked.project_client() as client:
        page = client.collection(collection).list(
            filter=filter, vars=read_pairs(var or ()), sort=sort, limit=limit, cursor=cursor, fields=names
        )
    columns = names or tuple(dict.fromkeys(name for record in page.items for name in record))
    asked.output.show_list(page.items, columns, next_cursor=page.next_cursor)


@app.command()
def get(ctx: typer.Context, collection: Name, record_id: Id) -> None:
    """Show one record."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show(client.collection(collection).get(record_id))


@app.command()
def create(ctx: typer.Context, collection: Name, data: Data = None, set_: Set = None) -> None:
    """Make a record."""
    asked = Invocation.of(ctx)
    values = read_values(data, set_ or ())
    with asked.project_client() as client:
        asked.output.show(client.collection(collection).create(values))


@app.command()
def update(ctx: typer.Context, collection: Name, record_id: Id, data: Data = None, set_: Set = None) -> None:
    """Change fields of a record."""
    asked = Invocation.of(ctx)
    values = read_values(data, set_ or ())
    with asked.project_client() as client:
        asked.output.show(client.collection(collection).update(record_id, values))


@app.command()
def delete(ctx: typer.Context, collection: Name, record_id: Id) -> None:
    """Delete a record."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.confirm(f"Delete the record {record_id} of {collection}?")
        client.collection(collection).delete(record_id)
        asked.output.done(f"Deleted the record {record_id}.", {"id": record_id, "deleted": True})


@app.command("import")
def import_(
    ctx: typer.Context,
    collection: Name,
    file: Annotated[str, typer.Argument(help="JSON objects, one on each line: a file, or - for stdin.")],
) -> None:
    """Make a record of each line, in batches that are stored whole or not at all."""
    from baas_sdk import APIError

    asked = Invocation.of(ctx)
    done = 0
    with asked.project_client() as client:
        records = client.collection(collection)
        try:
            for batch in _batches(file):
                done += len(records.create_many(batch))
        except APIError:
            asked.output.say(f"{done} records are stored; the batch after them failed, and nothing of it is stored.")
            raise
    asked.output.done(f"Made {done} records in {collection}.", {"collection": collection, "created": done})


def _batches(file: str) -> "list[list[dict[str, object]]]":
    """Read whole before the first is sent, so that a broken last line stops everything."""
    import json

    batches: list[list[dict[str, object]]] = [[]]
    size = 0
    for record in read_lines(file):
        length = len(json.dumps(record))
        if batches[-1] and (len(batches[-1]) == IMPORT_BATCH or size + length > IMPORT_BYTES):
            batches.append([])
            size = 0
        batches[-1].append(record)
        size += length
    return [batch for batch in batches if batch]
