"""What a KubeletConfiguration field is when nobody sets it, by version, as data.

pkg/kubelet/apis/config/v1beta1/defaults.go of 1.25 to 1.36, compared value by value; a later
version is taken to keep the last value. `LEGACY` is applyLegacyDefaults of
cmd/kubelet/app/options/options.go, unchanged in all of them: a kubelet without --config starts
from these, and keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEGACY: Mapping[str, Any] = {
    "authentication.anonymous.enabled": True,
    "authentication.webhook.enabled": False,
    "authorization.mode": "AlwaysAllow",
    "readOnlyPort": 10255,
}

EVER = 0

_SAME: Mapping[str, Any] = {
    "authentication.anonymous.enabled": False,
    "authentication.webhook.enabled": True,
    "authentication.webhook.cacheTTL": "2m",
    "authentication.x509.clientCAFile": "",
    "authorization.mode": "Webhook",
    "authorization.webhook.cacheAuthorizedTTL": "5m",
    "authorization.webhook.cacheUnauthorizedTTL": "30s",
    "readOnlyPort": 0,
    "address": "0.0.0.0",  # noqa: S104  the kubelet's own default
    "port": 10250,
    "healthzPort": 10248,
    "healthzBindAddress": "127.0.0.1",
    "enableServer": True,
    "enableDebuggingHandlers": True,
    "enableSystemLogHandler": True,
    "enableProfilingHandler": True,
    "enableDebugFlagsHandler": True,
    "enableSystemLogQuery": False,
    "enableContentionProfiling": False,
    "streamingConnectionIdleTimeout": "4h",
    "protectKernelDefaults": False,
    "makeIPTablesUtilChains": True,
    "rotateCertificates": False,
    "serverTLSBootstrap": False,
    "tlsCertFile": "",
    "tlsPrivateKeyFile": "",
    "tlsMinVersion": "",
    "tlsCipherSuites": [],
    "seccompDefault": False,
    "allowedUnsafeSysctls": [],
    "podPidsLimit": -1,
    "imageGCHighThresholdPercent": 85,
    "imageGCLowThresholdPercent": 80,
    "imageMaximumGCAge": "0s",
    "staticPodPath": "",
    "staticPodURL": "",
    "failSwapOn": True,
    "memorySwap.swapBehavior": "",
    "enableControllerAttachDetach": True,
    "registerNode": True,
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": "",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "volumePluginDir": "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
    "podLogsDir": "/var/log/pods",
    "hairpinMode": "promiscuous-bridge",
    "maxPods": 110,
    "podsPerCore": 0,
    "maxOpenFiles": 1000000,
    "registryPullQPS": 5,
    "oomScoreAdj": -999,
    "clusterDomain": "",
    "clusterDNS": [],
    "userNamespaces.idsPerPod": 65536,
    "serializeImagePulls": True,
    "featureGates": {},
}

DEFAULTS: Mapping[str, tuple[tuple[int, Any], ...]] = {
    **{path: ((EVER, value),) for path, value in _SAME.items()},
    "eventRecordQPS": ((EVER, 5), (27, 50)),
    "eventBurst": ((EVER, 10), (27, 100)),
    "kubeAPIQPS": ((EVER, 5), (27, 50)),
    "kubeAPIBurst": ((EVER, 10), (27, 100)),
    "failCgroupV1": ((EVER, False), (35, True)),
    "imagePullCredentialsVerificationPolicy": ((EVER, ""), (35, "NeverVerifyPreloadedImages")),
}
"""Path -> (minor version from which, value), oldest first. A field that is not here has none."""

_VALUES = """
    address port healthzBindAddress streamingConnectionIdleTimeout authorization.mode
    authentication.webhook.cacheTTL authorization.webhook.cacheAuthorizedTTL
    authorization.webhook.cacheUnauthorizedTTL eventBurst kubeAPIBurst maxPods maxOpenFiles
    hairpinMode volumePluginDir podLogsDir cgroupDriver containerRuntimeEndpoint
"""
VALUES = frozenset(_VALUES.split())
"""Fields that are no pointers in v1beta1: a zero in the file counts as not set, and the default
applies. (`healthzPort: 0` and the like are pointers, and mean zero.)"""


def defaults(path: str, minor: int | None) -> tuple[tuple[int, Any], ...]:
    """The rows of DEFAULTS that may hold for this version: one, or all when it is not known."""
    rows = DEFAULTS.get(path, ((EVER, None),))
    if minor is None:
        return rows
    return ([row for row in rows if row[0] <= minor][-1],)


def plain_defaults(minor: int) -> dict[str, Any]:
    """The defaults of a kubelet of this version as the JSON that it shows of itself."""
    out: dict[str, Any] = {}
    for path in DEFAULTS:
        ((_, value),) = defaults(path, minor)
        node = out
        *parents, last = path.split(".")
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
    return out
