"""What our own confinement hides from us."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from nodeward.facts.agent import Sandbox
from nodeward.host import Host, LiveHost
from nodeward.host.masks import masked_paths, mounted_folders

NEEDED = {2: "CAP_DAC_READ_SEARCH", 19: "CAP_SYS_PTRACE"}  # include/uapi/linux/capability.h
NOT_JUDGED = ("/dev/kmsg", "/proc/kallsyms", "/proc/kcore", "/proc/kmsg")
"""The shipped unit hides these (ProtectKernelLogs=, ProtectKernelTunables=), and no probe asks for
them."""

OVERRIDE = 1  # CAP_DAC_OVERRIDE reads everything too


INITIAL = "user:[4026531837]"  # linux/proc_ns.h: PROC_USER_INIT_INO


def examine_sandbox(host: Host) -> Sandbox:
    """Compare what we may with what is needed to judge the host."""
    hidden, foreign = tuple(_hidden(host.root.rstrip("/"))), _foreign(host)
    mounted = mounted_folders(os.path.realpath(host.root)) or ()
    return Sandbox(hidden, foreign, _missing(foreign), mounted)


def _hidden(root: str) -> Iterator[str]:
    """As paths of the host. In a pod, what the runtime hides of the container's own is no loss."""
    for path in masked_paths(root):
        inside = path.removeprefix(root)
        if path.startswith(f"{root}/") and inside not in NOT_JUDGED:
            yield inside


def _foreign(host: Host) -> tuple[str, ...]:
    if not isinstance(host, LiveHost):
        return ()
    kinds = [kind for kind in ("net", "pid") if host.same_namespace(kind) is False]
    return (*kinds, "user") if _other_users(host.root) else tuple(kinds)


def _other_users(root: str) -> bool:
    """Whether we are in a user namespace below the host's: from there, not even its name may be
    asked for."""
    own = os.readlink("/proc/self/ns/user")
    try:
        return own != os.readlink(os.path.join(root, "proc/1/ns/user"))
    except PermissionError:
        return own != INITIAL
    except OSError:
        return False


def _missing(foreign: Collection[str]) -> tuple[str, ...]:
    if "user" in foreign:  # what is held there counts for nothing on the host's files
        return tuple(NEEDED.values())
    held = effective_capabilities()
    if held is None:
        return ()
    return tuple(
        name
        for bit, name in NEEDED.items()
        if not held >> bit & 1 and not (bit == 2 and held >> OVERRIDE & 1)
    )


def effective_capabilities() -> int | None:
    """CapEff of /proc/self/status; None where it cannot be read."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("CapEff:"):
                    return int(line.split()[1], 16)
    except (OSError, ValueError):
        return None
    return None


def confined() -> bool:
    """Whether we run without root's rights over everything."""
    return os.geteuid() != 0
