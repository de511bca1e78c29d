"""A standby promoted, a disk that is full, clocks that jump, all agents at once: nothing that was
acknowledged is lost, nothing is stored twice. The truth is the senders' ledger (tests/ledger.py).
"""

from __future__ import annotations

import contextlib
import pwd
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from collector_process import Process
from ledger import Sender, all_stop, check_ledger, flip, strike_often, until_all_get_through
from nodeward.collector.clock import now_ms

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class SmallDisk:
    """A disk of some megabytes, mounted where only those see it who are started `within`."""

    def __init__(self, at: Path, megabytes: int, owner: int = 0) -> None:
        at.mkdir(exist_ok=True)
        mount = f"mount -t tmpfs -o size={megabytes}m,mode=700,uid={owner} none {at}"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f"{mount} && echo ready && exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.within = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        self.seen = Path(f"/proc/{self._holder.pid}/root{at}")

    def fill(self) -> None:
        with (self.seen / "filler").open("ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(bytes(size))

    def free(self) -> None:
        (self.seen / "filler").unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


@pytest.fixture
def small_disk() -> Iterator[Callable[..., SmallDisk]]:
    made: list[SmallDisk] = []

    def make(at: Path, megabytes: int, owner: int = 0) -> SmallDisk:
        made.append(SmallDisk(at, megabytes, owner))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def _until_refused(senders: list[Sender]) -> None:
    before, until = sum(s.refused for s in senders), time.monotonic() + 120
    while sum(s.refused for s in senders) == before:
        assert not any(s.fault for s in senders), [s.fault for s in senders]
        assert time.monotonic() < until, "the disk is full, and nobody was told"
        time.sleep(0.01)


class _OnDisk(Process):
    """Its database is prepared and looked at outside: SQLite opens no file through another's root.

    What it leaves is as it was at its end, write-ahead log included.
    """

    def lay_out(self, outside: Path, disk: SmallDisk) -> None:
        self.outside, self.disk, self.prefix = outside, disk, disk.within

    def start(self) -> None:
        shutil.copy(self.outside, self.disk.seen / "collector.db")
        super().start()

    def ended(self) -> int:
        code = super().ended()
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                inside = self.disk.seen / f"collector.db{suffix}"
                shutil.copy(inside, self.outside.with_name(self.outside.name + suffix))
        return code


ROOM = 8
"""Megabytes for what comes in between two strikes: the disk must be full of the filler only."""
TIMES = [pytest.param(2), pytest.param(30, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


def _caught(senders: Any, into: list[Sender]) -> Callable[[Process, str], list[Sender]]:
    def start(process: Process, token: str) -> list[Sender]:
        into.extend(senders(process, token))
        return into

    return start


@pytest.mark.root
@pytest.mark.parametrize("times", TIMES)
def test_a_full_disk_under_sqlite(
    state: Path, senders: Any, small_disk: Callable[..., SmallDisk], times: int
) -> None:
    disk = small_disk(state / "db", 24 + ROOM * times)
    outside, started = state / "outside.db", list[Sender]()
    process = _OnDisk(state, f"sqlite:///{state}/db/collector.db")
    process.lay_out(outside, disk)

    def strike() -> None:
        disk.fill()
        _until_refused(started)
        disk.free()

    strike_often(process, f"sqlite:///{outside}", _caught(senders, started), times, strike)


@pytest.mark.root
@pytest.mark.parametrize("times", TIMES)
def test_a_full_disk_under_postgresql(
    state: Path,
    senders: Any,
    small_disk: Callable[..., SmallDisk],
    new_postgres: Callable[..., Any],
    times: int,
) -> None:
    with tempfile.TemporaryDirectory(prefix="nodeward-pg-", dir="/tmp") as folder:
        owner = pwd.getpwnam("postgres").pw_uid
        disk = small_disk(Path(folder) / "data", 160 + ROOM * times, owner)
        server = new_postgres(Path(folder), within=disk.within)
        given = {"max_wal_size": "16MB", "min_wal_size": "2MB"}
        server.start(**given)
        url = server.database()
        started: list[Sender] = []

        def strike() -> None:
            disk.fill()
            _until_refused(started)
            disk.free()
            # Without room for its log it ends; otherwise it goes on.
            while not _answers(server):
                if server.process.poll() is not None:
                    server.start(**given)

        strike_often(Process(state, url), url, _caught(senders, started), times, strike)


def _answers(server: Any) -> bool:
    try:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS writes (x int)")
            connection.execute("INSERT INTO writes VALUES (1)")
    except psycopg.Error:
        time.sleep(0.05)  # it has no event to wait for
        return False
    return True


PROMOTIONS = [pytest.param(1), pytest.param(8, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


@pytest.mark.root
@pytest.mark.parametrize("times", PROMOTIONS)
def test_a_synchronous_standby_is_promoted_under_load(
    state: Path, senders: Any, new_postgres: Callable[..., Any], times: int
) -> None:
    """The primary is killed; its standby takes over, again and again, each with a new standby."""
    with contextlib.ExitStack() as folders:

        def folder() -> Path:
            made = tempfile.TemporaryDirectory(prefix="nodeward-pg-", dir="/tmp")
            return Path(folders.enter_context(made))

        primary = new_postgres(folder())
        primary.start()
        name = primary.database().partition("@/")[2].partition("?")[0]
        standbys = [folder() for _ in range(times)]
        hosts = ",".join(map(str, [primary.folder, *standbys]))
        ports = ",".join(["5432"] * (times + 1))
        url = f"postgresql://postgres@/{name}?host={hosts}&port={ports}"
        url += "&target_session_attrs=read-write"
        servers = [primary, _standby(new_postgres, primary, standbys[0])]

        def strike() -> None:
            servers[-2].kill()
            servers[-1].promote()
            if len(servers) <= times:
                servers.append(_standby(new_postgres, servers[-1], standbys[len(servers) - 1]))

        strike_often(Process(state, url), url, senders, times, strike)


def _standby(new_postgres: Callable[..., Any], primary: Any, folder: Path) -> Any:
    """A copy that every commit of the primary waits for."""
    standby = new_postgres(folder, copy_of=str(primary.folder))
    standby.start()
    with psycopg.connect(primary.dsn("postgres"), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        until = time.monotonic() + 60
        while connection.execute(sync).fetchone() != (1,):
            assert time.monotonic() < until
            time.sleep(0.02)
    # It is a primary one day, and must not wait for a standby that it does not have.
    with psycopg.connect(standby.dsn("postgres"), autocommit=True) as connection:
        told = connection.execute("SHOW synchronous_standby_names").fetchone()
    assert told == ("",)
    return standby


def test_clocks_that_jump_lose_and_double_nothing(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector's, and the nodes', by up to two hours in both directions."""
    chance, ours, theirs = random.Random(3), [0], [0]
    monkeypatch.setattr(collector.center.clock, "now", lambda: now_ms() + ours[0])
    all_senders = [Sender(collector.agent(f"n{number}"), flip) for number in range(4)]
    for sender in all_senders:
        sign = sender.agent.sign
        sender.agent.sign = lambda path, body, sign=sign: sign(
            path, body, int(time.time()) + theirs[0]
        )
        sender.start()
    for _ in range(12):
        before = [s.acked for s in all_senders]
        ours[0], theirs[0] = (
            chance.randrange(-7_200_000, 7_200_000),
            chance.randrange(-7_200, 7_200),
        )
        until_all_get_through(all_senders, before)
    all_stop(all_senders)
    for sender in all_senders:
        sender.agent.http.close()
    collector.center._fold()
    check_ledger(collector.settings.database_url, all_senders)


HERD = 100


def test_a_herd_after_an_outage_drains_without_loss(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More at once than may wait: the others are told to come later, before memory grows."""
    center = collector.center
    agents = [collector.agent(f"n{number}") for number in range(HERD)]
    monkeypatch.setattr("nodeward.collector.store.writer.MOST_WAITING", HERD // 4)
    statuses: Counter[int] = Counter()
    most, told_later, go_on = [0], threading.Event(), threading.Event()

    def report(agent: Any) -> None:
        while True:
            answer = agent.full(*flip(1))
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                return
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            told_later.set()
            most[0] = max(most[0], center.writer.waiting)
            time.sleep(0.1)

    def outage(_connection: Any) -> None:
        go_on.wait(60)

    center.writer.submit(outage)  # the store does nothing for a while
    threads = [threading.Thread(target=report, args=(agent,), daemon=True) for agent in agents]
    for thread in threads:
        thread.start()
    assert told_later.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert statuses[200] == HERD
    assert most[0] <= HERD // 4
    with center.engine.connect() as connection:
        rows = connection.execute(text("SELECT node, seq FROM report")).all()
        counted = connection.execute(text("SELECT sum(nodes) FROM counter")).scalar()
    assert sorted(map(tuple, rows)) == [(n, 1) for n in range(1, HERD + 1)]
    assert counted == HERD
    for agent in agents:
        agent.http.close()
