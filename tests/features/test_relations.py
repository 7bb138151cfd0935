"""Paths through relations, inverses and other collections: in rules, where they enter everything, and in filters, where a caller
enters only what he could list."""

from typing import Any
from uuid import uuid4

from tests.support.callers import Caller, ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


def text(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "text", **more}


def link(name: str, to: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "relation", "to": to, **more}


async def board(project: ProjectUnderTest, *, boards_list: str | None = "true", **card_rules: str | None) -> dict[str, Any]:
    """Teams with members; boards belong to a team or to none; cards to a board. Two of each, owned by two users."""
    alice, bob = await project.user(), await project.user()
    leads = [link("lead", "users", inverse="led"), link("guests", "users", many=True)]
    await project.collection("teams", [text("name"), *leads], OPEN)
    member = [link("team", "teams", required=True, inverse="members"), link("user", "users", required=True), text("role")]
    await project.collection("members", member, OPEN)
    boards = [text("name"), link("team", "teams", inverse="boards")]
    await project.collection("boards", boards, OPEN | {"list": boards_list})
    cards = [text("title"), link("board", "boards", inverse="cards"), link("tags", "tags", many=True, inverse="cards")]
    await project.collection("tags", [text("label")], OPEN)
    await project.collection("cards", cards, OPEN | card_rules)
    made: dict[str, Any] = {"alice": alice, "bob": bob}
    for name, user in (("red", alice), ("blue", bob)):
        team = await project.operator.create("teams", {"name": name, "lead": user.id, "guests": [user.id]})
        await project.operator.create("members", {"team": team["id"], "user": user.id, "role": "editor"})
        place = await project.operator.create("boards", {"name": f"{name} board", "team": team["id"]})
        tag = await project.operator.create("tags", {"label": name})
        card = await project.operator.create("cards", {"title": name, "board": place["id"], "tags": [tag["id"]]})
        made |= {f"{name}_team": team, f"{name}_board": place, f"{name}_card": card, f"{name}_tag": tag}
    await project.operator.create("boards", {"name": "nobody's board"})
    await project.operator.create("cards", {"title": "loose"})
    return made


async def titles(caller: Caller, **params: Any) -> list[str]:
    return [one["title"] for one in await caller.list("cards", sort="title", **params)]


async def test_a_rule_goes_through_relations_to_the_one_who_asks(project: ProjectUnderTest) -> None:
    """A missing record on the way is a failure, which no negation turns into sight."""
    made = await board(project, list="record.board.team.lead == auth.id", view="!(record.board.team.lead != auth.id)")

    assert await titles(made["alice"]) == ["red"]
    assert await titles(made["bob"]) == ["blue"]
    seen = await made["alice"].get(f"collections/cards/records/{made['red_card']['id']}")
    hidden = await made["alice"].get(f"collections/cards/records/{made['blue_card']['id']}")
    assert (seen.status_code, hidden.status_code) == (200, 404)


async def test_a_rule_asks_other_collections(project: ProjectUnderTest) -> None:
    """By inverse, by `rows()`, counted, negated, over lists of ids, and through fields of the caller's own record."""
    fields = [link("home", "teams")]
    made = await board(project)
    await project.operator.patch("collections/users", json={"fields": fields})
    await project.operator.patch(f"users/{made['alice'].id}", json={"home": made["red_team"]["id"]})
    rules = {
        "record.board.team.members.exists(m, m.user == auth.id && m.role in ['owner', 'editor'])": ["red"],
        'rows("members").exists(m, m.team == record.board.team && m.user == auth.id)': ["red"],
        'record.board.team != null && !rows("members").exists(m, m.team == record.board.team && m.user == auth.id)': ["blue"],
        "!record.board.team.members.exists(m, m.user == auth.id)": ["blue"],
        "record.board.team.members.all(m, m.user == auth.id)": ["red"],
        "size(record.board.team.members.filter(m, m.user == auth.id)) == 1": ["red"],
        "size(record.board.team.members.filter(m, m.user == auth.id)) < 1": ["blue"],
        "size(record.board.cards) == 1": ["blue", "red"],
        "auth.id in record.board.team.guests": ["red"],
        "record.board.team.guests.exists(g, g.email == auth.email)": ["red"],
        "record.tags.exists(t, t.label == 'red')": ["red"],
        "record.board.team.lead.email == auth.email": ["red"],
        "record.board.team != null && record.board.team == auth.home": ["red"],
        "auth.home.name != null && record.board.team.name == auth.home.name": ["red"],
        "record.board.team.name == 'red' ? record.board.name == 'red board' : false": ["red"],
        "auth.led.exists(t, t.id == record.board.team)": ["red"],
        "!auth.led.exists(t, t.id == record.board.team)": ["blue"],
        "size(auth.led) == 1 && auth.led.all(t, t.name != null && t.name == record.title)": ["red"],
        "size(rows('cards')) == 3": ["blue", "loose", "red"],
        "record.board.team.members.exists(m, m.user.email == auth.email)": ["red"],
        "record.board.team.boards.exists(b, b.cards.exists(c, c.id == record.id)) && record.title == 'red'": ["red"],
        "has(record.board.team.name)": ["blue", "red"],
    }

    for rule, wanted in rules.items():
        answer = await project.operator.patch("collections/cards", json={"rules": {"list": rule}})
        assert answer.status_code == 200, (rule, answer.text)
        assert await titles(made["alice"]) == wanted, rule
        if "auth" in rule:
            assert (await project.anonymous.get("collections/cards/records")).status_code == 401 or (
                await titles(project.anonymous) == []
            )


async def test_a_create_rule_follows_what_the_new_record_names(project: ProjectUnderTest) -> None:
    made = await board(project, create="next.board.team.members.exists(m, m.user == auth.id)")
    bodies = {"red_board": 201, "blue_board": 403}

    for name, status in bodies.items():
        answer = await made["alice"].post("collections/cards/records", json={"title": "x", "board": made[name]["id"]})
        assert answer.status_code == status, answer.text
    nowhere = await made["alice"].post("collections/cards/records", json={"title": "x", "board": str(uuid4())})
    assert nowhere.status_code in (403, 422)


async def test_an_update_rule_holds_before_and_after(project: ProjectUnderTest) -> None:
    """A card cannot be moved to a board of strangers, nor taken from one."""
    mine = "record.board.team.lead == auth.id && next.board.team.lead == auth.id"
    made = await board(project, update=mine)
    red, blue = made["red_card"]["id"], made["blue_card"]["id"]

    given = await made["alice"].patch(f"collections/cards/records/{red}", json={"board": made["blue_board"]["id"]})
    taken = await made["alice"].patch(f"collections/cards/records/{blue}", json={"board": made["red_board"]["id"]})
    kept = await made["alice"].patch(f"collections/cards/records/{red}", json={"title": "redder"})

    assert (given.status_code, taken.status_code, kept.status_code) == (403, 403, 200)


async def test_a_filter_enters_only_what_its_author_could_list(project: ProjectUnderTest) -> None:
    """What is out of sight is a failure on the way and absent from lists, so neither truth nor negation tells of it."""
    made = await board(project, boards_list="record.team.lead == auth.id")
    alice = made["alice"]
    told = {
        "board.name == 'red board'": ["red"],
        "board.name == 'blue board'": [],
        "board.name != 'red board'": [],
        "!(board.name == 'red board')": [],
        "!(board.name == 'blue board')": ["red"],
        "board.name == null": [],
        "board.team.name == 'blue'": [],
        "board.cards.exists(c, c.title == 'red')": ["red"],
        "!board.cards.exists(c, c.title == 'red')": [],
        "board != null": ["blue", "red"],
    }

    for wanted, expected in told.items():
        assert await titles(alice, filter=wanted) == expected, wanted
    teams = [one["name"] for one in await alice.list("teams", filter="boards.exists(b, b.name != '')", sort="name")]
    without = [one["name"] for one in await alice.list("teams", filter="!boards.exists(b, b.name != '')", sort="name")]
    assert (teams, without) == (["red"], ["blue"])
    assert [one["name"] for one in await project.operator.list("teams", filter="boards.exists(b, b.name == 'blue board')")] == [
        "blue"
    ]


async def test_a_collection_that_is_locked_for_a_caller_has_no_fields_for_him(project: ProjectUnderTest) -> None:
    """The same answer for a field that is there, one that never was, and the records that lead back."""
    made = await board(project, boards_list=None)
    problems = [
        await made["alice"].get("collections/cards/records", params={"filter": wanted})
        for wanted in ("board.name == 'x'", "board.nope == 'x'")
    ]
    inverse = await made["alice"].get("collections/teams/records", params={"filter": "boards.exists(b, true)"})

    assert [answer.status_code for answer in problems] == [400, 400]
    assert problems[0].json()["detail"].replace("name", "nope") == problems[1].json()["detail"]
    assert (inverse.status_code, inverse.json()["code"]) == (400, "bad_filter")


async def test_hidden_and_gated_fields_of_other_collections_stay_unread(project: ProjectUnderTest) -> None:
    made = await board(project)
    fields = [text("name"), text("plan", hidden=True), text("debt", read="record.lead == auth.id"), link("lead", "users")]
    answer = await project.operator.patch("collections/teams?confirm=data-loss", json={"fields": fields})
    assert answer.status_code == 200, answer.text
    for name in ("red", "blue"):
        body = {"plan": "gold", "debt": f"{name} 7"}
        await project.operator.patch(f"collections/teams/records/{made[f'{name}_team']['id']}", json=body)

    hidden = await made["alice"].get("collections/cards/records", params={"filter": "board.team.plan == 'gold'"})
    nothing = await made["alice"].get("collections/cards/records", params={"filter": "board.team.nope == 'gold'"})
    assert hidden.status_code == nothing.status_code == 400
    assert hidden.json()["detail"].replace("plan", "nope") == nothing.json()["detail"]
    for wanted in ("board.team.debt != ''", "!(board.team.debt == '')", "board.team.debt != null", "!(board.team.debt == null)"):
        assert await titles(made["alice"], filter=wanted) == ["red"], wanted
        assert await titles(project.anonymous, filter=wanted) == [], wanted


async def test_what_goes_too_far_is_refused_with_its_place(project: ProjectUnderTest) -> None:
    made = await board(project)
    wrong = {
        "board.team.lead.email == ''": "at most 2 relations",
        "rows('cards').exists(c, true)": "rows() is for rules",
        "board.nme == ''": "unknown field 'nme' of 'boards'",
        "board.team.members == null": "a list of records",
        "board.team.members.exists(m, m == null)": "a record is not a value",
        "board.cards[0].title == ''": "a list of records",
        "size(board.cards + board.cards) > 0": "a list of records",
        "(true ? board : board).name == ''": "a path goes through fields",
        "has(board.cards)": "a list of records",
        "board.name == '' || board.team.name == '' || board.cards.exists(c, true) || tags.exists(t, t.label == '')": "at most 3",
    }
    for wanted, words in wrong.items():
        answer = await made["alice"].get("collections/cards/records", params={"filter": wanted})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_filter"), wanted
        assert words in answer.json()["detail"], (wanted, answer.text)
        assert answer.json()["position"] >= 0
    await project.operator.patch("collections/users", json={"fields": [link("home", "teams")]})
    paths = {"record.board.team.lead.home.name == ''": 200, "record.board.team.lead.home.lead.email == ''": 422}
    for rule, status in paths.items():
        answer = await project.operator.patch("collections/cards", json={"rules": {"list": rule}})
        assert answer.status_code == status, (rule, answer.text)


async def test_an_inverse_has_a_name_of_its_own(project: ProjectUnderTest) -> None:
    await board(project)
    taken = [
        {"name": "notes", "fields": [link("team", "teams", inverse="members")]},
        {"name": "notes", "fields": [link("team", "teams", inverse="name")]},
        {"name": "notes", "fields": [link("team", "teams", inverse="id")]},
        {"name": "notes", "fields": [link("a", "teams", inverse="notes"), link("b", "teams", inverse="notes")]},
        {"name": "notes", "fields": [link("team", "teams", inverse="No")]},
    ]
    for body in taken:
        answer = await project.operator.post("collections", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"].endswith("/inverse")
    teams = [text("name"), link("lead", "users"), link("guests", "users", many=True), text("members")]
    answer = await project.operator.patch("collections/teams", json={"fields": teams})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/fields/3/name")


async def test_a_change_that_breaks_a_path_is_refused(project: ProjectUnderTest) -> None:
    await board(project, list="record.board.team.members.exists(m, m.user == auth.id)")
    fields = [link("team", "teams", required=True), link("user", "users", required=True), text("role")]

    unnamed = await project.operator.patch("collections/members", json={"fields": fields})
    fewer = [link("team", "teams", required=True, inverse="members"), text("role")]
    dropped = await project.operator.patch("collections/members?confirm=data-loss", json={"fields": fewer})

    for answer in (unnamed, dropped):
        assert (answer.status_code, answer.json()["code"]) == (409, "breaks_rules")
        assert answer.json()["broken"][0]["collection"] == "cards"


async def test_files_are_shared_by_membership(project: ProjectUnderTest) -> None:
    """A bucket's rules enter collections too."""
    made = await board(project)
    rule = 'rows("members").exists(m, m.user == auth.id && record.folder == "teams/" + string(m.team))'
    rules = {"list": rule, "view": rule, "create": None, "update": None, "delete": None}
    answer = await project.operator.post("buckets", json={"name": "shared", "rules": rules})
    assert answer.status_code == 201, answer.text
    path = f"teams/{made['red_team']['id']}/plan.txt"
    put = await project.operator.put(f"buckets/shared/files/{path}", content=b"x", headers={"content-type": "text/plain"})
    assert put.status_code == 201, put.text

    seen, hidden = [await made[name].get(f"buckets/shared/files/{path}") for name in ("alice", "bob")]

    assert (seen.status_code, hidden.status_code) == (200, 404)
    assert [len((await made[name].get("buckets/shared/files")).json()["items"]) for name in ("alice", "bob")] == [1, 0]
