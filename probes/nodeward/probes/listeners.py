"""Read the listening sockets, and find the process that holds each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nodeward.facts.listeners import Listener, Listeners, parse_proc_net_tcp
from nodeward.facts.processes import Process, Processes
from nodeward.host import Host, HostError, MissingError, OfflineError
from nodeward.host.sockets import ListeningSockets
from nodeward.lazy import pattern
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe

TABLE_LIMIT = 32 << 20  # 200,000 sockets
SOCKET = pattern(r"socket:\[([0-9]{1,20})\]")


@probe
def read_listeners(host: Host, processes: Processes | Absent | Unreadable) -> Listeners:
    return _owned(host, processes, *_sockets(host, processes))


def _owned(
    host: Host,
    processes: Processes | Absent | Unreadable,
    rows: tuple[Listener, ...],
    source: str,
) -> Listeners:
    owners = _owners(host, processes, {row.inode for row in rows})
    return Listeners(
        tuple(
            replace(row, pid=owner.pid, program=owner.program) if owner else row
            for row, owner in ((row, owners.get(row.inode)) for row in rows)
        ),
        source,
    )


def read_in_network(host: Host, processes: Processes | Absent | Unreadable, pid: int) -> Listeners:
    """Those of the network namespace that a process lives in."""
    table = f"/proc/{pid}/net/tcp"
    return _owned(host, processes, _tables(host, table), table)


def _sockets(
    host: Host, processes: Processes | Absent | Unreadable
) -> tuple[tuple[Listener, ...], str]:
    try:
        found = host.ask(ListeningSockets())
        return tuple(Listener(r.address, r.port, r.inode, r.uid) for r in found), "sock_diag"
    except OfflineError:
        # Our network namespace is not the machine's, or the tree is at rest: the table of a
        # process in the machine's namespace shows what that process would see.
        pids = [1] if host.live else _pids(processes)
        for pid in pids:
            table = f"/proc/{pid}/net/tcp"
            try:
                return _tables(host, table), table
            except MissingError:
                continue
        raise


def _pids(processes: Processes | Absent | Unreadable) -> list[int]:
    return [p.pid for p in processes.rows] if isinstance(processes, Processes) else []


def _tables(host: Host, table: str) -> tuple[Listener, ...]:
    rows = parse_proc_net_tcp(host.read(table, limit=TABLE_LIMIT))
    try:
        return rows + parse_proc_net_tcp(host.read(f"{table}6", limit=TABLE_LIMIT))
    except MissingError:  # IPv6 is off
        return rows


def _owners(
    host: Host, processes: Processes | Absent | Unreadable, inodes: set[int]
) -> dict[int, Process]:
    """The first holder of each socket. Stops when all are found: the rest of /proc costs most."""
    found: dict[int, Process] = {}
    rows: Iterable[Process] = processes.rows if isinstance(processes, Processes) else ()
    for process in rows:
        if len(found) == len(inodes):
            break
        try:
            fds = host.names(f"/proc/{process.pid}/fd")
        except HostError:
            continue
        for fd in fds:
            try:
                target = host.link(f"/proc/{process.pid}/fd/{fd}")
            except HostError:
                continue
            if match := SOCKET.fullmatch(target):
                inode = int(match[1])
                if inode in inodes:
                    found.setdefault(inode, process)
    return found
