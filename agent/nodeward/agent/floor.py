"""What no event source covers is compared on an interval: cheap fingerprints, no judgement."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Hashable, Iterable
from functools import partial

from nodeward.agent.netlink import command
from nodeward.agent.plan import ANY, Plan

MOST_BYTES = 64 << 10
RESTLESS = 3
"""A file that differs at so many comparisons in a row is a counter, and is no longer compared."""

_LISTEN = b" 0A "  # the state's column in /proc/net/tcp


class Floor:
    """Remembers the fingerprints of the last comparison. `events` are the kinds that no event
    source covers, `folders` those that cannot be watched."""

    def __init__(self, root: str, programs: Collection[str]) -> None:
        self._root = root.rstrip("/")
        self._programs = {name[:15] for name in programs}
        self._last: dict[str, Hashable] = {}
        self._restless: dict[str, int] = {}
        self._commands: dict[int, str] = {}

    def compare(self, plan: Plan, events: Collection[str], folders: Collection[str]) -> set[str]:
        """The facts whose fingerprint is not what it was. What is new is only remembered."""
        stale: set[str] = set()
        now: dict[str, Hashable] = {}
        for key, facts, look in self._looks(plan, events, folders):
            if self._restless.get(key, 0) >= RESTLESS:
                continue
            now[key] = found = look()
            if key in self._last and self._last[key] != found:
                if key in plan.polled:
                    self._restless[key] = self._restless.get(key, 0) + 1
                stale |= set(facts)
            else:
                self._restless.pop(key, None)
        self._last = now
        return stale

    def _looks(
        self, plan: Plan, events: Collection[str], folders: Collection[str]
    ) -> Iterable[tuple[str, Iterable[str], Callable[[], Hashable]]]:
        for path, facts in plan.polled.items():
            yield path, facts, partial(self._content, path)
        for kind, look in (
            ("module", self._modules),
            ("process", self._processes),
            ("listener", self._listeners),
            ("route", self._routes),
            ("pod", self._pods),
        ):
            if kind in events and kind in plan.events:
                yield f"event {kind}", plan.events[kind], look
        for folder in folders:
            for name, facts in plan.folders.get(folder, {}).items():
                path = folder if name == ANY else f"{folder.rstrip('/')}/{name}"
                yield f"stat {path}", facts, partial(self._stat, path)

    def _content(self, path: str) -> Hashable:
        try:
            if path.endswith("/"):
                return tuple(sorted(os.listdir(self._root + path)))
            fd = os.open(self._root + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            return exc.errno
        try:
            return hash(os.read(fd, MOST_BYTES))
        except OSError as exc:
            return exc.errno
        finally:
            os.close(fd)

    def _stat(self, path: str) -> Hashable:
        try:
            st = os.lstat(self._root + path)
        except OSError as exc:
            return exc.errno
        return st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_ino, st.st_ctime_ns

    def _modules(self) -> Hashable:
        """Names only: the use counts beside them change all the time."""
        return frozenset(line.split(b" ", 1)[0] for line in self._lines("/proc/modules"))

    def _processes(self) -> Hashable:
        proc = f"{self._root}/proc"
        with contextlib.suppress(OSError):
            pids = {int(name) for name in os.listdir(proc) if name.isdigit()}
            known = self._commands
            self._commands = {p: known[p] if p in known else command(proc, p) for p in pids}
        return frozenset((p, c) for p, c in self._commands.items() if c in self._programs)

    def _listeners(self) -> Hashable:
        own = frozenset[bytes]()
        for table in ("tcp", "tcp6"):
            path = f"/proc/1/net/{table}"
            rows = self._lines(path) or self._lines(f"/proc/net/{table}")
            own |= {row.split()[1] for row in rows if _LISTEN in row}
        return own

    def _routes(self) -> Hashable:
        routes = [self._lines("/proc/1/net/route"), self._lines("/proc/1/net/ipv6_route")]
        return tuple(hash(b"\n".join(lines)) for lines in routes)

    def _pods(self) -> Hashable:
        """Network namespaces that a runtime has named."""
        return self._content("/run/netns/")

    def _lines(self, path: str) -> list[bytes]:
        with contextlib.suppress(OSError), open(self._root + path, "rb") as file:
            return file.read().split(b"\n")
        return []
