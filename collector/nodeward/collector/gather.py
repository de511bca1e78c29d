"""What many requests ask of the database at the same moment, asked once.

After an outage, or a restart of the collector, memory is empty and a whole fleet speaks at once. A
question for each, in a thread of its own, took as long as taking in its report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

MOST: Final = 500

K = TypeVar("K")
V = TypeVar("V")


class Gather(Generic[K, V]):
    """Answers for many keys by one function, which blocks and is called in a thread.

    One call at a time: those who ask meanwhile are answered together by the next.
    """

    def __init__(self, many: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        self._many = many
        self._asked: dict[K, asyncio.Future[V | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Its value; None if the function gives it none. Raises what the function raises."""
        loop = asyncio.get_running_loop()
        if key not in self._asked:
            self._asked[key] = loop.create_future()
        answer = self._asked[key]
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
        return await asyncio.shield(answer)  # others may wait for it too

    async def _run(self) -> None:
        while self._asked:
            keys = list(self._asked)[:MOST]
            answers = {key: self._asked.pop(key) for key in keys}
            try:
                found = await asyncio.to_thread(self._many, keys)
            except Exception as exc:  # noqa: BLE001  each of them is told
                for answer in answers.values():
                    answer.set_exception(exc)
            else:
                for key, answer in answers.items():
                    answer.set_result(found.get(key))
