"""Which lines of modprobe.d do not do what their author believed."""

from __future__ import annotations

from nodeward.checks.module_terms import (
    DARK,
    DCCP_ALIAS,
    DCCP_DEP,
    MAPPINGS,
    NO_KERNEL,
    SCTP_ALIAS,
    SCTP_DEP,
    SOURCES,
    example_node,
)
from nodeward.facts.autoload import EndlessError
from nodeward.facts.errors import ParseError
from nodeward.facts.exposed import BAD
from nodeward.facts.exposure import expose
from nodeward.facts.kernel_modules import KernelModules, Variant
from nodeward.facts.line_cures import Useless, cured
from nodeward.facts.modprobe_conf import Entry, Rule
from nodeward.facts.modprobe_effect import leads_nowhere, unfollowed, useless
from nodeward.facts.module_doors import JUDGED
from nodeward.facts.module_requests import COMPONENTS
from nodeward.model import Evidence, Example, Remedy, Severity, Status, Verdict, check, most


def _lines(node: KernelModules) -> tuple[list[Useless], list[Useless]]:
    """Lines that are without effect however this host's modprobe collects its files, and those
    of which it depends on that."""
    every = [useless(node, variant) for variant in node.variants()]
    common = set.intersection(*(set(lines) for lines in every)) if every else set()
    lines = list(dict.fromkeys(line for one in every for line in one))
    return [x for x in lines if x in common], [x for x in lines if x not in common]


def _weight(node: KernelModules, line: Useless) -> tuple[bool, str]:
    """First what was to keep out something that can still come in."""
    return (JUDGED.isdisjoint(line.modules) or not _open(node, line.modules), line.place)


def _open(node: KernelModules, modules: tuple[str, ...]) -> bool:
    """Whether one of the components of these modules can come in. Kept."""
    key = ("open", modules)
    kept = node.memo.get(key)
    if not isinstance(kept, bool):
        mine = [c for c in COMPONENTS if not set(modules).isdisjoint(c.modules)]
        kept = node.memo[key] = any(expose(node, c).state in BAD for c in mine)
    return kept


@check(
    "kernel.module.rule-ineffective",
    title="Every line that is to keep a module out takes effect",
    why="A line that kmod throws away, or that it takes and that keeps nothing out, is worse than"
    " none: somebody relies on it. `blacklist dccp`, the Kubernetes page's own example, is one.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Write each line as the finding shows it, and look again.",
        ("nodeward scan --check 'kernel.module.*'",),
    ),
    sources=SOURCES,
    mappings=MAPPINGS,
    examples=lambda: (
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
        Example(
            Status.UNKNOWN,
            example_node("install sctp /opt/sctp-guard\n", SCTP_ALIAS, SCTP_DEP),
            "whether a program of one's own keeps the module out cannot be told from the line",
        ),
        Example(Status.NOT_APPLICABLE, example_node("", SCTP_ALIAS, SCTP_DEP), "there is no rule"),
        NO_KERNEL,
        DARK,
    ),
)  # fmt: skip
def rule_ineffective(node: KernelModules) -> Verdict:
    if not node.kernels:
        return Verdict.unknown("offline: there is no kernel in this tree to hold the rules against")
    try:
        sure, doubtful = _lines(node)
        found = sorted(sure, key=lambda line: _weight(node, line))
        dark = list(dict.fromkeys(x for v in node.variants() for x in unfollowed(node, v)))
        rules = _count(node)
    except ParseError as exc:
        return Verdict.unknown(f"an index of the modules is damaged: {exc}")
    except EndlessError:
        return Verdict.unknown("what the lines draw in leads too far to follow")
    if not found:
        return _none_found(node, doubtful, dark, rules)
    worst = found[0]
    serious = not _weight(node, worst)[0]
    return Verdict.failed(
        f"{_lines_have(len(found))} no effect; {worst.text!r} in {worst.place}: {worst.why}",
        *most([_evidence(node, x) for x in found] + [_evidence(node, x, DARK_LINE) for x in dark]),
        severity=None if serious else Severity.LOW,
        remedy=Remedy(
            "; ".join(f"{x.place}: {right}" for x in found[:5] if (right := _cured(node, x)))
            or "Take the lines away: nothing that was tried makes them work.",
        ),
    )


def _lines_have(count: int) -> str:
    return "1 line about modules has" if count == 1 else f"{count} lines about modules have"


def _none_found(
    node: KernelModules, doubtful: list[Useless], dark: list[Useless], rules: int
) -> Verdict:
    """No line is known to be without effect; whether all have one is another question."""
    unread = [e for e in node.entries if e.data is None and e.error]
    unread += [e for variant in node.variants() for e in variant.conf.unread]
    if unread:
        return Verdict.unknown(f"could not read {unread[0].path}: {unread[0].error}")
    if dark:
        return Verdict.unknown(
            f"cannot tell whether {dark[0].text[:200]!r} in {dark[0].place} keeps a module out:"
            f" {dark[0].why}",
            *most([_evidence(node, line, DARK_LINE) for line in dark]),
        )
    if doubtful:
        first = doubtful[0]
        return Verdict.unknown(
            f"it depends on kmod's version whether {first.text!r} in {first.place} has an"
            f" effect: {first.why}",
            *most([_evidence(node, line) for line in doubtful]),
        )
    if not rules:
        return Verdict.not_applicable("no line of modprobe.d keeps a module out")
    return Verdict.passed(f"every line that keeps something out takes effect ({rules} in all)")


def _count(node: KernelModules) -> int:
    """The lines that are there to keep something out."""
    return max(sum(_blocks(v, r) for r in v.conf.rules) for v in node.variants())


def _blocks(variant: Variant, rule: Rule) -> bool:
    return rule.kind in ("blacklist", "install") or (
        rule.kind == "alias" and leads_nowhere(variant.engine, rule)
    )


DARK_LINE = "line that cannot be followed"
MOST_CURED = 20  # lines; what replaces one is tried, and that takes time


def _cured(node: KernelModules, line: Useless) -> str:
    """What to write instead, tried before; of the first lines only. Kept."""
    key = ("cured", line)
    kept = node.memo.get(key)
    if not isinstance(kept, str):
        if sum(isinstance(k, tuple) and k[0] == "cured" for k in node.memo) >= MOST_CURED:
            return ""
        kept = node.memo[key] = cured(node, line)
    return kept


def _evidence(node: KernelModules, line: Useless, what: str = "line without effect") -> Evidence:
    right = _cured(node, line)
    instead = f"; instead: {right}" if right else ""
    return Evidence(what, f"{line.text[:200]} ({line.why}{instead})", line.place)
