"""What comes back, and what is sent."""

import copy
import json
import pickle
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from baas_sdk import ConfigError, FileStore, MemoryStore, Page, Record, Session, Store, User
from baas_sdk.ids import uuid7
from baas_sdk.sources import examine, guessed_type
from baas_sdk.typed import reader_of
from baas_sdk.wire import encode, path_of, segment

JSON = {
    "id": "01",
    "rev": 2,
    "created_at": "2026-11-20T10:00:00.000001Z",
    "title": "2026-11-20T10:00:00Z",
    "items": [1],
    "due_at": None,
}
RECORD = Record(JSON)


def test_a_record_reads_like_a_mapping_and_like_an_object() -> None:
    assert RECORD.title == RECORD["title"] == RECORD.get("title") == JSON["title"]
    assert list(JSON) == list(RECORD)
    assert datetime(2026, 11, 20, 10, microsecond=1, tzinfo=UTC) == RECORD.created_at
    assert JSON == RECORD.dict()
    assert [1] == RECORD["items"]
    with pytest.raises(AttributeError, match="no field 'titel'"):
        RECORD.titel  # noqa: B018  # the access is the test
    with pytest.raises(KeyError):
        RECORD["titel"]


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="update"):
        RECORD.title = "x"
    with pytest.raises(TypeError):
        RECORD["title"] = "x"  # type: ignore[index]
    RECORD.dict()["items"].append(2)

    assert [1] == RECORD["items"]


def test_a_record_survives_copying() -> None:
    assert RECORD == copy.deepcopy(RECORD) == pickle.loads(pickle.dumps(RECORD))
    assert {RECORD} == {Record(JSON)}
    assert RECORD != Record({**JSON, "rev": 3})


def test_values_have_one_form_on_the_wire() -> None:
    body = {
        "a": datetime(2026, 1, 1, tzinfo=UTC),
        "b": date(2026, 1, 2),
        "c": Decimal("1.50"),
        "d": UUID(int=1),
        "e": {1},
        "f": RECORD,
    }

    assert {
        "a": "2026-01-01T00:00:00.000000Z",
        "b": "2026-01-02",
        "c": "1.50",
        "d": "00000000-0000-0000-0000-000000000001",
        "e": [1],
        "f": JSON,
    } == json.loads(encode(body))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x", Path("a"), datetime(2026, 1, 1), "\ud800"])
def test_what_has_no_form_is_refused_here(value: object) -> None:
    with pytest.raises(ConfigError):
        encode({"a": value})


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_cannot_walk_through_the_api(name: str) -> None:
    """`..` in a path would be resolved on the way: `records/../../keys` is another endpoint, with our credential."""
    with pytest.raises(ConfigError):
        segment(name)
    with pytest.raises(ConfigError):
        path_of(f"a/{name}/b")


def test_a_name_is_one_segment() -> None:
    assert "a%2Fb%3Fc%23%25" == segment("a/b?c#%")
    assert "a%20b/c%3F" == path_of("a b/c?")


def test_ids_are_ordered_and_of_version_7() -> None:
    made = [uuid7() for _ in range(3)]

    assert {7} == {UUID(one).version for one in made}
    assert 3 == len(set(made))


@dataclass(frozen=True)
class Todo:
    __collection__: ClassVar[str] = "todos"
    id: str
    created_at: datetime
    day: date | None
    price: Decimal
    done: bool = False


def test_a_model_is_made_as_annotated() -> None:
    data = {"id": "1", "created_at": "2026-11-20T10:00:00Z", "day": None, "price": "1.50", "unknown": 1}

    assert Todo("1", datetime(2026, 11, 20, 10, tzinfo=UTC), None, Decimal("1.50")) == reader_of(Todo)(data)


def test_a_class_that_is_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="dataclass"):
        reader_of(dict)


def test_a_page_is_iterable() -> None:
    assert [1, 2] == list(Page([1, 2]))
    assert 2 == len(Page([1, 2]))


def session(name: str) -> Session:
    return Session(f"access-{name}", f"refresh-{name}", datetime(2026, 1, 1, tzinfo=UTC), "s", User({"id": name}))


@pytest.mark.parametrize("make", [lambda path: MemoryStore(), lambda path: FileStore(path / "deep" / "session.json")])
def test_a_store_keeps_sessions_apart_by_scope(make: Any, tmp_path: Path) -> None:
    store: Store = make(tmp_path)
    store.save("a", session("ada"))
    store.save("b", session("bob"))
    store.clear("b")
    store.clear("never")

    assert session("ada") == store.load("a")
    assert store.load("b") is None


def test_a_session_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    FileStore(path).save("a", session("ada"))

    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())
    assert session("ada") == FileStore(path).load("a")


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"a": 3}', b'{"a": {}}', b"\xff", b'{"a": {"access_token": 1, "expires_at": "x"}}']
)
def test_a_damaged_session_file_is_an_empty_one(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    path.write_bytes(damage)

    assert FileStore(path).load("a") is None
    FileStore(path).save("a", session("ada"))
    assert session("ada") == FileStore(path).load("a")


def test_a_session_does_not_show_its_tokens() -> None:
    assert "access-ada" not in repr(session("ada"))
    assert "refresh-ada" not in repr(session("ada"))


@pytest.mark.parametrize("source", ["a.png", Path("/not/there"), Path("/"), 3, None])
def test_a_source_that_cannot_be_sent_is_refused_before_anything_is(source: Any) -> None:
    with pytest.raises(ConfigError):
        examine(source)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.PNG", "image/png"), ("a", "application/octet-stream"), ("a.tar.gz", "application/octet-stream")]
)
def test_a_type_is_guessed_from_the_name(name: str, kind: str) -> None:
    assert kind == guessed_type(name)
