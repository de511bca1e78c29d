"""Which kernel modules a process without rights can have loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nodeward.facts.exposure import BAD, Exposure, State, expose
from nodeward.facts.kernel_modules import KernelModules, KernelTree, Loaded
from nodeward.facts.modprobe_conf import DIRS_29, Entry, Habits
from nodeward.facts.module_requests import DCCP, SCTP, Component
from nodeward.model import (
    Example,
    Params,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)

KUBERNETES = Source(
    "Kubernetes: Securing a Cluster, preventing containers from loading unwanted kernel modules",
    "https://kubernetes.io/docs/tasks/administer-cluster/securing-a-cluster/"
    "#preventing-containers-from-loading-unwanted-kernel-modules",
)
MODPROBE_D = Source("modprobe.d(5)", "https://man7.org/linux/man-pages/man5/modprobe.d.5.html")
KMOD_C = Source(
    "Linux, kernel/module/kmod.c",
    "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/kernel/module/kmod.c",
)
SOURCES = (KUBERNETES, MODPROBE_D, KMOD_C)


def verdict(
    exposure: Exposure, *, severity: Severity | None = None, remedy: Remedy | None = None
) -> Verdict:
    """A state as one of the five statuses."""
    if exposure.state in BAD:
        if exposure.state is State.PARTLY:
            severity = Severity.MEDIUM
        return Verdict.failed(
            exposure.because, *exposure.evidence, severity=severity, remedy=remedy
        )
    if exposure.state is State.UNKNOWN:
        return Verdict.unknown(exposure.because, *exposure.evidence)
    return Verdict.passed(exposure.because, *exposure.evidence)


def blocking(*modules: str) -> Remedy:
    """`install X /bin/false` for each: the only rule that also holds for a dependency."""
    lines = "".join(f"install {m} /bin/false\\n" for m in modules)
    return Remedy(
        "Have modprobe run a command that fails instead of loading it. `blacklist` is not enough:"
        " it does not apply to a module that is loaded as a dependency or by its own name.",
        (f"printf '{lines}' > /etc/modprobe.d/nodeward-{modules[0]}.conf",),
    )


def example_node(
    conf: str = "",
    alias: str = "",
    dep: str = "",
    *,
    loaded: tuple[str, ...] = (),
    entries: tuple[Entry, ...] = (),
) -> KernelModules:
    """A small host for the truth tables: one kernel, one file of configuration."""
    files: Mapping[str, bytes] = {"modules.alias": alias.encode(), "modules.dep": dep.encode()}
    rows = [Loaded(name, 0, "Live") for name in loaded]
    given: Sequence[Entry] = entries or (
        (Entry("/etc/modprobe.d/node.conf", data=conf.encode()),) if conf else ()
    )
    return KernelModules(
        live=False,
        kernels=(KernelTree("6.1.0", "/lib/modules/6.1.0", files),),
        habits=(Habits(DIRS_29),),
        entries=tuple(given),
        loaded=tuple(rows),
    )


DCCP_ALIAS = """alias net-pf-2-proto-33-type-6 dccp_ipv4
alias net-pf-2-proto-0-type-6 dccp_ipv4
alias net-pf-10-proto-33-type-6 dccp_ipv6
alias net-pf-10-proto-0-type-6 dccp_ipv6
"""
DCCP_DEP = """kernel/net/dccp/dccp.ko:
kernel/net/dccp/dccp_ipv4.ko: kernel/net/dccp/dccp.ko
kernel/net/dccp/dccp_ipv6.ko: kernel/net/dccp/dccp_ipv4.ko kernel/net/dccp/dccp.ko
"""
SCTP_ALIAS = "alias net-pf-2-proto-132 sctp\nalias net-pf-10-proto-132 sctp\n"
SCTP_DEP = "kernel/net/sctp/sctp.ko:\n"


@check(
    "kernel.module.dccp",
    title="DCCP cannot be autoloaded",
    why="Any process may open a DCCP socket, and the kernel then loads the module for it as root."
    " DCCP is little used and little tested; its flaws have given root to users of containers.",
    severity=Severity.HIGH,
    remedy=blocking("dccp", "dccp_ipv4", "dccp_ipv6", "dccp_diag"),
    sources=SOURCES,
    mappings={"sac": ["kernel-modules"], "nsa-cisa-1.2": ["WN"]},
    examples=(
        Example(Status.FAIL, example_node("", DCCP_ALIAS, DCCP_DEP), "a socket loads dccp_ipv4"),
        Example(
            Status.FAIL,
            example_node("blacklist dccp\n", DCCP_ALIAS, DCCP_DEP),
            "`blacklist dccp`: the alias is dccp_ipv4's, and dccp comes as its dependency",
        ),
        Example(
            Status.FAIL,
            example_node("install dccp /bin/false\n", loaded=("dccp_ipv4",)),
            "dccp_ipv4 is loaded already",
        ),
        Example(
            Status.PASS,
            example_node("install dccp /bin/false\n", DCCP_ALIAS, DCCP_DEP),
            "`install dccp /bin/false`: every DCCP module needs dccp",
        ),
        Example(
            Status.PASS,
            example_node("", "", DCCP_DEP),
            "no request name leads to it (Debian takes the aliases out)",
        ),
        Example(Status.PASS, example_node(), "this kernel has no such module"),
        Example(
            Status.UNKNOWN,
            example_node(
                "",
                DCCP_ALIAS,
                DCCP_DEP,
                entries=(Entry("/etc/modprobe.d/node.conf", data=None, error="EACCES"),),
            ),
            "a file of modprobe.d cannot be read",
        ),
        Example(Status.UNKNOWN, KernelModules(live=False), "no kernel in the tree"),
        Example(Status.UNKNOWN, Unreadable("/proc/modules", "EACCES"), "could not look"),
    ),
)
def dccp(node: KernelModules) -> Verdict:
    return verdict(expose(node, DCCP))


@dataclass(frozen=True, slots=True)
class SctpParams(Params):
    """`wanted`: SCTP Services or pods need it here, so its being loaded is meant."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.sctp")

    wanted: bool = False


@check(
    "kernel.module.sctp",
    title="SCTP cannot be autoloaded",
    why="Any process may open an SCTP socket, and the kernel then loads the module for it as root."
    " Where no Service and no pod uses SCTP, its code is only something to attack.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        blocking("sctp").text,
        blocking("sctp", "sctp_diag").steps,
        "Services and pods that use SCTP (5G cores, SIGTRAN); set checks:kernel.module.sctp:wanted"
        " where they are meant.",
    ),
    sources=SOURCES,
    mappings={"sac": ["kernel-modules"], "nsa-cisa-1.2": ["WN"]},
    examples=(
        Example(Status.FAIL, example_node("", SCTP_ALIAS, SCTP_DEP), "a socket loads sctp"),
        Example(
            Status.FAIL,
            example_node("blacklist sctp\r\n", SCTP_ALIAS, SCTP_DEP),
            "`blacklist sctp` with a carriage return names another module",
        ),
        Example(
            Status.PASS,
            example_node("blacklist sctp\n", SCTP_ALIAS, SCTP_DEP),
            "`blacklist sctp`: the alias is sctp's own, so blacklist applies",
        ),
        Example(
            Status.PASS,
            example_node("install sctp /bin/false\n", SCTP_ALIAS, SCTP_DEP),
            "`install sctp /bin/false`",
        ),
        Example(
            Status.FAIL,
            example_node("install sctp /bin/false\nsoftdep sctp pre: tipc\n", SCTP_ALIAS,
                         SCTP_DEP + "kernel/net/tipc/tipc.ko:\n"),
            "a softdep makes modprobe ignore the install rule",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (example_node("", SCTP_ALIAS, SCTP_DEP), SctpParams(wanted=True)),
            "the operator says that SCTP is used here",
        ),
        Example(Status.UNKNOWN, KernelModules(live=False), "no kernel in the tree"),
        Example(Status.UNKNOWN, Unreadable("/proc/modules", "EACCES"), "could not look"),
    ),
)  # fmt: skip
def sctp(node: KernelModules, p: SctpParams) -> Verdict:
    if p.wanted:
        return Verdict.not_applicable("SCTP is used here: checks:kernel.module.sctp:wanted is set")
    return verdict(expose(node, SCTP))


NAMED: tuple[Component, ...] = (DCCP, SCTP)
