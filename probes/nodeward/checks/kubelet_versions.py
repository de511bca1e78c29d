"""What the kubelet's version decides: its gates, its end, and what works in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import ClassVar

from nodeward.checks.kubelet_authn import NOBODY, OFFLINE, C
from nodeward.checks.kubelet_support import (
    CONFIG,
    Answers,
    each,
    each_on_disk,
    maps,
    mend,
    said,
    shown,
    take_out,
    unknown,
)
from nodeward.facts.clock import Now
from nodeward.facts.kubelet import Kubelet, Setting, Unknown, example, minor_of
from nodeward.facts.kubelet_fields import faults
from nodeward.facts.kubelet_releases import END_OF_LIFE, GATES, NEWEST, OLDEST, gate_fault, stage
from nodeward.facts.kubelet_shown import is_zero, text
from nodeward.facts.manifests import Container, Manifests, StaticPod
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

RELEASES = Source("Kubernetes: releases", "https://kubernetes.io/releases/")
SKEW = Source(
    "Kubernetes: version skew policy", "https://kubernetes.io/releases/version-skew-policy/"
)
FEATURES = Source(
    "Kubernetes: feature gates",
    "https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/",
)


@check(
    "kubelet.feature-gates",
    title="No untested feature is on, and no protecting one is off",
    why="Alpha features may lose data or open holes, and get no security support.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Remove the gate from the file or flag.", ("systemctl restart kubelet",)),
    sources=[FEATURES],
    mappings=maps(stig=["V-242398", "V-242399", "V-242400"], sac=["S14"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "none is set"),
        Example(
            Status.FAIL,
            (example(C, "featureGates: {AllAlpha: true}"), OFFLINE),
            "all alpha features",
        ),
        Example(
            Status.FAIL, (example(C, "featureGates: {AllBeta: false}"), OFFLINE), "no beta feature"
        ),
        Example(
            Status.FAIL,
            (example(C, "featureGates: {MemoryQoS: true}"), OFFLINE),
            "an alpha feature",
        ),
        Example(
            Status.FAIL,
            (example(C, "featureGates: {KubeletRegistrationGetOnExistsOnly: true}"), OFFLINE),
            "a deprecated one",
        ),
        Example(
            Status.FAIL,
            (
                example(C, "featureGates: {InTreePluginAWSUnregister: true}", version="v1.26.1"),
                OFFLINE,
            ),
            "an alpha feature of an older release",
        ),
        Example(
            Status.PASS,
            (example(C, "featureGates: {TopologyManager: true}", version="v1.26.1"), OFFLINE),
            "a beta one",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "featureGates: {DynamicKubeletConfig: true}"), OFFLINE),
            "one that Kubernetes 1.36 does not have",
        ),
        Example(
            Status.FAIL,
            (example(f"{C} --feature-gates=RotateKubeletServerCertificate=false", "{}"), OFFLINE),
            "a protecting one is switched off",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "featureGates: {NodeSwap: true}", version=None), OFFLINE),
            "alpha until 1.27, and the version is not known",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def feature_gates(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each(kubelet, answers, _gates)


def _gates(kubelet: Kubelet) -> Verdict:
    every = kubelet.get("featureGates")
    if not isinstance(every.value, dict):
        return unknown("featureGates", every)
    settings = {name: kubelet.get(f"featureGates.{name}") for name in sorted(every.value)}
    minors = range(OLDEST, NEWEST + 1) if kubelet.minor is None else (kubelet.minor,)
    found = {n: [list(_gate(n, s, minor)) for minor in minors] for n, s in settings.items()}
    bad = [e for rows in found.values() if all(rows) for e in rows[-1]]
    if bad:
        because = f"{bad[0].what} {bad[0].value} ({bad[0].source})"
        return Verdict.failed(because, *most(bad), remedy=take_out(kubelet, bad))
    some = next((n for n, rows in found.items() if any(rows)), None)
    if some is not None:
        because = f"{some} is {text(settings[some].value)}, which is wrong in some versions only"
        return Verdict.unknown(f"{because}; the version of this kubelet is not known")
    strange = [
        n for n, s in settings.items() if s.value is not False and _is_strange(n, kubelet.minor)
    ]
    names = ", ".join(f"{n}={text(s.value)}" for n, s in settings.items())
    if strange:
        where = "any version" if kubelet.minor is None else f"1.{kubelet.minor}"
        because = f"{strange[0]} is on, which Kubernetes does not have in {where}"
        return Verdict.unknown(because, shown(strange[0], settings[strange[0]]))
    return Verdict.passed(f"gates set: {names or 'none'}")


def _is_strange(name: str, minor: int | None) -> bool:
    """Whether the release has no such gate: then it would not start, or is no release's own."""
    gate = GATES.get(name)
    if gate is None:
        return name not in ("AllAlpha", "AllBeta")
    return minor is not None and not stage(gate, minor)


def _gate(name: str, setting: Setting, minor: int) -> Iterator[Evidence]:
    if why := gate_fault(name, setting.value, minor):
        yield Evidence(name, why, setting.source)


@dataclass(frozen=True, slots=True)
class SupportedUntil(Params):
    """`until`: where a vendor patches a minor version longer, to which day: "1.30=2027-07-23"."""

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
        Example(
            Status.UNKNOWN,
            (example(C, "{}", version="v1.41.0"), Now(_2026.at + 10 * 365.25 * 86400)),
            "ten years on this table tells nothing of it",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def version_eol(kubelet: Kubelet, now: Now, params: SupportedUntil) -> Verdict:
    return each_on_disk(kubelet, lambda k: _eol(k, now, params))


def _eol(kubelet: Kubelet, now: Now, params: SupportedUntil) -> Verdict:
    minor = kubelet.minor
    if minor is None:
        return Verdict.unknown("the version of this kubelet is not known")
    seen = Evidence("version", str(kubelet.version), kubelet.launch.exe or kubelet.launch.origin)
    day = params.day(minor)
    if day is None and minor < OLDEST:
        return Verdict.failed(f"{kubelet.version} ended before 2023-10-28", seen)
    if day is None:
        because = f"{kubelet.version} is newer than 1.{NEWEST}, the last known here"
        if now.utc.date() > date.fromisoformat(END_OF_LIFE[NEWEST]):
            return Verdict.unknown(f"{because}, which itself gets no fixes any more", seen)
        return Verdict.passed(because, seen)
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
    return each_on_disk(kubelet, lambda k: _skew(k, manifests))


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


@check(
    "kubelet.image-pull-verification",
    title="An image that is already on the node still needs the pod's own credentials",
    why="Otherwise a pod of one tenant runs the private image that a pod of another has pulled.",
    severity=Severity.LOW,
    remedy=Remedy(
        "Set imagePullCredentialsVerificationPolicy: AlwaysVerify.",
        ("systemctl restart kubelet",),
        "Pods need a pull secret for preloaded private images too.",
    ),
    sources=[CONFIG],
    mappings=maps(sac=["B6"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (example(C, "imagePullCredentialsVerificationPolicy: AlwaysVerify"), OFFLINE),
            "AlwaysVerify",
        ),
        Example(
            Status.PASS,
            (example(C, "{}"), OFFLINE),
            "1.35 and later verify what the kubelet pulled",
        ),
        Example(
            Status.FAIL,
            (example(C, "imagePullCredentialsVerificationPolicy: NeverVerify"), OFFLINE),
            "NeverVerify",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (example(C, "{}", version="v1.32.0"), OFFLINE),
            "there is no such field yet",
        ),
        Example(
            Status.UNKNOWN, (example(C, "{}", version=None), OFFLINE), "the version is not known"
        ),
    ],
)
def image_pull_verification(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each(kubelet, answers, _image_pull)


def _image_pull(kubelet: Kubelet) -> Verdict:
    path, gate = "imagePullCredentialsVerificationPolicy", "KubeletEnsureSecretPulledImages"
    setting, minor = kubelet.get(path), kubelet.minor
    if isinstance(setting.value, Unknown) or minor is None:
        return unknown(path, setting)
    if minor < 33:
        return Verdict.not_applicable(f"{kubelet.version} has no {path}")
    on = kubelet.gate(gate)
    if isinstance(on, Unknown):
        return unknown(f"featureGates.{gate}", kubelet.gate_setting(gate))
    if on is False or (on is None and minor < 35):
        because = f"the feature gate {gate} is off in {kubelet.version}"
        remedy = mend(kubelet, f"featureGates.{gate}", "true")
        if minor < 35:
            remedy = Remedy(f"Upgrade to 1.35: {gate} is on there, and no alpha feature any more.")
        return Verdict.failed(because, remedy=remedy)
    if setting.value == "NeverVerify":
        remedy = mend(kubelet, path, "AlwaysVerify")
        return Verdict.failed(said(path, setting), shown(path, setting), remedy=remedy)
    return Verdict.passed(said(path, setting), shown(path, setting))


@check(
    "kubelet.streaming-timeout",
    title="Idle exec and port-forward streams are closed",
    why="A stream that never ends keeps a forgotten shell in a container open.",
    severity=Severity.LOW,
    remedy=Remedy(
        "Set streamingConnectionIdleTimeout to 4h or less.", ("systemctl restart kubelet",)
    ),
    sources=[CONFIG],
    mappings=maps(["4.2.5"], stig=["V-245541"]),
    examples=lambda: [
        Example(
            Status.PASS, (example(C, "{}", version="v1.32.0"), OFFLINE), "the default, 4 hours"
        ),
        Example(
            Status.FAIL,
            (
                example(f"{C} --streaming-connection-idle-timeout=0", "{}", version="v1.32.0"),
                OFFLINE,
            ),
            "0 by a flag: never",
        ),
        Example(
            Status.PASS,
            (example(C, "streamingConnectionIdleTimeout: 0s", version="v1.32.0"), OFFLINE),
            "0s in a file (as kubeadm writes it) is filled with the default",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(f"{C} --streaming-connection-idle-timeout=4hours", "{}", version="v1.32.0"),
                OFFLINE,
            ),
            "no duration: no kubelet starts with it",
        ),
        Example(Status.NOT_APPLICABLE, (example(C, "{}"), OFFLINE), "without effect from 1.34"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def streaming_timeout(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each(kubelet, answers, _streaming)


def _streaming(kubelet: Kubelet) -> Verdict:
    path = "streamingConnectionIdleTimeout"
    setting, minor = kubelet.get(path), kubelet.minor
    if minor is not None and minor >= 34:
        return Verdict.not_applicable(f"{path} has no effect from 1.34 ({kubelet.version} here)")
    if isinstance(setting.value, Unknown):
        return unknown(path, setting)
    if any(faults({path: setting.value}, minor)):
        return unknown(path, setting)
    if is_zero(setting.value):
        remedy = mend(kubelet, path, "4h")
        return Verdict.failed(said(path, setting), shown(path, setting), remedy=remedy)
    return Verdict.passed(said(path, setting), shown(path, setting))


@check(
    "kubelet.userns",
    title="Pods can have users of their own",
    why="With user namespaces, root in a pod is nobody on the node.",
    severity=Severity.INFO,
    remedy=Remedy("Leave the feature gate UserNamespacesSupport on (from 1.33 it is)."),
    sources=[CONFIG],
    mappings=maps(sac=["S7c"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "1.36: always"),
        Example(
            Status.FAIL,
            (
                example(C, "featureGates: {UserNamespacesSupport: false}", version="v1.33.0"),
                OFFLINE,
            ),
            "switched off",
        ),
        Example(
            Status.NOT_APPLICABLE, (example(C, "{}", version="v1.29.0"), OFFLINE), "before 1.30"
        ),
        Example(
            Status.UNKNOWN, (example(C, "{}", version=None), OFFLINE), "the version is not known"
        ),
    ],
)
def user_namespaces(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each(kubelet, answers, _user_namespaces)


def _user_namespaces(kubelet: Kubelet) -> Verdict:
    minor, gate = kubelet.minor, kubelet.gate_setting("UserNamespacesSupport")
    if minor is None:
        return Verdict.unknown("the version of this kubelet is not known")
    if minor < 30:
        return Verdict.not_applicable(f"{kubelet.version} has no user namespaces in beta")
    if isinstance(gate.value, Unknown) and minor < 36:
        return unknown("featureGates.UserNamespacesSupport", gate)
    if minor >= 36 or gate.value is True or (gate.value is None and minor >= 33):
        ids = kubelet.get("userNamespaces.idsPerPod")
        return Verdict.passed(f"pods can have user namespaces of {text(ids.value)} ids")
    remedy = mend(kubelet, "featureGates.UserNamespacesSupport", "true")
    return Verdict.failed(f"UserNamespacesSupport is off in {kubelet.version}", remedy=remedy)
