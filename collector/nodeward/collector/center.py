"""All that a running collector holds, and its background work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from nodeward.collector.archive import archive_closed, let_go
from nodeward.collector.clock import SharedClock, span_ms
from nodeward.collector.db.engine import APPLICATION, deadline, open_engine
from nodeward.collector.db.partitions import make_days
from nodeward.collector.gather import Gather
from nodeward.collector.metrics import Metrics
from nodeward.collector.oidc import Provider
from nodeward.collector.problem import Problem
from nodeward.collector.settings import FIXED, Settings
from nodeward.collector.store.access import Asker, forget_sessions
from nodeward.collector.store.alerts import evaluate, forget_told
from nodeward.collector.store.ask import Db
from nodeward.collector.store.audit import forget_events
from nodeward.collector.store.fold import LATEST_MS, fold_some, verify_some
from nodeward.collector.store.ingest import forget_receipts
from nodeward.collector.store.keys import POLL_S, Keys
from nodeward.collector.store.lifecycle import forget_gone, long_silent, retire
from nodeward.collector.store.listening import NOTE_S, heard_for, note_listening
from nodeward.collector.store.pulse import Pulse, flush, forget_looks
from nodeward.collector.store.sessions import Sessions, shared_secret
from nodeward.collector.store.telling import deliver
from nodeward.collector.store.trend import note_trend
from nodeward.collector.store.unused import collect
from nodeward.collector.store.writer import Writer
from nodeward.collector.turns import Turns

log = logging.getLogger(__name__)

FLUSH_S = 5.0
FOLD_S = 1.0
POURING = 200
"""Reports a second from which on folding waits."""
ALERT_S = 5.0
TIDY_S = 600.0
ANSWER_S = 30.0
"""A question that takes longer is one too many for the store."""
KEEP_TOLD_MS = 30 * 86_400_000
"""How long it is remembered that an alert was delivered."""

T = TypeVar("T")


class Center:
    """One process's share of a collector. Everything lasting is in the database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = open_engine(settings.database_url, application=APPLICATION)
        # A question sees one moment: between two of its statements a report may be folded. SQLite
        # gives every transaction a snapshot.
        postgresql = self.engine.dialect.name == "postgresql"
        level = {"isolation_level": "REPEATABLE READ"} if postgresql else {}
        self._snapshots = self.engine.execution_options(**level)
        self.writer = Writer(self.engine)
        self.pulse = Pulse(self.engine)
        self.clock = SharedClock()
        self.keys = Keys(self.engine, self.clock, self.pulse.forget)
        self.enrolled = Gather(self.keys.get)
        self.stored = Gather(self.pulse.stored)
        self.sessions = Sessions(self.engine)
        self.turns = Turns()
        self.metrics = Metrics(self)
        self.provider = Provider(settings.oidc) if settings.oidc else None
        self.watch: Callable[[asyncio.Event], Awaitable[None]] | None = None
        self.reload: Callable[[], None] = lambda: None
        self._stopping = threading.Event()
        self._folding = threading.Lock()
        self.began = time.monotonic()
        self._came = (self.began, 0)

    def apply(self, new: Settings) -> list[str]:
        """Other settings from now on; the names of those that only a restart can change."""
        old = self.settings
        fixed = {name: getattr(old, name) for name in FIXED}
        self.settings = replace(new, **fixed)
        if self.settings.oidc != old.oidc:
            self.provider = Provider(self.settings.oidc) if self.settings.oidc else None
        return [name for name in FIXED if getattr(new, name) != fixed[name]]

    def ask(self, asker: Asker, question: Callable[[Db], T]) -> T:
        """Answer a question within the asker's scope. Blocks: call it in a thread."""
        with (
            self._snapshots.connect() as connection,
            connection.begin(),
            deadline(connection, ANSWER_S),
        ):
            db = Db(
                connection=connection,
                names=self.writer.names,
                scope=asker.scope,
                now=self.clock.now(),
                stale_ms=self.settings.stale_ms,
            )
            return question(db)

    @cached_property
    def login_secret(self) -> bytes:
        """Seals logins that were begun; the same on every replica. Blocks at first."""
        return self.writer.act_now(lambda connection: shared_secret(connection, "login"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The background work; at the end, what is queued is written."""
        stopping = asyncio.Event()
        self.writer.loop = asyncio.get_running_loop()
        await asyncio.to_thread(_logged, self.keys.poll)  # from here on by the database's clock
        tasks = [
            asyncio.create_task(_every(POLL_S, self.keys.poll, stopping), name="poll keys"),
            asyncio.create_task(_every(POLL_S, self._looks, stopping), name="poll looks"),
            asyncio.create_task(_every(NOTE_S, self._listen, stopping), name="listen"),
            asyncio.create_task(_every(TIDY_S, self._tidy, stopping), name="tidy"),
            asyncio.create_task(_every(FLUSH_S, self._flush, stopping), name="flush heartbeats"),
            asyncio.create_task(_every(ALERT_S, self._alert, stopping), name="alerts"),
            asyncio.create_task(_every(FOLD_S, self._fold, stopping), name="fold reports"),
        ]
        if self.watch is not None:
            tasks.append(asyncio.ensure_future(self.watch(stopping)))
        try:
            yield
        finally:
            # Not cancelled: a thread that is at work would keep its connection open.
            self._stopping.set()
            stopping.set()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        with contextlib.suppress(Problem, SQLAlchemyError):
            self._flush()
        self.turns.close()
        self.writer.close()
        self.engine.dispose()

    def _looks(self) -> None:
        looked = self.pulse.take_looked()
        if looked:
            self.writer.act_now(lambda connection: forget_looks(connection, looked))
        self.pulse.poll_looks()

    def _tidy(self) -> None:
        """Partitions ahead; what is too old; nodes that have been silent for too long. One of these
        that fails does not keep the others from being done."""
        now, kept = self.clock.now(), self.settings
        self.pulse.forget_all()
        writes: list[Callable[[Connection], object]] = [
            lambda c: make_days(c, now),
            lambda c: note_trend(c, now),
            lambda c: forget_receipts(c, now - kept.keep_receipts_ms),
            lambda c: forget_gone(c, now - kept.keep_receipts_ms),
            lambda c: forget_sessions(c, now),
            lambda c: forget_told(c, now - KEEP_TOLD_MS),
            lambda c: forget_events(c, now - kept.keep_events_ms),
        ]
        if kept.retire_after:
            writes.append(lambda c: self._retire(c, now))
        for write in writes:
            _logged(partial(self.writer.act_now, write))
        _logged(partial(collect, self.engine, self.writer.engine, self.writer.names))
        _logged(partial(self._archive, now))

    def _archive(self, now: int) -> None:
        """Closed days into the archive; then those that are old enough leave, if they are there."""
        folder = Path(self.settings.archive) if self.settings.archive else None
        if folder is not None:
            archive_closed(self.engine, folder, now)
        if self.settings.keep_changes_ms is not None:
            let_go(self.engine, folder, now - self.settings.keep_changes_ms)

    def _retire(self, connection: Connection, now: int) -> None:
        """Only silence that somebody could have broken counts."""
        since = heard_for(connection, span_ms(self.settings.retire_after))
        if since is not None:
            silent = long_silent(connection, since)
            retire(connection, self.writer.names, silent, now, "silent")

    def _listen(self) -> None:
        self.writer.act_now(note_listening)

    def _alert(self) -> None:
        stale_ms = self.settings.stale_ms
        listening_ms = int((time.monotonic() - self.began) * 1000)
        evaluate(self.engine, self.writer, stale_ms, self.clock.now(), listening_ms=listening_ms)
        ca = self.settings.alerts_ca
        while deliver(self.engine, self.writer, self.clock.now, ca) and not self._stopping.is_set():
            pass

    def _flush(self) -> None:
        beats = self.pulse.take()
        if beats:
            self.writer.act_now(lambda connection: flush(connection, beats))

    def _fold(self) -> None:
        """Fold what waits. While reports pour in, only what has waited for long: an outage that
        ends brings all nodes at once, and what they say can be read unfolded."""
        with self._folding:  # the same reports twice at once would be in each other's way
            while not self._stopping.is_set():
                now = self.clock.now()
                before = now - LATEST_MS if self._pouring() else None
                self._verify(now, now - LATEST_MS)
                if not fold_some(self.engine, self.writer, now, before):
                    break

    def _verify(self, now: int, before: int) -> None:
        while verify_some(self.engine, self.writer, now, before) and not self._stopping.is_set():
            pass

    def _pouring(self) -> bool:
        """Whether reports come in fast, since this was last asked."""
        at, came = time.monotonic(), self.writer.reports
        before, self._came = self._came, (at, came)
        return came - before[1] > POURING * max(at - before[0], 0.05)


def _logged(act: Callable[[], object]) -> None:
    """Do it; a failure is logged and does not end what goes on."""
    try:
        act()
    except (SQLAlchemyError, Problem, LookupError, OSError) as exc:
        log.warning("%s: %s", getattr(act, "__name__", "background work"), exc)
    except Exception:
        log.exception("a defect in the background")


async def _every(seconds: float, act: Callable[[], object], stopping: asyncio.Event) -> None:
    """Run it in a thread, now and again and again."""
    while not stopping.is_set():
        await asyncio.to_thread(_logged, act)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)
