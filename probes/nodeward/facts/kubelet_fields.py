"""Every field of KubeletConfiguration v1beta1, what it holds, and the version that brought it.

From config/v1beta1/types.go of k8s.io/kubelet, 0.25 to 0.37: in these versions fields came and
none went. 25 stands for "before". `name[]` is an item of the list `name`. Those of logging and
tracing are from config types of k8s.io/component-base, those of taints from k8s.io/api.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from nodeward.lazy import dataclass, pattern


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
            logging.options.json.splitStream logging.options.text.splitStream
        """,
        Holds.BRANCH: """
            authentication authentication.x509 authentication.webhook
            authentication.anonymous authorization authorization.webhook memorySwap
            logging logging.options logging.options.json logging.options.text tracing
            registerWithTaints[] reservedMemory[] shutdownGracePeriodByPodPriority[]
            logging.vmodule[]
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
            shutdownGracePeriodByPodPriority reservedMemory registerWithTaints logging.vmodule
        """,
        Holds.MAP: """
            staticPodURLHeader cpuManagerPolicyOptions qosReserved evictionHard evictionSoft
            evictionSoftGracePeriod evictionMinimumReclaim featureGates systemReserved
            kubeReserved reservedMemory[].limits
        """,
        Holds.NUMBER: """
            port readOnlyPort registryPullQPS registryBurst eventRecordQPS eventBurst
            healthzPort oomScoreAdj nodeLeaseDurationSeconds imageGCHighThresholdPercent
            imageGCLowThresholdPercent maxPods podPidsLimit nodeStatusMaxImages maxOpenFiles
            kubeAPIQPS kubeAPIBurst evictionMaxPodGracePeriod podsPerCore
            iptablesMasqueradeBit iptablesDropBit containerLogMaxFiles
            memoryThrottlingFactor logging.verbosity logging.vmodule[].verbosity
            tracing.samplingRatePerMillion reservedMemory[].numaNode
            shutdownGracePeriodByPodPriority[].priority
            shutdownGracePeriodByPodPriority[].shutdownGracePeriodSeconds
        """,
        Holds.OPEN: """
            logging.flushFrequency logging.options.json.infoBufferSize
            logging.options.text.infoBufferSize
        """,
        Holds.TEXT: """
            staticPodPath staticPodURL address tlsCertFile tlsPrivateKeyFile tlsMinVersion
            authentication.x509.clientCAFile authorization.mode healthzBindAddress
            clusterDomain kubeletCgroups systemCgroups cgroupRoot cgroupDriver
            cpuManagerPolicy memoryManagerPolicy topologyManagerPolicy topologyManagerScope
            hairpinMode podCIDR resolvConf contentType memorySwap.swapBehavior
            containerLogMaxSize configMapAndSecretChangeDetectionStrategy reservedSystemCPUs
            showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup
            volumePluginDir providerID logging.format logging.vmodule[].filePattern
            tracing.endpoint registerWithTaints[].key registerWithTaints[].value
            registerWithTaints[].effect registerWithTaints[].timeAdded
            tlsCipherSuites[] clusterDNS[] enforceNodeAllocatable[] allowedUnsafeSysctls[]
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
            imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist[]
        """,
    },
    36: {
        Holds.LIST: """
            tlsCurvePreferences
        """,
        Holds.NUMBER: """
            tlsCurvePreferences[]
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

FRACTION = "memoryThrottlingFactor"
LONG = frozenset(
    ["podPidsLimit", "maxOpenFiles", "userNamespaces.idsPerPod", "logging.verbosity"]
)  # fmt: skip
"""Numbers of more than 32 bits."""
_DURATION = pattern(r"[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)")

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
        if path not in _TYPE_META:
            yield from _fault(child, path, minor)


def _fault(child: Any, path: str, minor: int | None) -> Iterator[Fault]:  # noqa: ANN401
    field = FIELDS.get(_schema(path))
    if field is None:
        yield Fault(path, _unknown(path))
    elif minor is not None and field.since > minor:
        yield Fault(path, f"came with 1.{field.since}")
    elif child is None or (path == FRACTION and isinstance(child, float)):
        return
    elif not _fits(child, field.holds):
        yield Fault(path, f"is no {field.holds}", fatal=True)
    elif field.holds is Holds.NUMBER and path not in LONG and abs(child) >= 1 << 31:
        yield Fault(path, "is too large a number", fatal=True)
    elif field.holds is Holds.BRANCH:
        yield from _faults(child, f"{path}.", minor)
    elif field.holds is Holds.LIST:
        for place, item in enumerate(child):
            yield from _fault(item, f"{path}.{place}", minor)
    elif field.holds is Holds.MAP:
        kind = _VALUES.get(path, Holds.TEXT)
        for key, item in child.items():
            if not _fits(item, kind):
                yield Fault(f"{path}.{key}", f"is no {kind}", fatal=True)


_VALUES = {
    "featureGates": Holds.BOOL,
    "staticPodURLHeader": Holds.LIST,
}
"""What the values of a map are, where they are no text."""


def _schema(path: str) -> str:
    """`registerWithTaints[].key` of `registerWithTaints.0.key`."""
    return re.sub(r"\.\d+(?=\.|\Z)", "[]", path)


def _fits(value: Any, holds: Holds) -> bool:  # noqa: ANN401  JSON of the host
    match holds:
        case Holds.BOOL:
            return isinstance(value, bool)
        case Holds.NUMBER:
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
        case Holds.TEXT:
            return isinstance(value, str)
        case Holds.DURATION:
            return isinstance(value, str) and _DURATION.fullmatch(value) is not None
        case Holds.LIST:
            return isinstance(value, list)
        case Holds.MAP | Holds.BRANCH:
            return isinstance(value, dict)
        case Holds.OPEN:
            return True


def _unknown(path: str) -> str:
    parent, _, key = _schema(path).rpartition(".")
    names = _below(f"{parent}." if parent else "")
    twin = [n for n in names if n.lower() == key.lower()]
    near = twin or get_close_matches(key, names, 1, 0.75)
    return f"is no field; did you mean {near[0]}?" if near else "is no field"


def _below(prefix: str) -> list[str]:
    return [
        p[len(prefix) :]
        for p in FIELDS
        if p.startswith(prefix) and "." not in p[len(prefix) :] and not p.endswith("[]")
    ]


def field_names(paths: Iterable[str]) -> frozenset[str]:
    """The last parts of the paths."""
    return frozenset(p.rpartition(".")[2] for p in paths)
