"""A collector as a process on one core, and a load generator as a process on another."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from nodeward.collector.settings import Settings

ROOT = Path(__file__).parents[1]
PORT = 18_450


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
        self.send(following, time.perf_counter())

    def send(self, following: bytes, due: float) -> None:
        self.sent = due
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

    def __init__(
        self, requests: Iterator[bytes], connections: int, ca: str, rate: float = 0
    ) -> None:
        self.requests = requests
        self.rate = rate
        self.free: list[Wire] = []
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
        if self.rate:
            return None  # `paced` sends
        if time.perf_counter() > self.until:
            return None
        return next(self.requests, None)

    def idle(self, wire: Wire) -> None:
        self.free.append(wire)
        self.resting = len(self.free) if self.rate else self.resting + 1
        if self.resting == self.count:
            self.done.set()

    async def paced(self, began: float) -> None:
        """So many a second, whatever the answers take; a wait for a connection counts as theirs."""
        count = 0
        while time.perf_counter() < self.until:
            await asyncio.sleep(0.002)
            while self.free and began + count / self.rate < time.perf_counter():
                following = next(self.requests, None)
                if following is None:
                    self.until = 0.0
                    break
                self.free.pop().send(following, began + count / self.rate)
                count += 1
        self.done.clear()
        if len(self.free) == self.count:
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
        began, spent = time.perf_counter(), path_s(server)
        self.until = began + seconds
        for wire in self.wires:
            wire.next()
        if self.rate:
            await self.paced(began)
        await self.done.wait()
        took, spent = time.perf_counter() - began, path_s(server) - spent
        for wire in self.wires:
            wire.transport.abort()
        return Run(took, spent, sorted(self.latencies))


def interleaved(lists: list[list[bytes]]) -> Iterator[bytes]:
    """The first of each agent, then the second of each: an agent has one request under way."""
    for step in range(max(map(len, lists))):
        yield from (requests[step] for requests in lists if step < len(requests))


def generate(
    queue: Any, requests: list[list[bytes]], connections: int, ca: str, seconds: float, server: int,
    rate: float,
) -> None:  # fmt: skip
    """In a process of its own, on the other core."""
    pin(1)
    load_of = interleaved(requests)

    async def main() -> Run:
        return await Load(load_of, connections, ca, rate).run(seconds, server)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        queue.put(runner.run(main()))


def pin(core: int) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core % os.cpu_count()]})  # type: ignore[operator]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def path_s(pid: int) -> float:
    """The same of the request path alone: the event loop and the writer, a process's first two
    threads. What is done off it (signatures, folding, tidying) runs in others."""
    threads = sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())[:2]
    spent = (Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0] for tid in threads)
    return sum(map(int, spent)) / 1e9


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Server:
    """The collector as a process on the first core."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        environment = os.environ | {
            "PYTHONPATH": ":".join(str(ROOT / p) for p in ("probes", "agent", "collector")),
            "NODEWARD_COLLECTOR_STATE": settings.state,
            "NODEWARD_COLLECTOR_DATABASE": settings.database,
            "NODEWARD_COLLECTOR_CONNECTIONS": str(settings.connections),
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
    server: Server, what: str, requests: list[list[bytes]], *, connections: int, ca: str,
    seconds: float, goal: float | None, rate: float = 0,
) -> Run:  # fmt: skip
    queue: Any = multiprocessing.Queue()
    worker = multiprocessing.Process(
        target=generate,
        args=(queue, requests, connections, ca, seconds, server.process.pid, rate),
    )
    worker.start()
    run: Run = queue.get()
    worker.join()
    count = len(run.latencies)
    each = run.spent / count
    percentile = [1000 * run.latencies[int(count * q)] for q in (0.5, 0.99)]
    line = (
        f"  {what:<13} {connections:>4} connections  {count / run.took:>8,.0f}/s"
        f"  {1e6 * each:>5.0f} us cpu  p50 {percentile[0]:>6.1f}  p99 {percentile[1]:>6.1f} ms"
    )
    if goal:
        reached = 1 / each / goal
        line += f"  goal {1e6 / goal:.0f} us: " + (
            "met" if reached >= 1 else f"missed by {1 / reached:.2f}x"
        )
    print(line, flush=True)
    return run
