"""What a collector does in a second on one core, and how long the canonical questions take.

    python benchmarks/collector.py [--database URL] [--nodes 100000] [--seconds 5]

Server and load generator are processes of their own, each held to one core; TLS on, connections
kept, every request authenticated by a session's MAC, every report signed. Deltas and fulls are
answered after the commit. Compare ratios, not machines: the yardsticks run beside in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from nodeward.collector import pki
from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import migrate
from nodeward.collector.settings import Settings
from nodeward.collector.signature import agent_id, signed_text
from nodeward.collector.store import ask
from nodeward.collector.store.access import EVERYTHING
from nodeward.collector.store.ask import Db, Filter
from nodeward.collector.store.ingest import Incoming, ingest
from nodeward.collector.store.names import Names
from nodeward.collector.store.sessions import Sessions
from nodeward.collector.wire import FindingIn, ReportIn
from nodeward.model import Status
from nodeward.model.report import finding_from_json, posture_digest

ROOT = Path(__file__).parents[1]
CHECKS = 150
PORT = 18_450
STATUSES = ("pass", "fail", "not-applicable", "unknown")


def finding(number: int, status: str, node: str) -> dict[str, Any]:
    """Of usual size: two pieces of evidence, a remedy, mappings."""
    return {
        "check": f"area{number % 9}.subject.check-{number:03}",
        "status": status,
        "severity": ("high", "medium", "low")[number % 3],
        "because": f"the value seen by check {number} is {status}, want something else",
        "evidence": [
            {"what": "value", "value": f"{node}-{number}", "source": f"/etc/some/file-{number}:12"},
            {"what": "rule", "value": "option = value", "source": f"/etc/some/dir/{number}.conf:3"},
        ],
        "remedy": {"text": "Set the option.", "steps": [f"sysctl -w some.option={number}"]},
        "mappings": {"sac": ["kernel-modules"], "cis-kubernetes-1.12": [f"4.2.{number}"]},
    }


def posture(seed: int, node: str) -> list[dict[str, Any]]:
    """One of a few profiles; a tenth of the nodes drift from theirs by some checks."""
    chance = random.Random(seed % 8)
    statuses = [chance.choices(STATUSES, (70, 15, 12, 3))[0] for _ in range(CHECKS)]
    if seed % 10 == 0:
        own = random.Random(seed)
        for _ in range(3):
            statuses[own.randrange(CHECKS)] = own.choice(STATUSES)
    return [finding(number, status, node) for number, status in enumerate(statuses)]


@dataclass
class Sender:
    """An enrolled agent with an open session."""

    name: str
    key: Ed25519PrivateKey
    agent: str
    session: str
    mac: bytes


def enrol(settings: Settings, count: int) -> list[Sender]:
    """Enrolled nodes, as the store has them; the calls themselves are not measured."""
    engine = open_engine(settings.database_url)
    sessions = Sessions(engine)
    now = now_ms()
    out, agents, nodes, postures = [], [], [], []
    for number in range(1, count + 1):
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        agent, name = agent_id(public), f"node-{number:06}"
        opened = sessions.open(agent, now)
        out.append(Sender(name, key, agent, opened.id, opened.key))
        nodes.append({"id": number, "cluster": 1 + number % 20, "name": name, "created_at": now})
        postures.append({"node": number, "cluster": 1 + number % 20})
        agents.append(
            {
                "id": agent, "node": number, "public_key": public, "method": "join-token",
                "status": "active", "created_at": now, "expires_at": now + 10**9,
                "changed_at": now - 10**6,
            }
        )  # fmt: skip
    clusters = [{"id": i, "name": f"cluster-{i}", "created_at": now} for i in range(1, 21)]
    with engine.execution_options(writes=True).begin() as connection:
        for table, rows in ((t.cluster, clusters), (t.node, nodes), (t.posture, postures),
                            (t.agent, agents)):  # fmt: skip
            connection.execute(table.insert(), rows)
    engine.dispose()
    return out


def request(sender: Sender, path: str, body: bytes, *, sign: bool) -> bytes:
    when = str(int(time.time()))
    told = signed_text("POST", path, when, hashlib.sha256(body).digest())
    lines = [
        f"POST {path} HTTP/1.1",
        "host: collector",
        f"content-length: {len(body)}",
        "content-encoding: gzip",
        f"nodeward-agent: {sender.agent}",
        f"nodeward-time: {when}",
        f"nodeward-session: {sender.session}",
        f"nodeward-mac: {base64.b64encode(hmac.digest(sender.mac, told, 'sha256')).decode()}",
    ]
    if sign:
        lines.append(f"nodeward-signature: {base64.b64encode(sender.key.sign(told)).decode()}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def report(sender: Sender, seq: int, kind: str, findings: Any, digest: str, base: Any) -> bytes:
    data = {
        "schema": "nodeward.report/v1", "node": sender.name, "boot": "b", "seq": seq,
        "taken_at": "2026-11-22T04:10:11.123Z", "kind": kind, "digest": digest,
        "inventory": {"os": {"id": "debian", "version": "12"}, "kernel": "6.1.0-56-amd64"},
        "agent": {"version": "0.1.0", "catalog": "sha256:0"}, "findings": findings,
    }  # fmt: skip
    if base:
        data["base"] = base
    return gzip.compress(json.dumps(data).encode(), 6)


def prepared(senders: list[Sender], each: int) -> dict[str, list[list[bytes]]]:
    """Requests by kind, a list for each agent, in order: fulls, then deltas, then heartbeats."""
    out: dict[str, list[list[bytes]]] = {"full": [], "delta": [], "heartbeat": []}
    for number, sender in enumerate(senders):
        base = posture(number, sender.name)
        digest = posture_digest(finding_from_json(f) for f in base)
        body = report(sender, 1, "full", base, digest, None)
        again = report(sender, 2, "full", base, digest, None)
        both = [request(sender, "/v1/reports", b, sign=True) for b in (body, again)]
        out["full"].append(both)
        deltas, before = [], digest
        for step in range(each):
            changed = [finding(n, STATUSES[(step + n) % 2], f"s{step}") for n in (1, 2, 3)]
            after = "sha256:" + hashlib.sha256(f"{number}/{step}".encode()).hexdigest()
            body = report(sender, 3 + step, "delta", changed, after, before)
            deltas.append(request(sender, "/v1/reports", body, sign=True))
            before = after
        out["delta"].append(deltas)
        body = gzip.compress(json.dumps({"boot": "b", "seq": 2 + each, "digest": before}).encode())
        out["heartbeat"].append([request(sender, "/v1/heartbeat", body, sign=False)])
    return out


class Wire(asyncio.Protocol):
    """One kept connection: sends the next request when the last was answered with a 200."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.load.connected(self)

    def next(self) -> None:
        following = self.load.take()
        if following is None:
            self.load.idle(self)
            return
        self.sent = time.perf_counter()
        self.transport.write(following)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = int(self.buffer.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        if len(self.buffer) < head + 4 + length:
            return
        assert self.buffer.startswith(b"HTTP/1.1 200"), self.buffer
        self.buffer = b""
        self.load.latencies.append(time.perf_counter() - self.sent)
        self.next()


@dataclass(frozen=True)
class Run:
    """Seconds on the clock, seconds of the server's processor, and how long each answer took."""

    took: float
    spent: float
    latencies: list[float]


class Load:
    """All connections, and the requests that they share."""

    def __init__(self, requests: Iterator[bytes], connections: int, ca: str) -> None:
        self.requests = requests
        self.count = connections
        self.ca = ca
        self.wires: list[Wire] = []
        self.latencies: list[float] = []
        self.until = 0.0
        self.ready = asyncio.Event()
        self.done = asyncio.Event()
        self.resting = 0

    def connected(self, wire: Wire) -> None:
        self.wires.append(wire)
        if len(self.wires) == self.count:
            self.ready.set()

    def take(self) -> bytes | None:
        if time.perf_counter() > self.until:
            return None
        return next(self.requests, None)

    def idle(self, _wire: Wire) -> None:
        self.resting += 1
        if self.resting == self.count:
            self.done.set()

    async def run(self, seconds: float, server: int) -> Run:
        context = ssl.create_default_context(cafile=self.ca)
        loop = asyncio.get_running_loop()
        for begin in range(0, self.count, 32):
            await asyncio.gather(
                *(
                    loop.create_connection(
                        lambda: Wire(self), "127.0.0.1", PORT, ssl=context,
                        server_hostname="127.0.0.1",
                    )
                    for _ in range(begin, min(begin + 32, self.count))
                )
            )  # fmt: skip
        await self.ready.wait()
        # From here on: the connections are kept ones, their handshakes are not of these requests.
        began, spent = time.perf_counter(), cpu_s(server)
        self.until = began + seconds
        for wire in self.wires:
            wire.next()
        await self.done.wait()
        took, spent = time.perf_counter() - began, cpu_s(server) - spent
        for wire in self.wires:
            wire.transport.abort()
        return Run(took, spent, sorted(self.latencies))


def interleaved(lists: list[list[bytes]], *, ever: bool) -> Iterator[bytes]:
    """The first of each agent, then the second of each: an agent has one request under way."""
    while True:
        for step in range(max(map(len, lists))):
            yield from (requests[step] for requests in lists if step < len(requests))
        if not ever:
            return


def generate(
    queue: Any, requests: list[list[bytes]], ever: bool, connections: int, ca: str, seconds: float,
    server: int,
) -> None:  # fmt: skip
    """In a process of its own, on the other core."""
    pin(1)
    load_of = interleaved(requests, ever=ever)

    async def main() -> Run:
        return await Load(load_of, connections, ca).run(seconds, server)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        queue.put(runner.run(main()))


def pin(core: int) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core % os.cpu_count()]})  # type: ignore[operator]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Server:
    """The collector as a process on the first core."""

    def __init__(self, settings: Settings) -> None:
        environment = os.environ | {
            "PYTHONPATH": ":".join(str(ROOT / p) for p in ("probes", "agent", "collector")),
            "NODEWARD_COLLECTOR_STATE": settings.state,
            "NODEWARD_COLLECTOR_DATABASE": settings.database,
            "NODEWARD_COLLECTOR_LISTEN": f"127.0.0.1:{PORT}",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nodeward.cli", "collector", "serve"],
            env=environment,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: pin(0),
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", PORT), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def measure(
    server: Server, what: str, requests: list[list[bytes]], *, ever: bool, connections: int,
    ca: str, seconds: float, goal: float | None,
) -> float:  # fmt: skip
    queue: Any = multiprocessing.Queue()
    worker = multiprocessing.Process(
        target=generate,
        args=(queue, requests, ever, connections, ca, seconds, server.process.pid),
    )
    worker.start()
    run: Run = queue.get()
    worker.join()
    count = len(run.latencies)
    each = run.spent / count
    percentile = [1000 * run.latencies[int(count * q)] for q in (0.5, 0.99)]
    line = (
        f"  {what:<10} {connections:>4} connections  {count / run.took:>8,.0f}/s"
        f"  {1e6 * each:>5.0f} us cpu  p50 {percentile[0]:>6.1f}  p99 {percentile[1]:>6.1f} ms"
    )
    if goal:
        reached = 1 / each / goal
        line += f"  goal {1e6 / goal:.0f} us: " + (
            "met" if reached >= 1 else f"missed by {1 / reached:.2f}x"
        )
    print(line, flush=True)
    return count / run.took


def ingest_part(settings: Settings, seconds: float, senders_count: int, each: int) -> None:
    print(f"ingest, one core, TLS, {settings.database_url.partition(':')[0]}", flush=True)
    senders = enrol(settings, senders_count)
    made = prepared(senders, each)
    ca = str(Path(settings.state) / "ca.crt")
    postgres = settings.database_url.startswith("postgres")
    sizes = [len(r[0]) for r in made["full"]]
    print(f"  a full report is {sum(sizes) / len(sizes):,.0f} bytes with its headers", flush=True)
    server = Server(settings)
    try:
        fulls, deltas = made["full"], made["delta"]
        for step, what in enumerate(("full, new", "full, same")):
            for part, connections in ((fulls[::2], 64), (fulls[1::2], 512)):
                measure(server, what, [[f[step]] for f in part], ever=False, ca=ca, seconds=60,
                        connections=connections, goal=3_000)  # fmt: skip
        waited_for(server, settings)
        goal = 4_000 if postgres else 8_000
        half = each // 2
        measure(server, "delta", [d[:half] for d in deltas], ever=False, connections=64, ca=ca,
                seconds=60, goal=goal)  # fmt: skip
        measure(server, "delta", [d[half:] for d in deltas], ever=False, connections=512, ca=ca,
                seconds=60, goal=goal)  # fmt: skip
        waited_for(server, settings)
        measure(server, "heartbeat", made["heartbeat"], ever=True, connections=64, ca=ca,
                seconds=seconds, goal=15_000)  # fmt: skip
        print(f"  server's memory {rss_mib(server.process.pid):.0f} MiB", flush=True)
    finally:
        server.stop()


def waited_for(server: Server, settings: Settings) -> None:
    """What is done off the request path: signatures verified, evidence merged and compressed."""
    engine = open_engine(settings.database_url)
    waiting = text("SELECT count(*) FROM report WHERE body IS NOT NULL")
    first: int | None = None
    before, began = cpu_s(server.process.pid), time.perf_counter()
    while True:
        with engine.connect() as connection:
            left = connection.execute(waiting).scalar_one()
        first = left if first is None else first
        if not left:
            break
        time.sleep(0.2)
    spent = cpu_s(server.process.pid) - before
    print(
        f"  off the path: {first:,} reports verified and folded in"
        f" {time.perf_counter() - began:.1f} s, {1e6 * spent / max(first, 1):.0f} us cpu each",
        flush=True,
    )
    engine.dispose()


# -- the questions ----------------------------------------------------------------------------


def populate(settings: Settings, count: int) -> Names:
    """A fleet in the store: full reports through the same code that the server runs."""
    engine = open_engine(settings.database_url)
    names, now, batch = Names(), now_ms(), 1_000
    profiles = [posture(seed, "node") for seed in range(1, 9)]
    with engine.execution_options(writes=True).begin() as connection:
        rows = [{"id": i, "name": f"cluster-{i}", "created_at": now} for i in range(1, 201)]
        connection.execute(t.cluster.insert(), rows)
    began = time.perf_counter()
    for start in range(1, count + 1, batch):
        ids = range(start, min(start + batch, count + 1))
        with engine.execution_options(writes=True).begin() as connection:
            connection.execute(t.node.insert(), [
                {"id": i, "cluster": 1 + i % 200, "name": f"node-{i:07}", "created_at": now}
                for i in ids
            ])  # fmt: skip
            connection.execute(
                t.posture.insert(), [{"node": i, "cluster": 1 + i % 200} for i in ids]
            )
            ingest(connection, names, [_incoming(i, profiles, now) for i in ids])
            connection.execute(text("UPDATE report SET body = NULL WHERE body IS NOT NULL"))
    took = time.perf_counter() - began
    print(f"  {count:,} nodes stored in {took:.0f} s ({count / took:,.0f}/s)", flush=True)
    engine.dispose()
    return names


def _incoming(number: int, profiles: list[list[dict[str, Any]]], now: int) -> Incoming:
    own = random.Random(number)
    drift = (
        {own.randrange(CHECKS): own.choice(STATUSES) for _ in range(3)} if not number % 10 else {}
    )
    findings = [
        FindingIn(f["check"], drift.get(n, f["status"]), f["severity"], "x")
        for n, f in enumerate(profiles[number % 8])
    ]
    report = ReportIn(
        schema="nodeward.report/v1", node="x", taken_at="", boot="b", seq=1, kind="full",
        digest=f"sha256:{number:064x}", findings=findings,
        inventory={"os": {"id": "debian"}, "kernel": f"6.1.{number % 5}"},
    )  # fmt: skip
    return Incoming(
        node=number, agent="a", report=report, sent=b"", sha=number.to_bytes(32, "big"),
        signature=b"", signed_at=0, verified=True, at=now, skew_ms=0,
    )  # fmt: skip


def questions(settings: Settings, names: Names, count: int) -> None:
    engine = open_engine(settings.database_url)
    chance = random.Random(1)
    now = now_ms()
    with engine.execution_options(writes=True).begin() as connection:
        rules = list(names.rules.values()) or [1]
        connection.execute(t.change.insert(), [
            {"at": now - chance.randrange(86_400_000), "node": chance.randrange(1, count + 1),
             "rule": chance.choice(rules), "old": 9, "new": 19}
            for _ in range(min(count, 200_000))
        ])  # fmt: skip
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
    check = "area1.subject.check-001"

    def asked(question: Callable[[Db], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with engine.connect() as connection, connection.begin():
                return question(Db(connection, names, EVERYTHING, now_ms()))

        return run

    failing = Filter(statuses=frozenset({Status.FAIL}), checks=(check,))
    cases: dict[str, Callable[[Db], Any]] = {
        "fails per check, fleet": lambda db: ask.checks(db, Filter()),
        "posture by cluster": lambda db: ask.clusters(db, Filter()),
        "the 20 worst nodes": lambda db: ask.nodes(db, Filter(sort="score", limit=20)),
        "failing X in cluster Y": lambda db: ask.findings(
            db, Filter(failing.statuses, checks=failing.checks,
                       cluster=f"cluster-{chance.randrange(1, 201)}")),
        "failing X, fleet": lambda db: ask.findings(db, failing),
        "the worst findings": lambda db: ask.findings(db, Filter()),
        "one node": lambda db: ask.node(db, *_somebody(chance, count)),
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


def _somebody(chance: random.Random, count: int) -> tuple[str, str]:
    number = chance.randrange(1, count + 1)
    return f"cluster-{1 + number % 200}", f"node-{number:07}"


def sizes(settings: Settings, count: int) -> None:
    """Bytes a node, table by table (SQLite's dbstat is not always there: the file as a whole)."""
    if settings.database_url.startswith("sqlite"):
        path = Path(settings.state) / "collector.db"
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        print(f"  {path.stat().st_size / count:,.0f} bytes a node in all (no evidence)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--database", default="", help="an empty PostgreSQL database; else SQLite")
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--senders", type=int, default=3_000)
    parser.add_argument("--each", type=int, default=12)
    parser.add_argument("--only", choices=["ingest", "questions"])
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, 8_192))
    with tempfile.TemporaryDirectory(prefix="nodeward-bench-") as folder:
        for part in ("ingest", "questions"):
            if options.only not in (None, part):
                continue
            state = Path(folder) / part
            state.mkdir()
            pki.write_ca(state)
            pki.write_server(state, ["127.0.0.1"])
            settings = Settings(state=str(state), database=options.database)
            engine = open_engine(settings.database_url)
            migrate(engine, "head")
            engine.dispose()
            if part == "ingest":
                ingest_part(settings, options.seconds, options.senders, options.each)
            else:
                print(f"questions, {options.nodes:,} nodes in 200 clusters", flush=True)
                names = populate(settings, options.nodes)
                sizes(settings, options.nodes)
                questions(settings, names, options.nodes)


if __name__ == "__main__":
    main()
