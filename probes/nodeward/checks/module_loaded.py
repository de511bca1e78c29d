"""What is in the kernel now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import ClassVar

from nodeward.checks.module_terms import (
    DCCP_ALIAS,
    DCCP_DEP,
    LOGGED,
    SCTP_ALIAS,
    SCTP_DEP,
    SOURCES,
    at_each_boot,
    example_node,
)
from nodeward.checks.modules import SctpParams
from nodeward.facts.errors import ParseError
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.module_baseline import ModuleBaseline
from nodeward.facts.module_requests import LEGACY, SCTP, UNWANTED, Component
from nodeward.facts.next_boot import ModulesLoad, at_boot
from nodeward.lazy import dataclass
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Params,
    Remedy,
    Severity,
    Status,
    Unreadable,
    Verdict,
    check,
    most,
)


@dataclass(frozen=True, slots=True)
class LoadedParams(Params):
    """`allowed`: modules that may be loaded on this node though no ordinary node has them."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.already-loaded")

    allowed: tuple[str, ...] = ()


@check(
    "kernel.module.already-loaded",
    title="No unwanted module is loaded, now or at the next boot",
    why="Once a module is in the kernel, no rule of modprobe.d matters: every process that seccomp"
    " lets make the socket can use it, until the next boot. And what modules-load.d names is loaded"
    " at each boot, though no request is let through.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Find out who loaded it, keep it out with a rule of modprobe.d, take its name out of"
        " modules-load.d, and reboot: a protocol's module holds itself and cannot be unloaded.",
        ("reboot",),
    ),
    sources=SOURCES,
    mappings=LOGGED,
    examples=lambda: (
        Example(
            Status.PASS, (example_node(held=("overlay",)), ModulesLoad()), "none of them is loaded"
        ),
        Example(Status.FAIL, (example_node(loaded=("dccp_ipv4",)), ModulesLoad()), "DCCP is"),
        Example(
            Status.PASS,
            (
                example_node(loaded=("sctp",)),
                ModulesLoad(),
                LoadedParams(),
                SctpParams(wanted=True),
            ),
            "SCTP is loaded, and the operator says that it is used",
        ),
        Example(
            Status.PASS,
            (example_node(loaded=("can",)), ModulesLoad(), LoadedParams(("can",))),
            "it is allowed",
        ),
        Example(
            Status.FAIL,
            (example_node("", SCTP_ALIAS, SCTP_DEP), at_each_boot("sctp")),
            "modules-load.d names it",
        ),
        Example(
            Status.PASS,
            (example_node("blacklist sctp\n", SCTP_ALIAS, SCTP_DEP), at_each_boot("sctp")),
            "the boot skips what is on a blacklist",
        ),
        Example(
            Status.FAIL,
            (
                example_node("blacklist dccp_ipv4\n", DCCP_ALIAS, DCCP_DEP),
                at_each_boot("dccp_ipv6"),
            ),
            "and loads it all the same where another needs it",
        ),
        Example(
            Status.UNKNOWN,
            (
                example_node("install sctp /opt/decide sctp\n", SCTP_ALIAS, SCTP_DEP),
                at_each_boot("sctp"),
            ),
            "what the command of its install line does cannot be told",
        ),
        Example(
            Status.UNKNOWN,
            (
                example_node(held=("overlay",)),
                ModulesLoad(unread=(("/etc/modules-load.d/x.conf", "EACCES"),)),
            ),
            "a list may not be read",
        ),
        Example(
            Status.UNKNOWN,
            (replace(example_node(), loaded=None), ModulesLoad()),
            "/proc/modules is missing",
        ),
        Example(Status.UNKNOWN, (Unreadable("/proc/modules", "EACCES"), ModulesLoad()), "dark"),
    ),
)
def already_loaded(
    node: KernelModules, load: ModulesLoad, p: LoadedParams, sctp: SctpParams
) -> Verdict:
    if node.loaded is None:
        return Verdict.unknown("could not see what is loaded")
    allowed = {*p.allowed, *(SCTP.modules if sctp.wanted else ())}
    unwanted = {m: c for c in UNWANTED for m in c.modules if m != "diag" and m not in allowed}
    found = [m for m in node.loaded if m.name in unwanted]
    if not found:
        return _at_boot(node, load, unwanted)
    return Verdict.failed(
        f"loaded: {', '.join(m.name for m in found)}",
        *most([Evidence("loaded module", f"{m.name}, {m.references} users", "/proc/modules")
               for m in found]),
        severity=_severity(unwanted[m.name] for m in found),
    )  # fmt: skip


def _severity(components: Iterable[Component]) -> Severity | None:
    return Severity.MEDIUM if all(c in LEGACY for c in components) else None


def _at_boot(node: KernelModules, load: ModulesLoad, unwanted: Mapping[str, Component]) -> Verdict:
    """Where nothing is loaded now: what each boot loads by name."""
    try:
        comes = [c for c in at_boot(node, load) if c.module in unwanted]
    except ParseError as exc:
        return Verdict.unknown(f"what the next boot loads: an index is damaged: {exc}")
    brought = [c for c in comes if not c.unclear]
    rows = most([
        Evidence("loaded at each boot", f"{c.module}, by {c.listed.name}", c.listed.place)
        for c in brought or comes
    ])  # fmt: skip
    if brought:
        names = ", ".join(dict.fromkeys(c.module for c in brought))
        return Verdict.failed(
            f"not loaded now, and loaded at each boot: {names} ({brought[0].listed.place})",
            *rows,
            severity=_severity(unwanted[c.module] for c in brought),
        )
    if comes:
        return Verdict.unknown(
            f"cannot tell whether the next boot loads {comes[0].module}: {comes[0].unclear}", *rows
        )
    for path, why in load.unread if node.modular else ():
        return Verdict.unknown(f"what each boot loads: could not read {path}: {why}")
    note = "; ".join(a for a in node.assumed if "loaded" in a)
    said = f"none of {len(unwanted)} unwanted modules is loaded, now or at the next boot"
    return Verdict.passed(said + (f" ({note})" if note else ""))


@dataclass(frozen=True, slots=True)
class LoadEventParams(Params):
    """`baseline`: what the node should have loaded; empty: what it had when its agent first looked
    after the boot. `allowed`: what may come besides, names or patterns of a CNI's or driver's
    modules."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.load-event")

    baseline: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


def _load_examples() -> tuple[Example, ...]:
    no_list = Absent("an agent's list of the modules of this boot")
    first = ModuleBaseline(("overlay",), 1795500000.0, "b1")
    return (
        Example(
            Status.PASS,
            (example_node(held=("overlay",)), no_list, LoadEventParams(("overlay",))),
            "all that is loaded is in the baseline",
        ),
        Example(
            Status.FAIL,
            (example_node(held=("overlay", "sctp")), first, LoadEventParams(("overlay",))),
            "sctp came after the baseline",
        ),
        Example(
            Status.FAIL,
            (example_node(held=("overlay", "sctp")), first),
            "sctp came after the agent's first look of this boot",
        ),
        Example(
            Status.PASS,
            (example_node(held=("overlay",)), first),
            "nothing came since the agent's first look of this boot",
        ),
        Example(
            Status.PASS,
            (example_node(held=("overlay", "sctp")), first, LoadEventParams(("overlay", "sctp"))),
            "a baseline of the operator's stands before the agent's",
        ),
        Example(
            Status.PASS,
            (example_node(held=("overlay", "sctp")), first, LoadEventParams((), ("sctp",))),
            "it may come",
        ),
        Example(
            Status.PASS,
            (example_node(held=("overlay", "nft_ct")), first, LoadEventParams((), ("nft_*",))),
            "its like may come",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (example_node(held=("overlay",)), no_list),
            "no baseline is set, and no agent runs here that keeps one",
        ),
        Example(
            Status.UNKNOWN,
            (example_node(held=("overlay",)), Unreadable("/var/lib/nodeward", "EACCES")),
            "the agent's baseline may not be read",
        ),
        Example(
            Status.UNKNOWN,
            (replace(example_node(), loaded=None), first),
            "/proc/modules is missing",
        ),
        Example(Status.UNKNOWN, (Unreadable("/proc/modules", "EACCES"), first), "could not look"),
    )


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
    examples=_load_examples,
)
def load_event(
    node: KernelModules, kept: ModuleBaseline | Absent | Unreadable, p: LoadEventParams
) -> Verdict:
    if not p.baseline and isinstance(kept, Absent):
        return Verdict.not_applicable(
            "no baseline is set under checks:kernel.module.load-event, and no agent keeps one here"
        )
    if not p.baseline and isinstance(kept, Unreadable):
        return Verdict.unknown(f"the agent's baseline: {kept.error}")
    if node.loaded is None:
        return Verdict.unknown("could not see what is loaded")
    names, since = p.baseline, "the baseline"
    if not names and isinstance(kept, ModuleBaseline):
        names, since = kept.names, f"the agent's first look of this boot, {_day(kept.taken_at)}"
    known = {n.replace("-", "_") for n in names}
    patterns = [n.replace("-", "_") for n in p.allowed]
    fresh = [m for m in node.loaded if m.name not in known]
    fresh = [m for m in fresh if not any(fnmatchcase(m.name, n) for n in patterns)]
    if not fresh:
        return Verdict.passed(f"no module was loaded since {since} ({len(node.loaded)} are)")
    return Verdict.failed(
        f"loaded since {since}: {', '.join(m.name for m in fresh[:10])}",
        *most([Evidence("new module", m.name, "/proc/modules") for m in fresh]),
    )


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
