"""What else the kernel says of itself and its modules: lockdown, signatures, taint, user
namespaces, and whether SELinux lets containers ask for modules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

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
    `sig_enforce` is None where it has no signatures. `tainted` are the bits of kernel.tainted."""

    events: ClassVar[tuple[str, ...]] = ("module", "sysctl")

    lockdown: str | None
    sig_enforce: bool | None
    tainted: int


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


@dataclass(frozen=True, slots=True)
class ModuleRequests(Fact):
    """SELinux's answer for every context in which a pod runs. Absent where there is no SELinux."""

    events: ClassVar[tuple[str, ...]] = ("pod",)

    enforcing: bool
    contexts: tuple[PodContext, ...]


@dataclass(frozen=True, slots=True)
class PodSeccomp(Fact):
    """Pods whose processes run without a seccomp filter, by name, and how many were looked at."""

    events: ClassVar[tuple[str, ...]] = ("pod", "process")

    unconfined: tuple[str, ...]
    looked_at: int
    complete: bool = True


def parse_seccomp(raw: bytes) -> bool | None:
    """Whether /proc/PID/status says that a filter is on; None where the kernel does not say."""
    found = re.search(rb"^Seccomp:\s*(\d)", raw, re.MULTILINE)
    return found[1] != b"0" if found else None
