"""What living tokens do not say: when it is read again."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from baas.base.project import Project, ProjectSettings
from baas.features.auth import store
from baas.features.auth.news import News

PROJECT = Project(uuid4(), "p", "p_x", ProjectSettings())


async def test_what_is_committed_during_a_reading_is_read_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading under way may have begun before it; the one after it is good for a while."""
    user, going, committed = uuid4(), asyncio.Event(), asyncio.Event()
    answers: list[Any] = [([], []), ([], [(user, 1)]), ([], [(user, 2)])]

    async def slow(*_: Any) -> Any:
        found = answers.pop(0)
        going.set()
        await committed.wait()
        return found

    monkeypatch.setattr(store, "news", slow)
    news = News(None, life_s=900)  # type: ignore[arg-type]  # what asks it is replaced
    reading = asyncio.create_task(news.of(PROJECT))
    await going.wait()
    news.reread(PROJECT)
    committed.set()
    await reading

    for _ in range(2):
        assert (await news.of(PROJECT)).claims[str(user)][0] == 1
