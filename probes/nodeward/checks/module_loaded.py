"""What is in the kernel now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import ClassVar

from nodeward.checks.module_terms import DARK, LOGGED, SOURCES, example_node
from nodeward.checks.modules import SctpParams
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.module_baseline import ModuleBaseline
from nodeward.facts.module_requests import LEGACY, SCTP, UNWANTED
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
    examples=lambda: (
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
