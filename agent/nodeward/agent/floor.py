"""What no event source covers is compared on an interval: cheap fingerprints, no judgement."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from functools import partial

from nodeward.agent.netlink import command
from nodeward.agent.plan import ANY, SELF, Plan

MOST_BYTES = 64 << 10
RESTLESS = 3
"""A file that differs at so many comparisons in a row is a counter, and is given a rest."""

FLAP_S = 600.0

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP = 4, 20, 0x301  # linux/sock_diag.h
TCP_LISTEN = 10
_NLMSG = struct.Struct("=IHHII")
_DIAG = struct.Struct("=BBBBI")  # struct inet_diag_req_v2, without the socket's id

_LISTEN = b" 0A "  # the state's column in /proc/net/tcp


class Floor:
    """Remembers the fingerprints of the last comparison. `events` are the kinds that no event
    source covers, `folders` those that cannot be watched."""

    def __init__(
        self, root: str, programs: Collection[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._root = root.rstrip("/")
        self._programs = {name[:15] for name in programs}
        self._last: dict[str, Hashable] = {}
        self._restless: dict[str, int] = {}
        self.resting: dict[str, float] = {}
        """Files that are not compared, and until when."""
        self._running: Hashable = None
        self._shares_network = _same_network(self._root)

    def compare(self, plan: Plan, events: Collection[str], folders: Collection[str]) -> set[str]:
        """The facts whose fingerprint is not what it was. What is new is only remembered."""
        stale: set[str] = set()
        now: dict[str, Hashable] = {}
        at = self._clock()
        for key, facts, look in self._looks(plan, events, folders):
            if at < self.resting.get(key, 0.0):
                now[key] = self._last.get(key)
                continue
            now[key] = found = look()
            if key in self._last and self._last[key] != found:
                stale |= set(facts)
                if key in plan.polled:
                    self._restless[key] = self._restless.get(key, 0) + 1
            else:
                self._restless.pop(key, None)
        for key, count in self._restless.items():
            if count >= RESTLESS and at >= self.resting.get(key, 0.0):
                self.resting[key] = at + FLAP_S
        self.resting = {k: until for k, until in self.resting.items() if k in now and at < until}
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
        for folder, names in plan.folders.items():
            concerned = (fact for facts in names.values() for fact in facts)
            yield folder, concerned, partial(self._place, folder, names)
        for folder in folders:
            for name, facts in plan.folders.get(folder, {}).items():
                if name != SELF:
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

    def _place(self, folder: str, names: Collection[str]) -> Hashable:
        """What is found there. Nobody hears of a file system that is mounted over it."""
        return hash(tuple(self._inode(f"{folder}/{name}") for name in (SELF, *names)))

    def _inode(self, path: str) -> Hashable:
        try:
            st = os.lstat(self._root + path)
        except OSError as exc:
            return exc.errno
        return st.st_dev, st.st_ino

    def _modules(self) -> Hashable:
        """Names only: the use counts beside them change all the time."""
        return frozenset(line.split(b" ", 1)[0] for line in self._lines("/proc/modules"))

    def _processes(self) -> Hashable:
        """All of them, each time: by exec a shell becomes what it was started for."""
        proc = f"{self._root}/proc"
        with contextlib.suppress(OSError):
            named = ((pid, command(proc, pid)) for pid in os.listdir(proc) if pid[0] in "123456789")
            self._running = frozenset(one for one in named if one[1] in self._programs)
        return self._running

    def _listeners(self) -> Hashable:
        if self._shares_network:
            with contextlib.suppress(OSError):
                return listening()
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


def listening() -> frozenset[bytes]:
    """Family, port and address of every listening TCP socket of our network namespace, raw:
    sock_diag(7). The kernel picks them out, which /proc/net/tcp does not."""
    found = set[bytes]()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(1.0)
        for family in (socket.AF_INET, socket.AF_INET6):
            question = _DIAG.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN) + bytes(48)
            head = _NLMSG.pack(_NLMSG.size + len(question), SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, 0, 0)
            sock.send(head + question)
            while _rows(sock.recv(1 << 18), found):
                pass
    return frozenset(found)


def _rows(raw: bytes, found: set[bytes]) -> bool:
    """Collect the rows of one answer; whether more will come."""
    at = 0
    while at + _NLMSG.size <= len(raw):
        length, kind, _, _, _ = _NLMSG.unpack_from(raw, at)
        if kind != SOCK_DIAG_BY_FAMILY or length < _NLMSG.size:  # NLMSG_DONE or NLMSG_ERROR
            return False
        row = raw[at + _NLMSG.size : at + length]
        found.add(row[:1] + row[4:6] + row[8:24])  # struct inet_diag_msg: family, sport, src
        at += (length + 3) & ~3
    return True


def _same_network(root: str) -> bool:
    """Whether our network namespace is the host's. Unreadable: it is, unless we are in a pod."""
    try:
        return os.readlink("/proc/self/ns/net") == os.readlink(f"{root}/proc/1/ns/net")
    except OSError:
        return not root
