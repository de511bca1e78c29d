"""What else the kernel says of itself and its modules: lockdown, signatures, taint, user
namespaces, and whether SELinux lets containers ask for modules."""

from __future__ import annotations

import re
from typing import ClassVar

from nodeward.lazy import dataclass
from nodeward.model import Fact

# Documentation/admin-guide/tainted-kernels.rst: those that a module brings.
TAINTS = {
    0: ("P", "a proprietary module"),
    1: ("F", "a module loaded by force"),
    12: ("O", "a module from outside the kernel's tree"),
    13: ("E", "an unsigned module"),
}


@dataclass(frozen=True, slots=True)
class KernelGuards(Fact):
    """`lockdown` is none, integrity or confidentiality; None where the kernel has no lockdown.
    `sig_enforce` is None where it has no signatures. `tainted` are the bits of kernel.tainted,
    `lsms` the security modules that are on, by name, () where that cannot be read."""

    events: ClassVar[tuple[str, ...]] = ("module", "sysctl")

    lockdown: str | None
    sig_enforce: bool | None
    tainted: int
    lsms: tuple[str, ...] = ()


def parse_lockdown(raw: bytes) -> str | None:
    """`none [integrity] confidentiality`: the one in brackets."""
    found = re.search(rb"\[(\w+)\]", raw)
    return found[1].decode() if found else None


@dataclass(frozen=True, slots=True)
class UserNamespaces(Fact):
    """Whether a process without rights may make one. None: this kernel has no such setting.

    `most` is user.max_user_namespaces, `clone` kernel.unprivileged_userns_clone (Debian),
    `restricted` kernel.apparmor_restrict_unprivileged_userns (Ubuntu).
    """

    events: ClassVar[tuple[str, ...]] = ("sysctl",)

    most: int | None = None
    clone: bool | None = None
    restricted: bool | None = None

    @property
    def closed(self) -> str:
        """The setting that forbids them, "" when they are allowed."""
        if self.most == 0:
            return "user.max_user_namespaces is 0"
        if self.clone is False:
            return "kernel.unprivileged_userns_clone is 0"
        if self.restricted:
            return "kernel.apparmor_restrict_unprivileged_userns is 1"
        return ""


@dataclass(frozen=True, slots=True)
class PodContext:
    """One security context of a pod's processes; `allowed` says whether the policy lets it make
    the kernel load a module. `pods` names some of those that run in it."""

    context: str
    allowed: bool
    pods: tuple[str, ...]

    @property
    def type(self) -> str:
        """`container_t` of system_u:system_r:container_t:s0:c1,c2."""
        parts = self.context.split(":")
        return parts[2] if len(parts) > 2 else self.context


PRIVILEGED = frozenset({"spc_t", "container_engine_t", "unconfined_t", "container_runtime_t"})


@dataclass(frozen=True, slots=True)
class ModuleRequests(Fact):
    """SELinux's answer for every context in which a pod runs. Absent where there is no SELinux.
    `complete` is False where processes of others may be hidden from us."""

    events: ClassVar[tuple[str, ...]] = ("pod",)

    enforcing: bool
    contexts: tuple[PodContext, ...]
    complete: bool = True

    @property
    def left_open(self) -> tuple[PodContext, ...]:
        """Contexts of ordinary pods that may make the request. A privileged pod's may as well,
        but such a pod needs nobody to load a module for it."""
        return tuple(c for c in self.contexts if c.allowed and c.type not in PRIVILEGED)
