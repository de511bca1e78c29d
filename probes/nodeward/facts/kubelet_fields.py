"""Every field of KubeletConfiguration v1beta1, what it holds, and the version that brought it.

From config/v1beta1/types.go of k8s.io/kubelet, 0.25 to 0.37: in these versions fields came and
none went. 25 stands for "before". What is inside an OPEN field, a list or a map is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any


class Holds(StrEnum):
    """The JSON type that decoding asks for."""

    BOOL = "bool"
    NUMBER = "number"
    TEXT = "text"
    DURATION = "duration"
    LIST = "list"
    MAP = "map"
    BRANCH = "branch"
    OPEN = "open"


_FIELDS = {
    25: {
        Holds.BOOL: """
            enableServer rotateCertificates serverTLSBootstrap
            authentication.webhook.enabled authentication.anonymous.enabled
            enableDebuggingHandlers enableContentionProfiling cgroupsPerQOS runOnce
            cpuCFSQuota serializeImagePulls enableControllerAttachDetach
            protectKernelDefaults makeIPTablesUtilChains failSwapOn kernelMemcgNotification
            enableSystemLogHandler enableProfilingHandler enableDebugFlagsHandler
            seccompDefault registerNode localStorageCapacityIsolation
        """,
        Holds.BRANCH: """
            authentication authentication.x509 authentication.webhook
            authentication.anonymous authorization authorization.webhook memorySwap
        """,
        Holds.DURATION: """
            syncFrequency fileCheckFrequency httpCheckFrequency
            authentication.webhook.cacheTTL authorization.webhook.cacheAuthorizedTTL
            authorization.webhook.cacheUnauthorizedTTL streamingConnectionIdleTimeout
            nodeStatusUpdateFrequency nodeStatusReportFrequency imageMinimumGCAge
            volumeStatsAggPeriod cpuManagerReconcilePeriod runtimeRequestTimeout
            cpuCFSQuotaPeriod evictionPressureTransitionPeriod shutdownGracePeriod
            shutdownGracePeriodCriticalPods
        """,
        Holds.LIST: """
            tlsCipherSuites clusterDNS enforceNodeAllocatable allowedUnsafeSysctls
            shutdownGracePeriodByPodPriority reservedMemory registerWithTaints
        """,
        Holds.MAP: """
            staticPodURLHeader cpuManagerPolicyOptions qosReserved evictionHard evictionSoft
            evictionSoftGracePeriod evictionMinimumReclaim featureGates systemReserved
            kubeReserved
        """,
        Holds.NUMBER: """
            port readOnlyPort registryPullQPS registryBurst eventRecordQPS eventBurst
            healthzPort oomScoreAdj nodeLeaseDurationSeconds imageGCHighThresholdPercent
            imageGCLowThresholdPercent maxPods podPidsLimit nodeStatusMaxImages maxOpenFiles
            kubeAPIQPS kubeAPIBurst evictionMaxPodGracePeriod podsPerCore
            iptablesMasqueradeBit iptablesDropBit containerLogMaxFiles
            memoryThrottlingFactor
        """,
        Holds.OPEN: """
            logging tracing
        """,
        Holds.TEXT: """
            staticPodPath staticPodURL address tlsCertFile tlsPrivateKeyFile tlsMinVersion
            authentication.x509.clientCAFile authorization.mode healthzBindAddress
            clusterDomain kubeletCgroups systemCgroups cgroupRoot cgroupDriver
            cpuManagerPolicy memoryManagerPolicy topologyManagerPolicy topologyManagerScope
            hairpinMode podCIDR resolvConf contentType memorySwap.swapBehavior
            containerLogMaxSize configMapAndSecretChangeDetectionStrategy reservedSystemCPUs
            showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup
            volumePluginDir providerID
        """,
    },
    26: {
        Holds.MAP: """
            topologyManagerPolicyOptions
        """,
    },
    27: {
        Holds.BOOL: """
            enableSystemLogQuery
        """,
        Holds.NUMBER: """
            maxParallelImagePulls
        """,
        Holds.TEXT: """
            containerRuntimeEndpoint imageServiceEndpoint
        """,
    },
    29: {
        Holds.DURATION: """
            imageMaximumGCAge
        """,
    },
    30: {
        Holds.DURATION: """
            containerLogMonitorInterval
        """,
        Holds.NUMBER: """
            containerLogMaxWorkers
        """,
        Holds.TEXT: """
            podLogsDir
        """,
    },
    31: {
        Holds.BOOL: """
            failCgroupV1
        """,
    },
    32: {
        Holds.BOOL: """
            singleProcessOOMKill
        """,
        Holds.BRANCH: """
            crashLoopBackOff
        """,
        Holds.DURATION: """
            crashLoopBackOff.maxContainerRestartPeriod
        """,
    },
    33: {
        Holds.BOOL: """
            mergeDefaultEvictionSettings
        """,
        Holds.BRANCH: """
            userNamespaces
        """,
        Holds.LIST: """
            preloadedImagesVerificationAllowlist
        """,
        Holds.NUMBER: """
            userNamespaces.idsPerPod
        """,
        Holds.TEXT: """
            imagePullCredentialsVerificationPolicy
        """,
    },
    36: {
        Holds.LIST: """
            tlsCurvePreferences
        """,
        Holds.TEXT: """
            memoryReservationPolicy
        """,
    },
}


@dataclass(frozen=True, slots=True)
class Field:
    """`since` is a minor version of 1."""

    path: str
    holds: Holds
    since: int


FIELDS: Mapping[str, Field] = {
    path: Field(path, holds, since)
    for since, kinds in _FIELDS.items()
    for holds, text in kinds.items()
    for path in text.split()
}

_TYPE_META = frozenset(["apiVersion", "kind"])


@dataclass(frozen=True, slots=True)
class Fault:
    """A key that the kubelet does not apply. `path` is dotted, `why` a phrase; `fatal` says that
    decoding fails, so that no kubelet starts with this file."""

    path: str
    why: str
    fatal: bool = False


def faults(value: Mapping[str, Any], minor: int | None) -> Iterator[Fault]:
    """What is wrong with a decoded KubeletConfiguration for this version (None: for any)."""
    yield from _faults(value, "", minor)


def _faults(value: Mapping[str, Any], prefix: str, minor: int | None) -> Iterator[Fault]:
    for key, child in value.items():
        path = prefix + key
        if path in _TYPE_META:
            continue
        field = FIELDS.get(path)
        if field is None:
            yield Fault(path, _unknown(path))
        elif minor is not None and field.since > minor:
            yield Fault(path, f"came with 1.{field.since}")
        elif child is None:
            continue
        elif not _fits(child, field.holds):
            yield Fault(path, f"is no {field.holds}", fatal=True)
        elif field.holds is Holds.BRANCH:
            yield from _faults(child, f"{path}.", minor)


def _fits(value: Any, holds: Holds) -> bool:  # noqa: ANN401  JSON of the host
    match holds:
        case Holds.BOOL:
            return isinstance(value, bool)
        case Holds.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Holds.TEXT | Holds.DURATION:
            return isinstance(value, str)
        case Holds.LIST:
            return isinstance(value, list)
        case Holds.MAP | Holds.BRANCH:
            return isinstance(value, dict)
        case Holds.OPEN:
            return True


def _unknown(path: str) -> str:
    parent, _, key = path.rpartition(".")
    names = _below(f"{parent}." if parent else "")
    twin = [n for n in names if n.lower() == key.lower()]
    near = twin or get_close_matches(key, names, 1, 0.75)
    return f"is no field; did you mean {near[0]}?" if near else "is no field"


def _below(prefix: str) -> list[str]:
    return [
        p[len(prefix) :] for p in FIELDS if p.startswith(prefix) and "." not in p[len(prefix) :]
    ]


def field_names(paths: Iterable[str]) -> frozenset[str]:
    """The last parts of the paths."""
    return frozenset(p.rpartition(".")[2] for p in paths)
