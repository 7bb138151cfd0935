"""`baas records`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from baas_cli.command import noun
from baas_cli.input import read_object, read_pairs, read_values
from baas_cli.invocation import Invocation, Usage

app = noun("Records of a collection.")
Name = Annotated[str, typer.Argument(help="The collection's name.")]
Id = Annotated[str, typer.Argument(help="The record's id.")]
Data = Annotated[str | None, typer.Argument(help="JSON: a file, - for stdin, or the text itself.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="NAME=VALUE", help="One field; repeatable.")]
Count = Literal["exact", "estimate"]
Format = Literal["ndjson", "csv"]
Filter = Annotated[str | None, typer.Option(help="A condition, like 'done == $d'.")]
Var = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A value of the filter; repeatable.")]
Search = Annotated[str | None, typer.Option(metavar="WORDS", help="Words in searched fields.")]
Within = Annotated[str | None, typer.Option(metavar="JSON", help='Around a place: {"field", "lat", "lon", "within": metres}.')]
Sort = Annotated[str, typer.Option(help="Fields, like '-created_at,author.name'.")]
Fields = Annotated[str, typer.Option(help="Fields to show, like 'id,title,author.name'.")]
Expand = Annotated[
    str, typer.Option(metavar="PATHS", help="Records to show inside, like 'author,comments.author', or a JSON object of wishes.")
]


@app.command("list")
def list_(  # noqa: PLR0917  # Typer makes an option of each
    ctx: typer.Context,
    collection: Name,
    filter: Filter = None,  # noqa: A002  # the option's name
    var: Var = None,
    sort: Sort = "",
    limit: Annotated[int | None, typer.Option(help="How many at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    fields: Fields = "",
    expand: Expand = "",
    search: Search = None,
    near: Annotated[
        str | None, typer.Option(metavar="JSON", help='A place or vector: {"field": "place", "lat": 52.5, "lon": 13.4}.')
    ] = None,
    count: Annotated[Count | None, typer.Option(help="Tell how many there are in all.")] = None,
) -> None:
    """List records, a page at a time."""
    asked = Invocation.of(ctx)
    names = _names(fields)
    with asked.project_client() as client:
        page = client.collection(collection).list(
            filter=filter,
            vars=read_pairs(var or ()),
            sort=sort,
            limit=limit,
            cursor=cursor,
            fields=names,
            expand=_expand(expand),
            search=search,
            near=None if near is None else read_object(near),
            count=count or False,
        )
    rows: list[Mapping[str, Any]] = list(page.items)
    if names and not asked.output.json:
        rows = [{"id": record.get("id"), **{name: _at(record, name) for name in names}} for record in page.items]
    columns = names or tuple(dict.fromkeys(name for record in page.items for name in record))
    asked.output.show_list(rows, columns, next_cursor=page.next_cursor, total=page.total)


@app.command()
def get(ctx: typer.Context, collection: Name, record_id: Id, fields: Fields = "", expand: Expand = "") -> None:
    """Show one record."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show(client.collection(collection).get(record_id, fields=_names(fields), expand=_expand(expand)))


@app.command()
def aggregate(  # noqa: PLR0917  # Typer makes an option of each
    ctx: typer.Context,
    collection: Name,
    select: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FUNCTION", help="Like 'total=sum(price)'; repeatable.")
    ] = None,
    by: Annotated[str, typer.Option(metavar="FIELDS", help="What to group by, like 'status,created_at:month'.")] = "",
    filter: Filter = None,  # noqa: A002  # the option's name
    var: Var = None,
    having: Annotated[str | None, typer.Option(help="A condition on the names shown, like 'n > 1'.")] = None,
    sort: Annotated[str, typer.Option(help="Names shown, like '-n'.")] = "",
    limit: Annotated[int | None, typer.Option(help="How many groups at most.")] = None,
    time_zone: Annotated[str | None, typer.Option(metavar="ZONE", help="Where days begin, like Europe/Berlin.")] = None,
    search: Search = None,
    near: Within = None,
) -> None:
    """Count and sum up records, in groups; counts them without --select."""
    asked = Invocation.of(ctx)
    figures = _figures(select or ["n=count()"])
    with asked.project_client() as client:
        groups = client.collection(collection).aggregate(
            figures,
            group_by=_names(by),
            filter=filter,
            vars=read_pairs(var or ()),
            having=having,
            sort=sort,
            limit=limit,
            time_zone=time_zone,
            search=search,
            near=None if near is None else read_object(near),
        )
    asked.output.show_list(groups.items, tuple(groups.items[0]) if groups.items else ())
    if groups.more:
        asked.output.say("There are more groups: raise --limit, or narrow with --filter or --having.")


@app.command()
def export(  # noqa: PLR0917  # Typer makes an option of each
    ctx: typer.Context,
    collection: Name,
    file: Annotated[str, typer.Argument(help="Where to: a file, or - for stdout.")] = "-",
    form: Annotated[
        Format | None, typer.Option("--format", help="By the file's ending otherwise: .csv is CSV, any other NDJSON.")
    ] = None,
    filter: Filter = None,  # noqa: A002  # the option's name
    var: Var = None,
    sort: Sort = "",
    fields: Annotated[str, typer.Option(help="Fields to write, like 'id,title'.")] = "",
    search: Search = None,
    near: Within = None,
) -> None:
    """Write every record to a file, as of one moment."""
    asked = Invocation.of(ctx)
    wishes: Any = {"filter": filter, "vars": read_pairs(var or ()), "sort": sort, "fields": _names(fields)}
    wishes |= {"search": search, "near": None if near is None else read_object(near)}
    with asked.project_client() as client:
        records = client.collection(collection)
        if file == "-":
            if asked.output.json:
                raise Usage("Stdout cannot hold the records and JSON about them; name a file.")
            with records.export(form or "ndjson", **wishes) as exported:
                for piece in exported.iter_bytes():
                    asked.output.show_bytes(piece)
            return
        written = records.export_to(Path(file), format=form, **wishes)
    facts = {"collection": collection, "to": str(written), "size": written.stat().st_size}
    asked.output.done(f"Exported {collection} to {written}.", facts)


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
def import_(  # noqa: PLR0917  # Typer makes an option of each
    ctx: typer.Context,
    collection: Name,
    file: Annotated[str, typer.Argument(help="NDJSON (a JSON object a line) or CSV, as export writes them; - is stdin.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="By the file's ending otherwise: .csv is CSV, any other NDJSON.")
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="FIELDS", help="Change the record with the same values in these unique fields, like 'email'.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; tell what would happen.")] = False,
    skip_errors: Annotated[bool, typer.Option("--skip-errors", help="Leave out lines with faults instead of stopping.")] = False,
    from_line: Annotated[int, typer.Option(help="Go on from this line of the file.")] = 1,
) -> None:
    """Make a record of each line, a thousand at a time; exit code 1 when a line has a fault."""
    asked = Invocation.of(ctx)
    source = (line.encode() for line in sys.stdin) if file == "-" else Path(file)
    wishes: Any = {"format": form, "dry_run": dry_run, "skip_errors": skip_errors, "from_line": from_line}
    with asked.project_client() as client, asked.output.progress(f"Sending {file}") as tell:
        report = client.collection(collection).import_(source, key=_names(key), on_progress=tell, **wishes)
    for fault in report.errors:
        asked.output.say(f"line {fault['line']} {fault['pointer'] or '(all of it)'}: {fault['message']} ({fault['code']})")
    if "resume" in report:
        asked.output.say(f"Stopped: nothing from line {report.resume} on is stored. Mend it, then --from-line {report.resume}.")
    made = "Would make" if dry_run else "Made"
    facts = {"collection": collection, "dry_run": dry_run, **report.dict()}
    changed = f" and change {report.updated}" if dry_run else f" and changed {report.updated}"
    done = f"{made} {report.created}{changed if key else ''} records in {collection}; {report.failed} lines have faults."
    asked.output.done(done, facts)
    if report.failed:
        raise typer.Exit(1)


def _names(given: str) -> tuple[str, ...]:
    return tuple(name for one in given.split(",") if (name := one.strip()))


def _expand(given: str) -> Any:
    """Paths as they are; an object where one begins."""
    return read_object(given) if given.lstrip().startswith("{") else given


def _figures(pairs: list[str]) -> dict[str, str]:
    figures: dict[str, str] = {}
    for pair in pairs:
        name, sign, function = pair.partition("=")
        if not sign or not name:
            raise Usage(f"{pair!r} is not name=function, like n=count().")
        figures[name] = function
    return figures


def _at(record: Mapping[str, Any], path: str) -> object:
    """What a dotted path leads to, through what was expanded; the values of a list in a list."""
    name, dot, rest = path.partition(".")
    if not dot:
        return record.get(name)
    inner = (record.get("expand") or {}).get(name)
    if isinstance(inner, list):
        return [_at(one, rest) for one in inner]
    return None if inner is None else _at(inner, rest)
