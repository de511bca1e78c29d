"""The networks of the pods that run on a node, told by the cgroups of their processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass, pattern
from nodeward.model import Fact

# cgroupfs: /kubepods/burstable/pod<uid>/<container>; systemd: kubepods-burstable-pod<uid with _>
# .slice/cri-containerd-<container>.scope, both also below other groups (kind, nested runtimes).
# From inside another pod the way there starts with "/..", and kubepods may be left out.
# A static pod's uid is the hash of its manifest: 32 hexadecimal digits.
_POD = pattern(
    rb"(?:kubepods[^\n]*?[/-]|:/(?:\.\./)+(?:(?:burstable|besteffort)/)?)pod"
    rb"([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[/.:\n]|\Z)"
)
_INODE = pattern(r"net:\[([0-9]+)\]")
MOST_PIDS = 3
"""Processes kept of one network: when the first is gone, another leads into it."""


@dataclass(frozen=True, slots=True)
class Pod:
    """`namespace` and `name` are "" where no log folder tells them."""

    uid: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else f"pod {self.uid}"


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """One network namespace that is not the host's, by inode, and who is in it."""

    inode: int
    pids: tuple[int, ...]
    pods: tuple[Pod, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.pods))


@dataclass(frozen=True, slots=True)
class PodNetworks(Fact):
    """Every network of a pod, by the pods' names, and the pods that have the host's.

    `hidden` are pods whose network may not be read (CAP_SYS_PTRACE). `complete` is False where
    processes of others are hidden from us: then a missing pod proves nothing.
    """

    events: ClassVar[tuple[str, ...]] = ("pod",)

    networks: tuple[PodNetwork, ...] = ()
    on_host: tuple[Pod, ...] = ()
    hidden: tuple[Pod, ...] = ()
    complete: bool = True


def parse_cgroup(raw: bytes) -> str | None:
    """The uid of the pod that /proc/PID/cgroup (v1 or v2, cgroups(7)) puts a process into."""
    found = _POD.search(raw)
    return found[1].decode("ascii").replace("_", "-") if found else None


def parse_inode(link: str) -> int:
    """The text of /proc/PID/ns/net, namespaces(7)."""
    found = _INODE.fullmatch(link)
    if found is None:
        raise ParseError("/proc/PID/ns/net", 0, link)
    return int(found[1])


def names_of(folders: Iterable[str]) -> Mapping[str, Pod]:
    """Pods by uid from the folders of /var/log/pods: NAMESPACE_NAME_UID. Neither part may hold an
    underscore, so what does not split into three is no pod's."""
    found = {}
    for folder in folders:
        parts = folder.split("_")
        if len(parts) == 3 and all(parts):
            found[parts[2]] = Pod(parts[2], parts[0], parts[1])
    return found


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a pod, and its network's inode; None where that may not be read."""

    pid: int
    pod: Pod
    inode: int | None


def group(members: Iterable[Member], host_inode: int | None, *, complete: bool) -> PodNetworks:
    """One entry a network. Where the host's own is not known, nothing is taken for it."""
    pids: dict[int, list[int]] = {}
    pods: dict[int, dict[str, Pod]] = {}
    hidden: dict[str, Pod] = {}
    for member in members:
        if member.inode is None:
            hidden[member.pod.uid] = member.pod
            continue
        pids.setdefault(member.inode, []).append(member.pid)
        pods.setdefault(member.inode, {})[member.pod.uid] = member.pod
    networks = [
        PodNetwork(inode, tuple(sorted(pids[inode])[:MOST_PIDS]), _sorted(pods[inode]))
        for inode in pids
        if inode != host_inode
    ]
    return PodNetworks(
        tuple(sorted(networks, key=lambda n: (str(n), n.inode))),
        _sorted(pods.get(host_inode, {}) if host_inode is not None else {}),
        _sorted(hidden),
        complete,
    )


def _sorted(pods: Mapping[str, Pod]) -> tuple[Pod, ...]:
    return tuple(sorted(pods.values(), key=str))
