"""The command against the real application: its contract of streams, exit codes and JSON, command by command."""

import asyncio
import csv
import io
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from baas_cli.app import build, run
from baas_cli.output import Output
from baas_sdk import Progress

from tests.support.callers import Caller, ProjectUnderTest
from tests.support.process import open_folder

ESCAPE = "\x1b"
TODOS = {
    "name": "todos",
    "fields": [{"name": "title", "type": "text", "required": True}, {"name": "n", "type": "int"}],
    "rules": {"list": "true"},
}


@dataclass
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        return json.loads(self.err)


class Terminal:
    """Runs the command as a program would: no terminal on either side, and a configuration of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._capsys = capsys
        self.monkeypatch = monkeypatch
        names = "URL TOKEN KEY PROJECT PROFILE OUTPUT TIMEOUT NO_INPUT LOG"
        for name in (*(f"BAAS_{name}" for name in names.split()), "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("BAAS_CONFIG_DIR", str(tmp_path / "config"))
        monkeypatch.chdir(tmp_path)

    def env(self, **values: str) -> None:
        for name, value in values.items():
            self.monkeypatch.setenv(name, value)

    async def __call__(self, *arguments: str, stdin: str = "") -> Done:
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = await asyncio.to_thread(run, arguments)
        out, err = self._capsys.readouterr()
        return Done(code, out, err)

    async def ok(self, *arguments: str, stdin: str = "") -> Any:
        """The JSON of a command that must work."""
        done = await self(*arguments, "--json", stdin=stdin)
        assert 0 == done.code, done.err
        return done.json


@pytest.fixture
def baas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Terminal:
    return Terminal(capsys, monkeypatch, tmp_path)


@pytest.fixture
def here(baas: Terminal, server_url: str, project: ProjectUnderTest) -> Terminal:
    """Signed in as the operator, in a fresh project, by the environment."""
    baas.env(BAAS_URL=server_url, BAAS_TOKEN=project.operator.token or "", BAAS_PROJECT=project.name)
    return baas


@pytest.fixture
async def todos(here: Terminal) -> Terminal:
    """With a collection `todos` in the project."""
    await here.ok("collections", "create", json.dumps(TODOS))
    return here


def leaves() -> set[tuple[str, ...]]:
    """Every command that does something, by its words."""

    def below(command: Any, path: tuple[str, ...]) -> set[tuple[str, ...]]:
        children = getattr(command, "commands", None)
        return {path} if children is None else {leaf for name, child in children.items() for leaf in below(child, (*path, name))}

    return below(typer.main.get_command(build()), ())


def test_every_command_takes_the_flags_of_all() -> None:
    def check(command: Any) -> None:
        flags = {option for param in command.params for option in param.opts}
        # `login` takes the address as its argument.
        talk, which = (
            "--json --output -o --quiet --fields --no-color -v --debug-http",
            "--profile --project --timeout --yes --no-input",
        )
        assert {*talk.split(), *which.split()} <= flags, command.name
        assert "--url" in flags or command.name == "login"
        for child in getattr(command, "commands", {}).values():
            check(child)

    check(typer.main.get_command(build()))


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that PostgreSQL's own account may enter."""
    with open_folder() as folder:
        yield folder / "data"


async def test_every_command_speaks_json(here: Terminal, tmp_path: Path, operator: Caller, data: Path) -> None:
    """Runs the whole tree, so a new command fails here until it has its line: stdout is one JSON document, exit code 0."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<h1>Hi</h1>")
    (tmp_path / "a.txt").write_text("\x1b[31mred")
    (tmp_path / "todos.json").write_text(json.dumps(TODOS))
    (tmp_path / "todos.jsonl").write_text('{"title": "one"}\n\n{"title": "two"}\n')
    known: dict[str, str] = {}
    walked: set[tuple[str, ...]] = set()

    async def step(words: str, *arguments: str, stdin: str = "", keep: str = "", of: str = "id") -> Any:
        command = tuple(words.split())
        walked.add(command)
        done = await here(*command, *(known.get(one, one) for one in arguments), "--json", "--yes", stdin=stdin)
        assert 0 == done.code, (words, done.err)
        assert ESCAPE not in done.out + done.err, words
        if keep:
            known[keep] = done.json[of]
        return done.json

    await step("version")
    await step("status")
    await step("login", here_url(here), "--email", operator.email, "--password-stdin", stdin="operator password\n")
    await step("projects list")
    await step("projects create", "cli-walk")
    await step("projects show", "cli-walk")
    await step("projects delete", "cli-walk")
    await step("keys create", "app", "--scope", "records", keep="KEY")
    await step("keys list")
    await step("keys revoke", "KEY")
    old = (await step("signing-keys list"))["items"][0]["id"]
    assert (await step("signing-keys rotate"))["signs"]
    assert {"id": old, "dropped": True} == await step("signing-keys drop", old)
    await step("collections create", "todos.json")
    await step("collections list")
    await step("collections show", "todos")
    await step("collections update", "todos", json.dumps({"fields": [*TODOS["fields"], {"name": "more", "type": "text"}]}))
    await step("records create", "todos", "--set", "title=\x1b[31mred", "-s", "n=3", keep="RECORD")
    await step("records get", "todos", "RECORD")
    await step("records update", "todos", "RECORD", '{"n": 4}')
    listed = await step("records list", "todos", "--filter", "n == $n", "--var", "n=4", "--sort", "-n")
    assert ["\x1b[31mred"] == [item["title"] for item in listed["items"]]
    imported = await step("records import", "todos", "todos.jsonl")
    assert ("todos", 2, 0) == (imported["collection"], imported["created"], imported["failed"])
    assert [{"n": 3}] == (await step("records aggregate", "todos"))["items"]
    await step("records export", "todos", "todos.csv", "--fields", "title")
    assert ESCAPE in (tmp_path / "todos.csv").read_text()
    assert "deny" == (await step("explain", "view", f"todos/{known['RECORD']}"))["verdict"]
    assert [] == (await step("rules lint", "users"))["items"]
    (tmp_path / "cases.yaml").write_text("cases:\n- {collection: todos, action: list, expect: {rows: []}}\n")
    assert 1 == (await step("rules test", "cases.yaml"))["passed"]
    assert "snapshot" == (await step("tail", "todos", "--initial", "--events", "1"))["action"]
    await step("records delete", "todos", "RECORD")
    await step("collections delete", "todos", "--allow-data-loss")
    await step("users create", "ada@example.com", "--password-stdin", stdin="correct horse\n", keep="USER")
    await step("users list")
    await step("users show", "USER")
    said = await step("users claims", "USER", "role=admin", 'teams=["a"]')
    assert {"role": "admin", "teams": ["a"]} == said["claims"]
    assert {} == (await step("users claims", "USER", "--none"))["claims"]
    await step("users update", "USER", "--set", "disabled=true")
    await step("users delete", "USER")
    await step("buckets create", "notes", "--public")
    await step("buckets list")
    await step("files put", "notes", "a.txt", "deep/a.txt")
    await step("files ls", "notes")
    await step("files get", "notes", "deep/a.txt", "copy.txt")
    assert "\x1b[31mred" == (tmp_path / "copy.txt").read_text()
    await step("files rm", "notes", "deep/a.txt")
    await step("buckets delete", "notes", "--allow-data-loss")
    release = await step("deploy", "web", "--message", "first", keep="RELEASE")
    assert release["url"].startswith("http")
    await step("releases list")
    await step("releases activate", "RELEASE")
    await step("settings show")
    assert (await step("settings set", "auth.sign_up=true"))["auth"]["sign_up"]
    here.monkeypatch.delenv("BAAS_TOKEN")
    await step("logout")
    here.env(BAAS_DATA_DIR=str(data))  # with a PostgreSQL of its own: the shared ones do not wait for disks
    for name in ("BAAS_URL", "BAAS_PROJECT"):
        here.monkeypatch.delenv(name)
    await step("config show")
    await step("operators list")
    await step("operators create", "second@example.com", "--password-stdin", stdin="operator password\n")
    assert {"projects": 0} == await step("db new-epoch")

    assert leaves() - walked == {("dev",), ("serve",), ("db", "upgrade"), ("db", "prune")}, (
        "servers, and what needs their data folder for itself, are run by the tests of processes"
    )


def here_url(terminal: Terminal) -> str:
    import os

    return os.environ["BAAS_URL"]


async def test_data_goes_to_stdout_and_talk_to_stderr(here: Terminal) -> None:
    done = await here("keys", "create", "app")
    assert "sk_" in done.out
    assert "shown this once" in done.err
    assert "sk_" not in done.err

    done = await here("keys", "list", "--quiet")
    assert re.fullmatch(r"[0-9a-f-]{36}\n", done.out)
    assert "" == done.err

    done = await here("collections", "list")
    assert "users\temail, email_verified, disabled" in done.out


async def test_a_table_cannot_be_steered_by_what_it_shows(todos: Terminal) -> None:
    """A title with an escape sequence, a tab or a line break is one cell of visible characters."""
    await todos("records", "create", "todos", json.dumps({"title": "\x1b]0;pwned\x07a\tb\nc"}))
    done = await todos("records", "list", "todos", "--fields", "title")

    assert "\\x1b]0;pwned\\x07a\\tb\\nc\n" == done.out


async def test_a_definition_is_shown_by_lines(todos: Terminal) -> None:
    """Fields and rules stand one below the other, without what is not set; keys of stored JSON steer nothing either."""
    shape = {"name": "label", "type": "select", "values": ["red", "blue"]}, {"name": "more", "type": "json", "required": True}
    made = await todos("collections", "create", json.dumps({"name": "cards", "fields": shape, "rules": {"list": "true"}}))
    assert "fields\tlabel: type=select, values=[red, blue]\n\tmore: type=json, required\n" in made.out
    assert "rules\tlist: true\n\tview: -\n" in made.out
    done = await todos("records", "create", "cards", json.dumps({"more": {"\x1b]0;pwned\x07": 1, "b": [2]}}))

    assert "more\tb: [2]\n\t\\x1b]0;pwned\\x07: 1\n" in done.out


async def test_flags_stand_before_and_after_the_command(here: Terminal) -> None:
    after, before, between = ("version", "--json"), ("--json", "version"), ("-o", "json", "version")

    assert 1 == len({(await here(*arguments)).out for arguments in (after, before, between)})
    here.env(BAAS_OUTPUT="json")
    assert (await here("projects", "list")).json["items"]
    assert "version\t" in (await here("-o", "table", "version")).out
    assert 2 == (await here("-o", "yaml", "version")).code
    assert (0, 0) == ((await here("-h")).code, (await here("records", "list", "-h")).code)


AWAY = ("--database-url", "postgresql://a:hunter22@127.0.0.1:1/x", "--data-dir", "data")


async def test_lists_have_lines_of_json_and_csv(todos: Terminal) -> None:
    """A line each, with a head in CSV; a cell keeps its line breaks and quotes; null is nothing, and no formula is made of it."""
    await todos("records", "create", "todos", json.dumps({"title": 'a "b"\nc', "n": 3}))
    await todos("records", "create", "todos", json.dumps({"title": "two"}))
    listed = ("records", "list", "todos", "--fields", "title,n", "--sort", "created_at")
    lines, table = await todos(*listed, "-o", "jsonl"), await todos(*listed, "--output=csv")

    assert [('a "b"\nc', 3), ("two", None)] == [(one["title"], one["n"]) for one in map(json.loads, lines.out.splitlines())]
    assert [["title", "n"], ['a "b"\nc', "3"], ["two", ""]] == list(csv.reader(io.StringIO(table.out)))
    assert 1 == len((await todos("collections", "show", "nothing", "-o", "jsonl")).err.splitlines())
    assert (await todos("collections", "show", "nothing", "-o", "csv")).err.startswith("✗ ")


async def test_fields_leave_the_others_out(here: Terminal) -> None:
    """In every form, of lists and of single things; a name that nothing has is told with those that there are."""
    assert [["name"]] == [list(one) for one in (await here.ok("collections", "list", "--fields", "name"))["items"]]
    assert {"version"} == set(await here.ok("version", "--fields", "version"))
    assert "users\n" == (await here("collections", "list", "--fields", "name")).out
    done = await here("collections", "list", "--fields", "nmae")

    assert 2 == done.code
    assert "There is no field 'nmae' to show. There are: " in done.err


async def test_calls_are_told_when_asked_without_credentials(here: Terminal) -> None:
    """A line of each on stderr; or all of it, but what would let somebody in."""
    told = await here("keys", "list", "-v", "--json")
    deep = await here("--debug-http", "keys", "create", "app")
    silent = await here("keys", "list")

    assert re.search(r"^GET /v1/projects/\S+/keys -> 200 in \d+ ms \(request \S+\)$", told.err, re.MULTILINE)
    assert told.json["items"] == []
    assert "> authorization: •••" in deep.err
    assert '"key": "•••"' in deep.err
    assert not re.search(r"(?:sk|opt)_\w{16}", deep.err)
    assert "" == silent.err


async def test_the_environment_stands_for_flags(here: Terminal) -> None:
    """And what it cannot mean is told, not ignored."""
    here.env(BAAS_TIMEOUT="0.1", BAAS_NO_INPUT="yes")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = await here("projects", "list", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "--json")
    assert (7, "timed_out") == (done.code, done.problem["code"])
    for name, value in (("BAAS_TIMEOUT", "soon"), ("BAAS_TIMEOUT", "-1"), ("BAAS_NO_INPUT", "perhaps")):
        here.env(**{"BAAS_TIMEOUT": "20", "BAAS_NO_INPUT": "no", name: value})
        done = await here("version", "--json")
        assert (2, "usage") == (done.code, done.problem["code"])
        assert f"{name} is {value!r}" in done.problem["detail"]


class Watched(io.StringIO):
    """A terminal that somebody looks at."""

    def isatty(self) -> bool:
        return True


async def test_colour_and_progress_are_for_a_terminal(here: Terminal, tmp_path: Path) -> None:
    """Signs in colour, unless that is not wanted; how far an upload is on a line that goes away."""
    for environ, flags, coloured in (({}, (), True), ({"NO_COLOR": "1"}, (), False), ({}, ("--no-color",), False)):
        with pytest.MonkeyPatch.context() as patch:
            here.monkeypatch.setenv("TERM", "xterm")
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stderr", stderr := Watched())
            await here("collections", "show", "nothing", *flags)
        assert ("\x1b[31m✗\x1b[0m" in stderr.getvalue()) == coloured
        assert (ESCAPE in stderr.getvalue()) == coloured


def test_progress_shows_a_share_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment, at a terminal alone; quick uploads say nothing."""
    monkeypatch.setattr(sys, "stderr", stderr := Watched())
    with Output().progress("Uploading a.png") as tell:
        assert tell is not None
        tell(Progress(1, 4_000_000))
        assert "" == stderr.getvalue()
        time.sleep(0.35)
        tell(Progress(1_000_000, 4_000_000))
    shown, blank = stderr.getvalue().removeprefix("\r").removesuffix("\r").split("\r")

    assert re.fullmatch(r"Uploading a\.png: 25 % of 4\.0 MB, \S+ [kM]B/s, \d+ s left", shown)
    assert "" == blank.strip()
    with Output(quiet=True).progress("Uploading") as tell:
        assert tell is None


CASES: Sequence[tuple[tuple[str, ...], int, str]] = [
    (("collections", "show", "nothing"), 3, "collection_not_found"),
    (("records", "get", "users", "nothing"), 3, "record_not_found"),
    (("projects", "create", "BAD NAME"), 1, "invalid"),
    (("collections", "create", '{"name": "users", "fields": []}'), 6, "already_exists"),
    (("collections", "create", '{"name": "x", "fields": [{"name": "a", "type": "txt"}]}'), 1, "invalid"),
    (("collections", "create", "no-such-file.json"), 1, "file"),
    (("collections", "create", "{broken"), 2, "usage"),
    (("collections", "create", "-"), 2, "usage"),
    (("records", "create", "users"), 2, "usage"),
    (("records", "create", "users", "-s", "title"), 2, "usage"),
    (("records", "list", "users", "--filter", "emial == 'x'"), 1, "bad_filter"),
    (("records", "list", "users", "--limit", "many"), 2, "usage"),
    (("nonsense",), 2, "usage"),
    (("records", "list"), 2, "usage"),
    (("projects", "delete", "cannot-be-there"), 3, "no_project"),
    (("keys", "revoke", "01890000-0000-7000-8000-000000000000"), 8, "confirmation_needed"),
    (("signing-keys", "drop", "nobody"), 8, "confirmation_needed"),
    (("users", "claims", "01890000-0000-7000-8000-000000000000"), 2, "usage"),
    (("users", "claims", "01890000-0000-7000-8000-000000000000", "--none", "a=b"), 2, "usage"),
    (("users", "claims", "01890000-0000-7000-8000-000000000000", "role=admin"), 3, "not_found"),
    (("users", "create", "ada@example.com"), 8, "confirmation_needed"),
    (("login", "http://127.0.0.1:1"), 8, "confirmation_needed"),
    (("status", "--url", "http://127.0.0.1:1"), 7, "unreachable"),
    (("projects", "list", "--url", "not a url"), 1, "cannot_send"),
    (("projects", "list", "--profile", "nobody"), 1, "bad_profiles"),
    (("files", "put", "b", "not-there.png"), 1, "cannot_send"),
    (("deploy", "not-there"), 1, "cannot_send"),
    (("serve", "--port", "99999"), 2, "bad_settings"),
    (("serve", "--config", "not-there.toml"), 2, "bad_settings"),
    (("dev", "--host", "192.0.2.1"), 2, "cannot_start"),
    (("config", "show", "--config", "not-there.toml"), 2, "bad_settings"),
    (("operators", "list", *AWAY), 7, "database_unreachable"),
    (("operators", "create", "ada@example.com", "--password-stdin", *AWAY), 2, "usage"),
    (("db", "new-epoch", *AWAY), 7, "database_unreachable"),
    (("db", "upgrade", "--data-dir", "not-there"), 2, "cannot_start"),
    (("db", "prune", "--data-dir", "not-there"), 2, "cannot_start"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"), CASES, ids=lambda value: "-".join(value) if isinstance(value, tuple) else None
)
async def test_a_failure_has_its_exit_code_and_its_words(
    here: Terminal, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    """For people what, why and code; for programs the problem document; never a traceback."""
    told = await here(*arguments)
    machine = await here(*arguments, "--json")

    assert (code, code) == (told.code, machine.code), told.err
    assert f"code: {problem}" in told.err
    assert told.err.startswith("✗ ")
    assert problem == machine.problem["code"]
    assert "Traceback" not in told.err + machine.err
    assert "hunter22" not in told.err + machine.err
    assert "" == told.out + machine.out


async def test_a_wrong_expression_is_shown_with_its_spot(here: Terminal) -> None:
    """For people the line with a mark and a suggestion; for programs the same facts as the API gives."""
    manifest = json.dumps({"name": "x", "fields": [], "rules": {"list": "record.crated_at < now"}})
    told = await here("collections", "create", manifest)
    machine = await here("collections", "create", manifest, "--json")
    filtered = await here("records", "list", "users", "--filter", "emial == 'x'")

    assert "record.crated_at < now\n" in told.err
    assert "Did you mean 'created_at'?" in told.err
    assert {"line": 1, "column": 8} == {name: machine.problem["errors"][0][name] for name in ("line", "column")}
    assert "emial == 'x'\n" in filtered.err
    assert "^" in filtered.err


async def test_loss_names_the_flag_that_accepts_it(todos: Terminal) -> None:
    """The API's word for it, `?confirm=`, is nothing a command line can say."""
    await todos.ok("records", "create", "todos", "-s", "title=one")
    done = await todos("collections", "delete", "todos", "--yes")

    assert 6 == done.code
    assert "--allow-data-loss" in done.err


async def test_the_live_release_can_be_told_from_the_others(here: Terminal, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("one")
    await here.ok("deploy", "web")
    await here.ok("deploy", "web")
    listed = await here("releases", "list")

    assert ["yes", "no"] == [line.split("\t")[1] for line in listed.out.splitlines()]


@pytest.mark.parametrize("token", ["", "opt_damaged", "sk_x", "eyJhbGciOiJub25lIn0.e30."])
async def test_no_good_token_is_exit_4(here: Terminal, token: str) -> None:
    here.env(BAAS_TOKEN=token)
    done = await here("projects", "list")

    assert 4 == done.code
    assert "baas login URL" in done.err


async def test_a_key_is_refused_what_it_lacks(here: Terminal, project: ProjectUnderTest) -> None:
    await project.collection("todos")
    key = await project.key("records")
    here.env(BAAS_TOKEN=key.token or "")

    assert 5 == (await here("keys", "list")).code
    assert 5 == (await here("projects", "list")).code
    assert 0 == (await here("records", "list", "todos")).code


async def test_a_login_is_kept_by_its_owner_alone(baas: Terminal, server_url: str, operator: Caller, tmp_path: Path) -> None:
    answer = await baas.ok("login", server_url, "--email", operator.email, "--password-stdin", stdin="operator password\n")
    path = tmp_path / "config" / "profiles.toml"

    assert {"profile": "default", "url": server_url, "project": None, "logged_in": True} == answer
    assert 0o600 == path.stat().st_mode & 0o777
    assert operator.email == (await baas.ok("status"))["as"]
    assert 0 == (await baas("projects", "list")).code
    assert (await baas.ok("logout"))["session_ended"]
    assert 4 == (await baas("projects", "list")).code
    assert "opt_" not in path.read_text()
    assert 4 == (await baas("logout")).code


async def test_a_wrong_password_is_exit_4_and_keeps_nothing(baas: Terminal, server_url: str, tmp_path: Path) -> None:
    done = await baas("login", server_url, "--email", "nobody@example.com", "--password-stdin", stdin="wrong password\n")

    assert 4 == done.code
    assert not (tmp_path / "config").exists()


async def test_a_token_goes_to_its_own_server_only(baas: Terminal, server_url: str, operator: Caller) -> None:
    """Another address on the command line leaves the stored token behind, or any server could collect it."""
    await baas.ok("login", server_url, "--token-stdin", stdin=f"{operator.token}\n")

    assert 0 == (await baas("projects", "list")).code
    assert 4 == (await baas("projects", "list", "--url", server_url.replace("127.0.0.1", "localhost"))).code


async def test_several_logins_live_side_by_side(
    baas: Terminal, server_url: str, operator: Caller, project: ProjectUnderTest
) -> None:
    key = await project.key()
    await baas.ok("login", server_url, "--token-stdin", stdin=f"{operator.token}\n")
    await baas.ok("login", server_url, "--token-stdin", "--profile", "app", "-p", project.name, stdin=f"{key.token}\n")

    assert "API key" == (await baas.ok("status"))["as"]
    assert operator.email == (await baas.ok("status", "--profile", "default"))["as"]
    assert 0 == (await baas("records", "list", "users")).code


@pytest.mark.parametrize("damage", ["not toml [", "profiles = 3", '[profiles]\na = "x"'])
async def test_a_damaged_profile_file_is_told(baas: Terminal, tmp_path: Path, damage: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "profiles.toml").write_text(damage)
    done = await baas("projects", "list")

    assert 1 == done.code
    assert "profiles.toml cannot be read" in done.err


async def test_the_project_must_be_said_when_there_are_several(
    here: Terminal, operator: Caller, project: ProjectUnderTest
) -> None:
    await operator.post("projects", json={"name": f"{project.name}-b"})
    here.monkeypatch.delenv("BAAS_PROJECT")
    done = await here("collections", "list")

    assert 2 == done.code
    assert "--project NAME" in done.err


async def test_a_broken_line_imports_nothing(todos: Terminal) -> None:
    done = await todos("records", "import", "todos", "-", stdin='{"title": "a"}\n{broken\n')

    assert 1 == done.code
    assert "line 2" in done.err
    assert [] == (await todos.ok("records", "list", "todos"))["items"]


async def test_a_file_goes_to_stdout_as_it_is(here: Terminal, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content")
    await here("buckets", "create", "notes")
    await here("files", "put", "notes", "a.txt")

    assert 2 == (await here("files", "get", "notes", "a.txt", "-", "--json")).code
    assert 3 == (await here("files", "get", "notes", "b.txt", "copy.txt")).code
    assert not (tmp_path / "copy.txt").exists()


async def test_help_and_version_are_fast(here: Terminal) -> None:
    """Modules of commands import typer and the standard library; the client comes when it is needed."""
    heavy = {"httpx2", "baas_sdk", "asyncpg", "starlette", "pydantic", "baas.process"}
    script = f"import sys, baas_cli.app as a; a.run(['--help']); print(sorted({heavy} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()

    assert b"[]" == out.strip().splitlines()[-1]


def test_the_reference_page_is_what_the_tree_makes() -> None:
    script = Path(__file__).parents[2] / "cli" / "reference.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False, capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr


async def test_a_view_is_made_by_a_manifest(todos: Terminal, project: ProjectUnderTest) -> None:
    """`collections create` takes a view like any collection, and `schema`-like output shows its SQL."""
    shown = await todos.ok("collections", "create", json.dumps({"name": "open", "view": {"sql": "select id, title from todos"}}))
    assert shown["view"]["sql"] == "select id, title from todos"
    assert (await todos.ok("collections", "show", "open"))["fields"][0]["name"] == "title"
    bad = json.dumps({"name": "bad", "view": {"sql": "select id from nowhere"}})
    refused = await todos("collections", "create", bad, "--json")
    assert (refused.code, refused.problem["errors"][0]["code"]) == (1, "not_allowed_in_view")
    assert (await todos("records", "delete", "open", "01a1f9e2-2d34-7102-9a55-c26544a8cfcf", "--yes", "--json")).code != 0
