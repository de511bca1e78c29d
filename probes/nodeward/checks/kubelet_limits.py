"""What the kubelet lets its pods take of the node: process ids, system calls, swap."""

from __future__ import annotations

from dataclasses import replace

from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_support import (
    CONFIG,
    NOT_PROBED,
    Answers,
    each,
    maps,
    mend,
    said,
    shown,
    unknown,
)
from nodeward.facts.kubelet import Kubelet, Unknown, example
from nodeward.facts.kubelet_limits import KubeletLimits, Swap
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
    most,
)

PIDS = Source(
    "Kubernetes: process ids, limits and reservations",
    "https://kubernetes.io/docs/concepts/policy/pid-limiting/",
)
SECCOMP = Source(
    "Kubernetes: seccomp and Kubernetes", "https://kubernetes.io/docs/reference/node/seccomp/"
)
SWAP = Source(
    "Kubernetes: swap memory management",
    "https://kubernetes.io/docs/concepts/cluster-administration/swap-memory-management/",
)


@check(
    "kubelet.pod-pids",
    title="A pod cannot use up the node's process ids",
    why="One fork bomb otherwise stops every other pod, and the kubelet.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Set podPidsLimit, for example to 4096.", ("systemctl restart kubelet",)),
    sources=[PIDS, CONFIG],
    mappings=maps(["4.2.13"], sac=["S6a"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (example(C, "podPidsLimit: 4096"), OFFLINE, OFFLINE),
            "a limit for each pod",
        ),
        Example(Status.FAIL, (example(C, "podPidsLimit: -1"), OFFLINE, OFFLINE), "-1 is no limit"),
        Example(
            Status.FAIL,
            (
                example(C, "{}"),
                OFFLINE,
                KubeletLimits("max", "/sys/fs/cgroup/kubepods.slice/pids.max"),
            ),
            "no limit for a pod, none for all of them",
        ),
        Example(
            Status.PASS,
            (
                example(C, "{}"),
                OFFLINE,
                KubeletLimits("30000", "/sys/fs/cgroup/kubepods.slice/pids.max"),
            ),
            "no limit for one pod, but all pods together have one: the node survives",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def pod_pids(
    kubelet: Kubelet, answers: Answers, limits: KubeletLimits | Absent | Unreadable
) -> Verdict:
    return each(kubelet, answers, lambda k: _pod_pids(k, limits))


def _pod_pids(kubelet: Kubelet, limits: KubeletLimits | Absent | Unreadable) -> Verdict:
    path = "podPidsLimit"
    setting = kubelet.get(path)
    if not isinstance(setting.value, int) or isinstance(setting.value, bool):
        return unknown(path, setting)
    if setting.value > 0:
        return Verdict.passed(said(path, setting), shown(path, setting))
    remedy = mend(kubelet, path, "4096", breaks="Pods with more processes fail to start new ones.")
    if not isinstance(limits, KubeletLimits) or limits.pids_max is None:
        because = f"{said(path, setting)}, which is no limit; {NOT_PROBED}"
        return Verdict.failed(because, shown(path, setting), remedy=remedy)
    seen = Evidence("limit of all pods", limits.pids_max, limits.pids_source)
    if limits.pids_max.isdigit():
        because = f"{said(path, setting)}, but all pods together are held to {limits.pids_max}"
        return Verdict.passed(because, shown(path, setting), seen)
    because = f"{said(path, setting)}, and all pods together have no limit either"
    return Verdict.failed(because, shown(path, setting), seen, remedy=remedy)


_MANY = KubeletLimits("max", "/sys/fs/cgroup/kubepods.slice/pids.max", (), 12, (901, 950))


@check(
    "kubelet.seccomp-default",
    title="Pods run under the runtime's seccomp profile unless they ask for another",
    why="Without a profile every system call of the kernel is open to every container.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Set seccompDefault to true.", ("systemctl restart kubelet",)),
    sources=[SECCOMP, CONFIG],
    mappings=maps(["4.2.14"], ["PS"], sac=["S7a"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "seccompDefault: true"), OFFLINE, OFFLINE), "on"),
        Example(Status.FAIL, (example(C, "seccompDefault: false"), OFFLINE, OFFLINE), "off"),
        Example(
            Status.FAIL, (example(C, "{}"), OFFLINE, _MANY), "off, and two containers run without"
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), OFFLINE, replace(_MANY, unconfined=())),
            "off, though every container that runs now has a filter: severity low",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def seccomp_default(
    kubelet: Kubelet, answers: Answers, limits: KubeletLimits | Absent | Unreadable
) -> Verdict:
    return each(kubelet, answers, lambda k: _seccomp(k, limits))


def _seccomp(kubelet: Kubelet, limits: KubeletLimits | Absent | Unreadable) -> Verdict:
    path = "seccompDefault"
    setting = kubelet.get(path)
    if not isinstance(setting.value, bool):
        return unknown(path, setting)
    if setting.value:
        return Verdict.passed(said(path, setting), shown(path, setting))
    breaks = "Programs that need unusual system calls must name a profile of their own."
    remedy = mend(kubelet, path, "true", breaks=breaks)
    seen = shown(path, setting)
    count = limits.containers if isinstance(limits, KubeletLimits) else None
    if not count or not isinstance(limits, KubeletLimits):
        return Verdict.failed(f"{said(path, setting)}, want true", seen, remedy=remedy)
    if limits.unconfined:
        bare = [Evidence("runs without a filter", f"pid {pid}") for pid in limits.unconfined]
        because = f"{said(path, setting)}; {len(bare)} of {count} containers run without a filter"
        return Verdict.failed(because, seen, *most(bare), remedy=remedy)
    because = f"{said(path, setting)}; each of {count} containers has a filter, so less severe"
    return Verdict.failed(because, seen, severity=Severity.LOW, remedy=remedy)


@check(
    "kubelet.swap",
    title="What pods keep in memory is not written to an open disk",
    why="Swap holds pages of pods, secrets among them; on an open disk they outlive the pod.",
    severity=Severity.LOW,
    remedy=Remedy(
        "Turn swap off, encrypt it, or set memorySwap.swapBehavior to NoSwap.", ("swapoff -a",)
    ),
    sources=[SWAP],
    mappings=maps(sac=["S17a"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE, KubeletLimits(swaps=())), "no swap"),
        Example(
            Status.PASS,
            (
                example(C, "failSwapOn: false"),
                OFFLINE,
                KubeletLimits(swaps=(Swap("/dev/sda2", "partition", False),)),
            ),
            "swap is on, but pods do not use it unless told to",
        ),
        Example(
            Status.FAIL,
            (
                example(C, "{failSwapOn: false, memorySwap: {swapBehavior: LimitedSwap}}"),
                OFFLINE,
                KubeletLimits(swaps=(Swap("/dev/sda2", "partition", False),)),
            ),
            "pods swap to an unencrypted partition",
        ),
        Example(
            Status.FAIL,
            (
                example(
                    C, "{failSwapOn: false, featureGates: {NodeSwap: true}}", version="v1.28.4"
                ),
                OFFLINE,
                KubeletLimits(swaps=(Swap("/dev/sda2", "partition", False),)),
            ),
            "before 1.30 there is no NoSwap: with the gate on, pods swap unless told otherwise",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, "failSwapOn: false", version="v1.28.4"),
                OFFLINE,
                KubeletLimits(swaps=(Swap("/dev/sda2", "partition", False),)),
            ),
            "without the gate, the container runtime decides",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, "{failSwapOn: false, memorySwap: {swapBehavior: LimitedSwap}}"),
                OFFLINE,
                KubeletLimits(),
            ),
            "pods may swap, and where to cannot be seen",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def swap(
    kubelet: Kubelet, answers: Answers, limits: KubeletLimits | Absent | Unreadable
) -> Verdict:
    return each(kubelet, answers, lambda k: _swap(k, limits))


NO_SWAP = 30
"""The minor version from which no swap is what pods get by default."""


def _swap(kubelet: Kubelet, limits: KubeletLimits | Absent | Unreadable) -> Verdict:
    path = "memorySwap.swapBehavior"
    setting, fails = kubelet.get(path), kubelet.get("failSwapOn")
    swaps = limits.swaps if isinstance(limits, KubeletLimits) else None
    if swaps == ():
        return Verdict.passed("no swap is in use")
    if isinstance(setting.value, Unknown):
        return unknown(path, setting)
    if fails.value is True:
        return Verdict.passed(f"no kubelet starts where swap is on: {said('failSwapOn', fails)}")
    if setting.value in ("", None, "NoSwap"):
        if kubelet.minor is not None and kubelet.minor >= NO_SWAP:
            return Verdict.passed(f"pods use no swap: {said(path, setting)}", shown(path, setting))
        if kubelet.minor is None or kubelet.gate("NodeSwap") is not True:
            because = f"{said(path, setting)}, which keeps pods from swap from 1.{NO_SWAP} alone"
            return Verdict.unknown(f"{because} ({kubelet.version or 'version not known'})")
    if swaps is None:
        return Verdict.unknown(f"{said(path, setting)}; whether swap is on cannot be seen: offline")
    open_ = [s for s in swaps if s.encrypted is False]
    seen = [Evidence(s.kind, s.path, "/proc/swaps") for s in swaps]
    if open_:
        because = f"pods swap to {open_[0].path}, which is not encrypted; {said(path, setting)}"
        return Verdict.failed(because, *seen, remedy=_no_swap(kubelet, path))
    if any(s.encrypted is None for s in swaps):
        return Verdict.unknown("whether the swap file's disk is encrypted could not be told", *seen)
    return Verdict.passed("all swap is encrypted, or is memory", *seen)


def _no_swap(kubelet: Kubelet, path: str) -> Remedy:
    if kubelet.minor is not None and kubelet.minor < NO_SWAP:
        advice = f"Turn swap off or encrypt it: {kubelet.version} has no NoSwap."
        return Remedy(advice, ("swapoff -a",))
    return mend(kubelet, path, "NoSwap")
