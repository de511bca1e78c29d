"""Read what the kernel says of lockdown, signatures, taint, user namespaces and SELinux."""

from __future__ import annotations

from nodeward.facts.kernel_guards import (
    KernelGuards,
    ModuleRequests,
    PodContext,
    UserNamespaces,
    parse_lockdown,
)
from nodeward.facts.pods import PodProcesses
from nodeward.host import Host, HostError, MissingError, OfflineError
from nodeward.host.selinux import MayRequestModule
from nodeward.probes.registry import probe


@probe
def read_kernel_guards(host: Host) -> KernelGuards:
    tainted = _number(host, "/proc/sys/kernel/tainted")
    if tainted is None:
        raise OfflineError("/proc/sys/kernel/tainted", "offline")
    lockdown = _maybe(host, "/sys/kernel/security/lockdown")
    enforce = _maybe(host, "/sys/module/module/parameters/sig_enforce")
    return KernelGuards(
        parse_lockdown(lockdown) if lockdown is not None else None,
        enforce.strip() in (b"Y", b"1") if enforce is not None else None,
        tainted,
        _security_modules(host),
    )


def _security_modules(host: Host) -> tuple[str, ...]:
    try:
        raw = host.read("/sys/kernel/security/lsm")
    except HostError:
        return ()
    return tuple(raw.decode("ascii", "replace").strip().split(","))


def _maybe(host: Host, path: str) -> bytes | None:
    """None where the kernel has no such file; other errors pass."""
    try:
        return host.read(path)
    except MissingError:
        return None


@probe
def read_user_namespaces(host: Host) -> UserNamespaces:
    most = _number(host, "/proc/sys/user/max_user_namespaces")
    clone = _number(host, "/proc/sys/kernel/unprivileged_userns_clone")
    restricted = _number(host, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    return UserNamespaces(
        most,
        None if clone is None else bool(clone),
        None if restricted is None else bool(restricted),
    )


def _number(host: Host, path: str) -> int | None:
    raw = _maybe(host, path)
    try:
        return None if raw is None else int(raw)
    except ValueError:
        raise HostError(path, "no number") from None


@probe
def read_module_requests(host: Host, pods: PodProcesses) -> ModuleRequests:
    if not host.live:
        raise OfflineError("/sys/fs/selinux", "offline")
    try:
        enforcing = host.read("/sys/fs/selinux/enforce").strip() == b"1"
    except MissingError:
        raise MissingError("SELinux", "/sys/fs/selinux/enforce") from None
    seen: dict[str, list[str]] = {}
    for row in pods.rows:
        try:
            raw = host.read(f"/proc/{row.pid}/attr/current")
        except MissingError:
            continue  # gone while we looked
        context = raw.rstrip(b"\n\0").decode("utf-8", "replace")
        seen.setdefault(context, []).append(str(row.pod))
    return ModuleRequests(
        enforcing,
        tuple(
            PodContext(c, host.ask(MayRequestModule(c)), tuple(sorted(set(names)))[:5])
            for c, names in sorted(seen.items())
        ),
        pods.complete,
    )
