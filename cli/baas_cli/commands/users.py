"""`baas users`."""

from typing import Annotated

import typer

from baas_cli.command import noun
from baas_cli.input import read_pairs, read_password
from baas_cli.invocation import Invocation, Usage

app = noun("Accounts of the project's users.")
Id = Annotated[str, typer.Argument(help="The user's id.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="NAME=VALUE", help="One field; repeatable.")]
Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int | None, typer.Option(help="How many at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
) -> None:
    """List accounts, a page at a time."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        page = client.users.list(limit=limit, cursor=cursor)
    columns = ("id", "email", "email_verified", "disabled", "created_at")
    asked.output.show_list(page.items, columns, next_cursor=page.next_cursor)


@app.command()
def create(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(help="The e-mail address.")],
    password_stdin: Stdin = False,
    set_: Set = None,
) -> None:
    """Make an account."""
    asked = Invocation.of(ctx)
    fields = read_pairs(set_ or ())
    with asked.project_client() as client:
        password = read_password(asked.output, password_stdin, twice=True)
        asked.output.show(client.users.create(email, password, **fields))


@app.command()
def show(ctx: typer.Context, user_id: Id) -> None:
    """Show one account."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.show(client.users.get(user_id))


@app.command()
def update(ctx: typer.Context, user_id: Id, set_: Set = None, password_stdin: Stdin = False) -> None:
    """Change an account: own fields, e-mail, `disabled=true`, or the password."""
    asked = Invocation.of(ctx)
    fields = read_pairs(set_ or ())
    if password_stdin:
        fields["password"] = read_password(asked.output, from_stdin=True)
    if not fields:
        raise Usage("There is nothing to change: --set name=value, or --password-stdin.")
    with asked.project_client() as client:
        asked.output.show(client.users.update(user_id, fields))


@app.command()
def claims(
    ctx: typer.Context,
    user_id: Id,
    pairs: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="All that is said of the user.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Say nothing of the user any more.")] = False,
) -> None:
    """Set what rules see as `auth.claims`, in place of what was said before; it holds everywhere within seconds."""
    asked = Invocation.of(ctx)
    if bool(pairs) == none:
        raise Usage("Say all the claims as name=value, or --none.")
    with asked.project_client() as client:
        asked.output.show(client.users.set_claims(user_id, read_pairs(pairs or ())))


@app.command()
def delete(ctx: typer.Context, user_id: Id) -> None:
    """Delete an account."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        asked.output.confirm(f"Delete the user {user_id}?")
        client.users.delete(user_id)
        asked.output.done(f"Deleted the user {user_id}.", {"id": user_id, "deleted": True})
