"""Read whether this host is a Kubernetes node."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping

from nodeward.facts.node import PATHS, PROGRAMS, Node, recognise
from nodeward.facts.processes import Process, Processes
from nodeward.facts.system import parse_os_release
from nodeward.host import Host, HostError, MissingError
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe


@probe
def read_node(host: Host, processes: Processes | Absent | Unreadable) -> Node:
    table = processes if isinstance(processes, Processes) else None
    release = _os_release(host)
    present, denied = _look(host)
    node = recognise(
        own(host, table.rows if table else ()),
        present,
        release.get("ID", ""),
        release.get("VARIANT_ID", ""),
    )
    if node is not None:
        return node
    if denied is not None:
        raise denied
    if isinstance(processes, Unreadable):
        raise HostError(processes.what, processes.error)
    if table is not None and not table.complete:
        raise HostError("the process table", "processes of others are hidden from us")
    raise MissingError("Kubernetes", "no process, unit or file of one")


def own(host: Host, rows: Iterable[Process]) -> Iterator[Process]:
    """Those of Kubernetes that live in the host's own network namespace: a kubelet in another is
    that of a cluster inside a container, and an API server in another that of a hosted cluster."""
    ours = _network(host, 1)
    for process in rows:
        if process.program in PROGRAMS:
            its = _network(host, process.pid)
            if ours is None or its is None or its == ours:
                yield process


def _network(host: Host, pid: int) -> str | None:
    try:
        return host.link(f"/proc/{pid}/ns/net")
    except HostError:
        return None


def _look(host: Host) -> tuple[set[str], HostError | None]:
    """Which of the paths are there, and the first that we may not look at. A masked unit is a link
    to /dev/null: it is not there."""
    present, denied = set(), None
    for path in PATHS:
        try:
            mode = host.stat(path).mode
        except MissingError:
            continue
        except HostError as exc:
            denied = denied or exc
            continue
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            present.add(path)
    return present, denied


def _os_release(host: Host) -> Mapping[str, str]:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            return parse_os_release(host.read(path))
        except HostError:
            continue
    return {}
