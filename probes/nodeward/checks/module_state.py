"""What is loaded, what guards the loading, and which rules about it have no effect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar

from nodeward.checks.module_terms import (
    DCCP_ALIAS,
    DCCP_DEP,
    KMOD_C,
    SCTP_ALIAS,
    SCTP_DEP,
    SOURCES,
    example_node,
)
from nodeward.checks.modules import SctpParams
from nodeward.facts.errors import ParseError
from nodeward.facts.exposure import BAD, Exposure, State, expose
from nodeward.facts.kernel_guards import TAINTS, KernelGuards, ModuleRequests, PodContext
from nodeward.facts.kernel_modules import DEFAULT_MODPROBE, Helper, KernelModules, Loaded
from nodeward.facts.modprobe_conf import Entry
from nodeward.facts.modprobe_effect import Useless, useless
from nodeward.facts.module_requests import BY_NAME, COMPONENTS, LEGACY, RDS, SCTP, TIPC, UNWANTED
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Params,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
    most,
)

MAPPINGS = {"sac": ["kernel-modules"], "nsa-cisa-1.2": ["WN"]}
LOGGED = {"sac": ["kernel-modules"], "nsa-cisa-1.2": ["AL"]}
DARK = Example(Status.UNKNOWN, Unreadable("/proc/modules", "EACCES"), "could not look")
NO_KERNEL = Example(Status.UNKNOWN, KernelModules(live=False), "no kernel in the tree")
SYSCTL = Source(
    "Linux, Documentation/admin-guide/sysctl/kernel.rst",
    "https://docs.kernel.org/admin-guide/sysctl/kernel.html",
)
TAINTED = Source(
    "Linux, Documentation/admin-guide/tainted-kernels.rst",
    "https://docs.kernel.org/admin-guide/tainted-kernels.html",
)


# --- rules without effect --------------------------------------------------------------------


def _lines(node: KernelModules) -> tuple[list[Useless], list[Useless]]:
    """Lines that are without effect however this host's modprobe collects its files, and those
    of which it depends on that."""
    every = [useless(node, variant) for variant in node.variants()]
    common = set.intersection(*(set(lines) for lines in every)) if every else set()
    lines = list(dict.fromkeys(line for one in every for line in one))
    return [x for x in lines if x in common], [x for x in lines if x not in common]


def _weight(node: KernelModules, line: Useless) -> tuple[bool, str]:
    """First what was to keep out something that can still come in."""
    mine = [c for c in COMPONENTS if set(c.modules) & set(line.modules)]
    open_ = any(expose(node, c).state in BAD for c in mine)
    return (not open_, line.place)


@check(
    "kernel.module.rule-ineffective",
    title="Every blacklist and install line really takes effect",
    why="A line that kmod throws away, or that it takes and that keeps nothing out, is worse than"
    " none: somebody relies on it. `blacklist dccp`, the Kubernetes page's own example, is one.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Write each line as the finding shows it, and look again.",
        ("nodeward scan --check 'kernel.module.*'",),
    ),
    sources=SOURCES,
    mappings=MAPPINGS,
    examples=(
        Example(
            Status.FAIL,
            example_node("blacklist dccp\n", DCCP_ALIAS, DCCP_DEP),
            "`blacklist dccp`: it comes as a dependency",
        ),
        Example(
            Status.FAIL,
            example_node("blacklist sctp\r\n", SCTP_ALIAS, SCTP_DEP),
            "a carriage return is part of the name",
        ),
        Example(
            Status.FAIL,
            example_node(
                alias=SCTP_ALIAS,
                dep=SCTP_DEP,
                entries=(Entry("/etc/modprobe.d/sctp.cfg", data=b"blacklist sctp\n"),),
            ),
            "a file whose name does not end in .conf is not read",
        ),
        Example(
            Status.FAIL,
            example_node("Install sctp /bin/false\n", SCTP_ALIAS, SCTP_DEP),
            "a capital letter",
        ),
        Example(
            Status.PASS,
            example_node("blacklist sctp\ninstall dccp /bin/false\n", DCCP_ALIAS + SCTP_ALIAS,
                         DCCP_DEP + SCTP_DEP),
            "every line does what it says",
        ),
        Example(Status.NOT_APPLICABLE, example_node("", SCTP_ALIAS, SCTP_DEP), "there is no rule"),
        NO_KERNEL,
        DARK,
    ),
)  # fmt: skip
def rule_ineffective(node: KernelModules) -> Verdict:
    if not node.kernels:
        return Verdict.unknown("offline: there is no kernel in this tree to hold the rules against")
    unread = [e for e in node.entries if e.data is None and e.error]
    try:
        sure, doubtful = _lines(node)
        found = sorted(sure, key=lambda line: _weight(node, line))
        rules = _count(node)
    except ParseError as exc:
        return Verdict.unknown(f"an index of the modules is damaged: {exc}")
    if not found:
        if unread:
            return Verdict.unknown(f"could not read {unread[0].path}: {unread[0].error}")
        if doubtful:
            first = doubtful[0]
            return Verdict.unknown(
                f"it depends on kmod's version whether {first.text!r} in {first.place} has an"
                f" effect: {first.why}",
                *most([_evidence(line) for line in doubtful]),
            )
        if not rules:
            return Verdict.not_applicable("no line of modprobe.d keeps a module out")
        return Verdict.passed(f"all {rules} blacklist and install lines take effect")
    worst = found[0]
    serious = not _weight(node, worst)[0]
    return Verdict.failed(
        f"{len(found)} of the lines about modules have no effect; {worst.text!r} in {worst.place}:"
        f" {worst.why}",
        *most([_evidence(line) for line in found]),
        severity=None if serious else Severity.LOW,
        remedy=Remedy(
            "; ".join(f"{x.place}: {x.instead}" for x in found[:5] if x.instead)
            or "Take the lines away: nothing can make them work.",
        ),
    )


def _count(node: KernelModules) -> int:
    return max(
        len([r for r in v.conf.rules if r.kind in ("blacklist", "install")])
        for v in node.variants()
    )


def _evidence(line: Useless) -> Evidence:
    instead = f"; instead: {line.instead}" if line.instead else ""
    return Evidence("line without effect", f"{line.text[:200]} ({line.why}{instead})", line.place)


# --- the switches ----------------------------------------------------------------------------


@check(
    "kernel.module.autoload-switch",
    title="What the kernel runs to load a module belongs to root alone",
    why="kernel.modprobe names a program that the kernel runs as root, outside of every container."
    " Who can replace it is root.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Give the program and its folders to root, without write permission for others.",
        (
            "chown root:root $(readlink -f /sbin/modprobe)",
            "chmod 0755 $(readlink -f /sbin/modprobe)",
        ),
    ),
    sources=(KMOD_C, SYSCTL),
    mappings=MAPPINGS,
    examples=(
        Example(Status.PASS, example_node(), "kmod, owned by root"),
        Example(Status.PASS, replace(example_node(), helper=Helper("", "off", "")), "it is empty"),
        Example(
            Status.FAIL,
            replace(example_node(), helper=Helper("/opt/m", "other", "/opt/m", "/opt/m")),
            "others may write to it",
        ),
        Example(
            Status.UNKNOWN,
            replace(example_node(), helper=Helper("/sbin/modprobe", "other", "", error="EACCES")),
            "it cannot be looked at",
        ),
        DARK,
    ),
)
def autoload_switch(node: KernelModules) -> Verdict:
    helper = node.helper
    setting = Evidence("kernel.modprobe", helper.setting, "/proc/sys/kernel/modprobe")
    if helper.writable:
        return Verdict.failed(
            f"kernel.modprobe is {helper.setting}, and others than root may write to"
            f" {helper.writable}",
            setting,
            Evidence("writable", helper.writable, helper.writable),
        )
    if helper.error:
        return Verdict.unknown(f"could not look at kernel.modprobe: {helper.error}", setting)
    if not node.modular:
        return Verdict.passed("this kernel has no loadable modules")
    disabled = "kernel.modules_disabled is 1; " if node.disabled else ""
    leads = f" ({helper.real}, {helper.kind})" if helper.real else f" ({helper.kind})"
    said = helper.setting or "empty"
    return Verdict.passed(f"{disabled}kernel.modprobe is {said}{leads}", setting)


RELIED_ON = (BY_NAME["dccp"], SCTP, RDS, TIPC)


@check(
    "kernel.module.persistence",
    title="What keeps modules out survives a reboot",
    why="A sysctl set by hand, or a rule in /run, is gone after the next boot, and nobody notices.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Write the rule into /etc/modprobe.d, or the setting into /etc/sysctl.d.",
        ("printf 'kernel.modprobe =\\n' > /etc/sysctl.d/60-nodeward-modprobe.conf",),
        "With kernel.modprobe empty nothing loads on request: list what the node needs in"
        " /etc/modules-load.d.",
    ),
    sources=(*SOURCES, SYSCTL),
    mappings=MAPPINGS,
    examples=(
        Example(
            Status.PASS,
            example_node("install sctp /bin/false\n", SCTP_ALIAS, SCTP_DEP),
            "a rule in /etc",
        ),
        Example(
            Status.FAIL,
            example_node(
                alias=SCTP_ALIAS,
                dep=SCTP_DEP,
                entries=(Entry("/run/modprobe.d/x.conf", data=b"install sctp /bin/false\n"),),
            ),
            "a rule in /run",
        ),
        Example(
            Status.FAIL,
            replace(example_node("", SCTP_ALIAS, SCTP_DEP), disabled=True),
            "kernel.modules_disabled set by hand",
        ),
        Example(
            Status.PASS,
            replace(
                example_node("", SCTP_ALIAS, SCTP_DEP),
                disabled=True,
                boot_sysctl={"kernel.modules_disabled": ("1", "/etc/sysctl.d/60-x.conf:1")},
            ),
            "kernel.modules_disabled is in sysctl.d",
        ),
        Example(Status.NOT_APPLICABLE, example_node("", SCTP_ALIAS, SCTP_DEP), "nothing blocks"),
        NO_KERNEL,
        DARK,
    ),
)
def persistence(node: KernelModules) -> Verdict:
    now = {c.name: expose(node, c) for c in RELIED_ON}
    kept = [c for c in RELIED_ON if now[c.name].state in (State.BLOCKED, State.OFF)]
    if not kept:
        dark = [e for e in now.values() if e.state is State.UNKNOWN]
        if dark:
            return Verdict.unknown(dark[0].because)
        return Verdict.not_applicable("no rule and no setting keeps a module out at present")
    if not node.modular:
        return Verdict.passed("this kernel has no loadable modules: that stays so")
    if "" in node.boot_sysctl:
        path, why = node.boot_sysctl[""]
        return Verdict.unknown(f"what sysctl.d sets at a boot: could not read {path}: {why}")
    later = _next_boot(node)
    lost = [(c, expose(later, c)) for c in kept]
    lost = [(c, e) for c, e in lost if e.state in BAD or e.state is State.UNKNOWN]
    if not lost:
        return Verdict.passed(
            f"what keeps {', '.join(c.title for c in kept)} out is there after a boot too"
        )
    return Verdict.failed(
        f"{', '.join(c.title for c, _ in lost)} can be loaded again after the next boot: now"
        f" {now[lost[0][0].name].because}",
        *_sources(now[c.name] for c, _ in lost),
    )


def _sources(exposures: Iterable[Exposure]) -> list[Evidence]:
    rows = [e for x in exposures for e in x.evidence if e.what in ("rule", "kernel.modprobe",
            "kernel.modules_disabled")]  # fmt: skip
    return list(dict.fromkeys(rows))


def _next_boot(node: KernelModules) -> KernelModules:
    """This host with nothing in /run and the sysctls that its files set. Kept."""
    kept = node.memo.get("next boot")
    if not isinstance(kept, KernelModules):
        kept = node.memo["next boot"] = _rebooted(node)
    return kept


def _rebooted(node: KernelModules) -> KernelModules:
    disabled, _ = node.boot_sysctl.get("kernel.modules_disabled", ("0", ""))
    modprobe, _ = node.boot_sysctl.get("kernel.modprobe", (DEFAULT_MODPROBE, ""))
    helper = node.helper
    if helper.setting != modprobe:
        # What another program would do is not known here; the kernel's default is taken for kmod.
        kinds = {"": "off", DEFAULT_MODPROBE: "kmod", "/bin/false": "false", "/bin/true": "true"}
        helper = Helper(modprobe, kinds.get(modprobe, "missing"), "")
    return replace(
        node,
        entries=tuple(e for e in node.entries if not e.path.startswith("/run/")),
        disabled=disabled == "1",
        helper=helper,
    ).fresh()


# --- what is loaded --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadedParams(Params):
    """`allowed`: modules that may be loaded on this node though no ordinary node has them."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.already-loaded")

    allowed: tuple[str, ...] = ()


@check(
    "kernel.module.already-loaded",
    title="No unwanted module is loaded",
    why="Once a module is in the kernel, no rule of modprobe.d matters: every process that seccomp"
    " lets make the socket can use it, until the next boot.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Find out who loaded it, keep it out with a rule of modprobe.d, and reboot: a protocol's"
        " module holds itself and cannot be unloaded.",
        ("reboot",),
    ),
    sources=SOURCES,
    mappings=LOGGED,
    examples=(
        Example(Status.PASS, example_node(held=("overlay",)), "none of them is loaded"),
        Example(Status.FAIL, example_node(loaded=("dccp_ipv4",)), "DCCP is loaded"),
        Example(
            Status.PASS,
            (example_node(loaded=("sctp",)), LoadedParams(), SctpParams(wanted=True)),
            "SCTP is loaded, and the operator says that it is used",
        ),
        Example(
            Status.PASS, (example_node(loaded=("can",)), LoadedParams(("can",))), "it is allowed"
        ),
        Example(Status.UNKNOWN, replace(example_node(), loaded=None), "/proc/modules is missing"),
        DARK,
    ),
)
def already_loaded(node: KernelModules, p: LoadedParams, sctp: SctpParams) -> Verdict:
    if node.loaded is None:
        return Verdict.unknown("could not see what is loaded")
    allowed = {*p.allowed, *(SCTP.modules if sctp.wanted else ())}
    unwanted = {m: c for c in UNWANTED for m in c.modules if m != "diag"}
    found = [m for m in node.loaded if m.name in unwanted and m.name not in allowed]
    if not found:
        note = "; ".join(a for a in node.assumed if "loaded" in a)
        return Verdict.passed(
            f"none of {len(unwanted)} unwanted modules is loaded" + (f" ({note})" if note else "")
        )
    only_old = all(unwanted[m.name] in LEGACY for m in found)
    return Verdict.failed(
        f"loaded: {', '.join(m.name for m in found)}",
        *most([Evidence("loaded module", f"{m.name}, {m.references} users", "/proc/modules")
               for m in found]),
        severity=Severity.MEDIUM if only_old else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoadEventParams(Params):
    """`baseline`: what the node had loaded when it was last looked over; empty: none was taken.
    `allowed`: what may come besides, names or patterns of a CNI's or driver's modules."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.load-event")

    baseline: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@check(
    "kernel.module.load-event",
    title="No module was loaded that the node's baseline does not have",
    why="A module that appears on a running node was asked for by somebody: often an exploit's"
    " first step.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Find out which process asked for it, and add it to the baseline if it is meant.",
        ("journalctl -k --grep 'module|taint'",),
    ),
    sources=SOURCES,
    mappings=LOGGED,
    examples=(
        Example(
            Status.PASS,
            (example_node(held=("overlay",)), LoadEventParams(("overlay",))),
            "all that is loaded is in the baseline",
        ),
        Example(
            Status.FAIL,
            (example_node(held=("overlay", "sctp")), LoadEventParams(("overlay",))),
            "sctp came after the baseline",
        ),
        Example(
            Status.PASS,
            (example_node(held=("overlay", "sctp")), LoadEventParams(("overlay",), ("sctp",))),
            "it may come",
        ),
        Example(
            Status.PASS,
            (example_node(held=("overlay", "nft_ct")), LoadEventParams(("overlay",), ("nft_*",))),
            "its like may come",
        ),
        Example(Status.NOT_APPLICABLE, example_node(held=("overlay",)), "no baseline is set"),
        Example(
            Status.UNKNOWN,
            (replace(example_node(), loaded=None), LoadEventParams(("overlay",))),
            "/proc/modules is missing",
        ),
        DARK,
    ),
)
def load_event(node: KernelModules, p: LoadEventParams) -> Verdict:
    if not p.baseline:
        return Verdict.not_applicable("no baseline is set under checks:kernel.module.load-event")
    if node.loaded is None:
        return Verdict.unknown("could not see what is loaded")
    known = {n.replace("-", "_") for n in p.baseline}
    patterns = [n.replace("-", "_") for n in p.allowed]
    fresh = [m for m in node.loaded if m.name not in known]
    fresh = [m for m in fresh if not any(fnmatchcase(m.name, n) for n in patterns)]
    if not fresh:
        return Verdict.passed(f"all {len(node.loaded)} loaded modules are in the baseline")
    return Verdict.failed(
        f"loaded since the baseline: {', '.join(m.name for m in fresh[:10])}",
        *most([Evidence("new module", m.name, "/proc/modules") for m in fresh]),
    )


# --- the kernel's own guards -----------------------------------------------------------------

GUARDS_DARK = Example(Status.UNKNOWN, Unreadable("/proc/sys/kernel/tainted", "offline"), "offline")


@check(
    "kernel.module.signature",
    title="The kernel takes signed modules only",
    why="Root in a container that escapes, or a stolen root account, hides best in a module of its"
    " own. This does not keep a distribution's own modules from being loaded: they are signed.",
    severity=Severity.LOW,
    remedy=Remedy(
        "Boot with module.sig_enforce=1, or with secure boot and lockdown.",
        ("grubby --update-kernel=ALL --args=module.sig_enforce=1  # or GRUB_CMDLINE_LINUX",),
        "Modules that are built on the node (DKMS) need a key of your own.",
    ),
    sources=(
        Source("Linux, kernel module signing",
               "https://docs.kernel.org/admin-guide/module-signing.html"),
    ),
    mappings=MAPPINGS,
    examples=(
        Example(Status.PASS, (KernelGuards("none", True, 0), example_node()), "sig_enforce is on"),
        Example(Status.PASS, (KernelGuards("integrity", False, 0), example_node()), "lockdown"),
        Example(Status.FAIL, (KernelGuards("none", False, 0), example_node()), "neither"),
        Example(Status.FAIL, (KernelGuards(None, None, 0), example_node()),
                "this kernel checks no signatures"),
        Example(
            Status.PASS,
            (KernelGuards(None, None, 0), replace(example_node(), modular=False)),
            "no module can be loaded at all",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("/proc/sys/kernel/tainted", "offline"), example_node()),
            "a tree at rest",
        ),
    ),
)  # fmt: skip
def signature(guards: KernelGuards, node: KernelModules) -> Verdict:
    note = "; a distribution's own modules are signed, so this stops no autoload of them"
    if not node.modular or node.disabled:
        return Verdict.passed("no module can be loaded, signed or not")
    if guards.sig_enforce:
        return Verdict.passed("module.sig_enforce is on" + note)
    if guards.lockdown in ("integrity", "confidentiality"):
        return Verdict.passed(f"lockdown is {guards.lockdown}, which asks for signatures" + note)
    if any((t.config or {}).get("MODULE_SIG_FORCE") == "y" for t in node.kernels):
        return Verdict.passed("the kernel is built with CONFIG_MODULE_SIG_FORCE" + note)
    said = "is off" if guards.sig_enforce is False else "does not exist in this kernel"
    return Verdict.failed(
        f"module.sig_enforce {said}, and lockdown is {guards.lockdown or 'not there'}",
        Evidence("sig_enforce", said, "/sys/module/module/parameters/sig_enforce"),
        Evidence("lockdown", guards.lockdown or "", "/sys/kernel/security/lockdown"),
    )


@check(
    "kernel.lockdown",
    title="The kernel is locked down",
    why="Without lockdown, root can write to the running kernel: through /dev/mem, kexec, unsigned"
    " modules. Then an escape from a container can hide below everything that looks for it.",
    severity=Severity.LOW,
    remedy=Remedy(
        "Boot with lockdown=integrity; with secure boot most distributions turn it on.",
        ("grubby --update-kernel=ALL --args=lockdown=integrity  # or GRUB_CMDLINE_LINUX",),
        "Unsigned modules, hibernation, kexec of unsigned kernels, some tracing.",
    ),
    sources=(
        Source(
            "kernel_lockdown(7)", "https://man7.org/linux/man-pages/man7/kernel_lockdown.7.html"
        ),
    ),
    examples=(
        Example(Status.PASS, KernelGuards("integrity", True, 0), "lockdown=integrity"),
        Example(Status.PASS, KernelGuards("confidentiality", True, 0), "lockdown=confidentiality"),
        Example(Status.FAIL, KernelGuards("none", True, 0), "lockdown is off"),
        Example(Status.FAIL, KernelGuards(None, True, 0), "this kernel has no lockdown"),
        GUARDS_DARK,
    ),
)
def lockdown(guards: KernelGuards) -> Verdict:
    seen = Evidence("lockdown", guards.lockdown or "not there", "/sys/kernel/security/lockdown")
    if guards.lockdown in ("integrity", "confidentiality"):
        return Verdict.passed(f"lockdown is {guards.lockdown}", seen)
    if guards.lockdown is None:
        return Verdict.failed("this kernel has no lockdown, or it is not turned on", seen)
    return Verdict.failed(f"lockdown is {guards.lockdown}", seen)


@dataclass(frozen=True, slots=True)
class TaintParams(Params):
    """`allowed`: modules from outside that this node is meant to have (a GPU's driver)."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.taint")

    allowed: tuple[str, ...] = ()


@check(
    "kernel.taint",
    title="No module from outside taints the kernel",
    why="A forced, unsigned or out-of-tree module was not built with this kernel: nobody else has"
    " tested it, and a rootkit looks the same.",
    severity=Severity.LOW,
    remedy=Remedy(
        "Find out where the module comes from; allow it by name under checks:kernel.taint if it is"
        " meant, else take it away and reboot.",
        ("grep -H . /sys/module/*/taint",),
    ),
    sources=(TAINTED,),
    examples=(
        Example(Status.PASS, (KernelGuards(None, None, 0), example_node()), "not tainted"),
        Example(Status.PASS, (KernelGuards(None, None, 1 << 14), example_node()), "a soft lockup"),
        Example(
            Status.FAIL,
            (KernelGuards(None, None, 1 << 12), example_node(tainted=("rootkit",))),
            "a module from outside the tree",
        ),
        Example(
            Status.FAIL,
            (KernelGuards(None, None, 1 << 13), example_node()),
            "an unsigned module that is no longer loaded",
        ),
        Example(
            Status.PASS,
            (KernelGuards(None, None, 1 << 12), example_node(tainted=("zfs",)),
             TaintParams(("zfs",))),
            "it is allowed",
        ),
        Example(
            Status.FAIL,
            (KernelGuards(None, None, 1 << 12 | 1 << 1), example_node(tainted=("zfs",)),
             TaintParams(("zfs",))),
            "one is allowed, and another that is not to be seen was loaded by force",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("/proc/sys/kernel/tainted", "offline"), example_node()),
            "a tree at rest",
        ),
    ),
)  # fmt: skip
def taint(guards: KernelGuards, node: KernelModules, p: TaintParams) -> Verdict:
    words = {letter: f"{letter}: {text}" for letter, text in TAINTS.values()}
    bits = {letter: text for bit, (letter, text) in TAINTS.items() if guards.tainted >> bit & 1}
    set_ = list(bits.values())
    seen = Evidence("kernel.tainted", str(guards.tainted), "/proc/sys/kernel/tainted")
    if not set_:
        return Verdict.passed(f"no module taints the kernel (kernel.tainted is {guards.tainted})")
    by = [m for m in node.loaded or () if set(m.taint) & set(words)]
    foreign = [m for m in by if m.name not in p.allowed]
    gone = [text for letter, text in bits.items() if not any(letter in m.taint for m in by)]
    if by and not foreign and gone:
        return Verdict.failed(
            f"{', '.join(gone)} was loaded since the boot, and no module that is loaded now says"
            " so of itself: it was unloaded, or it hides",
            seen,
        )
    if by and not foreign:
        return Verdict.passed(f"only allowed modules do: {', '.join(m.name for m in by)}", seen)
    if not by:
        return Verdict.failed(
            f"{', '.join(set_)} was loaded since the boot and is loaded no longer", seen
        )
    return Verdict.failed(
        f"{', '.join(m.name for m in foreign)}: {', '.join(set_)}",
        seen,
        *most([_taints(m, words) for m in foreign]),
    )


def _taints(module: Loaded, words: dict[str, str]) -> Evidence:
    told = ", ".join(words[c] for c in module.taint if c in words)
    return Evidence(module.name, told, f"/sys/module/{module.name}/taint")


@check(
    "kernel.module.lsm-request",
    title="SELinux keeps containers from making the kernel load modules",
    why="SELinux can refuse the request itself, whatever modprobe.d says. A pod whose context may"
    " make it has only modprobe.d between itself and every module on the disk.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Turn the boolean off that widens it to all domains, and run pods as container_t.",
        ("setsebool -P domain_kernel_load_modules off",),
        "Pods that load modules on purpose (CNI, storage) need their own domain.",
    ),
    sources=(
        KMOD_C,
        Source("container-selinux", "https://github.com/containers/container-selinux"),
    ),
    mappings={"sac": ["kernel-modules"], "cis-kubernetes-1.12": ["5.6.3"], "nsa-cisa-1.2": ["PS"]},
    examples=(
        Example(
            Status.PASS,
            ModuleRequests(
                enforcing=True,
                contexts=(PodContext("system_u:system_r:container_t:s0:c1,c2", False, ("web/a",)),),
            ),
            "container_t may not",
        ),
        Example(
            Status.FAIL,
            ModuleRequests(
                enforcing=True,
                contexts=(PodContext("system_u:system_r:my_pod_t:s0", True, ("web/a",)),),
            ),
            "a pod's context may",
        ),
        Example(
            Status.PASS,
            ModuleRequests(
                enforcing=True, contexts=(PodContext("system_u:system_r:spc_t:s0", True, ("x/y",)),)
            ),
            "only privileged pods (spc_t) may",
        ),
        Example(Status.FAIL, ModuleRequests(enforcing=False, contexts=()), "SELinux is permissive"),
        Example(Status.NOT_APPLICABLE, Absent("/sys/fs/selinux/enforce"), "there is no SELinux"),
        Example(Status.UNKNOWN, Unreadable("/sys/fs/selinux/access", "EACCES"), "could not ask"),
    ),
)
def lsm_request(asked: ModuleRequests) -> Verdict:
    if not asked.enforcing:
        return Verdict.failed("SELinux is permissive: it refuses nothing")
    open_ = [c for c in asked.contexts if c.allowed and _type(c.context) not in PRIVILEGED]
    if open_:
        return Verdict.failed(
            f"pods in {', '.join(_type(c.context) for c in open_)} may have modules loaded",
            *most([Evidence("context", c.context, ", ".join(c.pods)) for c in open_]),
        )
    privileged = [c for c in asked.contexts if c.allowed]
    note = f"; {', '.join(_type(c.context) for c in privileged)} may" if privileged else ""
    return Verdict.passed(f"none of {len(asked.contexts)} contexts of ordinary pods may{note}")


PRIVILEGED = frozenset({"spc_t", "container_engine_t", "unconfined_t", "container_runtime_t"})


def _type(context: str) -> str:
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else context
