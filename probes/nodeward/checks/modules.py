"""Which kernel modules a process without rights can have loaded."""

from __future__ import annotations

from typing import ClassVar

from nodeward.checks.module_terms import (
    DCCP_ALIAS,
    DCCP_DEP,
    HOW,
    SCTP_ALIAS,
    SCTP_DEP,
    SOURCES,
    blocking,
    example_node,
    verdict,
)
from nodeward.facts.exposure import expose
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.modprobe_conf import Entry
from nodeward.facts.module_requests import DCCP, SCTP
from nodeward.lazy import dataclass
from nodeward.model import (
    Example,
    Params,
    Remedy,
    Severity,
    Status,
    Unreadable,
    Verdict,
    check,
)


@check(
    "kernel.module.dccp",
    title="DCCP cannot be autoloaded",
    why="Any process may open a DCCP socket, and the kernel then loads the module for it as root."
    " DCCP is little used and little tested; its flaws have given root to users of containers.",
    severity=Severity.HIGH,
    remedy=blocking("dccp", "dccp", "dccp_ipv4", "dccp_ipv6", "dccp_diag"),
    sources=SOURCES,
    how=HOW.format(
        call="socket(AF_INET, SOCK_DCCP, 0)",
        request="net-pf-2-proto-0-type-6",
        what="dccp_ipv4 or dccp_ipv6",
    ),
    mappings={"sac": ["kernel-modules"], "nsa-cisa-1.2": ["WN"]},
    examples=lambda: (
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
    return verdict(node, DCCP, expose(node, DCCP))


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
        blocking("sctp", "sctp", "sctp_diag").steps,
        "Services and pods that use SCTP (5G cores, SIGTRAN); set checks:kernel.module.sctp:wanted"
        " where they are meant.",
    ),
    sources=SOURCES,
    how=HOW.format(call="socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)",
                   request="net-pf-2-proto-132", what="sctp"),
    mappings={"sac": ["kernel-modules"], "nsa-cisa-1.2": ["WN"]},
    examples=lambda: (
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
    return verdict(node, SCTP, expose(node, SCTP))
