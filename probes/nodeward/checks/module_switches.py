"""What turns loading on request off for the whole host, and whether that outlives a boot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nodeward.checks.module_terms import (
    DARK,
    KMOD_C,
    MAPPINGS,
    SCTP_ALIAS,
    SCTP_DEP,
    SOURCES,
    SYSCTL,
    at_each_boot,
    example_node,
)
from nodeward.facts.exposed import BAD, Exposure, State
from nodeward.facts.exposure import expose
from nodeward.facts.kernel_modules import Helper, KernelModules
from nodeward.facts.modprobe_conf import Entry
from nodeward.facts.module_requests import BY_NAME, COMPONENTS, RDS, SCTP, TIPC, Component
from nodeward.facts.next_boot import ModulesLoad, at_boot, next_boot
from nodeward.model import (
    Evidence,
    Example,
    Remedy,
    Severity,
    Status,
    Unreadable,
    Verdict,
    check,
)


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
    examples=lambda: (
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


RELIED_ON = (BY_NAME["dccp"], SCTP, RDS, TIPC)  # what no boot should load by name
MOST_NAMED = 8


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
    examples=lambda: (
        Example(
            Status.PASS,
            (example_node("install sctp /bin/false\n", SCTP_ALIAS, SCTP_DEP), ModulesLoad()),
            "a rule in /etc",
        ),
        Example(
            Status.FAIL,
            (
                example_node(
                    alias=SCTP_ALIAS,
                    dep=SCTP_DEP,
                    entries=(Entry("/run/modprobe.d/x.conf", data=b"install sctp /bin/false\n"),),
                ),
                ModulesLoad(),
            ),
            "a rule in /run",
        ),
        Example(
            Status.FAIL,
            (replace(example_node("", SCTP_ALIAS, SCTP_DEP), disabled=True), ModulesLoad()),
            "kernel.modules_disabled set by hand",
        ),
        Example(
            Status.PASS,
            (
                replace(
                    example_node("", SCTP_ALIAS, SCTP_DEP),
                    disabled=True,
                    boot_sysctl={"kernel.modules_disabled": ("1", "/etc/sysctl.d/60-x.conf:1")},
                ),
                ModulesLoad(),
            ),
            "kernel.modules_disabled is in sysctl.d",
        ),
        Example(
            Status.FAIL,
            (
                replace(
                    example_node("", SCTP_ALIAS, SCTP_DEP),
                    disabled=True,
                    boot_sysctl={"kernel.modules_disabled": ("1", "/etc/sysctl.d/60-x.conf:1")},
                ),
                at_each_boot("sctp"),
            ),
            "and modules-load.d names SCTP, which comes before the sysctls",
        ),
        Example(
            Status.UNKNOWN,
            (
                example_node("blacklist sctp\n", SCTP_ALIAS, SCTP_DEP),
                ModulesLoad(unread=(("/etc/modules-load.d/x.conf", "EACCES"),)),
            ),
            "a list of what each boot loads may not be read",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (example_node("", SCTP_ALIAS, SCTP_DEP), ModulesLoad()),
            "nothing blocks",
        ),
        Example(
            Status.UNKNOWN, (KernelModules(live=False), ModulesLoad()), "no kernel in the tree"
        ),
        Example(Status.UNKNOWN, (Unreadable("/proc/modules", "EACCES"), ModulesLoad()), "dark"),
    ),
)
def persistence(node: KernelModules, load: ModulesLoad) -> Verdict:
    now = {c.name: expose(node, c) for c in COMPONENTS}
    kept = [c for c in COMPONENTS if now[c.name].state in (State.BLOCKED, State.OFF)]
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
    later = next_boot(node)
    lost = [(c, expose(later, c)) for c in kept]
    lost = [(c, e) for c, e in lost if e.state in BAD or e.state is State.UNKNOWN]
    if lost and all(e.state is State.UNKNOWN for _, e in lost):
        return Verdict.unknown(f"after the next boot: {lost[0][1].because}")
    if not lost:
        return _by_name(node, load, kept)
    unread = [Evidence("not read at a boot", "systemd reads sysctl.d only", place)
              for place in node.unapplied]  # fmt: skip
    note = f"; {node.unapplied[0]} is not read at a boot" if unread else ""
    return Verdict.failed(
        f"{_titles([c for c, _ in lost])} can be loaded again after the next boot: now"
        f" {now[lost[0][0].name].because}{note}",
        *_sources(now[c.name] for c, _ in lost),
        *unread,
    )


def _by_name(node: KernelModules, load: ModulesLoad, kept: Sequence[Component]) -> Verdict:
    """Where the rules are there after a boot too: whether the boot loads it by name."""
    mine = {m: c for c in kept if c in RELIED_ON for m in c.registers}
    comes = [c for c in at_boot(node, load) if c.module in mine]
    brought = [c for c in comes if not c.unclear]
    if brought:
        first = brought[0]
        return Verdict.failed(
            f"{mine[first.module].title} is kept out now, and each boot loads {first.module}, which"
            f" {first.listed.place} names",
            *(Evidence("loaded at each boot", f"{c.module}, by {c.listed.name}", c.listed.place)
              for c in brought),
            remedy=Remedy("Take the name out of modules-load.d."),
        )  # fmt: skip
    if comes:
        return Verdict.unknown(
            f"cannot tell whether the next boot loads {comes[0].module}: {comes[0].unclear}",
            Evidence("named for each boot", comes[0].listed.name, comes[0].listed.place),
        )
    for path, why in load.unread:
        return Verdict.unknown(f"what each boot loads: could not read {path}: {why}")
    return Verdict.passed(f"what keeps {_titles(kept)} out is there after a boot too")


def _titles(components: Sequence[Component]) -> str:
    """The first few by name."""
    more = len(components) - MOST_NAMED
    named = ", ".join(c.title for c in components[:MOST_NAMED])
    return f"{named} and {more} more" if more > 0 else named


def _sources(exposures: Iterable[Exposure]) -> list[Evidence]:
    rows = [e for x in exposures for e in x.evidence if e.what in ("rule", "kernel.modprobe",
            "kernel.modules_disabled")]  # fmt: skip
    return list(dict.fromkeys(rows))
