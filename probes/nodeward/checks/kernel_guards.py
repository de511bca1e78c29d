"""The kernel's own guards: signatures, lockdown, taint."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from nodeward.checks.module_terms import MAPPINGS, example_node
from nodeward.facts.kernel_guards import TAINTS, KernelGuards
from nodeward.facts.kernel_modules import KernelModules, Loaded
from nodeward.lazy import dataclass
from nodeward.model import (
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

TAINTED = Source(
    "Linux, Documentation/admin-guide/tainted-kernels.rst",
    "https://docs.kernel.org/admin-guide/tainted-kernels.html",
)
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
    examples=lambda: (
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
    examples=lambda: (
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
    examples=lambda: (
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
