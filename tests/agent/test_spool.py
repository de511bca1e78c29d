"""What was looked at is kept until a collector has it, whatever happens to disk and clock."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeward.agent.config import SpoolBounds
from nodeward.agent.locks import locked
from nodeward.agent.spool import FILE, Body, Moment, Spool, SpoolFullError, digest_of
from nodeward.model.report import finding_from_json, posture_digest

HEAD: Body = {"schema": "nodeward.report/v1", "node": "n1", "taken_at": "2026-11-22T04:00:00.000Z"}


def finding(check: str, status: str = "pass", because: str = "so") -> Body:
    return {
        "check": check, "status": status, "severity": "high", "because": because,
        "evidence": [], "mappings": {},
    }  # fmt: skip


class Clock:
    """Two hands that a test moves apart."""

    def __init__(self) -> None:
        self.wall, self.up, self.boot = 1e9, 100.0, "b1"

    def __call__(self) -> Moment:
        return Moment(self.wall, self.up, self.boot)


def spool(folder: Path, clock: Clock | None = None, **bounds: Any) -> Spool:
    return Spool(folder, SpoolBounds(**bounds), clock or Clock())


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Spool]:
    made = spool(tmp_path)
    yield made
    made.close()


def put(into: Spool, *findings: Body, whole: bool = True) -> int | None:
    return into.put(HEAD, {f["check"]: f for f in findings}, whole=whole)


class Collector:
    """What a collector would hold: it checks every chain of changes as the real one does."""

    def __init__(self) -> None:
        self.posture: dict[str, Body] = {}
        self.taken: list[tuple[str, int]] = []

    def take(self, body: Body) -> bool:
        if body["kind"] == "full":
            self.posture = {}
        elif body["base"] != digest_of(self.posture):
            return False
        self.posture |= {f["check"]: f for f in body["findings"]}
        assert digest_of(self.posture) == body["digest"]
        self.taken.append((body["boot"], body["seq"]))
        return True

    def drain(self, source: Spool) -> None:
        while (waiting := source.oldest()) is not None:
            seq, body = waiting
            if not self.take(body):
                assert self.take(source.as_full(body))
            source.ack(seq)


def test_the_first_report_is_full_and_the_next_holds_what_changed(empty: Spool) -> None:
    put(empty, finding("a"), finding("b"))
    put(empty, finding("a", "fail"), finding("b"))
    waiting = empty.oldest()
    assert waiting is not None
    assert (waiting[1]["kind"], len(waiting[1]["findings"])) == ("full", 2)
    empty.ack(waiting[0])
    waiting = empty.oldest()
    assert waiting is not None
    assert (waiting[1]["kind"], [f["check"] for f in waiting[1]["findings"]]) == ("delta", ["a"])
    assert waiting[1]["summary"]["fail"] == 1


def test_a_look_that_found_nothing_new_writes_nothing(empty: Spool) -> None:
    put(empty, finding("a"))
    assert put(empty, finding("a")) is None
    assert empty.tally().depth == 1


def test_checks_not_judged_again_stay_as_they_were(empty: Spool) -> None:
    put(empty, finding("a"), finding("b"))
    put(empty, finding("a", "fail"), whole=False)
    assert empty.latest() == {"a": finding("a", "fail"), "b": finding("b")}


def test_a_check_that_is_gone_is_said_by_a_full_report(empty: Spool) -> None:
    collector = Collector()
    put(empty, finding("a"), finding("b"))
    collector.drain(empty)
    put(empty, finding("a"))
    collector.drain(empty)
    assert collector.posture == {"a": finding("a")}


def test_a_collector_that_lost_everything_gets_a_full_one_first(empty: Spool) -> None:
    put(empty, finding("a"), finding("b"))
    Collector().drain(empty)
    put(empty, finding("a", "fail"), finding("b"))
    put(empty, finding("a", "fail"), finding("b", "fail"))
    fresh = Collector()
    fresh.drain(empty)
    assert fresh.posture == empty.latest()
    assert [seq for _, seq in fresh.taken] == [2, 3]


def test_the_oldest_goes_when_the_bytes_run_out_and_is_counted(tmp_path: Path) -> None:
    small = spool(tmp_path, max_bytes=64 << 10)
    for n in range(200):
        put(small, finding("a", because=os.urandom(1000).hex()), finding("b", because=str(n)))
    tally = small.tally()
    assert tally.size <= 64 << 10
    assert tally.dropped == 200 - tally.depth > 0
    collector = Collector()
    collector.drain(small)
    assert collector.posture == small.latest()
    small.close()


def test_the_file_on_disk_stays_bounded_too(tmp_path: Path) -> None:
    small = spool(tmp_path, max_bytes=64 << 10)
    for _ in range(300):
        put(small, finding("a", because=os.urandom(2000).hex()))
    small.close()
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 2 << 20


def test_old_reports_go_by_age(tmp_path: Path) -> None:
    clock = Clock()
    aging = spool(tmp_path, clock, max_age_s=60)
    put(aging, finding("a"))
    put(aging, finding("a", "fail"))
    clock.up += 61
    put(aging, finding("a"))
    assert (aging.tally().depth, aging.tally().dropped) == (1, 2)
    aging.close()


def test_a_clock_that_jumps_ages_nothing(tmp_path: Path) -> None:
    clock = Clock()
    aging = spool(tmp_path, clock, max_age_s=60)
    put(aging, finding("a"))
    clock.wall += 10 * 365 * 86400
    put(aging, finding("a", "fail"))
    clock.wall = 0
    put(aging, finding("a"))
    assert (aging.tally().depth, aging.tally().dropped) == (3, 0)
    aging.close()


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = spool(tmp_path)
    put(first, finding("a"))
    boot = first.tally().boot
    first.close()
    second = spool(tmp_path)
    assert put(second, finding("a", "fail")) == 2
    assert second.tally().boot == boot
    second.close()


@pytest.mark.parametrize("at", [0, 60, 4096, 9000])
def test_a_corrupt_file_is_set_aside_and_a_new_boot_begins(tmp_path: Path, at: int) -> None:
    first = spool(tmp_path)
    put(first, *(finding(f"c{n}", because="x" * 300) for n in range(50)))
    before = first.tally()
    first.close()
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 30000)
    second = spool(tmp_path)
    put(second, finding("a"))
    collector = Collector()
    collector.drain(second)
    tally = second.tally()
    assert (tally.set_aside, tally.boot != before.boot) == (1, True)
    assert collector.posture == {"a": finding("a")}
    assert (tmp_path / f"{FILE}.corrupt").exists()
    second.close()


ROTTEN = (
    "UPDATE latest SET finding = '{' || finding",
    "UPDATE latest SET finding = '5'",
    "UPDATE latest SET finding = replace(finding, 'pass', 'pasz')",
    "UPDATE latest SET finding = replace(finding, 'because', 'becauss')",
    "UPDATE base SET finding = 'x'",
    "UPDATE about SET value = '{' WHERE key = 'head'",
    "UPDATE about SET value = 'abc' WHERE key = 'seq'",
    "UPDATE about SET value = 'abc' WHERE key = 'dropped'",
    "UPDATE waiting SET body = substr(body, 1, length(body) - 9)",
    "UPDATE waiting SET body = x''",
    "UPDATE waiting SET made_at = 'x', made_up = 'y'",
)


@pytest.mark.parametrize("rot", ROTTEN)
def test_a_sound_file_with_rotten_text_in_it_is_set_aside(tmp_path: Path, rot: str) -> None:
    """SQLite has no checksums: a bit that flips within a text is found by nobody else."""
    first = spool(tmp_path)
    for because in "pqr":
        put(first, finding("a", because=because))
    first.ack(1)
    first.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute(rot)
    second = spool(tmp_path)
    collector = Collector()
    second.head()
    put(second, finding("a", "fail"))
    if (waiting := second.oldest()) is not None:
        second.as_full(waiting[1])
    collector.drain(second)
    put(second, finding("a"), finding("b"))
    collector.drain(second)
    assert second.tally().set_aside == 1
    assert collector.posture == second.latest() == {"a": finding("a"), "b": finding("b")}
    second.close()


def test_what_was_counted_and_what_waited_outlives_a_file_that_is_set_aside(tmp_path: Path) -> None:
    for n in range(1, 3):
        made = spool(tmp_path)
        put(made, finding("a"))
        put(made, finding("a", "fail"))
        made.refuse(made.tally().acked + 1)
        put(made, finding("a"))
        made.close()
        with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
            db.execute("UPDATE latest SET finding = 'x'")
        again = spool(tmp_path)
        again.latest()
        tally = again.tally()
        assert (tally.set_aside, tally.refused, tally.dropped) == (n, n, 2 * n)
        again.close()


def test_without_a_disk_it_is_kept_in_memory() -> None:
    with closing(Spool(None, SpoolBounds(), Clock())) as made:
        put(made, finding("a"))
        assert (made.latest(), made.tally().depth) == ({"a": finding("a")}, 1)


def test_a_file_of_a_newer_minor_version_is_used_as_it_is(tmp_path: Path) -> None:
    """An agent may be downgraded: columns and tables were only added."""
    first = spool(tmp_path)
    put(first, finding("a"))
    first.close()
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("ALTER TABLE waiting ADD COLUMN colour TEXT")
    db.execute("CREATE TABLE later (x)")
    db.execute("PRAGMA user_version=107")
    db.close()
    second = spool(tmp_path)
    put(second, finding("a", "fail"))
    assert second.tally().depth == 2
    second.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (107,)


def test_a_file_of_another_major_version_is_kept_and_a_new_one_begun(tmp_path: Path) -> None:
    first = spool(tmp_path)
    put(first, finding("a"))
    first.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute("PRAGMA user_version=200")
    second = spool(tmp_path)
    assert second.tally().depth == 0
    assert (tmp_path / f"{FILE}.v2").exists()
    second.close()


def test_the_digest_is_the_one_that_the_collector_takes() -> None:
    evidence = [{"what": "w", "value": "ü\n", "source": "/x"}, {"what": "", "value": ""}]
    posture = {
        check: {"check": check, "status": "fail", "severity": "low", "because": "é", **more}
        for check, more in (("b", {"evidence": evidence, "remedy": {"text": "t"}}), ("a", {}))
    }
    assert digest_of(posture) == posture_digest(finding_from_json(f) for f in posture.values())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
        pass


def fill(tight: Spool) -> None:
    for _ in range(100):
        put(tight, finding("a", because=os.urandom(2000).hex()), finding("b"))


@pytest.mark.root
def test_a_full_disk_loses_nothing_and_is_survived(tmp_path: Path) -> None:
    """A tmpfs of 1 MiB stands for the disk."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        tight = spool(tmp_path)
        put(tight, finding("a"))
        filler = tmp_path / "filler"
        with pytest.raises(OSError, match="space"):
            filler.write_bytes(b"x" * (2 << 20))
        with pytest.raises(SpoolFullError):
            fill(tight)
        kept = tight.latest()
        filler.unlink()
        assert put(tight, finding("a", "fail"), finding("b")) is not None
        assert kept.keys() <= {"a", "b"}
        collector = Collector()
        collector.drain(tight)
        assert collector.posture == {"a": finding("a", "fail"), "b": finding("b")}
        tight.close()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


# A process that keeps and acknowledges until it is killed. What it says it did must have lasted.
WRITER = """
import json, sys
from pathlib import Path
from nodeward.agent.clock import moment
from nodeward.agent.config import SpoolBounds
from nodeward.agent.spool import Spool
spool = Spool(Path(sys.argv[1]), SpoolBounds(), moment)
n = spool.tally().seq
while True:
    n += 1
    found = {"check": "a", "status": "pass", "severity": "low", "because": f"n{n}", "evidence": []}
    seq = spool.put({"node": "x"}, {"a": found}, whole=True)
    print(json.dumps(["put", seq, f"n{n}"]), flush=True)
    if n % 3 == 0:
        first = spool.oldest()[0]
        spool.ack(first)
        print(json.dumps(["ack", first]), flush=True)
"""


def kill_at(tmp_path: Path, lines: int, extra: Callable[[int], None]) -> list[Any]:
    """Run the writer for so many lines, kill it at whatever instruction it is, return its log."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    log = [json.loads(child.stdout.readline()) for _ in range(lines)]
    extra(lines)
    child.send_signal(signal.SIGKILL)
    log += [json.loads(line) for line in child.stdout if line.endswith(b"\n")]
    child.stdout.close()
    child.wait()
    return log


def survives(tmp_path: Path, kills: int) -> None:
    acked: set[int] = set()
    put_: dict[int, str] = {}
    for n in range(kills):
        for entry in kill_at(tmp_path, 1 + n * 7 % 23, lambda _: None):
            if entry[0] == "put":
                assert entry[1] not in put_, "a sequence number was given twice"
                put_[entry[1]] = entry[2]
            else:
                acked.add(entry[1])
        last = max(put_)
        opened = Spool(tmp_path, SpoolBounds(), Clock())
        tally = opened.tally()
        # The one that was under way may have lasted without having been told.
        assert tally.seq - last in (0, 1)
        assert tally.depth in (tally.seq - len(acked), tally.seq - len(acked) - 1)
        assert opened.latest()["a"]["because"] == f"n{tally.seq}"
        assert tally.set_aside == tally.dropped == 0
        acked = set(range(1, tally.seq - tally.depth + 1))
        put_[tally.seq] = f"n{tally.seq}"
        opened.close()


def test_kill_9_loses_nothing_that_was_said_to_be_kept(tmp_path: Path) -> None:
    survives(tmp_path, 10)


@pytest.mark.long
def test_kill_9_two_hundred_times(tmp_path: Path) -> None:
    survives(tmp_path, 200)


STATUS = st.sampled_from(["pass", "fail", "unknown"])
STEP = st.one_of(
    st.tuples(st.just("look"), st.dictionaries(st.sampled_from("abcd"), STATUS, min_size=1)),
    st.tuples(st.just("part"), st.dictionaries(st.sampled_from("abcd"), STATUS, min_size=1)),
    st.tuples(st.sampled_from(["send", "lost answer", "forget", "restart", "age"]), st.none()),
)


@settings(max_examples=60)
@given(st.lists(STEP, max_size=25))
def test_whatever_happens_the_collector_ends_with_what_the_node_is(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    folder, clock, collector = tmp_path_factory.mktemp("s"), Clock(), Collector()
    ours = spool(folder, clock, max_age_s=100)
    for what, found in steps:
        if what in ("look", "part"):
            put(ours, *(finding(c, s) for c, s in found.items()), whole=what == "look")
        elif what in ("send", "lost answer") and (waiting := ours.oldest()) is not None:
            if (ours.tally().boot, waiting[0]) not in collector.taken and not collector.take(
                waiting[1]
            ):
                assert collector.take(ours.as_full(waiting[1]))
            if what == "send":
                ours.ack(waiting[0])
        elif what == "forget":
            collector = Collector()
        elif what == "restart":
            ours.close()
            ours = spool(folder, clock, max_age_s=100)
        elif what == "age":
            clock.up += 60
    known = ours.latest()
    for waiting in iter(ours.oldest, None):
        if (ours.tally().boot, waiting[0]) not in collector.taken and not collector.take(
            waiting[1]
        ):
            assert collector.take(ours.as_full(waiting[1]))
        ours.ack(waiting[0])
    if collector.taken:
        assert collector.posture == known
    ours.close()
