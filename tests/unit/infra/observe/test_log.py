"""The log: one line an event, no credential in any."""

import ast
import io
import json
import logging
from pathlib import Path

import pytest

from baas.infra.observe.log import TOKEN_PREFIXES, Log, redact

CANARY = "c4n4ry5ecret"
ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: Basic {CANARY}==",
        f'{{"authorization": "Bearer {CANARY}"}}',
        f"[(b'authorization', b'Bearer {CANARY}'), (b'cookie', b'a={CANARY}')]",
        f"Headers({{'authorization': 'Bearer {CANARY}', 'x-api-key': '{CANARY}'}})",
        f"Set-Cookie: session={CANARY}; HttpOnly",
        f"bearer {CANARY}",
        f"sk_{CANARY}{'A' * 40}",
        f"opt_{CANARY}{'A' * 40} and rt_{CANARY}{'A' * 40}",
        f"eyJhbGciOiJFUzI1NiJ9.{CANARY}.{CANARY}",
        f"eyJhbGciOiJFUzI1NiJ9.{CANARY}",
        f"postgresql://baas:{CANARY}@db:5432/x failed",
        f"could not reach 'smtp://mail:{CANARY}@host'",
        f"/v1/x?token={CANARY}&a=1",
        f"/cb?a=1&code={CANARY}&state={CANARY}",
        f'{{"password":"{CANARY}"}}',
        f'{{"password": "a\\"{CANARY}"}}',
        f'{{"new_password":"{CANARY}","n":1}}',
        f'{{"message":"body {{\\"refresh_token\\":\\"{CANARY}\\"}}"}}',
        f"{{'client_secret': '{CANARY}', 'n': 1}}",
        f"{{'password': \"it's {CANARY}\"}}",
        f"password='{CANARY}'",
        f"BAAS_SECRET_KEY={CANARY}",
        f"api_key={CANARY}, ticket={CANARY}",
        f"SignIn(email='a@b.c', password='{CANARY}')",
    ],
)
def test_no_credential_survives(text: str) -> None:
    """In headers, JSON, JSON within JSON, Python's repr, addresses, queries and assignments."""
    assert CANARY not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"request","path":"/v1/projects/app/auth/sign-in","status":401,"code":"bad_token"}',
        "InvalidPassword: the password is wrong",
        "http://127.0.0.1:8000/docs?project=app",
        "took 3.2 ms at 2026-11-20T10:31:07.104233Z, id 01939d3e-7b1c-7f2e-9c58-2f1f6f0c9a11",
        "task_completed in rt.py, desk_top",
    ],
)
def test_what_is_no_credential_stays_readable(text: str) -> None:
    """A log nobody can read helps nobody."""
    assert text == redact(text)


def test_every_kind_of_token_is_known_to_the_redactor() -> None:
    """Each prefix that a token is made with, found in the source itself."""
    prefixes = set()
    for file in (ROOT / "baas").rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "new_token":
                prefix = node.args[0]
                prefixes.add(prefix.value if isinstance(prefix, ast.Constant) else constants.get(getattr(prefix, "id", "")))

    assert {"sk", "opt"} <= prefixes <= set(TOKEN_PREFIXES)


def test_an_event_is_one_line_of_json() -> None:
    """Time, level, event and its facts; the stack of an error is a member; below the level nothing is written."""
    stream = io.StringIO()
    log = Log(stream, level="info")
    log.debug("not shown")
    log.info("started", port=8000, note="a\nb")
    try:
        raise ValueError("password=hunter2")
    except ValueError as error:
        log.error("failed", error=error)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [("info", "started"), ("error", "failed")] == [(line["level"], line["event"]) for line in lines]
    assert (8000, "a\nb") == (lines[0]["port"], lines[0]["note"])
    assert lines[0]["at"].endswith("Z")
    assert "ValueError" in lines[1]["stack"]
    assert "hunter2" not in stream.getvalue()


def test_text_for_people_is_one_line_too() -> None:
    """A client's line break does not start a line of its own."""
    stream = io.StringIO()
    Log(stream, shape="text").info("request", path="/a\nERROR forged", status=200)

    assert 1 == stream.getvalue().count("\n")
    assert 'path="/a\\nERROR forged"' in stream.getvalue()


def test_other_libraries_pass_the_same_redactor() -> None:
    """What uvicorn or a driver logs arrives as an event, without credentials, also when its arguments do not fit."""
    stream = io.StringIO()
    handler = Log(stream).adopt_standard_logging()
    try:
        logging.getLogger("somewhere").warning("connecting to %s", "postgresql://u:hunter2@h/d")
        logging.getLogger("somewhere").error("broken %d", "hunter")
        try:
            raise RuntimeError("token=hunter2")
        except RuntimeError:
            logging.getLogger("somewhere").exception("boom")
    finally:
        logging.getLogger().removeHandler(handler)

    assert 3 == stream.getvalue().count('"logger":"somewhere"')
    assert "hunter2" not in stream.getvalue()


def test_a_dead_stream_ends_nothing() -> None:
    """A closed pipe or full disk is no reason to refuse a request."""

    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    Log(Full()).info("started")
    closed = io.StringIO()
    closed.close()
    Log(closed).error("failed")


async def test_access_lines_leave_together() -> None:
    """Held for a moment, flushed at the end, each redacted on its own."""
    stream = io.StringIO()
    log = Log(stream)
    for number in range(3):
        log.access({"path": f"/{number}?token=hunter2"})
    assert "" == stream.getvalue()
    log.flush()

    assert 3 == stream.getvalue().count('"event":"request"')
    assert "hunter2" not in stream.getvalue()


def test_an_announcement_is_an_event_for_programs_and_words_for_people() -> None:
    """Whatever the level; a secret in it is hidden, unless it is handed over."""
    token = f"set_{CANARY}{'A' * 40}"
    machine, terminal, text = io.StringIO(), _Terminal(), io.StringIO()
    for stream, shape in ((machine, "json"), (terminal, "json"), (text, "text")):
        log = Log(stream, level="error", shape=shape)  # type: ignore[arg-type]
        log.announce("serving", f"serving with {token}", url="http://a")
        log.hand_over("setup_link", f"go to {token}", link=token)

    serving, link = map(json.loads, machine.getvalue().splitlines())
    assert ("serving", "serving with set_[redacted]", "http://a") == (serving["event"], serving["message"], serving["url"])
    assert ("setup_link", token) == (link["event"], link["link"])
    assert terminal.getvalue() == text.getvalue() == f"baas: serving with set_[redacted]\nbaas: go to {token}\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
