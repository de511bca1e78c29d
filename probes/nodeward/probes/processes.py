"""Read the process table and every process's arguments."""

from __future__ import annotations

from nodeward.facts.processes import Process, Processes, parse_argv
from nodeward.host import Host, HostError, MissingError
from nodeward.host.processes import ProcessRow, ProcessTable
from nodeward.probes.registry import probe

ARGV_LIMIT = 4 << 20  # twice what the kernel lets one process have


@probe
def read_processes(host: Host) -> Processes:
    rows = host.ask(ProcessTable())
    found = [p for p in (_with_argv(host, row) for row in rows) if p is not None]
    return Processes(tuple(found), complete=_complete(host, rows))


def _complete(host: Host, rows: tuple[ProcessRow, ...]) -> bool:
    """With hidepid, or in a pod without the host's pids, we see our own processes only."""
    if not host.live:
        return True
    try:
        host.stat("/proc/1/stat")
    except HostError:
        return False
    return any(row.pid == 1 for row in rows)


def _with_argv(host: Host, row: ProcessRow) -> Process | None:
    try:
        argv = parse_argv(host.read(f"/proc/{row.pid}/cmdline", limit=ARGV_LIMIT))
    except MissingError:
        if host.live:
            return None  # gone while we looked
        argv = ()
    except HostError:
        argv = None
    exe = row.exe.removesuffix(" (deleted)") if row.exe else None
    return Process(row.pid, row.ppid, row.comm, exe, argv, row.started_at, row.uid)
