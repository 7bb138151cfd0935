"""What is said is about what was sent, in words that fit."""

from tests.support.callers import ProjectUnderTest

OPEN = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")


async def test_words_are_about_what_was_sent(project: ProjectUnderTest) -> None:
    """Not about a body where there is none, nor about Python's ways to decode; one is one."""
    fields = [{"name": "title", "type": "text", "min": 1}, {"name": "n", "type": "int"}]
    await project.collection("notes", fields, OPEN)
    await project.operator.create("notes", {"title": "a"})
    records, json = "collections/notes/records", {"content-type": "application/json"}

    mark = await project.operator.post(records, content=b"\xef\xbb\xbf{}", headers=json)
    assert (mark.json()["code"], mark.json()["position"]) == ("bad_json", 0)
    assert "byte order mark" in mark.json()["detail"]
    assert "utf" not in mark.json()["detail"]
    for path, name in ((records, "vars"), (records, "expand"), (records, "near"), ("realtime", "subscribe")):
        broken = await project.operator.get(path, params={name: '{"a"', **({"filter": "true"} if name == "vars" else {})})
        assert (broken.status_code, broken.json()["code"]) == (400, "bad_parameter"), broken.text
        assert broken.json()["detail"].startswith(f"{name} is not valid JSON"), broken.text
    for parameters in ({"fields": "id,,n"}, {"sort": "-"}, {"expand": "a,"}):
        empty = await project.operator.get(records, params=parameters)
        assert empty.status_code == 400
        assert "''" not in empty.json()["detail"], empty.text
    listed = await project.operator.post(f"{records}/query", json={"sort": []})
    assert listed.json()["detail"] == "sort must be a list of names."
    short = await project.operator.post(records, json={"title": ""})
    assert short.json()["errors"][0]["message"] == "Must have at least 1 character."
    needed = await project.operator.patch("collections/notes", json={"fields": [fields[0], {**fields[1], "required": True}]})
    assert needed.json()["errors"][0]["message"].startswith("1 record has no value.")
