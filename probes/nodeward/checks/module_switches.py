"""What turns loading on request off for the whole host, and whether that outlives a boot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nodeward.checks.module_terms import (
    DARK,
    KMOD_C,
    MAPPINGS,
    NO_KERNEL,
    SCTP_ALIAS,
    SCTP_DEP,
    SOURCES,
    SYSCTL,
    example_node,
)
from nodeward.facts.exposure import BAD, Exposure, State, expose
from nodeward.facts.kernel_modules import DEFAULT_MODPROBE, Helper, KernelModules
from nodeward.facts.modprobe_conf import Entry, Kind
from nodeward.facts.module_requests import BY_NAME, RDS, SCTP, TIPC
from nodeward.model import Evidence, Example, Remedy, Severity, Status, Verdict, check


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
    examples=lambda: (
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
    if lost and all(e.state is State.UNKNOWN for _, e in lost):
        return Verdict.unknown(f"after the next boot: {lost[0][1].because}")
    if not lost:
        return Verdict.passed(
            f"what keeps {', '.join(c.title for c in kept)} out is there after a boot too"
        )
    unread = [Evidence("not read at a boot", "systemd reads sysctl.d only", place)
              for place in node.unapplied]  # fmt: skip
    note = f"; {node.unapplied[0]} is not read at a boot" if unread else ""
    return Verdict.failed(
        f"{', '.join(c.title for c, _ in lost)} can be loaded again after the next boot: now"
        f" {now[lost[0][0].name].because}{note}",
        *_sources(now[c.name] for c, _ in lost),
        *unread,
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
        # The kernel's default is taken for kmod.
        kinds = {"": "off", DEFAULT_MODPROBE: "kmod", "/bin/false": "false", "/bin/true": "true"}
        helper = Helper(modprobe, kinds.get(modprobe, "other"), "")
        if modprobe not in kinds and node.boot_helper is not None:
            helper = node.boot_helper
    return replace(
        node,
        entries=tuple(
            Entry(e.path, Kind.DANGLING) if e.path in node.volatile else e
            for e in node.entries
            if not e.path.startswith("/run/")
        ),
        disabled=disabled == "1",
        helper=helper,
    ).fresh()
