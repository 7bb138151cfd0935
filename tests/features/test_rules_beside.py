"""Rules that stand beside the collections, of buckets and channels: changes of the schema and lints look at them too."""

import asyncio
from typing import Any

import pytest

from tests.features.test_cli import Terminal, baas, here  # noqa: F401  fixtures
from tests.support.callers import Caller, ProjectUnderTest

USER = {"name": "user", "type": "relation", "to": "users", "required": True}
NICK = {"name": "nick", "type": "text"}
CREW = "rows('crew').exists(m, m.user == auth.id)"


@pytest.fixture
async def crew(project: ProjectUnderTest) -> ProjectUnderTest:
    """A bucket for those who stand in a collection, and a channel for those who have a name."""
    await project.collection("crew", [USER, NICK])
    assert (await project.operator.patch("collections/users", json={"fields": [NICK]})).is_success
    made = await project.operator.post("buckets", json={"name": "b", "rules": {"list": CREW, "view": CREW}})
    assert made.status_code == 201, made.text
    rules = {"join": "auth.nick == 'ada'", "send": None}
    assert (await project.operator.put("channels/room:{id}", json={"rules": rules})).status_code == 200
    return project


async def refused(caller: Caller, method: str, path: str, fields: list[dict[str, Any]] | None = None) -> list[tuple[str, ...]]:
    """What the change would break, by what it belongs to."""
    answer = await caller.request(method, path, **({} if fields is None else {"json": {"fields": fields}}))
    assert (answer.status_code, answer.json()["code"]) == (409, "breaks_rules"), answer.text
    broken = answer.json()["broken"]
    assert all(one["code"] and one["message"] and one["line"] for one in broken)
    kinds = ("collection", "bucket", "channel")
    return [(kind, one[kind], one["place"]) for one in broken for kind in kinds if kind in one]


async def test_a_change_that_breaks_the_rules_of_a_bucket_is_refused(crew: ProjectUnderTest) -> None:
    """Renaming and dropping a field, and deleting the collection; the files stay as open as they were."""
    ada = await crew.user()
    await crew.operator.create("crew", {"user": ada.id})
    both = [("bucket", "b", "/rules/list"), ("bucket", "b", "/rules/view")]
    renamed = {**USER, "name": "member", "renamed_from": "user"}

    assert both == await refused(crew.operator, "PATCH", "collections/crew", [renamed, NICK])
    assert both == await refused(crew.operator, "PATCH", "collections/crew?confirm=data-loss", [NICK])
    assert both == await refused(crew.operator, "DELETE", "collections/crew?confirm=data-loss")
    assert (await ada.get("buckets/b/files")).status_code == 200
    told = await crew.operator.delete("collections/crew", params={"confirm": "data-loss"})
    assert "bucket b/rules/list, bucket b/rules/view" in told.json()["detail"]

    assert (await crew.operator.patch("buckets/b", json={"rules": {"list": None, "view": "true"}})).is_success
    assert (await crew.operator.patch("collections/crew", json={"fields": [renamed, NICK]})).status_code == 200
    assert (await crew.operator.delete("collections/crew", params={"confirm": "data-loss"})).status_code == 204


async def test_a_change_that_breaks_the_rules_of_channels_is_refused(crew: ProjectUnderTest) -> None:
    channel = [("channel", "room:{id}", "/rules/join")]

    assert channel == await refused(crew.operator, "PATCH", "collections/users", [{**NICK, "name": "n", "renamed_from": "nick"}])
    assert channel == await refused(crew.operator, "PATCH", "collections/users", [])
    assert (await crew.operator.delete("channels/room:{id}")).status_code == 204
    assert (await crew.operator.patch("collections/users", json={"fields": []})).status_code == 200


async def test_what_breaks_everywhere_is_told_at_once(crew: ProjectUnderTest) -> None:
    """Rules of collections, of views, of buckets and of channels in one answer."""
    await crew.collection("cards", [NICK], {"list": "auth.nick != null && record.nick == auth.nick"})
    view = {"name": "v", "view": {"sql": "select id, nick from cards"}, "rules": {"list": "auth.nick == 'ada'"}}
    assert (await crew.operator.post("collections", json=view)).status_code == 201
    assert (await crew.operator.patch("buckets/b", json={"rules": {"create": "auth.nick == 'ada'"}})).is_success

    assert [
        ("collection", "cards", "/rules/list"),
        ("collection", "v", "/rules/list"),
        ("bucket", "b", "/rules/create"),
        ("channel", "room:{id}", "/rules/join"),
    ] == await refused(crew.operator, "PATCH", "collections/users", [])


async def test_a_change_that_makes_two_nulls_equal_is_refused_for_buckets_too(crew: ProjectUnderTest) -> None:
    """R003 is looked for in every rule that a change of fields touches."""
    team = {"name": "team", "type": "text", "required": True, "default": "a"}
    assert (await crew.operator.patch("collections/users", json={"fields": [NICK, {**team, "required": False}]})).is_success
    assert (await crew.operator.patch("collections/crew", json={"fields": [USER, NICK, team]})).is_success
    rule = "rows('crew').exists(m, m.team == auth.team)"
    assert (await crew.operator.patch("buckets/b", json={"rules": {"delete": rule}})).is_success
    change = {"fields": [USER, NICK, {**team, "required": False}]}
    answer = await crew.operator.patch("collections/crew", json=change)

    assert (409, "breaks_rules") == (answer.status_code, answer.json()["code"])
    assert [("b", "/rules/delete", "R003")] == [(one["bucket"], one["place"], one["code"]) for one in answer.json()["broken"]]


async def test_two_nulls_do_not_open_a_channel(crew: ProjectUnderTest) -> None:
    """R003 stops the save of a channel's rules as it stops that of a collection's."""
    team = {"name": "team", "type": "text"}
    assert (await crew.operator.patch("collections/users", json={"fields": [NICK, team]})).is_success
    answer = await crew.operator.put("channels/x", json={"rules": {"join": "auth.team == auth.nick"}})
    guarded = await crew.operator.put("channels/x", json={"rules": {"join": "auth.nick != null && auth.team == auth.nick"}})

    assert (422, [("/rules/join", "R003")]) == (
        answer.status_code,
        [(one["pointer"], one["code"]) for one in answer.json()["errors"]],
    )
    assert guarded.status_code == 200, guarded.text


async def test_rules_and_the_schema_they_name_never_pass_each_other(project: ProjectUnderTest) -> None:
    """Whichever comes first stands, and the other is refused: no bucket is left with a rule that fits nothing."""
    for number in range(8):
        name = f"crew{number}"
        await project.collection(name, [USER])
        bucket = {"name": f"b{number}", "rules": {"view": f"rows('{name}').exists(m, m.user == auth.id)"}}
        made, gone = await asyncio.gather(
            project.operator.post("buckets", json=bucket), project.operator.delete(f"collections/{name}")
        )

        assert (made.status_code, gone.status_code) in ((201, 409), (422, 204)), (made.text, gone.text)


# Lints


async def test_a_bucket_is_saved_with_warnings_and_linted_with_the_rest(crew: ProjectUnderTest) -> None:
    everybody = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
    made = await crew.operator.post("buckets", json={"name": "open", "rules": everybody})
    closed = await crew.operator.patch("buckets/open", json={"rules": {**everybody, "view": None, "create": "auth.nick == 'a'"}})
    quiet = await crew.operator.post("buckets", json={"name": "shut", "public": True, "rules": {"list": "true"}})
    listed = (await crew.operator.get("rules/lint")).json()["items"]

    opened = [("R004", f"/rules/{action}") for action in ("create", "update", "delete")]
    assert opened == [(one["code"], one["pointer"]) for one in made.json()["warnings"]]
    assert "any file" in made.json()["warnings"][0]["message"]
    assert {("R007", "/rules/list"), ("R009", "/rules/create"), *opened[1:]} == {
        (one["code"], one["pointer"]) for one in closed.json()["warnings"]
    }
    assert "warnings" not in quiet.json()
    assert "warnings" not in (await crew.operator.get("buckets/open")).json()
    assert {"R004", "R007", "R009"} == {one["code"] for one in listed if one.get("bucket") == "open"}


async def test_channels_are_linted_too(crew: ProjectUnderTest) -> None:
    rules = {"join": "auth.nick == 'ada'", "send": "true", "track": "1 == 2"}
    made = await crew.operator.put("channels/lobby", json={"rules": rules})
    listed = (await crew.operator.get("rules/lint")).json()["items"]
    alone = (await crew.operator.get("rules/lint", params={"collection": "users"})).json()["items"]

    found = [("R009", "/rules/join"), ("R004", "/rules/send"), ("R002", "/rules/track")]
    assert found == [(one["code"], one["pointer"]) for one in made.json()["warnings"]]
    assert found == [(one["code"], one["pointer"]) for one in listed if one.get("channel") == "lobby"]
    assert all("collection" in one for one in alone)


async def test_a_bucket_that_looks_through_a_collection_is_told_the_index(crew: ProjectUnderTest) -> None:
    """What `rows(…)` looks for is read for every file; with the index there is nothing to say."""
    rule = "rows('crew').exists(m, m.nick == record.folder && m.nick != null)"
    slow = await crew.operator.patch("buckets/b", json={"rules": {"view": rule}})
    assert (await crew.operator.patch("collections/crew", json={"indexes": [{"fields": ["nick"]}]})).is_success
    quick = await crew.operator.patch("buckets/b", json={"rules": {"view": rule}})

    assert "R008" in {one["code"] for one in slow.json()["warnings"]}
    assert "R008" not in {one["code"] for one in quick.json().get("warnings", ())}


async def test_the_command_names_buckets_and_channels(here: Terminal, project: ProjectUnderTest) -> None:  # noqa: F811
    assert (await project.operator.post("buckets", json={"name": "open", "rules": {"create": "true"}})).is_success
    assert (await project.operator.put("channels/lobby", json={"rules": {"send": "true"}})).is_success

    said = (await here("rules", "lint")).out

    assert "R004  bucket open/rules/create" in said
    assert "R004  channel lobby/rules/send" in said


async def test_a_rule_of_a_channel_enters_no_collection_from_its_caller_either(project: ProjectUnderTest) -> None:
    """What leads to the caller's account would find nothing there: it is refused as `rows()` is, with its place."""
    fields = [{"name": "user", "type": "relation", "to": "users", "inverse": "seats"}]
    await project.collection("members", fields, {"list": "auth.seats.exists(s, s.id == record.id)"})

    answer = await project.operator.put("channels/lobby", json={"rules": {"join": "auth.seats.exists(s, true)"}})
    (fault,) = answer.json()["errors"]
    assert (422, "/rules/join", "not_allowed", 6) == (answer.status_code, fault["pointer"], fault["code"], fault["column"])
    assert "enters no collection" in fault["message"]
