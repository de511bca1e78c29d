"""The one thread of a process that writes, many requests in one transaction.

A commit costs a flush of the disk; shared by all who wait at that moment it costs each of them
little. An answer is given only after the commit that holds its rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from nodeward.collector.problem import Problem, busy
from nodeward.collector.store.ingest import Incoming, Outcome, ingest
from nodeward.collector.store.names import Names

log = logging.getLogger(__name__)

GROUP: Final = 500
MOST_WAITING: Final = 8_192
MOST_WAITING_BYTES: Final = 64 << 20
TRIES: Final = 3

T = TypeVar("T")
Act = Callable[[Connection], T]
Done = Callable[[Any], None]
"""Is given a result, or the exception that came instead of one, on the event loop."""
Waiter = Done | Future[Any]
_Job = tuple[Incoming | Act[Any], Waiter]
_Result = tuple[Waiter, Any]


class Writer:
    """Start it, submit to it, close it. `names` may be read by others."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine.execution_options(writes=True)
        self.names = Names()
        self.commits = 0
        self.reports = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._bytes = 0
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(self, job: Incoming | Act[T]) -> Future[Any]:
        """Queue a report, or a function to run in a transaction. Raises Problem when overfull."""
        future: Future[Any] = Future()
        self._put(job, future)
        return future

    def take(self, job: Incoming, done: Done) -> None:
        """The same for the event loop (`loop`, if there is one), without a future.

        All of a transaction are told at once: waking the loop for each cost more than the rows.
        """
        self._put(job, done)

    def _put(self, job: Incoming | Act[T], waiter: Waiter) -> None:
        size = len(job.sent) if isinstance(job, Incoming) else 0
        with self._lock:
            if self._closed:
                raise busy("the collector is stopping", 5)
            if self.waiting >= MOST_WAITING or self._bytes + size > MOST_WAITING_BYTES:
                raise busy("more is coming in than can be written")
            self._bytes += size
            self._queue.put((job, waiter))

    async def report(self, job: Incoming) -> Outcome:
        """Stored (or refused) and committed."""
        outcome: Outcome = await asyncio.wrap_future(self.submit(job))
        return outcome

    async def act(self, act: Act[T]) -> T:
        """Run a function in the next transaction; what it raises undoes only its own writes."""
        result: T = await asyncio.wrap_future(self.submit(act))
        return result

    def act_now(self, act: Act[T]) -> T:
        """The same for threads."""
        result: T = self.submit(act).result()
        return result

    def close(self) -> None:
        """Write what is queued, then stop."""
        with self._lock:
            self._closed = True
        self._queue.put(None)
        self._thread.join()

    # -- the thread

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            jobs, last = self._gather(first)
            # Apart: an act may lock a node after it has locked counters, and reports that waited
            # for another replica's in the same transaction could wait for each other.
            for reports in (True, False):
                part = [one for one in jobs if isinstance(one[0], Incoming) is reports]
                if part:
                    self._commit(part)
            if last:
                break

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        """All that waits, at most GROUP; and whether the end was among it."""
        jobs = [first]
        while len(jobs) < GROUP:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _commit(self, jobs: Sequence[_Job]) -> None:
        results: list[_Result] = []
        try:
            results = self._try(jobs)
        except DBAPIError as exc:
            log.error("a transaction of %d failed: %s", len(jobs), exc.orig)
            results = [(done, busy("the store is not able to write now", 5)) for _, done in jobs]
        except Exception:
            log.exception("a defect in writing %d", len(jobs))
            defect = Problem(500, "defect", "a defect in the collector; its log says more")
            results = [(done, defect) for _, done in jobs]
        with self._lock:
            self._bytes -= sum(len(job.sent) for job, _ in jobs if isinstance(job, Incoming))
        self._tell(results)

    def _tell(self, results: Sequence[_Result]) -> None:
        done = []
        for waiter, result in results:
            if isinstance(waiter, Future):
                _answer(waiter, result)
            else:
                done.append((waiter, result))
        if self.loop is None:
            _tell_all(done)
        elif done:
            with contextlib.suppress(RuntimeError):  # closed: nobody waits there any more
                self.loop.call_soon_threadsafe(_tell_all, done)

    def _try(self, jobs: Sequence[_Job]) -> list[_Result]:
        """Again a few times when another replica was in the way (deadlock, lock, new master)."""
        for attempt in range(TRIES):
            try:
                return self._transaction(jobs)
            except DBAPIError as exc:
                self.names.forget()
                if exc.connection_invalidated:
                    self.engine.dispose()
                if attempt == TRIES - 1:
                    raise
            except BaseException:
                self.names.forget()
                raise
        raise AssertionError("unreachable")

    def _transaction(self, jobs: Sequence[_Job]) -> list[_Result]:
        results: list[_Result] = []
        reports = [(job, done) for job, done in jobs if isinstance(job, Incoming)]
        with self.engine.begin() as connection:
            if reports:
                outcomes = ingest(connection, self.names, [job for job, _ in reports])
                results += zip([done for _, done in reports], outcomes, strict=True)
            for job, done in jobs:
                if not isinstance(job, Incoming):
                    results.append((done, self._contained(connection, job)))
        self.commits += 1
        self.reports += len(reports)
        return results

    def _contained(self, connection: Connection, act: Act[Any]) -> Any:  # noqa: ANN401
        """What the function returns, or the exception it raised, its writes undone."""
        nested = connection.begin_nested()
        try:
            result = act(connection)
        except DBAPIError:
            raise  # the transaction as a whole is in doubt
        except Exception as exc:  # noqa: BLE001  handed to the one who asked
            nested.rollback()
            self.names.forget()
            return exc
        nested.commit()
        return result


def _answer(future: Future[Any], result: Any) -> None:  # noqa: ANN401
    if not future.set_running_or_notify_cancel():
        return  # the asker went away; what it asked for is done
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _tell_all(results: Sequence[tuple[Done, Any]]) -> None:
    for done, result in results:
        done(result)
