"""Passwords: argon2id, the bounded pool, and what is refused."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baas.base.errors import Unavailable
from baas.infra.crypto.passwords import Passwords, fault_of

ROOT = Path(__file__).parents[4]


@pytest.fixture
def passwords():
    made = Passwords(memory_kib=64, time_cost=1, threads=1, queue=2)
    yield made
    made.close()


async def test_the_hash_is_argon2id_with_the_given_work_factors(passwords):
    stored = await passwords.hash("correct horse battery")

    assert stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert await passwords.verify("correct horse battery", stored)
    assert not await passwords.verify("correct horse batterz", stored)


async def test_without_a_stored_hash_the_answer_is_no_even_for_the_dummys_own_password(passwords):
    assert not await passwords.verify("no account has this password", None)


async def test_an_unknown_account_costs_the_same_work():
    """The dummy hash has the same work factors: the medians of the processor's time are alike."""
    passwords = Passwords(memory_kib=8192, time_cost=2, threads=1, queue=2)
    stored = await passwords.hash("correct horse battery")
    times: dict[str | None, list[float]] = {stored: [], None: []}
    for _ in range(15):
        for hashed, taken in times.items():
            begun = time.process_time()
            await passwords.verify("wrong", hashed)
            taken.append(time.process_time() - begun)
    passwords.close()
    known, unknown = (sorted(taken)[7] for taken in times.values())

    assert 0.5 < known / unknown < 2


async def test_the_queue_has_an_end_and_is_free_again_afterwards(passwords):
    """One at work and two waiting; a fourth is told to come back, and nothing leaks."""
    slow = Passwords(memory_kib=65536, time_cost=2, threads=1, queue=2)
    answers = await asyncio.gather(*(slow.hash("correct horse battery") for _ in range(10)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]

    assert len(refused) == 7
    assert all(answer.headers["Retry-After"] for answer in refused)
    assert await slow.hash("correct horse battery")
    slow.close()


async def test_a_caller_who_goes_away_does_not_free_a_place_that_is_still_in_use():
    slow = Passwords(memory_kib=65536, time_cost=4, threads=1, queue=0)
    gone = asyncio.create_task(slow.hash("correct horse battery"))
    await asyncio.sleep(0.01)
    gone.cancel()

    with pytest.raises(Unavailable):
        await slow.hash("correct horse battery")
    slow.close()


async def test_the_same_keys_give_the_same_password_however_a_system_composes_them(passwords):
    stored = await passwords.hash("Zu\u0308rich-am-See")

    assert await passwords.verify("Z\u00fcrich-am-See", stored)


async def test_a_hash_of_other_work_factors_still_verifies_and_is_outdated(passwords):
    stored = await Passwords(memory_kib=128, time_cost=1).hash("correct horse battery")

    assert await passwords.verify("correct horse battery", stored)
    assert passwords.is_outdated(stored)
    assert not passwords.is_outdated(await passwords.hash("correct horse battery"))


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("1234567", "too_short"),
        ("x" * 257, "too_long"),
        ("password123", "too_common"),
        ("PassWord123", "too_common"),
        ("ｐａｓｓｗｏｒｄ１２３", "too_common"),
        ("aaaaaaaaaaaa", "too_common"),
        ("ada.lovelace@example.com", "too_common"),
        ("Ada.Lovelace", "too_common"),
    ],
)
def test_what_is_refused(password, code):
    fault = fault_of(password, email="ada.lovelace@example.com")

    assert fault is not None
    assert fault[0] == code


@pytest.mark.parametrize("password", ["correct horse", "x7#kQ2!v", "пароль-для-всех", "🙂" * 8 + "a", "x" * 255 + "y"])
def test_what_is_taken(password):
    assert fault_of(password, email="ada@example.com") is None


def test_the_very_first_hashes_may_come_at_once():
    """In a process that has hashed nothing yet, eight threads begin together; passlib's lazy loading would fail one of them."""
    code = (
        "import asyncio\n"
        "from baas.infra.crypto.passwords import Passwords\n"
        "async def main():\n"
        "    passwords = Passwords(memory_kib=64, time_cost=1, threads=8, queue=8)\n"
        "    print(await asyncio.gather(*(passwords.verify('x', None) for _ in range(8))))\n"
        "    passwords.close()\n"
        "asyncio.run(main())\n"
    )

    path = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=path)

    assert done.stdout.strip() == str([False] * 8), done.stderr
