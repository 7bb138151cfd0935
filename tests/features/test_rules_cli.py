"""`baas explain` and `baas rules`: what people read, and the exit codes of scripts."""

import json
from pathlib import Path

import pytest

from tests.features.test_cli import Terminal, baas, here  # noqa: F401  fixtures
from tests.support.callers import ProjectUnderTest

CASES = """
# Whose card is it?
rows:
  users: [{id: ada}, {id: bob}]
  cards:
  - {id: c1, title: yes, owner: ada}      # a text here, as in JSON
cases:
- {name: mine, collection: cards, action: view, auth: ada, id: c1, expect: allow}
- {name: not mine, collection: cards, action: view, auth: bob, id: c1, expect: deny}
"""
REACHING = """
rows:
  users: [{id: ada}]
  notes: [{id: n, owner: ada}]
  buckets/pics: [{path: a.png, owner: ada}]
cases:
- {bucket: pics, path: a.png, action: view, auth: ada, expect: allow}
- {bucket: pics, path: a.png, action: view, expect: deny}
- {collection: notes, action: view, id: n, now: 1999-01-01T00:00:00Z, expect: deny}
- {collection: notes, action: create, auth: ada, field: pin, input: {pin: bad}, expect: deny}
- {name: wrong, collection: notes, action: create, auth: ada, input: {owner: ada, pin: bad}, expect: deny}
"""
FAILING = CASES.replace("expect: deny", "expect: allow")


@pytest.fixture
async def cards(here: Terminal, project: ProjectUnderTest) -> ProjectUnderTest:  # noqa: F811  the fixture
    rules: dict[str, str | None] = {
        "view": "record.owner == auth.id || record.title == 'open'",
        "update": "record.owner == auth.id",
    }
    await project.collection("cards", rules=rules)
    return project


async def test_a_denial_is_explained_to_people(here: Terminal, cards: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    ada, bob = await cards.user(), await cards.user()
    card = await cards.operator.create("cards", {"title": "\x1b[31mOne", "owner": ada.id})
    path = f"cards/{card['id']}"

    told = await here("explain", "update", path, "--as", bob.email, "--input", '{"title": "x"}')
    refused = await bob.patch(f"collections/cards/records/{card['id']}", json={"title": "x"})
    again = await here("explain", "--request", refused.headers["x-request-id"])
    allowed = await here.ok("explain", "update", path, "--as", ada.id, "--input", "{}")
    guest = await here("explain", "view", path)

    assert 0 == told.code, told.err
    lines = told.out.splitlines()
    assert lines[0] == "DENY  cards.update  record.owner == auth.id"
    assert lines[1].split() == ["record.owner", "==", "auth.id", "false", f'"{ada.id}"', "≠", f'"{bob.id}"']
    assert f'why:    `record.owner == auth.id` is false: "{ada.id}" ≠ "{bob.id}".' in lines
    assert "answer: 404 record_not_found" in lines
    assert f'        $1 = "{bob.id}"' in lines
    assert again.out.splitlines()[0] == lines[0]
    assert f"by user {bob.id}, answered 404 record_not_found" in again.out
    assert "allow" == allowed["verdict"]
    assert "\x1b" not in guest.out
    assert "\\x1b[31mOne" in guest.out


async def test_what_does_not_fit_and_which_of_many_is_told_to_people(
    here: Terminal,  # noqa: F811
    project: ProjectUnderTest,
) -> None:
    fields = [{"name": "pin", "type": "text", "validate": "value != 'bad'"}, {"name": "owner", "type": "relation", "to": "users"}]
    await project.collection("notes", fields, {"create": "next.owner == auth.id", "view": "record.created_at < now"})
    await project.operator.post("buckets", json={"name": "pics", "rules": {"view": "record.owner == auth.id"}})
    ada, bob = await project.user(), await project.user()
    refused = await ada.post("collections/notes/records", json=[{"owner": ada.id}, {"owner": bob.id}])

    unfit = await here("explain", "create", "notes", "--as", ada.id, "--input", json.dumps({"owner": ada.id, "pin": "bad"}))
    many = await here("explain", "--request", refused.headers["x-request-id"])
    tested = await here("rules", "test", "-", stdin=REACHING)

    assert unfit.out.startswith("ALLOW  notes.create")
    assert "answer: 422 invalid\n        /pin: Must satisfy: value != 'bad'" in unfit.out
    assert "row:    1 (from 0) of 2 that were sent" in many.out.splitlines()
    assert "✓ 4 passed, 1 failed" in tested.err.replace("✗", "✓"), tested.out + tested.err
    assert (
        """✗ -: wrong (notes.create)
    expected "deny", got {"invalid": ["pin"]}"""
        in tested.out
    )


async def test_questions_that_are_none(here: Terminal, cards: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    assert 2 == (await here("explain")).code
    assert 2 == (await here("explain", "view")).code
    assert 2 == (await here("explain", "view", "cards", "--request", "x")).code
    assert 2 == (await here("explain", "view", "cards", "--as", "nobody@example.com")).code
    assert 3 == (await here("explain", "view", "nothing")).code
    assert 3 == (await here("explain", "--request", "nothing")).code
    assert 1 == (await here("explain", "view", "cards/x")).code
    assert 0 == (await here("explain", "view", "cards")).code


async def test_warnings_are_told_with_their_spot(here: Terminal, cards: ProjectUnderTest) -> None:  # noqa: F811  the fixture
    told, quiet = await here("rules", "lint"), await here("rules", "lint", "cards", "-q")

    assert 0 == told.code
    assert "R006  cards/rules/update" in told.out
    assert "      record.owner == auth.id\n" in told.out
    assert "      fix: Mark the field 'owner' as immutable" in told.out
    assert "R006" in quiet.out.splitlines()
    assert "✓ Nothing to warn of." in (await here("rules", "lint", "users")).err


async def test_cases_pass_or_fail_with_an_exit_code(here: Terminal, cards: ProjectUnderTest, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "good.yaml").write_text(CASES)
    (tmp_path / "bad.yaml").write_text(FAILING)

    good, bad = await here("rules", "test", "good.yaml"), await here("rules", "test", "good.yaml", "bad.yaml")
    machine = await here("rules", "test", "bad.yaml", "--json")

    assert (0, 1, 1) == (good.code, bad.code, machine.code), good.err
    assert "✓ 2 passed, 0 failed" in good.err
    assert "never true  cards.view  record.title == 'open'" in good.out
    assert "not asked  cards.update" in good.out
    assert "✗ bad.yaml: not mine (cards.view)" in bad.out
    assert '    expected "allow", got "deny"' in bad.out
    assert "✗ 3 passed, 1 failed" in bad.err
    report = machine.json
    assert [(one["file"], one["passed"]) for one in report["cases"]] == [("bad.yaml", True), ("bad.yaml", False)]
    assert json.dumps(report["coverage"])


BROKEN = {
    "a: 1\na: 2\n": "line 2 has the key 'a' for the second time",
    "rows: {u: &x [1]}\ncases: *x\n": "line 2 refers to another place",
    "- 1\n": "it holds no object",
    "{1: 2}\n": "line 1 has a key that is no text",
    "a: [\n": "line 2",
    "!!python/object/apply:os.system ['true']\n": "constructor",
    "[" * 100: "nested more than 50",
    "cases: []\nextra: 1\n": "has a key that is not known: extra",
    "a: \x01\n": "it is no YAML",
}


@pytest.mark.parametrize("text", BROKEN)
async def test_a_file_that_cannot_be_read_is_said_so(here: Terminal, tmp_path: Path, text: str) -> None:  # noqa: F811
    (tmp_path / "cases.yaml").write_text(text)
    done = await here("rules", "test", "cases.yaml")

    assert 2 == done.code
    assert BROKEN[text] in done.err
    assert "Traceback" not in done.err


async def test_scalars_mean_what_they_mean_in_json(here: Terminal, cards: ProjectUnderTest, tmp_path: Path) -> None:  # noqa: F811
    """YAML's own readings of `no`, `12:30`, `2024-01-31` and `010` are how such files go wrong."""
    fields = [{"name": name, "type": "text"} for name in "abcd"] + [{"name": "n", "type": "int"}]
    rule = "next.a == 'no' && next.b == '12:30' && next.c == '2024-01-31' && next.d == '010' && next.n == -3"
    await cards.collection("words", fields=fields, rules={"create": rule})
    (tmp_path / "w.yaml").write_text(
        "cases: [{collection: words, action: create, input: {a: no, b: 12:30, c: 2024-01-31, d: 010, n: -3}, expect: allow}]"
    )
    done = await here("rules", "test", "w.yaml")

    assert 0 == done.code, done.out + done.err


ROOT = Path(__file__).parents[2]


async def test_the_rules_of_the_todo_app_are_tested_whole_and_warn_of_nothing(
    here: Terminal,  # noqa: F811
    project: ProjectUnderTest,
) -> None:
    """Every rule of it, every branch both ways."""
    backend = json.loads((ROOT / "docs/examples/todo/backend.json").read_text())
    for bucket in backend["buckets"]:
        assert (await project.operator.post("buckets", json=bucket)).is_success
    for manifest in backend["collections"]:
        assert "warnings" not in await project.collection(**manifest)

    done = await here("rules", "test", str(ROOT / "docs/examples/todo/rules.yaml"))

    assert (0, "") == (done.code, done.out), done.out + done.err
    assert "✓ 20 passed, 0 failed" in done.err


async def test_the_examples_of_the_guides_warn_of_nothing(
    here: Terminal,  # noqa: F811
    cards: ProjectUnderTest,
    tmp_path: Path,
) -> None:
    guide = (ROOT / "docs/guides/collections.md").read_text()
    orders = json.loads(guide.split("Content-Type: application/json\n")[1].split("```")[0])
    cases = (ROOT / "docs/guides/rules.md").read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "guide.yaml").write_text(cases)
    mine = "record.owner == auth.id"
    assert (await cards.operator.patch("collections/cards", json={"rules": {"list": mine, "view": mine}})).is_success

    assert "warnings" not in await cards.collection(**orders)
    assert "✓ 4 passed, 0 failed" in (await here("rules", "test", "guide.yaml")).err
