"""Protocol families, ciphers and filesystems that a process without rights can bring in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nodeward.checks.module_terms import (
    DARK,
    MAPPINGS,
    NO_KERNEL,
    SOURCES,
    blocking,
    example_node,
    group,
    verdict,
)
from nodeward.facts.exposure import expose, without_userns
from nodeward.facts.kernel_guards import UserNamespaces
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.module_requests import (
    ALGIF,
    FILESYSTEMS,
    IPSEC,
    LEGACY,
    RDS,
    TIPC,
    USB_STORAGE,
    VSOCK,
    Component,
)
from nodeward.facts.pods import PodGuards
from nodeward.facts.runtime import Runtime
from nodeward.facts.seccomp_profiles import copy_fail_fixed
from nodeward.model import (
    Check,
    Example,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)

OPEN = UserNamespaces(1000)


def _module(name: str, folder: str = "net") -> str:
    return f"kernel/{folder}/{name}.ko:\n"


def _family(component: Component, number: int, why: str) -> Check[...]:
    name = component.name
    alias, dep = f"alias net-pf-{number} {name}\n", _module(name)

    @check(
        f"kernel.module.{name}",
        title=f"{component.title.upper()} cannot be autoloaded",
        why=why,
        severity=Severity.MEDIUM,
        remedy=blocking(name),
        sources=SOURCES,
        mappings=MAPPINGS,
        examples=lambda: (
            Example(Status.FAIL, example_node("", alias, dep), f"a socket loads {name}"),
            Example(Status.FAIL, example_node("", alias, dep, loaded=(name,)), "it is loaded"),
            Example(
                Status.PASS,
                example_node(f"install {name} /bin/false\n", alias, dep),
                f"`install {name} /bin/false`",
            ),
            Example(
                Status.PASS,
                example_node(f"alias net-pf-{number} off\n", alias, dep),
                f"`alias net-pf-{number} off`",
            ),
            Example(Status.PASS, example_node(), "this kernel has no such module"),
            NO_KERNEL,
            DARK,
        ),
    )
    def judge(node: KernelModules) -> Verdict:
        return verdict(node, component, expose(node, component))

    return judge


CHECKS = (
    _family(
        RDS,
        21,
        "Any process may open an RDS socket, and the kernel loads the module for it as root. RDS"
        " has had several flaws that give root, and almost no node uses it.",
    ),
    _family(
        TIPC,
        30,
        "Any process may open a TIPC socket, and the kernel loads the module for it as root. TIPC"
        " has had flaws that run code in the kernel, and almost no node uses it.",
    ),
)
AF_ALG_DEP = _module("af_alg", "crypto") + (
    "kernel/crypto/algif_aead.ko: kernel/crypto/af_alg.ko\n"
)
AF_ALG_ALIAS = "alias net-pf-38 af_alg\n"


@check(
    "kernel.module.algif",
    title="The kernel's ciphers are not open to every process (AF_ALG)",
    why="Any process may bind an AF_ALG socket to a cipher, and the kernel loads algif_aead and its"
    " like for it. CVE-2026-31431 gives root to a process in a container that way.",
    severity=Severity.HIGH,
    remedy=blocking("algif", "algif_aead", "algif_skcipher", "algif_hash", "algif_rng"),
    sources=(*SOURCES, Source("CVE-2026-31431", "https://www.cve.org/CVERecord?id=CVE-2026-31431")),
    mappings={"sac": ["kernel-modules"], "nsa-cisa-1.2": ["WN", "UP"]},
    examples=lambda: (
        Example(
            Status.FAIL,
            example_node("", AF_ALG_ALIAS, AF_ALG_DEP),
            "an AF_ALG socket loads algif_aead",
        ),
        Example(
            Status.FAIL,
            example_node("blacklist algif_aead\n", AF_ALG_ALIAS, AF_ALG_DEP),
            "`blacklist algif_aead`: the kernel asks for the module by its own name",
        ),
        Example(
            Status.PASS,
            example_node("install algif_aead /bin/false\n", AF_ALG_ALIAS, AF_ALG_DEP),
            "`install algif_aead /bin/false`",
        ),
        Example(
            Status.PASS,
            example_node("alias net-pf-38 off\n", AF_ALG_ALIAS, AF_ALG_DEP),
            "no AF_ALG socket can be had in the first place",
        ),
        Example(
            Status.FAIL,
            replace(
                example_node("", AF_ALG_ALIAS, AF_ALG_DEP),
                pods=PodGuards(filtered=("web/a",), looked_at=2),
                runtime=Runtime("containerd", "1.7.33", "/usr/bin/containerd", running=True),
            ),
            "low: the runtime's default seccomp profile keeps it from the pods",
        ),
        NO_KERNEL,
        DARK,
    ),
)
def algif(node: KernelModules) -> Verdict:
    found = group(node, "algif", ALGIF, "a process can have ciphers loaded")
    if found.status is not Status.FAIL:
        return found
    fixed = {copy_fail_fixed(t.release, node.banner) for t in node.kernels}
    if not fixed or "" in fixed:
        return found
    return replace(
        found,
        because=f"{found.because}; Linux {min(fixed)} has the fix of CVE-2026-31431, so that it is"
        " only more to attack",
        severity=found.severity or Severity.MEDIUM,
    )


def _in_use(node: KernelModules, components: Sequence[Component]) -> tuple[Component, ...]:
    """Those whose module is loaded and held by something: they are used, so they are meant."""
    held = {m.name for m in node.loaded or () if m.references > 0}
    return tuple(c for c in components if held & set(c.registers))


def _unused(node: KernelModules, components: Sequence[Component]) -> tuple[Component, ...]:
    used = _in_use(node, components)
    return tuple(c for c in components if c not in used)


RXRPC_ALIAS = "alias net-pf-33 rxrpc\n"


@check(
    "kernel.module.ipsec-rxrpc",
    title="IPsec and RxRPC modules that are not used cannot be autoloaded",
    why="esp4, esp6, rxrpc, af_key and xfrm_user are loaded for any process that asks, or for one"
    " in a user namespace. CVE-2026-43284 gives root that way on nodes that use none of them.",
    severity=Severity.MEDIUM,
    remedy=blocking("ipsec-rxrpc", "esp4", "esp6", "rxrpc", "af_key", "xfrm_user"),
    sources=(*SOURCES, Source("CVE-2026-43284", "https://www.cve.org/CVERecord?id=CVE-2026-43284")),
    mappings=MAPPINGS,
    examples=lambda: (
        Example(
            Status.FAIL,
            (example_node("", RXRPC_ALIAS, _module("rxrpc")), OPEN),
            "a socket loads rxrpc",
        ),
        Example(
            Status.PASS,
            (example_node("install rxrpc /bin/false\n", RXRPC_ALIAS, _module("rxrpc")),
             OPEN),
            "`install rxrpc /bin/false`",
        ),
        Example(
            Status.PASS,
            (example_node("", "alias xfrm-type-2-50 esp4\n", _module("esp4")),
             UserNamespaces(most=0)),
            "esp4 wants a user namespace, and this host allows none",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (example_node("", "alias xfrm-type-2-50 esp4\n", _module("esp4"), held=("esp4",)),
             OPEN),
            "IPsec is in use on this node",
        ),
        Example(Status.UNKNOWN, (KernelModules(live=False), OPEN), "no kernel in the tree"),
        Example(Status.UNKNOWN, (Unreadable("/proc/modules", "EACCES"), OPEN), "could not look"),
    ),
)  # fmt: skip
def ipsec(node: KernelModules, userns: UserNamespaces | Unreadable) -> Verdict:
    used = _in_use(node, IPSEC)
    if any(c.name in ("esp4", "esp6") for c in used):
        return Verdict.not_applicable(
            f"IPsec is in use here: {', '.join(c.title for c in used)} is loaded and held"
        )
    return _within_reach(
        node, "ipsec-rxrpc", _unused(node, IPSEC), userns, "modules that nothing here uses"
    )


def _within_reach(
    node: KernelModules,
    name: str,
    components: Sequence[Component],
    userns: UserNamespaces | Unreadable,
    title: str,
) -> Verdict:
    """As `group`, without what wants a user namespace where there can be none."""
    closed = userns.closed if isinstance(userns, UserNamespaces) else ""
    wanted = [
        c for c in components
        if not (closed and all(r.userns for r in c.requests)) or without_userns(node, c)
    ]  # fmt: skip
    if not wanted:
        return Verdict.passed(f"they want a user namespace, and {closed}")
    return group(node, name, wanted, title)


@check(
    "kernel.module.legacy-families",
    title="Protocol families of old and special networks cannot be autoloaded",
    why="Amateur radio, X.25, ATM, Bluetooth, CAN and their like are loaded for any process that"
    " opens a socket of theirs. A node uses none; their code is old and has had many flaws.",
    severity=Severity.LOW,
    remedy=blocking(
        "legacy-families", "ax25", "netrom", "rose", "x25", "appletalk", "atm", "can", "bluetooth"
    ),
    sources=SOURCES,
    mappings=MAPPINGS,
    examples=lambda: (
        Example(
            Status.FAIL,
            example_node("", "alias net-pf-29 can\n", _module("can")),
            "a socket loads can",
        ),
        Example(
            Status.PASS,
            example_node("alias net-pf-29 off\n", "alias net-pf-29 can\n", _module("can")),
            "`alias net-pf-29 off`",
        ),
        Example(Status.PASS, example_node("", "", _module("ax25")), "no alias leads to ax25"),
        NO_KERNEL,
        DARK,
    ),
)
def legacy_families(node: KernelModules) -> Verdict:
    return group(node, "legacy-families", LEGACY, "any process can use old protocol families")


@check(
    "kernel.module.vsock",
    title="AF_VSOCK cannot be autoloaded where nothing uses it",
    why="A vsock socket reaches the hypervisor or sibling containers past every network policy."
    " It is loaded for any process that asks.",
    severity=Severity.LOW,
    remedy=blocking("vsock"),
    sources=SOURCES,
    mappings=MAPPINGS,
    examples=lambda: (
        Example(
            Status.FAIL,
            example_node("", "alias net-pf-40 vsock\n", _module("vsock")),
            "a socket loads vsock",
        ),
        Example(
            Status.PASS,
            example_node("install vsock /bin/false\n", "alias net-pf-40 vsock\n", _module("vsock")),
            "`install vsock /bin/false`",
        ),
        Example(
            Status.NOT_APPLICABLE,
            example_node("", "alias net-pf-40 vsock\n", _module("vsock"), held=("vsock",)),
            "a transport to the hypervisor holds it: this machine uses it",
        ),
        NO_KERNEL,
        DARK,
    ),
)
def vsock(node: KernelModules) -> Verdict:
    if _in_use(node, (VSOCK,)):
        return Verdict.not_applicable("vsock is loaded and held by a transport: it is used here")
    return verdict(node, VSOCK, expose(node, VSOCK), partly=None)


USB_ALIAS = "alias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb_storage\n"
USB_DEP = _module("usb-storage", "drivers/usb/storage")


@check(
    "kernel.module.filesystems",
    title="Filesystems and USB storage that are not used cannot be autoloaded",
    why="mount() in a user namespace makes the kernel load a filesystem's module, and a stick that"
    " is plugged in usb-storage. Rare filesystems are little tested against images that were made"
    " to attack them.",
    severity=Severity.LOW,
    remedy=blocking(
        "filesystems", "cramfs", "freevxfs", "jffs2", "hfs", "hfsplus", "udf", "usb_storage"
    ),
    sources=SOURCES,
    mappings=MAPPINGS,
    examples=lambda: (
        Example(
            Status.FAIL,
            (example_node("", "alias fs-udf udf\n", _module("udf", "fs")), OPEN),
            "mount() loads udf",
        ),
        Example(
            Status.PASS,
            (
                example_node(
                    "install udf /bin/false\n", "alias fs-udf udf\n", _module("udf", "fs")
                ),
                OPEN,
            ),
            "`install udf /bin/false`",
        ),
        Example(
            Status.PASS,
            (example_node("", "alias fs-nfs nfs\n", _module("nfs", "fs"), held=("nfs",)), OPEN),
            "nfs is mounted: it is used, so it is meant",
        ),
        Example(
            Status.PASS,
            (example_node("", "alias fs-udf udf\n", _module("udf", "fs")), UserNamespaces(most=0)),
            "no user namespaces: only root may ask for it",
        ),
        Example(
            Status.FAIL,
            (example_node("", USB_ALIAS, USB_DEP), UserNamespaces(most=0)),
            "a USB stick loads usb-storage, and that takes no user namespace",
        ),
        Example(
            Status.PASS,
            (example_node("install usb-storage /bin/false\n", USB_ALIAS, USB_DEP), OPEN),
            "`install usb-storage /bin/false`",
        ),
        Example(Status.UNKNOWN, (KernelModules(live=False), OPEN), "no kernel in the tree"),
        Example(Status.UNKNOWN, (Unreadable("/proc/modules", "EACCES"), OPEN), "could not look"),
    ),
)
def filesystems(node: KernelModules, userns: UserNamespaces | Unreadable) -> Verdict:
    return _within_reach(
        node,
        "filesystems",
        _unused(node, (*FILESYSTEMS, USB_STORAGE)),
        userns,
        "filesystems that nothing here uses",
    )
