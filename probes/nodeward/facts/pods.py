"""The processes of the pods on a node, and what keeps each pod from asking for modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import ClassVar

from nodeward.facts.podnet import Pod
from nodeward.lazy import dataclass
from nodeward.model import Fact

# linux/capability.h: with either, in a user namespace, the kernel's network and mounts are open.
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
WHOLE = ("0", "0", "4294967295")
"""The one line of /proc/PID/uid_map in the first user namespace, user_namespaces(7)."""


@dataclass(frozen=True, slots=True)
class PodProcess:
    """One process of a pod."""

    pid: int
    pod: Pod


@dataclass(frozen=True, slots=True)
class PodProcesses(Fact):
    """Every process of every pod, those on the host's network too.

    `complete` is False where processes of others may be hidden from us.
    """

    events: ClassVar[tuple[str, ...]] = ("pod",)

    rows: tuple[PodProcess, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Confinement:
    """Of one process: whether a seccomp filter is on, whether it lives in a user namespace of its
    own, and the bits of its effective capabilities."""

    seccomp: bool
    own_users: bool
    capabilities: int

    @property
    def admin(self) -> bool:
        """Whether it may set up networks or mounts in its user namespace."""
        return bool(
            self.capabilities >> CAP_NET_ADMIN & 1 or self.capabilities >> CAP_SYS_ADMIN & 1
        )

    @property
    def privileged(self) -> bool:
        """Root of the whole host in all but name: it needs no module to be asked for."""
        return not self.own_users and bool(self.capabilities >> CAP_SYS_ADMIN & 1)


def parse_status(raw: bytes, uid_map: bytes) -> Confinement:
    """proc_pid_status(5): `Seccomp:` 0 none, 1 strict, 2 filter, and no such line in a kernel
    that has none; `CapEff:` in hexadecimal. uid_map as user_namespaces(7)."""
    seccomp = re.search(rb"^Seccomp:\s*(\d)", raw, re.MULTILINE)
    effective = re.search(rb"^CapEff:\s*([0-9a-fA-F]+)", raw, re.MULTILINE)
    return Confinement(
        seccomp is not None and seccomp[1] != b"0",
        tuple(uid_map.decode("ascii", "replace").split()) != WHOLE,
        int(effective[1], 16) if effective else 0,
    )


@dataclass(frozen=True, slots=True)
class PodGuards(Fact):
    """Pods by name, told by the least confined of their processes.

    `unconfined` have a process without a seccomp filter, `filtered` have one on all. `privileged`
    are root on the host anyway and in neither. `admins` have a user namespace of their own, and in
    it the capability that others must first make one for. `looked_at` counts processes.
    """

    events: ClassVar[tuple[str, ...]] = ("pod", "process")

    unconfined: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    privileged: tuple[str, ...] = ()
    admins: tuple[str, ...] = ()
    looked_at: int = 0
    complete: bool = True


def weigh(found: Iterable[tuple[str, Confinement]], *, complete: bool) -> PodGuards:
    """All processes of a node's pods as one fact."""
    by_pod: dict[str, list[Confinement]] = {}
    for name, one in found:
        by_pod.setdefault(name, []).append(one)

    def those(wanted: Callable[[list[Confinement]], bool]) -> tuple[str, ...]:
        return tuple(sorted(name for name, rows in by_pod.items() if wanted(rows)))

    def ordinary(rows: list[Confinement]) -> bool:
        return not any(r.privileged for r in rows)

    return PodGuards(
        unconfined=those(lambda rows: ordinary(rows) and not all(r.seccomp for r in rows)),
        filtered=those(lambda rows: ordinary(rows) and all(r.seccomp for r in rows)),
        privileged=those(lambda rows: not ordinary(rows)),
        admins=those(lambda rows: ordinary(rows) and any(r.own_users and r.admin for r in rows)),
        looked_at=sum(map(len, by_pod.values())),
        complete=complete,
    )
