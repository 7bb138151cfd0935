"""`baas records`: lists with all they can ask, figures, exports."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.features.test_cli import Terminal, baas, here  # noqa: F401  fixtures
from tests.support.callers import ProjectUnderTest


@pytest.fixture
async def shop(here: Terminal, project: ProjectUnderTest) -> Terminal:  # noqa: F811  the fixture
    """Items of two makers: a lamp with two reviews, a sofa without; the lamp stands in Berlin."""
    maker = {"name": "maker", "type": "relation", "to": "makers", "inverse": "items"}
    item = {"name": "item", "type": "relation", "to": "items", "inverse": "reviews"}
    await project.collection("makers", [{"name": "name", "type": "text"}], {})
    fields: list[dict[str, Any]] = [
        {"name": "title", "type": "text", "search": True},
        {"name": "price", "type": "decimal"},
        {"name": "place", "type": "geo_point"},
        maker,
    ]
    await project.collection("items", fields, {})
    await project.collection("reviews", [{"name": "stars", "type": "int"}, item], {})
    one, two = [await here.ok("records", "create", "makers", "-s", f"name={name}") for name in ("Anna", "Bert")]
    place = json.dumps({"lat": 52.52, "lon": 13.405})
    lamp = await here.ok(
        "records",
        "create",
        "items",
        "-s",
        "title=Lamp",
        "-s",
        'price="19.90"',
        "-s",
        f"place={place}",
        "-s",
        f"maker={one['id']}",
    )
    await here.ok("records", "create", "items", "-s", "title=Sofa", "-s", 'price="400"', "-s", f"maker={two['id']}")
    for stars in (3, 5):
        await here.ok("records", "create", "reviews", "-s", f"stars={stars}", "-s", f"item={lamp['id']}")
    return here


async def test_a_list_asks_for_all_that_a_list_can(shop: Terminal) -> None:
    listed = await shop.ok(
        "records", "list", "items", "--search", "lam", "--expand", "maker,reviews", "--sort", "maker.name", "--count", "exact"
    )

    (lamp,) = listed["items"]
    assert (1, "Anna") == (listed["total"], lamp["expand"]["maker"]["name"])
    assert 2 == len(lamp["expand"]["reviews"])
    near = json.dumps({"field": "place", "lat": 52.5, "lon": 13.4, "within": 5000})
    assert ["Lamp"] == [one["title"] for one in (await shop.ok("records", "list", "items", "--near", near))["items"]]
    wishes = json.dumps({"reviews": {"filter": "stars > 3", "fields": "stars"}})
    got = await shop.ok("records", "get", "items", lamp["id"], "--expand", wishes, "--fields", "title")
    assert {"title": "Lamp", "expand": {"reviews": [{"stars": 5}]}} == got


async def test_a_table_shows_fields_of_what_relations_lead_to(shop: Terminal) -> None:
    done = await shop(
        "records", "list", "items", "--fields", "title,maker.name,reviews.stars", "--sort", "title", "--count", "exact"
    )

    assert "Lamp\tAnna\t[3, 5]\nSofa\tBert\t-\n" == done.out
    assert "2 in all" in done.err


async def test_figures_are_counted_by_group(shop: Terminal) -> None:
    shown = await shop("records", "aggregate", "items", "--by", "maker.name", "--select", "total=sum(price)", "--sort", "-total")
    counted = await shop.ok("records", "aggregate", "items", "--filter", "price > decimal($p)", "--var", 'p="20"')
    cut = await shop("records", "aggregate", "reviews", "--by", "stars", "--limit", "1")

    assert "Bert\t400\nAnna\t19.90\n" == shown.out
    assert [{"n": 1}] == counted["items"]
    assert "3\t1\n" == cut.out
    assert "more groups" in cut.err
    assert 2 == (await shop("records", "aggregate", "items", "--select", "count()")).code
    assert "bad_aggregate" in (await shop("records", "aggregate", "items", "--select", "n=summ(price)")).err


async def test_an_export_is_a_file_or_a_stream(shop: Terminal, tmp_path: Path) -> None:
    facts = await shop.ok("records", "export", "items", "items.csv", "--fields", "title,price", "--sort", "title")
    file = tmp_path / "items.csv"

    assert {"collection": "items", "to": "items.csv", "size": file.stat().st_size} == facts
    assert ['"Lamp",19.90', '"Sofa",400'] == file.read_text().splitlines()[1:]
    await shop("records", "export", "items", "all.jsonl", "--filter", "title == $t", "--var", "t=Sofa")
    assert ["Sofa"] == [json.loads(line)["title"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert 2 == (await shop("records", "export", "items", "--json")).code
    assert 3 == (await shop("records", "export", "nothing", "x.csv")).code
    assert not (tmp_path / "x.csv").exists()


async def test_what_was_exported_can_be_imported(shop: Terminal, tmp_path: Path) -> None:
    await shop("records", "export", "reviews", "reviews.jsonl", "--fields", "stars,item")
    before = (await shop.ok("records", "list", "reviews", "--count", "exact"))["total"]
    await shop.ok("records", "import", "reviews", "reviews.jsonl")

    assert 2 * before == (await shop.ok("records", "list", "reviews", "--count", "exact"))["total"]
    await shop("records", "export", "reviews", "all.jsonl", "--fields", "id,stars")
    again = await shop.ok("records", "import", "reviews", "all.jsonl", "--key", "id")
    assert (0, 2 * before) == (again["created"], again["updated"])


async def test_changes_are_shown_as_they_happen(shop: Terminal, project: ProjectUnderTest) -> None:
    """One line a change; a cursor of one run goes on in the next; control characters stay characters."""
    sofa = (await shop.ok("records", "list", "items", "--search", "sofa"))["items"][0]
    first = await shop("tail", "items", "--initial", "--events", "2", "--fields", "title", "--json")
    lines = [json.loads(line) for line in first.out.splitlines()]

    assert [("snapshot", "Lamp"), ("snapshot", "Sofa")] == [(line["action"], line["record"]["title"]) for line in lines]
    await shop.ok("records", "update", "items", sofa["id"], "-s", "title=\x1b[31mred")
    await shop.ok("records", "delete", "items", sofa["id"], "--yes")
    cursor = lines[-1]["cursor"]
    then = await shop("tail", "items", "--since", cursor, "-n", "2", "--fields", "title")
    assert f"update\t{sofa['id']}\ttitle=\\x1b[31mred" in then.out
    assert f"delete\t{sofa['id']}\n" in then.out
    assert "Following items" in then.err
    assert 1 == (await shop("tail", "items", "--filter", "nonsense == 1")).code
    assert 3 == (await shop("tail", "nothing")).code


async def test_an_import_tells_each_fault_and_where_to_go_on(shop: Terminal, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("stars\n4\nmany\n5\n")
    dry = await shop("records", "import", "reviews", "reviews.csv", "--dry-run", "--json")
    stopped = await shop("records", "import", "reviews", "reviews.csv")
    kept = await shop("records", "import", "reviews", "-", "--format", "csv", "--skip-errors", stdin="stars\n4\nmany\n5\n")

    assert (1, [3]) == (dry.code, [fault["line"] for fault in dry.json["errors"]])
    assert 1 == stopped.code
    assert "line 3 /stars: " in stopped.err
    assert "--from-line" in stopped.err
    assert (1, 4) == (kept.code, (await shop.ok("records", "list", "reviews", "--count", "exact"))["total"])
    assert "Made 2 records in reviews; 1 lines have faults" in kept.err
