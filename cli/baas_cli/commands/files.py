"""`baas files`."""

from pathlib import Path
from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.invocation import Invocation, Usage

app = noun("Files in a bucket.")
Bucket = Annotated[str, typer.Argument(help="The bucket's name.")]
Key = Annotated[str, typer.Argument(help="The file's key, like 'a/b.png'.")]


@app.command()
def ls(
    ctx: typer.Context,
    bucket: Bucket,
    prefix: Annotated[str | None, typer.Argument(help="How the keys begin.")] = None,
    limit: Annotated[int | None, typer.Option(help="How many at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
) -> None:
    """List files, a page at a time."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        page = client.bucket(bucket).list(prefix=prefix, limit=limit, cursor=cursor)
    columns = ("path", "size", "content_type", "updated_at")
    asked.output.show_list(page.items, columns, next_cursor=page.next_cursor)


@app.command()
def put(
    ctx: typer.Context,
    bucket: Bucket,
    file: Annotated[Path, typer.Argument(help="The file to upload.")],
    key: Annotated[str | None, typer.Argument(help="Its key; its name, if none is given.")] = None,
    content_type: Annotated[str | None, typer.Option(help="Its media type; guessed from its name otherwise.")] = None,
) -> None:
    """Upload a file, replacing what is there."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client, asked.output.progress(f"Uploading {file.name}") as tell:
        stored = client.bucket(bucket).upload(file, key=key, content_type=content_type, on_progress=tell)
    asked.output.show(stored)


@app.command()
def get(
    ctx: typer.Context,
    bucket: Bucket,
    key: Key,
    to: Annotated[str, typer.Argument(help="A file or folder, or - for stdout.")] = ".",
) -> None:
    """Download a file."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        files = client.bucket(bucket)
        if to == "-":
            if asked.output.json:
                raise Usage("Stdout cannot hold the file and JSON; name a file.")
            with files.open(key) as download:
                for piece in download.iter_bytes():
                    asked.output.show_bytes(piece)
            return
        written = files.download(key, to=Path(to))
        facts = {"path": key, "to": str(written), "size": written.stat().st_size}
        asked.output.done(f"Downloaded {key} to {written}.", facts)


@app.command()
def rm(ctx: typer.Context, bucket: Bucket, key: Key) -> None:
    """Delete a file."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.confirm(f"Delete {key} from {bucket}?")
        client.bucket(bucket).delete(key)
        asked.output.done(f"Deleted {key}.", {"path": key, "deleted": True})
