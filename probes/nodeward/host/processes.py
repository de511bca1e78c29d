"""The process table: through psutil on a running machine, from proc/ in a tree at rest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError, MissingError
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    import psutil

    from nodeward.host.tree import TreeHost


TICKS = 100
"""Clock ticks a second in /proc/PID/stat: USER_HZ, the same on all that Kubernetes runs on."""


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process. `started_at` is seconds since 1970; None: not readable, or no boot time."""

    pid: int
    ppid: int
    comm: str
    exe: str | None
    started_at: float | None
    uid: int | None


@dataclass(frozen=True, slots=True)
class ProcessTable(Query[tuple[ProcessRow, ...]]):
    """Every process that we can see. Arguments are read apart, byte by byte as they stand:
    psutil splits a process title that was overwritten at its blanks."""

    answer_type: ClassVar[object] = tuple[ProcessRow, ...]
    at_rest: ClassVar[bool] = True

    def answer(self, host: TreeHost) -> tuple[ProcessRow, ...]:
        return _live(host) if host.live else _at_rest(host)


def _live(host: TreeHost) -> tuple[ProcessRow, ...]:
    proc = os.path.join(host.root, "proc")
    if not os.path.isdir(os.path.join(proc, "self")):
        raise MissingError("/proc", "not mounted")
    import psutil

    psutil.PROCFS_PATH = proc
    rows = []
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                rows.append(_row(host, process))
        except psutil.NoSuchProcess:  # gone while we looked
            continue
        except psutil.AccessDenied:  # hidepid=1 shows the number and nothing else
            continue
    return tuple(sorted(rows, key=lambda r: r.pid))


def _row(host: TreeHost, process: psutil.Process) -> ProcessRow:
    # Not process.exe(): where the link may not be read psutil guesses from the arguments, and
    # those are the process's own to write.
    return ProcessRow(
        process.pid,
        process.ppid(),
        process.name(),
        _exe(host, process.pid),
        process.create_time(),
        process.uids().real,
    )


def _exe(host: TreeHost, pid: int) -> str | None:
    try:
        return host.link(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except HostError:
        return None


def _at_rest(host: TreeHost) -> tuple[ProcessRow, ...]:
    pids = sorted(int(n) for n in host.names("/proc") if n.isascii() and n.isdigit())
    if not pids:
        raise MissingError("/proc", "this tree holds no process")
    boot = _boot_time(host)
    return tuple(_row_at_rest(host, pid, boot) for pid in pids)


def _boot_time(host: TreeHost) -> int | None:
    try:
        lines = host.read("/proc/stat").split(b"\n")
        return next((int(line.split()[1]) for line in lines if line.startswith(b"btime ")), None)
    except (HostError, ValueError, IndexError):
        return None


def _row_at_rest(host: TreeHost, pid: int, boot: int | None) -> ProcessRow:
    comm, ppid, started_at = "", 0, None
    try:
        raw = host.read(f"/proc/{pid}/stat")
        comm = raw[raw.index(b"(") + 1 : raw.rindex(b")")].decode("utf-8", "surrogateescape")
        fields = raw[raw.rindex(b")") + 1 :].split()
        ppid = int(fields[1])
        if boot is not None:
            started_at = (boot * TICKS + int(fields[19])) / TICKS
    except (HostError, ValueError, IndexError, OverflowError):
        pass  # a tree may hold no more than the arguments
    return ProcessRow(pid, ppid, comm, _exe(host, pid), started_at, _uid(host, pid))


def _uid(host: TreeHost, pid: int) -> int | None:
    try:
        for line in host.read(f"/proc/{pid}/status").split(b"\n"):
            if line.startswith(b"Uid:"):
                return int(line.split()[1])
    except (HostError, ValueError, IndexError):
        pass
    return None
