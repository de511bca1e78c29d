"""Dated facts about Kubernetes releases and kubelet feature gates, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodeward.facts.kubelet_gates import GONE, ROWS
from nodeward.lazy import dataclass

END_OF_LIFE: Mapping[int, str] = {
    25: "2023-10-28",
    26: "2024-02-28",
    27: "2024-06-28",
    28: "2024-10-28",
    29: "2025-02-28",
    30: "2025-06-28",
    31: "2025-10-28",
    32: "2026-02-28",
    33: "2026-06-28",
    34: "2026-10-27",
    35: "2027-02-28",
    36: "2027-06-28",
}
"""Minor version -> the day after which it gets no more patches: kubernetes.io/releases. The last
two are the project's announcement, not yet history."""

OLDEST, NEWEST = min(END_OF_LIFE), max(END_OF_LIFE)


@dataclass(frozen=True, slots=True)
class Gate:
    """A kubelet's feature gate: minor versions from which it is alpha, beta, stable (None: not
    yet), whether its beta is on by default, why it matters for security ("": it does not), from
    when it is deprecated, with its default since, and from when it is no gate any more."""

    alpha: int
    beta: int | None = None
    stable: int | None = None
    beta_on: bool = True
    why: str = ""
    deprecated: int | None = None
    deprecated_on: bool = False
    gone: int | None = None


def _gate(alpha: str, beta: str, stable: str, deprecated: str, *rest: str) -> Gate:
    ages = [None if age == "-" else int(age) for age in (alpha, beta, stable, deprecated)]
    gone = next((int(word) for word in rest if word.isdigit()), None)
    first = min(age for age in ages if age is not None)
    return Gate(first, ages[1], ages[2], True, "", ages[3], "on" in rest, gone)


class _Gates(Mapping[str, Gate]):
    """By name. A row becomes a gate when it is asked for: few of the hundreds ever are."""

    def __init__(self, rows: str, gates: Mapping[str, Gate]) -> None:
        self._rows = dict(row.split(" ", 1) for row in rows.splitlines())
        self._gates = dict(gates)

    def __getitem__(self, name: str) -> Gate:
        return self._gates.get(name) or _gate(*self._rows[name].split())

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows | self._gates)

    def __len__(self) -> int:
        return len(self._rows | self._gates)


_NOTED = {
    "RotateKubeletServerCertificate": Gate(7, 12, None, True, "serving certificates are requested"),
    "SeccompDefault": Gate(22, 25, 27, True, "seccompDefault has an effect"),
    "KubeletFineGrainedAuthz": Gate(32, 33, 36, True, "reading is told from running"),
    "ReloadKubeletServerCertificateFile": Gate(31, 31, None, True, "a renewed certificate is used"),
    "UserNamespacesSupport": Gate(25, 30, 36, False, "pods can have user namespaces"),
    "KubeletEnsureSecretPulledImages": Gate(33, 35, None, True, "pulled images stay private"),
    "ProcMountType": Gate(12, 31, 36, False),
    "NodeLogQuery": Gate(27, 30, 36, False),
    "InPlacePodVerticalScaling": Gate(27, 33, 35, True),
    "ContainerCheckpoint": Gate(25, 30, None, True),
    "MemoryQoS": Gate(22, None, None),
    "EventedPLEG": Gate(26, None, None),
    "KubeletInUserNamespace": Gate(22, None, None),
    "DynamicResourceAllocation": Gate(26, 32, 34, True),
    "ImageVolume": Gate(31, 33, 36, True),
    "PodLevelResources": Gate(32, 34, None, True),
    "KubeletCrashLoopBackOffMax": Gate(32, 35, None, True),
    "ClusterTrustBundleProjection": Gate(29, 33, None, False),
    "NodeSwap": Gate(22, 28, 34, True),
    "CPUManagerPolicyAlphaOptions": Gate(23, None, None),
    "TopologyManagerPolicyAlphaOptions": Gate(26, None, None),
    "GracefulNodeShutdownBasedOnPodPriority": Gate(23, 24, None, True),
    "KubeletTracing": Gate(25, 27, 34, True),
    "PodCertificateRequest": Gate(34, 35, None, False),
    "ContainerRestartRules": Gate(34, 35, None, True),
    "HugePageStorageMediumSize": Gate(18, 19, 22, True),
    "DevicePlugins": Gate(8, 10, 26, True),
}

GATES: Mapping[str, Gate] = _Gates(GONE + ROWS, _NOTED)


def gate_fault(name: str, value: object, minor: int) -> str:
    """What is wrong with a feature gate that is set to this in this version; "" if nothing."""
    if name == "AllAlpha" and value is True:
        return "switches every alpha feature on"
    if name == "AllBeta" and value is False:
        return "switches every beta feature off"
    gate = GATES.get(name)
    if gate is None or not isinstance(value, bool):
        return ""
    now = stage(gate, minor)
    if value and now == "alpha":
        return f"is on, and alpha in 1.{minor}"
    if now == "deprecated" and value is not gate.deprecated_on:
        return f"is {str(value).lower()}, which is deprecated in 1.{minor}"
    if not value and gate.why and now in ("beta", "stable"):
        return f"is off; with it {gate.why}"
    return ""


def stage(gate: Gate, minor: int) -> str:
    """ "alpha", "beta", "stable", "deprecated", or "" where the version does not have it."""
    if gate.gone is not None and minor >= gate.gone:
        return ""
    if gate.deprecated is not None and minor >= gate.deprecated:
        return "deprecated"
    if gate.stable is not None and minor >= gate.stable:
        return "stable"
    if gate.beta is not None and minor >= gate.beta:
        return "beta"
    return "alpha" if minor >= gate.alpha else ""
