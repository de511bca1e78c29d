"""Read the pids limit of all pods together, and the swap in use."""

from __future__ import annotations

from dataclasses import replace

from nodeward.facts.kubelet_limits import KubeletLimits, Swap, parse_swaps
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.registry import probe

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
        return KubeletLimits(value, path, _swaps(host))
    return KubeletLimits(None, "", _swaps(host))


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
