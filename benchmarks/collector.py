"""What a collector does in a second on one core, what it takes, and how long questions take.

    python benchmarks/collector.py [--postgresql] [--only PART]... [--nodes 100000] [--senders 3000]

Server and load generator are processes of their own, each held to one core; TLS on, connections
kept, every request authenticated by a session's MAC, every report signed. Deltas and fulls are
answered after the commit. What counts is the server's processor time for a request, on the event
loop and in the writer; verifying signatures and folding is measured after it. The rates are those
of a load generator in Python beside it. The yardstick, a signature's verification, tells
how fast the machine is at that moment. PostgreSQL is Debian's, started for the run (needs root).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import resource
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet import beat, enrol, full, prepared
from load import PORT, Server, cpu_s, measure, pin, rss_mib
from postgres import postgres
from questions import against_copy, cold, populate, questions, sizes
from sqlalchemy import text

from nodeward.collector import pki
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import migrate
from nodeward.collector.settings import Settings


def yardstick() -> None:
    key = Ed25519PrivateKey.generate()
    signature, public = key.sign(b"x" * 150), key.public_key()
    best = 1.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(500):
            public.verify(signature, b"x" * 150)
        best = min(best, (time.process_time() - began) / 500)
    print(f"  yardstick: an Ed25519 verification takes {1e6 * best:.0f} us", flush=True)


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
        # As opening a session does: the collector hears of each key, and asks the database.
        first = [[beat(s, f"sha256:{n:064x}")] for n, s in enumerate(senders)]
        measure(server, "first beat", first, connections=64, ca=ca, seconds=60,
                goal=None)  # fmt: skip
        for step, what in enumerate(("full, new", "full, same")):
            for part, connections in ((fulls[::2], 64), (fulls[1::2], 512)):
                measure(server, what, [[f[step]] for f in part], ca=ca, seconds=60,
                        connections=connections, goal=3_000)  # fmt: skip
        waited_for(server, settings)
        goal = 4_000 if postgres else 8_000
        third = each // 3
        for part, (connections, rate) in enumerate(((64, 0), (512, 0), (512, goal / 2))):
            some = [d[part * third : (part + 1) * third] for d in deltas]
            what = f"{rate:.0f} deltas/s" if rate else "delta"
            measure(server, what, some, connections=connections, ca=ca, seconds=60,
                    goal=goal, rate=rate)  # fmt: skip
        waited_for(server, settings)
        measure(server, "heartbeat", made["heartbeat"], connections=64, ca=ca,
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


# -- a fleet as it is ---------------------------------------------------------------------------


def fleet_part(settings: Settings, agents: int, seconds: float) -> None:
    """Heartbeats of so many agents, each every 300 s, over 2,000 kept connections."""
    rate = agents / 300
    print(f"{agents:,} agents, a heartbeat each in 300 s: {rate:.0f}/s, 2,000 connections")
    senders = enrol(settings, agents)
    made = [[beat(s, f"sha256:{n:064x}")] for n, s in enumerate(senders[: int(rate * seconds) + 1])]
    server = Server(settings)
    ca = str(Path(settings.state) / "ca.crt")
    try:
        run = measure(server, "heartbeat", made, connections=2_000, ca=ca,
                      seconds=seconds, goal=None, rate=rate)  # fmt: skip
        share = run.spent / run.took
        mark = "met" if share <= 1 else f"missed by {share:.2f}x"
        print(f"  {100 * share:.0f} % of one core (goal 100 %: {mark}),"
              f" {rss_mib(server.process.pid):.0f} MiB", flush=True)  # fmt: skip
    finally:
        server.stop()


class Kept(asyncio.Protocol):
    def __init__(self, request: bytes, answered: asyncio.Event) -> None:
        self.request, self.answered = request, answered

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.answered.set()


def keep_open(requests: list[bytes], ca: str, steps: Any, go: Any) -> None:
    pin(1)

    async def main() -> None:
        context = ssl.create_default_context(cafile=ca)
        loop, kept = asyncio.get_running_loop(), []
        for start in range(0, len(requests), 50):
            waits = []
            for one in requests[start : start + 50]:
                answered = asyncio.Event()
                made = loop.create_connection(
                    lambda one=one, answered=answered: Kept(one, answered), "127.0.0.1", PORT,
                    ssl=context, server_hostname="127.0.0.1",
                )  # fmt: skip
                kept.append(await made)
                waits.append(answered.wait())
            await asyncio.gather(*waits)
            if not (start + 50) % 2_000:
                steps.put(start + 50)
                await asyncio.to_thread(go.get)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def connections_part(settings: Settings, count: int) -> None:
    """Memory by the number of kept TLS connections, each with a heartbeat behind it."""
    print(f"{count:,} kept TLS connections")
    senders = enrol(settings, count)
    made = [beat(s, f"sha256:{n:064x}") for n, s in enumerate(senders)]
    server = Server(settings)
    steps: Any = multiprocessing.Queue()
    go: Any = multiprocessing.Queue()
    ca = str(Path(settings.state) / "ca.crt")
    points = [(0, rss_mib(server.process.pid))]
    spent = cpu_s(server.process.pid)
    worker = multiprocessing.Process(target=keep_open, args=(made, ca, steps, go))
    worker.start()
    try:
        while points[-1][0] < count:
            open_now = steps.get(timeout=600)
            points.append((open_now, rss_mib(server.process.pid)))
            print(f"  {open_now:>7,} connections  {points[-1][1]:>6.0f} MiB", flush=True)
            if open_now == count:
                spent = cpu_s(server.process.pid) - spent
            go.put(None)
        slope = 1024 * (points[-1][1] - points[1][1]) / (points[-1][0] - points[1][0])
        print(
            f"  {slope:.1f} KiB a connection; {1e6 * spent / count:.0f} us for a handshake and the"
            " first heartbeat", flush=True,
        )  # fmt: skip
    finally:
        worker.terminate()
        worker.join()
        server.stop()


# -- a herd -------------------------------------------------------------------------------------


class HerdAgent(asyncio.Protocol):
    """One agent with a report to get rid of, as patient as the answers tell it to be."""

    def __init__(self, herd: Herd, request: bytes) -> None:
        self.herd, self.request, self.buffer = herd, request, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0 or len(self.buffer) < head + 4 + _length(self.buffer):
            return
        status = int(self.buffer[9:12])
        self.herd.statuses[status] += 1
        self.transport.close()
        if status == 200:
            self.herd.done()
            return
        assert status in (429, 503), self.buffer
        wait = int(self.buffer.split(b"retry-after: ", 1)[1].split(b"\r\n", 1)[0])
        self.herd.loop.call_later(wait, self.herd.send, self.request)


def _length(buffer: bytes) -> int:
    return int(buffer.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])


class Herd:
    def __init__(self, count: int, ca: str) -> None:
        self.left, self.statuses = count, Counter[int]()
        self.loop = asyncio.get_running_loop()
        self.empty = asyncio.Event()
        self.context = ssl.create_default_context(cafile=ca)
        self.room = asyncio.Semaphore(256)  # what a listening socket's queue holds
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, request: bytes) -> None:
        task = self.loop.create_task(self._send(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _send(self, request: bytes) -> None:
        async with self.room:
            await self.loop.create_connection(
                lambda: HerdAgent(self, request), "127.0.0.1", PORT, ssl=self.context,
                server_hostname="127.0.0.1", ssl_handshake_timeout=600,
            )  # fmt: skip

    def done(self) -> None:
        self.left -= 1
        if not self.left:
            self.empty.set()


def stampede(requests: list[bytes], ca: str, queue: Any) -> None:
    pin(1)

    async def main() -> tuple[float, Counter[int]]:
        herd, began = Herd(len(requests), ca), time.perf_counter()
        for request in requests:
            herd.send(request)
        await herd.empty.wait()
        return time.perf_counter() - began, herd.statuses

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        queue.put(runner.run(main()))


def herd_part(settings: Settings, count: int) -> None:
    """All agents at once after an outage, each with a full report on a new connection."""
    print(f"a herd of {count:,} agents, each with a full report on a new TLS connection")
    senders = enrol(settings, count)
    made = [full(s, n) for n, s in enumerate(senders)]
    server = Server(settings)
    queue: Any = multiprocessing.Queue()
    pid, before, most = server.process.pid, rss_mib(server.process.pid), 0.0
    ca = str(Path(settings.state) / "ca.crt")
    worker = multiprocessing.Process(target=stampede, args=(made, ca, queue))
    worker.start()
    try:
        while queue.empty() and worker.is_alive():
            most = max(most, rss_mib(pid))
            time.sleep(0.5)
        took, statuses = queue.get()
        worker.join()
        engine = open_engine(settings.database_url)
        with engine.connect() as connection:
            stored = connection.execute(text("SELECT count(*) FROM report")).scalar_one()
            nodes = connection.execute(text("SELECT count(DISTINCT node) FROM report")).scalar_one()
        engine.dispose()
        lost = "none lost, none doubled" if stored == nodes == count else f"WRONG: {stored} stored"
        told = sum(many for status, many in statuses.items() if status != 200)
        print(
            f"  drained in {took:.0f} s, {lost}; {told:,} answers 503 with Retry-After; memory"
            f" {before:.0f} MiB before, {most:.0f} at most", flush=True,
        )  # fmt: skip
    finally:
        server.stop()


# -- all together -------------------------------------------------------------------------------

PARTS = ("ingest", "questions", "copy", "fleet", "connections", "herd")


@contextlib.contextmanager
def database(folder: Path, *, postgresql: bool) -> Iterator[str]:
    if not postgresql:
        yield ""
        return
    folder.parent.chmod(0o755)  # its own user walks through
    with postgres(folder) as url:
        yield url


def one_part(part: str, options: argparse.Namespace) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="nodeward-bench-") as folder,
        database(Path(folder) / "pg", postgresql=options.postgresql) as url,
    ):
        state = Path(folder) / part
        state.mkdir()
        pki.write_ca(state)
        pki.write_server(state, ["127.0.0.1"])
        settings = Settings(state=str(state), database=url, connections=30_000)
        engine = open_engine(settings.database_url)
        migrate(engine, "head")
        engine.dispose()
        yardstick()
        if part == "ingest":
            ingest_part(settings, options.seconds, options.senders, options.each)
        elif part == "questions":
            print(f"questions, {options.nodes:,} nodes in 200 clusters", flush=True)
            names = populate(settings, options.nodes, options.changes)
            sizes(settings, options.nodes, options.changes)
            cold(settings)
            questions(settings, names, options.nodes)
        elif part == "copy":
            if options.postgresql:
                against_copy(settings)
        elif part == "fleet":
            fleet_part(settings, options.nodes, options.fleet_seconds)
        elif part == "connections":
            connections_part(settings, options.connections)
        else:
            herd_part(settings, options.herd)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--postgresql", action="store_true", help="else SQLite")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=300_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--senders", type=int, default=3_000)
    parser.add_argument("--each", type=int, default=12)
    parser.add_argument("--fleet-seconds", type=float, default=30)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--herd", type=int, default=20_000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for part in options.only or PARTS:
        one_part(part, options)
        gc.collect()


if __name__ == "__main__":
    main()
