"""Read the pids limit of all pods together, their seccomp modes, and the swap in use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from nodeward.facts.kubelet_limits import KubeletLimits, Swap, parse_seccomp, parse_swaps
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.registry import probe

MOST_CONTAINERS, MOST_LEVELS = 1000, 4

# cgroup v2, then v1; by systemd's names, then by cgroupfs'.
PIDS = tuple(
    f"/sys/fs/cgroup{version}/{name}/pids.max"
    for version in ("", "/pids")
    for name in ("kubepods.slice", "kubepods", "kubelet.slice/kubelet-kubepods.slice")
)


@probe
def read_kubelet_limits(host: Host) -> KubeletLimits:
    for path in PIDS:
        try:
            value = host.read(path, limit=64).strip().decode("ascii", "replace")
        except MissingError:
            continue
        folder = path.rpartition("/")[0]
        found = list(islice(_first_processes(host, folder, 0), MOST_CONTAINERS))
        modes = {pid: _seccomp(host, pid) for pid in found}
        return KubeletLimits(
            value,
            path,
            _swaps(host),
            sum(mode is not None for mode in modes.values()),
            tuple(pid for pid, mode in modes.items() if mode == 0),
        )
    return KubeletLimits(None, "", _swaps(host))


def _first_processes(host: Host, folder: str, level: int) -> Iterator[int]:
    """The first process of every cgroup below that of all pods: one for each container."""
    try:
        names = host.names(folder)
        raw = host.read(f"{folder}/cgroup.procs", limit=1 << 20)
    except HostError:
        return
    pids = [int(p) for p in raw.split() if p.isdigit()]
    yield from pids[:1]
    if level < MOST_LEVELS:
        for name in names:
            if "." not in name or name.endswith((".slice", ".scope")):
                yield from _first_processes(host, f"{folder}/{name}", level + 1)


def _seccomp(host: Host, pid: int) -> int | None:
    try:
        return parse_seccomp(host.read(f"/proc/{pid}/status", limit=1 << 16))
    except HostError:
        return None  # gone while we looked


def _swaps(host: Host) -> tuple[Swap, ...] | None:
    try:
        rows = parse_swaps(host.read("/proc/swaps"))
    except MissingError:
        return None
    return tuple(replace(row, encrypted=_encrypted(host, row)) for row in rows)


def _encrypted(host: Host, row: Swap) -> bool | None:
    """By the device mapper's own word. A file lies on a file system that we do not follow."""
    if row.kind != "partition":
        return None
    name = row.path.rpartition("/")[2]
    if name.startswith("zram"):
        return True  # it is memory
    try:
        return host.read(f"/sys/block/{name}/dm/uuid", limit=512).startswith(b"CRYPT-")
    except MissingError:
        return False
    except HostError:
        return None
