"""The canonical questions over a stored fleet, what the fleet takes on the disk, and raw COPY."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from fleet import STATUSES, finding, posture, report
from sqlalchemy import Connection, Engine, text

from nodeward.collector import wire
from nodeward.collector.archive import archive_closed
from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import open_engine
from nodeward.collector.posture import EMPTY, State, pack
from nodeward.collector.settings import Settings
from nodeward.collector.store import ask, bulk
from nodeward.collector.store.access import EVERYTHING
from nodeward.collector.store.ask import Db, Filter
from nodeward.collector.store.counters import Moves
from nodeward.collector.store.dictionary import keep, made_of
from nodeward.collector.store.evidence import Said, pack_said, saying
from nodeward.collector.store.ingest import Incoming, ingest
from nodeward.collector.store.names import Names, Platform
from nodeward.model import Status

CLUSTERS = 200
BATCH = 10_000
KNOWN = 1_000
"""So many nodes have evidence of their own, packed as folding packs it; the others have copies."""


class Made:
    """A fleet that is made up: eight profiles, a tenth of the nodes differs from theirs."""

    def __init__(self, names: Names) -> None:
        self.names = names
        findings = [posture(seed, "node") for seed in range(1, 9)]
        self.profiles = [
            State.of({names.rules[f["check"]]: pack(f["status"], f["severity"]) for f in profile})
            for profile in findings
        ]

    def state(self, number: int) -> State:
        profile = self.profiles[number % 8]
        if number % 10:
            return profile
        own = random.Random(number)
        rules = own.sample(profile.rules, 3)
        return profile.replaced({r: pack(own.choice(STATUSES), "high") for r in rules})


def populate(settings: Settings, nodes: int, changes: int) -> Names:
    """The tables of a fleet, loaded in bulk through the same functions that the writer uses for
    sets, counters and changes; only the postures are inserted without a report each."""
    engine = open_engine(settings.database_url)
    names, now, began = Names(), now_ms(), time.perf_counter()
    with engine.execution_options(writes=True).begin() as connection:
        rows = [
            {"id": i, "name": f"cluster-{i}", "created_at": now} for i in range(1, CLUSTERS + 1)
        ]
        connection.execute(t.cluster.insert(), rows)
        names.want_rules(connection, [f["check"] for f in posture(1, "n")], now)
    made = Made(names)
    for start in range(1, nodes + 1, BATCH):
        numbers = range(start, min(start + BATCH, nodes + 1))
        with engine.execution_options(writes=True).begin() as connection:
            _nodes(connection, made, numbers, now)
        _vacuumed(engine, "counter, total")  # as PostgreSQL's own would have, had it been asked
    with engine.execution_options(writes=True).begin() as connection:
        _evidence(connection, nodes, now)
    with engine.execution_options(writes=True).begin() as connection:
        _changes(connection, names, nodes, changes, now_ms())
    _settled(engine)
    took = time.perf_counter() - began
    print(f"  {nodes:,} nodes loaded in {took:.0f} s", flush=True)
    engine.dispose()
    return names


def _nodes(connection: Connection, made: Made, numbers: range, now: int) -> None:
    connection.execute(t.node.insert(), [
        {"id": n, "cluster": 1 + n % CLUSTERS, "name": f"ip-10-0-{n:07}.example", "created_at": now}
        for n in numbers
    ])  # fmt: skip
    states = {n: made.state(n) for n in numbers}
    sets = made.names.set_ids(connection, states.values())
    kinds = [Platform("debian", "12", f"6.1.{k}") for k in range(5)]
    platforms = list(made.names.platform_ids(connection, kinds).values())
    connection.execute(t.posture.insert(), [
        {"node": n, "cluster": 1 + n % CLUSTERS, "set": sets[state.digest], "score": state.score,
         "platform": platforms[n % 5], "boot": f"{n:032x}", "seq": 1 + n % 99,
         "digest": n.to_bytes(32, "big"), "first_at": now, "report_at": now, "seen_at": now,
         "skew_ms": n % 50, "spool": 0}
        for n, state in states.items()
    ])  # fmt: skip
    moves = Moves()
    for n, state in states.items():
        moves.step(1 + n % CLUSTERS, EMPTY, state)
        moves.nodes(1 + n % CLUSTERS, 1)
    moves.write(connection)


def _evidence(connection: Connection, nodes: int, now: int) -> None:
    def said(number: int) -> Said:
        findings = {
            f["check"]: msgspec.Raw(msgspec.json.encode(f))
            for f in posture(number, f"ip-10-0-{number:07}.example")
        }
        return Said("2026-11-22T04:10:11.123Z", {"os": {"id": "debian"}}, findings)

    own = [said(number) for number in range(1, min(nodes, KNOWN) + 1)]
    dictionary = made_of(map(saying, s.findings, s.findings.values()) for s in own[:100])
    keep(connection, dictionary, now)
    plain = zstandard.ZstdCompressor(level=3)
    alone = sum(len(plain.compress(msgspec.json.encode(s))) for s in own)
    packed = [pack_said(s, dictionary) for s in own]
    print(
        f"  a node's evidence is {len(msgspec.json.encode(own[0])):,} bytes of JSON,"
        f" {alone / len(own):,.0f} compressed alone,"
        f" {sum(map(len, packed)) / len(own):,.0f} against the dictionary"
    )
    rows = bulk.bulk(connection)
    for start in range(1, nodes + 1, BATCH):
        numbers = range(start, min(start + BATCH, nodes + 1))
        rows.evidence([(packed[n % len(packed)], n) for n in numbers])


def _changes(connection: Connection, names: Names, nodes: int, changes: int, now: int) -> None:
    """Over the last 24 h, three to a report, as they come: in the order of time."""
    chance, rules = random.Random(1), sorted(names.rules.values())
    times = sorted(now - chance.randrange(86_400_000) for _ in range(changes // 3))
    rows = bulk.bulk(connection)
    for start in range(0, len(times), BATCH):
        rows.changes([
            (at, node, rule, 9, 19)
            for at in times[start : start + BATCH]
            for node in [chance.randrange(1, nodes + 1)]
            for rule in chance.sample(rules, 3)
        ])  # fmt: skip


def _settled(engine: Engine) -> None:
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    _vacuumed(engine)


def _vacuumed(engine: Engine, tables: str = "") -> None:
    if engine.dialect.name == "sqlite":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"VACUUM ANALYZE {tables}")


def questions(settings: Settings, names: Names, nodes: int) -> None:
    engine = open_engine(settings.database_url)
    chance = random.Random(1)

    def asked(question: Callable[[Db], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with engine.connect() as connection, connection.begin():
                return question(Db(connection, names, EVERYTHING, now_ms()))

        return run

    def somebody() -> tuple[str, str]:
        number = chance.randrange(1, nodes + 1)
        return f"cluster-{1 + number % CLUSTERS}", f"ip-10-0-{number:07}.example"

    def somewhere() -> str:
        return f"cluster-{chance.randrange(1, CLUSTERS + 1)}"

    failing = Filter(statuses=frozenset({Status.FAIL}), checks=("area1.subject.check-001",))
    cases: dict[str, Callable[[Db], Any]] = {
        "fails per check, fleet": lambda db: ask.checks(db, Filter()),
        "posture by cluster": lambda db: ask.clusters(db, Filter()),
        "the 20 worst nodes": lambda db: ask.nodes(db, Filter(sort="score", limit=20)),
        "failing X in cluster Y": lambda db: ask.findings(
            db, Filter(failing.statuses, checks=failing.checks, cluster=somewhere())),
        "failing X, fleet": lambda db: ask.findings(db, failing),
        "the worst findings": lambda db: ask.findings(db, Filter()),
        "one node": lambda db: ask.node(db, *somebody()),
        "drift of 24 h, latest 100": lambda db: ask.changes(
            db, Filter(since=db.now - 86_400_000, limit=100)),
    }  # fmt: skip
    print(f"  {'question':<28} p50 ms  p95 ms   goal 50 ms", flush=True)
    for name, question in cases.items():
        run, times = asked(question), []
        run()
        for _ in range(40):
            began = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - began))
        times.sort()
        mark = "" if times[37] <= 50 else f"  missed by {times[37] / 50:.1f}x"
        print(f"  {name:<28} {times[20]:>6.1f}  {times[37]:>6.1f}{mark}", flush=True)
    engine.dispose()


# -- what it takes on the disk ----------------------------------------------------------------

CURRENT = (
    "node", "posture", "evidence", "state_set", "layout", "layout_rule", "posting", "counter",
    "total", "platform", "dictionary", "rule", "cluster",
)  # fmt: skip


def sizes(settings: Settings, nodes: int, changes: int) -> None:
    """Bytes with their indexes: of a node's current state, and of a change."""
    taken = _taken(settings)
    current = {name: taken[name] / nodes for name in CURRENT}
    whole = sum(current.values())
    parts = ", ".join(f"{name} {size:.0f}" for name, size in current.items() if size >= 0.5)
    mark = "met" if whole <= 1_200 else f"missed by {whole / 1_200:.2f}x"
    print(f"  current state {whole:,.0f} bytes a node (goal 1,200: {mark}): {parts}", flush=True)
    hot = taken["change"] / changes
    mark = "met" if hot <= 64 else f"missed by {hot / 64:.2f}x"
    print(f"  a change takes {hot:.1f} bytes (goal 64: {mark})", flush=True)


def cold(settings: Settings) -> None:
    """Bytes of a change in the archive: all that there are, as closed days."""
    engine = open_engine(settings.database_url)
    with tempfile.TemporaryDirectory(prefix="nodeward-bench-") as folder, engine.connect() as asked:
        archive_closed(engine, Path(folder), now_ms() + 2 * 86_400_000)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        count = asked.execute(text("SELECT count(*) FROM change")).scalar_one()
    engine.dispose()
    each = size / count
    mark = "met" if each <= 5 else f"missed by {each / 5:.2f}x"
    print(f"  a change in Parquet takes {each:.2f} bytes (goal 5: {mark})", flush=True)


def _taken(settings: Settings) -> Counter[str]:
    out: Counter[str] = Counter()
    if settings.database_url.startswith("sqlite"):
        with sqlite3.connect(Path(settings.state) / "collector.db") as connection:
            query = (
                "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_schema m"
                " ON m.name = s.name GROUP BY m.tbl_name"
            )
            out.update(dict(connection.execute(query)))
        return out
    engine = open_engine(settings.database_url)
    with engine.connect() as connection:
        query = text(
            "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c"
            " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        )
        for name, size in connection.execute(query):
            out["change" if name.startswith("change") else name] += int(size)
    engine.dispose()
    return out


# -- against raw COPY -------------------------------------------------------------------------


def against_copy(settings: Settings, groups: int = 60, group: int = 500) -> None:
    """The writer's whole transaction for a group of deltas, decoded before; and COPY of the same
    rows (report, posture, changes) into tables of the same shape, constraints and indexes."""
    engine = open_engine(settings.database_url)
    names, now = Names(), now_ms()
    with engine.begin() as connection:
        _start_rows(connection, now, group)
        ingest(connection, names, [_job(n, 1, "full", now) for n in range(1, group + 1)])
        for table in ("report", "posture", "change"):
            connection.exec_driver_sql(f"CREATE TABLE raw_{table} (LIKE {table} INCLUDING ALL)")
    ours, copied = _Spent(), _Spent()
    for step in range(groups):
        jobs = [_job(n, 2 + step, "delta", now + step) for n in range(1, group + 1)]
        with ours.counted(engine) as connection:
            assert set(ingest(connection, names, jobs)) == {"stored"}
        rows = _same_rows(engine, step, now + step)
        with copied.counted(engine) as connection:
            driver: Any = connection.connection.driver_connection
            for table, content in rows.items():
                with driver.cursor() as cursor, cursor.copy(
                    f"COPY raw_{table} FROM STDIN (FORMAT binary)"
                ) as copy:  # fmt: skip
                    copy.write(content)
    each = 1e6 / groups / group
    for what, a, b in (
        ("both sides", ours.client + ours.server, copied.client + copied.server),
        ("PostgreSQL alone", ours.server, copied.server),
    ):
        ratio = a / b
        mark = "met" if ratio <= 2 else f"missed by {ratio / 2:.2f}x"
        print(
            f"  processor time, {what}: a delta written {a * each:.0f} us, its rows by raw COPY"
            f" {b * each:.0f} us: {ratio:.2f} times (goal 2: {mark})",
            flush=True,
        )
    engine.dispose()


@dataclass
class _Spent:
    """Seconds of processor time, of this process and of PostgreSQL's for it."""

    client: float = 0.0
    server: float = 0.0

    @contextlib.contextmanager
    def counted(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection:
            backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            connection.rollback()
            client, server = time.process_time(), _server_s(backend)
            with connection.begin():
                yield connection
            self.client += time.process_time() - client
            self.server += _server_s(backend) - server


def _server_s(backend: int) -> float:
    return int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e9


def _start_rows(connection: Connection, now: int, group: int) -> None:
    connection.execute(t.cluster.insert(), [{"id": 1, "name": "copied", "created_at": now}])
    numbers = range(1, group + 1)
    connection.execute(t.node.insert(), [
        {"id": n, "cluster": 1, "name": f"n{n}", "created_at": now} for n in numbers])  # fmt: skip
    connection.execute(t.posture.insert(), [{"node": n, "cluster": 1} for n in numbers])
    connection.execute(t.agent.insert(), [
        {"id": _agent(n), "node": n, "public_key": bytes(32), "method": "join-token",
         "status": "active", "created_at": now, "expires_at": 2 * now, "changed_at": now}
        for n in numbers])  # fmt: skip


def _agent(number: int) -> str:
    return f"a{number:025}"


def _job(number: int, seq: int, kind: str, at: int) -> Incoming:
    class Nobody:
        name = f"n{number}"

    some = [finding(n, STATUSES[(seq + n) % 2], "x") for n in (1, 2, 3)]
    findings = posture(number, "n") if kind == "full" else some
    digest, base = (f"sha256:{1_000 * s + number:064x}" for s in (seq, seq - 1))
    sender: Any = Nobody
    body = report(sender, seq, kind, findings, digest, None if kind == "full" else base)
    decoded = wire.decode(wire.gunzip(body), wire.ReportIn)
    return Incoming(
        node=number, agent=_agent(number), report=decoded, statuses=wire.statuses(decoded),
        sent=body,
        signature=bytes(64), signed_at=at // 1000, verified=False, at=at,
        platform=Platform.of(decoded.inventory, "", ""),
    )  # fmt: skip


def _same_rows(engine: Engine, step: int, at: int) -> dict[str, bytes]:
    """What the group has just written, as COPY takes it."""
    queries = {
        "report": f"SELECT * FROM report WHERE seq = {2 + step}",
        # Postures are updated in place; as appended rows they need keys of their own.
        "posture": f"SELECT node + {(step + 1) * 10_000} AS node, cluster, set, platform, score,"
        " boot, seq, digest, first_at, report_at, seen_at, skew_ms, spool FROM posture",
        "change": f"SELECT * FROM change WHERE at = {at}",
    }
    out = {}
    with engine.begin() as connection:
        driver: Any = connection.connection.driver_connection
        for table, query in queries.items():
            with driver.cursor() as cursor, cursor.copy(
                f"COPY ({query}) TO STDOUT (FORMAT binary)"
            ) as copy:  # fmt: skip
                out[table] = b"".join(map(bytes, copy))
    return out
