"""Whose question is answered next: people's have threads of their own.

Agents and what goes on in the background have others. So whoever asks much waits for themselves,
at most AT_ONCE askers for each other, and the fleet for none of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from nodeward.collector.problem import Problem

AT_ONCE: Final = 6
EACH: Final = 2
"""Of one asker at once."""
MOST_WAITING: Final = 50
"""Of one asker."""

T = TypeVar("T")


class Turns:
    """Used on the event loop alone."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="question")
        self._turn: dict[str, asyncio.Semaphore] = {}
        self._there: Counter[str] = Counter()

    async def take(self, who: str, act: Callable[[], T]) -> T:
        """What `act` returns, when it was this asker's turn. Raises Problem if they ask too much
        at once."""
        if self._there[who] >= EACH + MOST_WAITING:
            raise Problem(429, "too-often", "too many questions at once", retry_after=5)
        self._there[who] += 1
        turn = self._turn.setdefault(who, asyncio.Semaphore(EACH))
        try:
            async with turn:
                return await asyncio.get_running_loop().run_in_executor(self._threads, act)
        finally:
            self._there[who] -= 1
            if not self._there[who]:
                del self._there[who], self._turn[who]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
