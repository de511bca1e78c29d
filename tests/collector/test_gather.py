"""Many questions at the same moment are one question of the database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

import pytest

from nodeward.collector.gather import MOST, Gather


class Store:
    """Answers with ten times the number, of odd ones only, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.fault: Exception | None = None

    def many(self, keys: Sequence[int]) -> Mapping[int, int]:
        self.go_on.wait(60)
        self.asked.append(list(keys))
        if self.fault is not None:
            raise self.fault
        return {key: 10 * key for key in keys if key % 2}


def test_what_is_asked_at_one_moment_is_asked_once() -> None:
    store = Store()

    async def ask() -> list[int | None]:
        gather = Gather(store.many)
        return await asyncio.gather(*(gather.get(n) for n in (1, 2, 3, 1)))

    assert asyncio.run(ask()) == [10, None, 30, 10]
    assert store.asked == [[1, 2, 3]]


def test_who_comes_while_the_database_is_asked_is_asked_for_anew() -> None:
    store = Store()
    store.go_on.clear()

    async def ask() -> None:
        gather = Gather(store.many)
        first = asyncio.create_task(gather.get(1))
        while not gather._task or gather._asked:
            await asyncio.sleep(0)
        later = [asyncio.create_task(gather.get(n)) for n in (1, 3)]
        await asyncio.sleep(0)
        store.go_on.set()
        assert await asyncio.gather(first, *later) == [10, 10, 30]

    asyncio.run(ask())
    assert store.asked == [[1], [1, 3]]


def test_no_question_is_longer_than_a_database_takes() -> None:
    store = Store()

    async def ask() -> list[int | None]:
        gather = Gather(store.many)
        return await asyncio.gather(*map(gather.get, range(2 * MOST + 1)))

    assert asyncio.run(ask()) == [10 * n if n % 2 else None for n in range(2 * MOST + 1)]
    assert list(map(len, store.asked)) == [MOST, MOST, 1]


def test_a_database_that_is_away_is_told_to_each_and_asked_again_later() -> None:
    store = Store()

    async def ask() -> int | None:
        gather = Gather(store.many)
        store.fault = ConnectionError("away")
        for answer in await asyncio.gather(gather.get(1), gather.get(3), return_exceptions=True):
            assert answer is store.fault
        store.fault = None
        return await gather.get(1)

    assert asyncio.run(ask()) == 10


def test_one_who_gives_up_does_not_take_the_answer_from_others() -> None:
    store = Store()

    async def ask() -> int | None:
        gather = Gather(store.many)
        store.go_on.clear()
        impatient, patient = (asyncio.create_task(gather.get(1)) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        store.go_on.set()
        return await patient

    assert asyncio.run(ask()) == 10
