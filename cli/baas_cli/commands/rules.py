"""`baas explain` and `baas rules`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baas_cli.command import noun
from baas_cli.input import read_document, read_object, read_pairs
from baas_cli.invocation import Invocation, Usage

if TYPE_CHECKING:
    from baas_sdk import Client

app = noun("Rules: what they warn of, and whether they do what they should.")
Part = Mapping[str, Any]
_WIDEST = 60


def explain(  # noqa: PLR0917  # Typer makes an option of each
    ctx: typer.Context,
    action: Annotated[str | None, typer.Argument(help="list, view, create, update or delete.")] = None,
    target: Annotated[str | None, typer.Argument(metavar="[COLLECTION[/ID]]", help="The collection, and which record.")] = None,
    file: Annotated[bool, typer.Option("--file", help="The target is BUCKET[/KEY]: a file.")] = False,
    field: Annotated[str | None, typer.Option(metavar="NAME", help="A field's read or validate instead of the rule.")] = None,
    as_: Annotated[str | None, typer.Option("--as", metavar="USER", help="A user's id or e-mail; a guest without.")] = None,
    input_: Annotated[str | None, typer.Option("--input", metavar="JSON", help="What is sent: JSON, a file, or -.")] = None,
    claim: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="One of auth.claims; repeatable.")] = None,
    request: Annotated[str | None, typer.Option(metavar="ID", help="A refused call, by its X-Request-Id.")] = None,
) -> None:
    """Show what a rule says to somebody, part by part, and why."""
    asked = Invocation.of(ctx)
    if (request is None) == (action is None or target is None):
        raise Usage("Say an action and a collection (with /ID), or --request ID.")
    if field is not None and file:
        raise Usage("Files have no fields of their own; leave out --field or --file.")
    with asked.project_client() as client:
        if request is not None:
            found = client.rules.explain_request(request)
        else:
            of, _, one = (target or "").partition("/")
            user, sent = _user(client, as_), None if input_ is None else read_object(input_)
            claims = read_pairs(claim) if claim else None
            if file:
                found = client.rules.explain_file(of, action or "", one or None, as_user=user, input=sent, claims=claims)
            else:
                asks = client.rules.explain
                found = asks(of, action or "", one or None, as_user=user, input=sent, claims=claims, field=field)
    if asked.output.json:
        asked.output.show(found)
    else:
        asked.output.show_lines(_explanation(found))
    if found["memory"] == "disagrees":
        asked.output.say("✗ The two evaluators disagree: this is a fault of the platform. Please report the rule and the values.")
        raise typer.Exit(1)


@app.command()
def lint(
    ctx: typer.Context, collection: Annotated[str | None, typer.Argument(help="One collection; all of them without.")] = None
) -> None:
    """Show every warning about the rules."""
    asked = Invocation.of(ctx)
    with asked.project_client() as client:
        found = client.rules.lint(collection)
    if asked.output.json or asked.output.quiet:
        asked.output.show_list([{"id": one["code"], **one} for one in found] if asked.output.quiet else found, ())
    elif found:
        asked.output.show_lines(line for one in found for line in _warning(one))
    else:
        asked.output.say("✓ Nothing to warn of.")


@app.command()
def test(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Rows and cases in YAML or JSON; - for stdin.")],
) -> None:
    """Run cases against the rules, over rows of their own; nothing is stored. Exit code 1 when one fails."""
    asked = Invocation.of(ctx)
    suites = [(name, read_document(name)) for name in files]  # all of them read before the first is sent
    reports = []
    with asked.project_client() as client:
        for name, suite in suites:
            strangers = ", ".join(suite.keys() - {"rows", "cases"})
            if strangers:
                raise Usage(f"{name} has a key that is not known: {strangers}. There are rows and cases.")
            reports.append((name, client.rules.test(suite.get("cases") or (), suite.get("rows"))))  # type: ignore[arg-type]
    total = _together(reports)
    if asked.output.json:
        asked.output.show(total)
    else:
        asked.output.show_lines(_report(total))
        asked.output.say(f"{'✓' if not total['failed'] else '✗'} {total['passed']} passed, {total['failed']} failed")
    if total["failed"]:
        raise typer.Exit(1)


def _user(client: "Client", given: str | None) -> str | None:
    """The id of a user by id or e-mail."""
    if given is None or "@" not in given:
        return given
    found = client.users.list(email=given).items
    if not found:
        raise Usage(f"There is no user {given!r}.")
    return str(found[0].id)


# An explanation for people.


def _explanation(found: Mapping[str, Any]) -> Iterator[str]:
    of = found.get("bucket") or found["collection"]
    about = f" {found['field']}" if found.get("field") else ""
    missing = "(none)" if about else "(locked)"
    yield f"{found['verdict'].upper()}  {of}.{found['action']}{about}  {found['rule'] or missing}"
    if found["tree"] is not None:
        rows = list(_rows(found["tree"], 1))
        width = min(max(len(left) for left, _ in rows), _WIDEST)
        yield from (f"{left.ljust(width)}  {right}".rstrip() for left, right in rows)
    yield f"why:    {found['hint']}"
    if found.get("row") is not None:
        yield f"row:    {found['row']} (from 0) of {found['denial']['input_rows']} that were sent"
    answer = found["answer"]
    yield f"answer: {answer['status']}{' ' + answer['code'] if answer['code'] else ''}"
    yield from (f"        {one['pointer']}: {one['message']}" for one in answer.get("errors", ()))
    yield f"sql:    {found['sql']['text']}"
    yield from (f"        ${number} = {_value(one)}" for number, one in enumerate(found["sql"]["args"], 1))
    for one in found["disagreements"]:
        yield f"DISAGREEMENT  {one['text']}: {one['database']} in the database, {one['memory']} in memory"
    if denial := found.get("denial"):
        who = denial["principal"]
        yield f"asked:  {denial['at']} by {who['kind']} {who['id'] or ''}, answered {denial['status']} {denial['code']}"
        if denial["schema_version"] != found["schema_version"]:
            yield "        The schema has changed since; this is what the rules say now."


def _rows(part: Part, depth: int) -> Iterator[tuple[str, str]]:
    yield "  " * depth + part["text"].replace("\n", " "), _outcome(part)
    for child in part["children"]:
        yield from _rows(child, depth + 1)


def _outcome(part: Part) -> str:
    if "error" in part:
        return f"error   {part['error']}"
    if "value" not in part:
        return "(not shown)"
    note = f"   {part['note']}" if part.get("note") else ""
    return f"{_value(part['value'])}{note}"


def _value(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


# Warnings and reports for people.


def _warning(one: Mapping[str, Any]) -> Iterator[str]:
    of = one.get("collection") or next(f"{kind} {one[kind]}" for kind in ("bucket", "channel") if kind in one)
    yield f"{one['code']}  {of}{one['pointer']}  {one['message']}"
    yield from (f"      {line}" for line in str(one.get("snippet") or "").splitlines())
    if one.get("hint"):
        yield f"      fix: {one['hint']}"


def _together(reports: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """One report of all files: cases with their file, branches counted over all of them."""
    coverage: dict[tuple[str, str], dict[str, Any]] = {}
    for _, report in reports:
        for rule in report["coverage"]:
            _add(coverage.setdefault((rule["collection"], rule["action"]), {**rule, "branches": {}}), rule["branches"])
    asked = {f"{collection}.{action}" for collection, action in coverage}
    return {
        "passed": sum(report["passed"] for _, report in reports),
        "failed": sum(report["failed"] for _, report in reports),
        "cases": [{"file": name, **case} for name, report in reports for case in report["cases"]],
        "coverage": [{**rule, "branches": list(rule["branches"].values())} for rule in coverage.values()],
        "untested": sorted({name for _, report in reports for name in report["untested"]} - asked),
    }


def _add(rule: Mapping[str, Any], branches: Iterable[Mapping[str, Any]]) -> None:
    held = rule["branches"]
    for branch in branches:
        known = held.setdefault((branch["start"], branch["text"]), {**branch, "true": 0, "false": 0, "error": 0})
        for way in ("true", "false", "error"):
            known[way] += branch[way]


def _report(total: Mapping[str, Any]) -> Iterator[str]:
    for case in total["cases"]:
        if not case["passed"]:
            yield f"✗ {case['file']}: {case['name']} ({case.get('bucket') or case['collection']}.{case['action']})"
            yield f"    expected {_value(case['expected'])}, got {_value(case['got'])}"
            if case.get("reason"):
                yield f"    {case['reason']}"
            if case.get("disagreement"):
                yield f"    DISAGREEMENT  {case['disagreement']}"
    for rule in total["coverage"]:
        for branch in rule["branches"]:
            missing = [way for way in ("true", "false") if not branch[way]]
            if missing:
                yield f"never {' or '.join(missing)}  {rule['collection']}.{rule['action']}  {branch['text']}"
    yield from (f"not asked  {name}" for name in total["untested"])
