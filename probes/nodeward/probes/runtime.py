"""Read which container runtime this host has."""

from __future__ import annotations

from nodeward.facts.processes import Processes
from nodeward.facts.runtime import RUNTIMES, Runtime, package_version, release
from nodeward.host import Host, HostError, MissingError
from nodeward.host.linked_release import LinkedRelease
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe

STATUS = "/var/lib/dpkg/status"
STATUS_LIMIT = 64 << 20


@probe
def read_runtime(host: Host, processes: Processes | Absent | Unreadable) -> Runtime:
    """The one that runs; else the first that is installed."""
    rows = processes.rows if isinstance(processes, Processes) else ()
    for program, name, packages, _ in RUNTIMES:
        for process in rows:
            if process.program == program:
                exe = process.exe or ""
                return Runtime(name, _version(host, exe, packages), exe, running=True)
    for _, name, packages, files in RUNTIMES:
        for file in files:
            try:
                host.stat(file)
            except HostError:
                continue
            return Runtime(name, _version(host, file, packages), file, running=False)
    raise MissingError("a container runtime", "none runs, none is installed")


def _version(host: Host, exe: str, packages: tuple[str, ...]) -> str | None:
    """A program in /usr/bin is its package's; any other can only tell itself."""
    if exe.startswith("/usr/bin/"):
        try:
            status = host.read(STATUS, limit=STATUS_LIMIT)
        except HostError:
            status = b""
        for package in packages:
            if found := package_version(status, package):
                return release(found)
    if not exe:
        return None
    try:
        return host.ask(LinkedRelease(exe))
    except HostError:
        return None
