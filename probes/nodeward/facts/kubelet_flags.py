"""The kubelet's flags: which field of KubeletConfiguration each one sets, and what it holds.

From cmd/kubelet/app/options/options.go, versions 1.25 to 1.36. A flag of an older or newer kubelet
that is not here is still kept; only its kind is guessed then.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodeward.facts.pflags import Kind

# Flags that set a field. name -> dotted path.
_BOOLS = """
enable-server enableServer
fail-swap-on failSwapOn
anonymous-auth authentication.anonymous.enabled
authentication-token-webhook authentication.webhook.enabled
rotate-certificates rotateCertificates
rotate-server-certificates serverTLSBootstrap
register-node registerNode
enable-debugging-handlers enableDebuggingHandlers
contention-profiling enableContentionProfiling
make-iptables-util-chains makeIPTablesUtilChains
protect-kernel-defaults protectKernelDefaults
cgroups-per-qos cgroupsPerQOS
serialize-image-pulls serializeImagePulls
cpu-cfs-quota cpuCFSQuota
enable-controller-attach-detach enableControllerAttachDetach
fail-cgroupv1 failCgroupV1
kernel-memcg-notification kernelMemcgNotification
local-storage-capacity-isolation localStorageCapacityIsolation
seccomp-default seccompDefault
"""
_TEXTS = """
pod-manifest-path staticPodPath
manifest-url staticPodURL
address address
tls-cert-file tlsCertFile
tls-private-key-file tlsPrivateKeyFile
tls-min-version tlsMinVersion
healthz-bind-address healthzBindAddress
cluster-domain clusterDomain
volume-plugin-dir volumePluginDir
kubelet-cgroups kubeletCgroups
system-cgroups systemCgroups
cgroup-driver cgroupDriver
cgroup-root cgroupRoot
cpu-manager-policy cpuManagerPolicy
memory-manager-policy memoryManagerPolicy
topology-manager-policy topologyManagerPolicy
topology-manager-scope topologyManagerScope
hairpin-mode hairpinMode
pod-cidr podCIDR
resolv-conf resolvConf
container-log-max-size containerLogMaxSize
system-reserved-cgroup systemReservedCgroup
kube-reserved-cgroup kubeReservedCgroup
reserved-cpus reservedSystemCPUs
authorization-mode authorization.mode
client-ca-file authentication.x509.clientCAFile
container-runtime-endpoint containerRuntimeEndpoint
image-service-endpoint imageServiceEndpoint
provider-id providerID
kube-api-content-type contentType
sync-frequency syncFrequency
file-check-frequency fileCheckFrequency
http-check-frequency httpCheckFrequency
streaming-connection-idle-timeout streamingConnectionIdleTimeout
node-status-update-frequency nodeStatusUpdateFrequency
minimum-image-ttl-duration imageMinimumGCAge
volume-stats-agg-period volumeStatsAggPeriod
cpu-cfs-quota-period cpuCFSQuotaPeriod
runtime-request-timeout runtimeRequestTimeout
eviction-pressure-transition-period evictionPressureTransitionPeriod
cpu-manager-reconcile-period cpuManagerReconcilePeriod
authentication-token-webhook-cache-ttl authentication.webhook.cacheTTL
authorization-webhook-cache-authorized-ttl authorization.webhook.cacheAuthorizedTTL
authorization-webhook-cache-unauthorized-ttl authorization.webhook.cacheUnauthorizedTTL
"""
_INTS = """
port port
read-only-port readOnlyPort
healthz-port healthzPort
registry-qps registryPullQPS
registry-burst registryBurst
event-qps eventRecordQPS
event-burst eventBurst
oom-score-adj oomScoreAdj
image-gc-high-threshold imageGCHighThresholdPercent
image-gc-low-threshold imageGCLowThresholdPercent
max-pods maxPods
pod-max-pids podPidsLimit
pods-per-core podsPerCore
kube-api-qps kubeAPIQPS
kube-api-burst kubeAPIBurst
max-open-files maxOpenFiles
container-log-max-files containerLogMaxFiles
node-status-max-images nodeStatusMaxImages
iptables-masquerade-bit iptablesMasqueradeBit
iptables-drop-bit iptablesDropBit
eviction-max-pod-grace-period evictionMaxPodGracePeriod
"""
_LISTS = """
tls-cipher-suites tlsCipherSuites
tls-curve-preferences tlsCurvePreferences
cluster-dns clusterDNS
allowed-unsafe-sysctls allowedUnsafeSysctls
enforce-node-allocatable enforceNodeAllocatable
register-with-taints registerWithTaints
"""
_MAPS = """
eviction-hard evictionHard
eviction-soft evictionSoft
eviction-soft-grace-period evictionSoftGracePeriod
eviction-minimum-reclaim evictionMinimumReclaim
kube-reserved kubeReserved
system-reserved systemReserved
qos-reserved qosReserved
manifest-url-header staticPodURLHeader
cpu-manager-policy-options cpuManagerPolicyOptions
topology-manager-policy-options topologyManagerPolicyOptions
"""
# Flags that set no field and take no value.
_SWITCHES = """
runonce exit-on-lock-contention register-schedulable really-crash-for-testing
experimental-allocatable-ignore-eviction keep-terminated-pod-volumes help version
alsologtostderr logtostderr skip-headers skip-log-headers add-dir-header one-output
log-text-split-stream log-json-split-stream boot-id-file-check allow-privileged
experimental-kernel-memcg-notification experimental-check-node-capabilities-before-mount h
"""


def _table(text: str, kind: Kind) -> dict[str, tuple[str, Kind]]:
    return {
        name: (path, kind) for name, path in (line.split() for line in text.split("\n") if line)
    }


FIELDS: Mapping[str, tuple[str, Kind]] = {
    **_table(_BOOLS, Kind.BOOL),
    **_table(_TEXTS, Kind.TEXT),
    **_table(_INTS, Kind.INT),
    **_table(_LISTS, Kind.LIST),
    **_table(_MAPS, Kind.MAP),
    "feature-gates": ("featureGates", Kind.GATES),
}
"""Flag -> (field, kind)."""

FLAG_OF: Mapping[str, str] = {path: flag for flag, (path, _) in FIELDS.items()}

_PLAIN = """
config config-dir kubeconfig bootstrap-kubeconfig hostname-override node-ip root-dir cert-dir
node-labels cloud-provider cloud-config lock-file pod-infra-container-image container-runtime
image-credential-provider-config image-credential-provider-bin-dir v vmodule logging-format
log-flush-frequency experimental-mounter-path network-plugin cni-bin-dir cni-conf-dir
minimum-container-ttl-duration maximum-dead-containers maximum-dead-containers-per-container
master-service-namespace seccomp-profile-root log-dir log-file stderrthreshold reserved-memory
runtime-cgroups
"""

KINDS: Mapping[str, Kind] = {
    **{name: kind for name, (_, kind) in FIELDS.items()},
    **dict.fromkeys(_SWITCHES.split(), Kind.BOOL),
    **dict.fromkeys(_PLAIN.split(), Kind.TEXT),
}
"""Every flag we know of -> what it holds."""
