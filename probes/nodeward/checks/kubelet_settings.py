"""Settings that are good or bad by their value alone: one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_support import (
    CONFIG,
    Answers,
    each,
    maps,
    mend,
    mend_all,
    said,
    shown,
    unknown,
)
from nodeward.facts.kubelet import Kubelet, Setting, Unknown, example
from nodeward.facts.kubelet_fields import FIELDS, Holds
from nodeward.facts.kubelet_shown import text
from nodeward.lazy import dataclass, pattern
from nodeward.model import (
    Check,
    Evidence,
    Example,
    Params,
    Remedy,
    Severity,
    Status,
    Verdict,
    check,
)

LOW, MEDIUM = Severity.LOW, Severity.MEDIUM

_LOCAL = pattern(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|\Z)")
"""k0s serves its own static pods on loopback."""


@dataclass(frozen=True, slots=True)
class Row:
    """One check. `good` judges the value; `want` is the value to set, `bad` one that fails."""

    id: str
    title: str
    why: str
    severity: Severity
    path: str
    good: Callable[[Any], bool]
    want: str
    bad: str
    breaks: str = ""
    cis: tuple[str, ...] = ()
    nsa: tuple[str, ...] = ()
    stig: tuple[str, ...] = ()
    sac: tuple[str, ...] = ()


ROWS = (
    Row(
        "kubelet.protect-kernel-defaults",
        "The kubelet refuses to change the kernel's settings",
        "Otherwise it silently sets vm.overcommit_memory, kernel.panic and others as it likes, over"
        " what the node's owner has set.",
        LOW,
        "protectKernelDefaults",
        lambda v: v is True,
        "true",
        "false",
        "It then does not start unless vm.overcommit_memory=1, vm.panic_on_oom=0, kernel.panic=10,"
        " kernel.panic_on_oops=1, kernel.keys.root_maxkeys=1000000, root_maxbytes=25000000 hold.",
        stig=("V-242434",),
        sac=("S4b",),
    ),
    Row(
        "kubelet.iptables-util-chains",
        "The kubelet keeps its iptables hint chain",
        "Other components look at that chain to tell which iptables this node uses.",
        LOW,
        "makeIPTablesUtilChains",
        lambda v: v is True,
        "true",
        "false",
        cis=("4.2.6",),
    ),
    Row(
        "kubelet.attach-detach",
        "Volumes are attached by the controller, not by the node",
        "A kubelet that attaches by itself needs rights over the volumes of other nodes.",
        LOW,
        "enableControllerAttachDetach",
        lambda v: v is True,
        "true",
        "false",
    ),
    Row(
        "kubelet.log-query",
        "The logs of the node's services cannot be asked for over the kubelet",
        "With it, whoever has nodes/proxy reads the logs of every service of the node.",
        LOW,
        "enableSystemLogQuery",
        lambda v: v is False,
        "false",
        "true",
        sac=("S14",),
    ),
    Row(
        "kubelet.event-qps",
        "The rate of the kubelet's events is limited, and not to nearly nothing",
        "0 means no limit, whatever the flag's help says: a broken pod then floods etcd. A very low"
        " limit drops events that tell of an attack.",
        LOW,
        "eventRecordQPS",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 5,
        "50",
        "0",
        cis=("4.2.8",),
        nsa=("AL",),
        sac=("S13a",),
    ),
    Row(
        "kubelet.image-gc",
        "Unused images are removed when the disk fills",
        "At 100 the kubelet never removes an image: old ones with known holes stay usable.",
        LOW,
        "imageGCHighThresholdPercent",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 < v < 100,
        "85",
        "100",
        sac=("B6",),
    ),
    Row(
        "kubelet.static-pod-url",
        "Static pods are fetched from nowhere, or from this node alone",
        "Whoever answers at that address, or stands on the way, runs any pod on this node with any"
        " rights.",
        Severity.HIGH,
        "staticPodURL",
        lambda v: isinstance(v, str) and (v == "" or _LOCAL.match(v) is not None),
        '""',
        "http://10.0.0.1/pods",
        sac=("S1b",),
    ),
)


def _yaml(path: str, value: str) -> str:
    *parents, last = path.split(".")
    return (
        "{" + "".join(f"{p}: {{" for p in parents) + f"{last}: {value}" + "}" * (len(parents) + 1)
    )


def _check(row: Row) -> Check[[Kubelet, Answers]]:
    """The check of one row."""

    @check(
        row.id,
        title=row.title,
        why=row.why,
        severity=row.severity,
        remedy=Remedy(
            f"Set {row.path}: {row.want} in the file that wins, and restart.",
            ("systemctl restart kubelet",),
            row.breaks,
        ),
        sources=[CONFIG],
        mappings=maps(row.cis, row.nsa, row.stig, row.sac),
        examples=lambda: [
            Example(
                Status.PASS,
                (example(C, _yaml(row.path, row.want)), OFFLINE),
                f"{row.path}: {row.want}",
            ),
            Example(
                Status.FAIL,
                (example(C, _yaml(row.path, row.bad)), OFFLINE),
                f"{row.path}: {row.bad}",
            ),
            Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
            Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
        ],
    )
    def judge(kubelet: Kubelet, answers: Answers) -> Verdict:
        return each(kubelet, answers, lambda k: _judge(row, k))

    return judge


def _judge(row: Row, kubelet: Kubelet) -> Verdict:
    setting = kubelet.get(row.path)
    if isinstance(setting.value, Unknown) and setting.value.among:
        return _each_of_them(row, setting, setting.value.among)
    if isinstance(setting.value, Unknown) or not _typed(row.path, setting):
        return unknown(row.path, setting)
    if row.good(setting.value):
        return Verdict.passed(said(row.path, setting), shown(row.path, setting))
    remedy = mend(kubelet, row.path, row.want, breaks=row.breaks)
    because = f"{said(row.path, setting)}, want {row.want}"
    return Verdict.failed(because, shown(row.path, setting), remedy=remedy)


def _each_of_them(row: Row, setting: Setting, among: tuple[Any, ...]) -> Verdict:
    """Where it is one of several values: they may all be good, or none."""
    good = {bool(row.good(value)) for value in among}
    if len(good) == 2:
        return unknown(row.path, setting)
    seen, values = shown(row.path, setting), " or ".join(text(value) for value in among)
    because = f"{row.path} is {values} ({text(setting.value)})"
    if good == {True}:
        return Verdict.passed(f"{because}: each is good", seen)
    return Verdict.failed(f"{because}, want {row.want}", seen)


def _typed(path: str, setting: Setting) -> bool:
    match FIELDS[path].holds:
        case Holds.BOOL:
            return isinstance(setting.value, bool)
        case Holds.NUMBER:
            return isinstance(setting.value, int) and not isinstance(setting.value, bool)
        case _:
            return isinstance(setting.value, str)


@check(
    "kubelet.debug-handlers",
    title="Profiling, flag and log handlers of the kubelet are off",
    why="They show the kubelet's memory, let a caller change its log level, and serve the node's"
    " log files, to whoever has nodes/proxy.",
    severity=LOW,
    remedy=Remedy(
        "Set enableProfilingHandler, enableDebugFlagsHandler and enableSystemLogHandler to false.",
        ("systemctl restart kubelet",),
        "kubectl get --raw /api/v1/nodes/NODE/proxy/logs/ stops working; kubectl logs does not.",
    ),
    sources=[CONFIG],
    mappings=maps(sac=["S4b"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (
                example(
                    C,
                    "{enableProfilingHandler: false, enableDebugFlagsHandler: false,"
                    " enableSystemLogHandler: false}",
                ),
                OFFLINE,
            ),
            "all three off",
        ),
        Example(
            Status.PASS,
            (example(C, "enableDebuggingHandlers: false"), OFFLINE),
            "none is registered",
        ),
        Example(Status.FAIL, (example(C, "{}"), OFFLINE), "all are on by default"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def debug_handlers(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each(kubelet, answers, _debug_handlers)


def _debug_handlers(kubelet: Kubelet) -> Verdict:
    every = kubelet.get("enableDebuggingHandlers")
    if every.value is False:
        return Verdict.passed(said("enableDebuggingHandlers", every))
    names = ("enableProfilingHandler", "enableDebugFlagsHandler", "enableSystemLogHandler")
    found = {name: kubelet.get(name) for name in names}
    for name, setting in {**found, "enableDebuggingHandlers": every}.items():
        if not isinstance(setting.value, bool):
            return unknown(name, setting)
    on = {name: setting for name, setting in found.items() if setting.value is True}
    seen = [shown(name, setting) for name, setting in found.items()]
    if not on:
        return Verdict.passed("profiling, flag and log handlers are off", *seen)
    remedy = mend_all(kubelet, dict.fromkeys(on, "false"))
    return Verdict.failed("; ".join(said(n, s) for n, s in on.items()), *seen, remedy=remedy)


@dataclass(frozen=True, slots=True)
class AllowedSysctls(Params):
    """Unsafe sysctls that this fleet means to allow, as in allowedUnsafeSysctls ("net.core.*")."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kubelet.unsafe-sysctls")
    allowed: tuple[str, ...] = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


@check(
    "kubelet.unsafe-sysctls",
    title="No pod may set sysctls that reach beyond it",
    why="An unsafe sysctl may starve or weaken the node and its other pods.",
    severity=MEDIUM,
    remedy=Remedy(
        "Empty allowedUnsafeSysctls, or list in nodeward's configuration what this fleet needs.",
        ("systemctl restart kubelet",),
        "Pods that ask for one of them are no longer admitted.",
    ),
    sources=[CONFIG],
    mappings=maps(sac=["S7a"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "none"),
        Example(
            Status.PASS,
            (example(C, "allowedUnsafeSysctls: [net.ipv4.ip_forward]"), OFFLINE),
            "the two that k3s' load balancer needs are accepted unless configured otherwise",
        ),
        Example(
            Status.FAIL,
            (example(C, "allowedUnsafeSysctls: ['kernel.msg*']"), OFFLINE),
            "kernel.msg*",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def unsafe_sysctls(kubelet: Kubelet, answers: Answers, allowed: AllowedSysctls) -> Verdict:
    return each(kubelet, answers, lambda k: _unsafe_sysctls(k, allowed))


def _unsafe_sysctls(kubelet: Kubelet, allowed: AllowedSysctls) -> Verdict:
    path = "allowedUnsafeSysctls"
    setting = kubelet.get(path)
    if not isinstance(setting.value, list):
        return unknown(path, setting)
    more = [str(v) for v in setting.value if v not in allowed.allowed]
    if not more:
        note = ", which this fleet allows" if setting.value else ""
        return Verdict.passed(f"{said(path, setting)}{note}", shown(path, setting))
    seen = [Evidence("unsafe sysctl", one, setting.source) for one in more[:50]]
    remedy = mend(kubelet, path, "[]", breaks="Pods that ask for one are no longer admitted.")
    return Verdict.failed(
        f"pods may set {', '.join(more[:5])} ({setting.source})", *seen, remedy=remedy
    )


CHECKS = tuple(_check(row) for row in ROWS)
