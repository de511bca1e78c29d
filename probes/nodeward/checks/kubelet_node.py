"""The kubelet against the node and the cluster: limits, names, gates and versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import ClassVar

from nodeward.checks.cert_samples import certificate, pki
from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, C
from nodeward.checks.kubelet_support import (
    CONFIG,
    FLAGS,
    NOT_PROBED,
    each,
    maps,
    mend,
    said,
    shown,
    text,
    unknown,
)
from nodeward.facts.clock import Now
from nodeward.facts.kubelet import Kubelet, Setting, Unknown, example, minor_of
from nodeward.facts.kubelet_limits import KubeletLimits, Swap
from nodeward.facts.kubelet_releases import END_OF_LIFE, GATES, NEWEST, OLDEST, stage
from nodeward.facts.manifests import Container, Manifests, StaticPod
from nodeward.facts.pki import Pki
from nodeward.lazy import dataclass
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
RESTRICTION = Source(
    "Kubernetes: NodeRestriction",
    "https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction",
)
RELEASES = Source("Kubernetes: releases", "https://kubernetes.io/releases/")
SKEW = Source(
    "Kubernetes: version skew policy", "https://kubernetes.io/releases/version-skew-policy/"
)
FEATURES = Source(
    "Kubernetes: feature gates",
    "https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/",
)
OFFLINE = Unreadable("limits", "offline")


def _node_certificate(name: str) -> Pki:
    leaf = certificate(name=f"system:node:{name}")
    return pki("kubelet-client", "/var/lib/kubelet/pki/kubelet-client-current.pem", leaf)


@check(
    "kubelet.pod-pids",
    title="A pod cannot use up the node's process ids",
    why="One fork bomb otherwise stops every other pod, and the kubelet.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Set podPidsLimit, for example to 4096.", ("systemctl restart kubelet",)),
    sources=[PIDS, CONFIG],
    mappings=maps(["4.2.13"], sac=["S6a"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "podPidsLimit: 4096"), OFFLINE), "a limit for each pod"),
        Example(Status.FAIL, (example(C, "podPidsLimit: -1"), OFFLINE), "-1 is no limit"),
        Example(
            Status.FAIL,
            (example(C, "{}"), KubeletLimits("max", "/sys/fs/cgroup/kubepods.slice/pids.max")),
            "no limit for a pod, none for all of them",
        ),
        Example(
            Status.PASS,
            (example(C, "{}"), KubeletLimits("30000", "/sys/fs/cgroup/kubepods.slice/pids.max")),
            "no limit for one pod, but all pods together have one: the node survives",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def pod_pids(kubelet: Kubelet, limits: KubeletLimits | Absent | Unreadable) -> Verdict:
    return each(kubelet, lambda k: _pod_pids(k, limits))


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
        Example(Status.PASS, (example(C, "seccompDefault: true"), OFFLINE), "on"),
        Example(Status.FAIL, (example(C, "seccompDefault: false"), OFFLINE), "off"),
        Example(Status.FAIL, (example(C, "{}"), _MANY), "off, and two containers run without"),
        Example(
            Status.FAIL,
            (example(C, "{}"), replace(_MANY, unconfined=())),
            "off, though every container that runs now has a filter: severity low",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def seccomp_default(kubelet: Kubelet, limits: KubeletLimits | Absent | Unreadable) -> Verdict:
    return each(kubelet, lambda k: _seccomp(k, limits))


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
        Example(Status.PASS, (example(C, "{}"), KubeletLimits(swaps=())), "no swap"),
        Example(
            Status.PASS,
            (
                example(C, "failSwapOn: false"),
                KubeletLimits(swaps=(Swap("/dev/sda2", "partition", False),)),
            ),
            "swap is on, but pods do not use it unless told to",
        ),
        Example(
            Status.FAIL,
            (
                example(C, "{failSwapOn: false, memorySwap: {swapBehavior: LimitedSwap}}"),
                KubeletLimits(swaps=(Swap("/dev/sda2", "partition", False),)),
            ),
            "pods swap to an unencrypted partition",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, "{failSwapOn: false, memorySwap: {swapBehavior: LimitedSwap}}"),
                KubeletLimits(),
            ),
            "pods may swap, and where to cannot be seen",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def swap(kubelet: Kubelet, limits: KubeletLimits | Absent | Unreadable) -> Verdict:
    return each(kubelet, lambda k: _swap(k, limits))


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
        return Verdict.passed(f"pods use no swap: {said(path, setting)}", shown(path, setting))
    if swaps is None:
        return Verdict.unknown(f"{said(path, setting)}; whether swap is on cannot be seen: offline")
    open_ = [s for s in swaps if s.encrypted is False]
    seen = [Evidence(s.kind, s.path, "/proc/swaps") for s in swaps]
    if open_:
        because = f"pods swap to {open_[0].path}, which is not encrypted; {said(path, setting)}"
        return Verdict.failed(because, *seen, remedy=mend(kubelet, path, "NoSwap"))
    if any(s.encrypted is None for s in swaps):
        return Verdict.unknown("whether the swap file's disk is encrypted could not be told", *seen)
    return Verdict.passed("all swap is encrypted, or is memory", *seen)


@check(
    "kubelet.hostname-override",
    title="The kubelet goes by the name that its certificate carries",
    why="A kubelet that registers under another name than its certificate's is refused by the"
    " NodeRestriction admission, or judged by the rights of another node.",
    severity=Severity.LOW,
    remedy=Remedy("Remove --hostname-override, or set it to the node's name."),
    sources=[FLAGS, RESTRICTION],
    mappings=maps(["4.2.7"], stig=["V-242404"], sac=["S2b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), Absent("pki")), "not set"),
        Example(
            Status.UNKNOWN,
            (example(f"{C} --hostname-override=n1", "{}"), Absent("pki")),
            "set, and no certificate to compare with",
        ),
        Example(
            Status.PASS,
            (example(f"{C} --hostname-override=n1", "{}"), _node_certificate("n1")),
            "the name in the certificate",
        ),
        Example(
            Status.FAIL,
            (example(f"{C} --hostname-override=n1", "{}"), _node_certificate("n2")),
            "another name",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def hostname_override(kubelet: Kubelet, pki: Pki | Absent | Unreadable) -> Verdict:
    return each(kubelet, lambda k: _hostname(k, pki))


def _hostname(kubelet: Kubelet, pki: Pki | Absent | Unreadable) -> Verdict:
    flag = kubelet.flag("hostname-override")
    if flag is None or not flag.value:
        return Verdict.passed("the kubelet goes by the host's own name")
    held = pki.held("kubelet-client") if isinstance(pki, Pki) else ()
    subjects = [h.leaf.subject for h in held if h.leaf is not None and h.use.in_use]
    names = [m[1] for s in subjects if (m := re.search(r"CN=system:node:([^,+]+)", s))]
    seen = Evidence("--hostname-override", str(flag.value), flag.source)
    says = f"{flag.source} says {flag.value}"
    if not names:
        return Verdict.unknown(f"{says}; there is no client certificate to compare with", seen)
    if str(flag.value).lower() in names:
        return Verdict.passed(f"{flag.value} is the name in the client certificate too", seen)
    return Verdict.failed(f"{says}, the client certificate {names[0]}", seen)


@check(
    "kubelet.node-labels",
    title="The kubelet claims no label that only administrators may give",
    why="Labels below node-restriction.kubernetes.io are trusted to keep pods off other nodes: a"
    " node that gives itself one draws those pods to it.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Remove the label from --node-labels; set it with kubectl label node."),
    sources=[RESTRICTION],
    mappings=maps(sac=["S11a"]),
    examples=lambda: [
        Example(Status.PASS, example(f"{C} --node-labels=disk=ssd", "{}"), "a label of its own"),
        Example(
            Status.FAIL,
            example(f"{C} --node-labels=node-restriction.kubernetes.io/pci=yes", "{}"),
            "a restricted one",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def node_labels(kubelet: Kubelet) -> Verdict:
    return each(kubelet, _node_labels)


def _node_labels(kubelet: Kubelet) -> Verdict:
    found = [
        (part.strip().partition("=")[0], flag)
        for flag in kubelet.arguments.every("node-labels")
        for part in flag.value.split(",")
    ]
    bad = [
        Evidence("label", name, f"--node-labels ({kubelet.argument(flag.place)})")
        for name, flag in found
        if name.rpartition("/")[0].endswith("node-restriction.kubernetes.io")
    ]
    if bad:
        return Verdict.failed(f"the kubelet gives itself {bad[0].value}", *most(bad))
    return Verdict.passed(f"none of {len(found)} labels is restricted")


@check(
    "kubelet.feature-gates",
    title="No untested feature is on, and no protecting one is off",
    why="Alpha features may lose data or open holes, and get no security support.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Remove the gate from the file or flag.", ("systemctl restart kubelet",)),
    sources=[FEATURES],
    mappings=maps(stig=["V-242398", "V-242399", "V-242400"], sac=["S14"]),
    examples=lambda: [
        Example(Status.PASS, example(C, "{}"), "none is set"),
        Example(Status.FAIL, example(C, "featureGates: {AllAlpha: true}"), "all alpha features"),
        Example(Status.FAIL, example(C, "featureGates: {AllBeta: false}"), "no beta feature"),
        Example(Status.FAIL, example(C, "featureGates: {MemoryQoS: true}"), "an alpha feature"),
        Example(
            Status.FAIL,
            example(f"{C} --feature-gates=RotateKubeletServerCertificate=false", "{}"),
            "a protecting one is switched off",
        ),
        Example(
            Status.UNKNOWN,
            example(C, "featureGates: {NodeSwap: true}", version=None),
            "alpha until 1.27, and the version is not known",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def feature_gates(kubelet: Kubelet) -> Verdict:
    return each(kubelet, _gates)


def _gates(kubelet: Kubelet) -> Verdict:
    every = kubelet.get("featureGates")
    if not isinstance(every.value, dict):
        return unknown("featureGates", every)
    settings = {name: kubelet.get(f"featureGates.{name}") for name in sorted(every.value)}
    minors = range(OLDEST, NEWEST + 1) if kubelet.minor is None else (kubelet.minor,)
    found = {n: [list(_gate(n, s, minor)) for minor in minors] for n, s in settings.items()}
    bad = [e for rows in found.values() if all(rows) for e in rows[-1]]
    if bad:
        return Verdict.failed(f"{bad[0].what} {bad[0].value} ({bad[0].source})", *most(bad))
    some = next((n for n, rows in found.items() if any(rows)), None)
    if some is not None:
        because = f"{some} is {text(settings[some].value)}, which is wrong in some versions only"
        return Verdict.unknown(f"{because}; the version of this kubelet is not known")
    names = ", ".join(f"{n}={text(s.value)}" for n, s in settings.items())
    return Verdict.passed(f"gates set: {names or 'none'}")


def _gate(name: str, setting: Setting, minor: int) -> Iterator[Evidence]:
    if name == "AllAlpha" and setting.value is True:
        yield Evidence(name, "switches every alpha feature on", setting.source)
    if name == "AllBeta" and setting.value is False:
        yield Evidence(name, "switches every beta feature off", setting.source)
    gate = GATES.get(name)
    if gate is None:
        return
    now = stage(gate, minor)
    if setting.value is True and now == "alpha":
        yield Evidence(name, f"is on, and alpha in 1.{minor}", setting.source)
    if setting.value is False and gate.why and now in ("beta", "stable"):
        yield Evidence(name, f"is off; with it {gate.why}", setting.source)


@dataclass(frozen=True, slots=True)
class SupportedUntil(Params):
    """Minor version -> day (YYYY-MM-DD) of its end, where a vendor patches longer: {"1.30":
    "2027-07-23"}."""

    section: ClassVar[tuple[str, ...]] = ("checks", "kubelet.version-eol")
    until: tuple[str, ...] = ()

    def day(self, minor: int) -> str | None:
        for entry in self.until:
            version, _, day = entry.partition("=")
            if minor_of(version) == minor:
                return day
        return END_OF_LIFE.get(minor)


_2026 = Now(1_795_392_000.0)  # 2026-11-23


@check(
    "kubelet.version-eol",
    title="The kubelet's version still gets security fixes",
    why="Holes found in a version past its end stay open.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Upgrade the kubelet; name a vendor's longer support in nodeward's configuration"
        ' (until: ["1.30=2027-07-23"]).'
    ),
    sources=[RELEASES],
    mappings=maps(nsa=["UP"], stig=["V-242443"], sac=["B4", "S18"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), _2026), "1.36 in 2026"),
        Example(Status.FAIL, (example(C, "{}", version="v1.30.4"), _2026), "1.30 in 2026"),
        Example(
            Status.PASS,
            (example(C, "{}", version="v1.30.4"), _2026, SupportedUntil(("1.30=2027-07-23",))),
            "1.30, patched longer by a vendor",
        ),
        Example(Status.FAIL, (example(C, "{}", version="v1.19.4"), _2026), "older than our table"),
        Example(Status.UNKNOWN, (example(C, "{}", version=None), _2026), "version not known"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def version_eol(kubelet: Kubelet, now: Now, params: SupportedUntil) -> Verdict:
    return each(kubelet, lambda k: _eol(k, now, params))


def _eol(kubelet: Kubelet, now: Now, params: SupportedUntil) -> Verdict:
    minor = kubelet.minor
    if minor is None:
        return Verdict.unknown("the version of this kubelet is not known")
    seen = Evidence("version", str(kubelet.version), kubelet.launch.exe or kubelet.launch.origin)
    day = params.day(minor)
    if day is None and minor < OLDEST:
        return Verdict.failed(f"{kubelet.version} ended before 2023-10-28", seen)
    if day is None:
        return Verdict.passed(
            f"{kubelet.version} is newer than 1.{NEWEST}, the last known here", seen
        )
    try:
        ended = now.utc.date() > date.fromisoformat(day)
    except ValueError:
        return Verdict.unknown(f"the configured day {day!r} is no date", seen)
    if ended:
        return Verdict.failed(f"{kubelet.version} gets no fixes since {day}", seen)
    return Verdict.passed(f"{kubelet.version} gets fixes until {day}", seen)


def _apiserver(image: str) -> Manifests:
    folder = "/etc/kubernetes/manifests"
    container = Container("kube-apiserver", image, ("kube-apiserver",))
    pod = StaticPod(f"{folder}/kube-apiserver.yaml", "kube-apiserver", "kube-system", (container,))
    return Manifests(folder, (pod,))


@check(
    "kubelet.version-skew",
    title="The kubelet is neither newer than its API server nor too old for it",
    why="Outside that range nobody tests the two together: fields may be dropped silently, also"
    " those that restrict a pod.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Upgrade the API server first, then the kubelet, at most three minors apart."),
    sources=[SKEW],
    mappings=maps(sac=["B4"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (example(C, "{}"), _apiserver("registry.k8s.io/kube-apiserver:v1.36.2")),
            "the same version",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), _apiserver("registry.k8s.io/kube-apiserver:v1.35.0")),
            "the kubelet is newer",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}", version="v1.32.0"), _apiserver("kube-apiserver:v1.36.2")),
            "four minors older",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "{}"), Absent("manifests")),
            "a worker: its API server is not asked",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def version_skew(kubelet: Kubelet, manifests: Manifests | Absent | Unreadable) -> Verdict:
    return each(kubelet, lambda k: _skew(k, manifests))


def _skew(kubelet: Kubelet, manifests: Manifests | Absent | Unreadable) -> Verdict:
    found = _of_apiserver(manifests) if isinstance(manifests, Manifests) else None
    if found is None:
        return Verdict.unknown("the API server's version cannot be told from this node")
    if kubelet.minor is None:
        return Verdict.unknown("the version of this kubelet is not known", found)
    theirs = minor_of(found.value)
    assert theirs is not None
    oldest = theirs - (3 if theirs >= 28 else 2)
    because = f"kubelet {kubelet.version}, API server {found.value}"
    if kubelet.minor > theirs:
        return Verdict.failed(f"{because}: the kubelet is newer", found)
    if kubelet.minor < oldest:
        return Verdict.failed(f"{because}: the kubelet may be no older than 1.{oldest}", found)
    return Verdict.passed(because, found)


def _of_apiserver(manifests: Manifests) -> Evidence | None:
    for pod, container in manifests.containers("kube-apiserver"):
        if tag := re.search(r":(v1\.\d+\.\d+[\w.+-]*)", container.image):
            return Evidence("image of the API server", tag[1], pod.path)
    return None
