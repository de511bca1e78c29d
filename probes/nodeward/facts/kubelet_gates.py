"""The feature gates of Kubernetes 1.36 that say nothing of security, as data: a line for each with
the minor versions from which it is alpha, beta, stable and deprecated, and what a deprecated one is
by default. From test/compatibility_lifecycle/reference/versioned_feature_list.yaml."""

ROWS = """\
APIResponseCompression 8 16 - -
APIServerIdentity 20 26 - -
APIServerTracing 22 27 34 -
APIServingWithRoutine 30 - - -
AggregatedDiscoveryRemoveBetaType - - 0 33 on
AllowDNSOnlyNodeCSR - - 0 31 off
AllowInsecureKubeletCertificateSigningRequests - - 0 31 off
AllowOverwriteTerminationGracePeriodSeconds - - 0 32 off
AllowParsingUserUIDFromCertAuth - 33 - -
AllowServiceExternalIPs - - 0 -
AllowUnsafeMalformedObjectDeletion 32 - - -
AnonymousAuthConfigurableEndpoints 31 32 34 -
AnyVolumeDataSource 18 24 33 -
AuthorizeNodeWithSelectors 31 32 34 -
AuthorizePodWebsocketUpgradeCreatePermission - 35 - -
AuthorizeWithSelectors 31 32 34 -
BtreeWatchCache - 32 33 -
CBORServingAndStorage 32 - - -
CPUManagerPolicyBetaOptions - 23 - -
CPUManagerPolicyOptions 22 23 33 -
CRDObservedGenerationTracking - 35 - -
CRDValidationRatcheting 28 30 33 -
CRIListStreaming 36 - - -
CSIServiceAccountTokenSecrets - 35 36 -
CSIVolumeHealth 21 - - -
ChangeContainerStatusOnKubeletRestart - - 0 35 off
ClearingNominatedNodeNameAfterBinding 34 35 - -
CloudControllerManagerWatchBasedRoutesReconciliation 35 - - -
CloudControllerManagerWebhook 27 - - -
ClusterTrustBundle 27 33 - -
ComponentFlagz 32 36 - -
ComponentStatusz 32 36 - -
ConcurrentWatchObjectDecode - 31 - -
ConsistentListFromCache 28 31 34 -
ConstrainedImpersonation 35 36 - -
ContainerStopSignals 33 - - -
ContextualLogging 24 30 - -
ControllerManagerReleaseLeaderElectionLockOnExit 36 - - -
CoordinatedLeaderElection 31 33 - -
CrossNamespaceVolumeDataSource 26 - - -
CustomCPUCFSQuotaPeriod 12 - 36 -
CustomResourceFieldSelectors 30 31 32 -
DRAAdminAccess 32 34 36 -
DRAConsumableCapacity 34 36 - -
DRADeviceBindingConditions 34 36 - -
DRADeviceTaintRules 35 36 - -
DRADeviceTaints 33 36 - -
DRAExtendedResource 34 36 - -
DRAListTypeAttributes 36 - - -
DRANodeAllocatableResources 36 - - -
DRAPartitionableDevices 33 36 - -
DRAPrioritizedList 33 34 36 -
DRAResourceClaimDeviceStatus 32 33 - -
DRAResourceClaimGranularStatusAuthorization - 36 - -
DRAResourcePoolStatus 36 - - -
DRASchedulerFilterTimeout - 34 - -
DRAWorkloadResourceClaims 36 - - -
DeclarativeValidation - 33 36 -
DeclarativeValidationBeta - 36 - -
DeclarativeValidationTakeover - 33 - 36 off
DeploymentReplicaSetTerminatingReplicas 33 35 - -
DetectCacheInconsistency - 34 - -
DisableAllocatorDualWrite 31 33 34 -
DisableCPUQuotaWithExclusiveCPUs - 33 - 36 on
DisableNodeKubeProxyVersion 29 - - 31 on
EnvFiles 34 35 - -
ExecProbeTimeout - - 20 -
ExtendWebSocketsToKubelet - 36 - -
ExternalServiceAccountTokenSigner 32 34 36 -
GangScheduling 35 - - -
GenericWorkload 35 - - -
GitRepoVolumeDriver - - 0 33 off
GracefulNodeShutdown 20 21 - -
HPAConfigurableTolerance 33 35 - -
HPAScaleToZero 16 - - -
HostnameOverride 34 35 - -
ImageMaximumGCAge 29 30 35 -
ImageVolumeWithDigest 35 - - -
InPlacePodLevelResourcesVerticalScaling 35 36 - -
InPlacePodVerticalScalingExclusiveCPUs 32 - - -
InPlacePodVerticalScalingExclusiveMemory 34 - - -
InPlacePodVerticalScalingInitContainers - 36 - -
JobBackoffLimitPerIndex 28 29 33 -
JobManagedBy 30 32 35 -
JobPodReplacementPolicy 28 29 34 -
JobSuccessPolicy 30 31 33 -
KMSv1 - - 0 28 off
KubeletCgroupDriverFromCRI 28 31 34 -
KubeletPSI 33 34 36 -
KubeletPodResourcesDynamicResources 27 34 36 -
KubeletPodResourcesGet 27 34 36 -
KubeletPodResourcesListUseActivePods - - 0 34 on
KubeletRegistrationGetOnExistsOnly - - 0 32 off
KubeletSeparateDiskGC 29 31 - -
KubeletServiceAccountTokenForCredentialProviders 33 34 - -
ListFromCacheSnapshot 33 34 - -
LocalStorageCapacityIsolationFSQuotaMonitoring 15 31 - -
LogarithmicScaleDown 21 22 31 -
LoggingAlphaOptions 24 - - -
LoggingBetaOptions - 24 - -
ManifestBasedAdmissionControlConfig 36 - - -
MatchLabelKeysInPodAffinity 29 31 33 -
MatchLabelKeysInPodTopologySpread 25 27 - -
MatchLabelKeysInPodTopologySpreadSelectorMerge - 34 - -
MaxUnavailableStatefulSet 24 35 - -
MultiCIDRServiceAllocator 27 31 33 -
MutableCSINodeAllocatableCount 33 34 36 -
MutablePVNodeAffinity 35 - - -
MutablePodResourcesForSuspendedJobs 35 36 - -
MutableSchedulingDirectivesForSuspendedJobs 35 36 - -
MutatingAdmissionPolicy 32 34 36 -
NFTablesProxyMode 29 31 33 -
NativeHistograms 36 - - -
NodeDeclaredFeatures 35 36 - -
NodeInclusionPolicyInPodTopologySpread 25 26 33 -
NominatedNodeNameForExpectation 34 35 - -
OpenAPIEnums 23 24 - -
OpportunisticBatching - 35 - -
OrderedNamespaceDeletion - 30 34 -
PLEGOnDemandRelist - 36 - -
PersistentVolumeClaimUnusedSinceTime 36 - - -
PodAndContainerStatsFromCRI 23 - - -
PodDeletionCost 21 22 - -
PodLevelResourceManagers 36 - - -
PodLifecycleSleepAction 29 30 34 -
PodLifecycleSleepActionAllowZero 32 33 34 -
PodLogsQuerySplitStreams 32 - - -
PodObservedGenerationTracking 33 34 35 -
PodReadyToStartContainersCondition 28 29 - -
PodSchedulingReadiness 26 27 30 -
PodTopologyLabelsAdmission 33 35 - -
PodsAPI 36 - - -
PortForwardWebsockets 30 31 - -
PreferSameTrafficDistribution 33 34 35 -
PreventStaticPodAPIReferences - 34 - -
QOSReserved 11 - - -
RecoverVolumeExpansionFailure 23 32 34 -
RecursiveReadOnlyMounts 30 31 33 -
ReduceDefaultCrashLoopBackOffDecay 33 - - -
RelaxedDNSSearchValidation 32 33 34 -
RelaxedEnvironmentVariableValidation 30 32 34 -
RelaxedServiceNameValidation 34 36 - -
ReloadKubeletClientCAFile - 36 - -
RemoteRequestHeaderUID 32 33 - -
ResilientWatchCacheInitialization - 31 34 -
ResourceHealthStatus 31 36 - -
ResourceHealthStatusMessage - 36 - -
RestartAllContainersOnContainerExits 35 36 - -
RetryGenerateName 30 31 32 -
RuntimeClassInImageCriApi 29 - - -
SELinuxChangePolicy 32 33 36 -
SELinuxMount 30 33 - -
SELinuxMountReadWriteOncePod 25 27 36 -
SchedulerAsyncAPICalls - 34 - -
SchedulerAsyncPreemption 32 33 - -
SchedulerPopFromBackoffQ - 33 - -
SchedulerQueueingHints - 28 34 -
SeparateCacheWatchRPC - 28 - 33 off
SeparateTaintEvictionController - 29 34 -
ServiceAccountNodeAudienceRestriction - 32 - -
ServiceAccountTokenJTI 29 30 32 -
ServiceAccountTokenNodeBinding 29 31 33 -
ServiceAccountTokenNodeBindingValidation 29 30 32 -
ServiceAccountTokenPodNodeInfo 29 30 32 -
ServiceCIDRStatusFieldWiping - - 0 36 on
ShardedListAndWatch 36 - - -
SidecarContainers 28 29 33 -
SizeBasedListCostEstimate - 34 - -
StaleControllerConsistencyDaemonSet - 36 - -
StaleControllerConsistencyJob - 36 - -
StaleControllerConsistencyReplicaSet - 36 - -
StaleControllerConsistencyStatefulSet - 36 - -
StatefulSetSemanticRevisionComparison - 0 - -
StorageCapacityScoring 33 - - -
StorageNamespaceIndex - 30 - 33 on
StorageVersionAPI 20 - - -
StorageVersionHash 14 15 - -
StorageVersionMigrator 30 35 - -
StreamingCollectionEncodingToJSON - 33 34 -
StreamingCollectionEncodingToProtobuf - 33 34 -
StrictIPCIDRValidation 33 36 - -
StructuredAuthenticationConfiguration 29 30 34 -
StructuredAuthenticationConfigurationEgressSelector - 34 - -
StructuredAuthenticationConfigurationJWKSMetrics - 35 - -
SupplementalGroupsPolicy 31 33 35 -
SystemdWatchdog - 32 35 -
TaintTolerationComparisonOperators 35 - - -
TokenRequestServiceAccountUIDValidation - 34 - -
TopologyAwareWorkloadScheduling 36 - - -
TopologyManagerPolicyBetaOptions - 26 - -
TopologyManagerPolicyOptions 26 28 32 -
TranslateStreamCloseWebsocketRequests 29 30 - -
UnauthenticatedHTTP2DOSMitigation - 25 - -
UnknownVersionInteroperabilityProxy 28 36 - -
UserNamespacesHostNetworkSupport 35 - - -
VolumeAttributesClass 29 31 34 -
VolumeLimitScaling 35 - - -
WatchCacheInitializationPostStartHook - 31 - -
WatchList 27 32 - -
WinDSR 14 33 34 -
WinOverlay 14 20 34 -
WindowsCPUAndMemoryAffinity 32 - - -
WindowsGracefulNodeShutdown 32 34 - -
WindowsHostNetwork 26 - - 33 off
WorkloadAwarePreemption 36 - - -
WorkloadWithJob 36 - - -
"""

GONE = """\
APIListChunking - 25 29 - 33
APIPriorityAndFairness - 25 29 - 31
APISelfSubjectReview 26 27 28 - 30
AdmissionWebhookMatchConditions 27 28 30 - 33
AdvancedAuditing - - 25 - 28
AggregatedDiscoveryEndpoint 26 27 30 - 33
AllowServiceLBStatusOnNonLB - - - 29 35
AppArmor - 25 31 - 33
AppArmorFields - 30 31 - 33
CPUManager - 25 26 - 33
CSIInlineVolume - - 25 - 27
CSIMigration - - 25 - 27
CSIMigrationAWS - - 25 - 27
CSIMigrationAzureDisk - - 25 - 27
CSIMigrationAzureFile - 25 26 - 30
CSIMigrationGCE - - 25 - 28
CSIMigrationOpenStack - - 25 - 26
CSIMigrationPortworx - 25 33 - 36
CSIMigrationRBD 25 - - 28 31
CSIMigrationvSphere - 25 26 - 29
CSINodeExpandSecret 25 27 29 - 31
CSIStorageCapacity - - 25 - 28
CSRDuration - - 25 - 26
CloudDualStackNodeIPs 27 29 30 - 32
ComponentSLIs 26 27 - - 32
ConsistentHTTPGetHandlers - - 26 - 31
ControllerManagerLeaderMigration - - 25 - 27
CronJobTimeZone - 25 27 - 29
CronJobsScheduledAnnotation - 28 32 - 35
CustomResourceValidationExpressions - 25 29 - 31
DRAControlPlaneController 31 - - - 32
DaemonSetUpdateSurge - - 25 - 27
DefaultHostNetworkHostPortsInPodTemplates - - - 28 31
DefaultPodTopologySpread - - 25 - 26
DelegateFSGroupToCSIDriver - 25 26 - 28
DevicePluginCDIDevices 28 29 31 - 34
DisableAcceleratorUsageMetrics - - 25 - 28
DisableCloudProviders 25 29 31 - 33
DisableKubeletCloudCredentialProviders 25 29 31 - 33
DownwardAPIHugePages - 25 27 - 29
DryRun - - 25 - 28
DynamicKubeletConfig - - - 25 26
EfficientWatchResumption - - 25 - 33
ElasticIndexedJob - 27 31 - 34
EndpointSliceTerminatingCondition - 25 26 - 28
EphemeralContainers - - 25 - 27
ExpandCSIVolumes - - 25 - 27
ExpandInUsePersistentVolumes - - 25 - 27
ExpandPersistentVolumes - - 25 - 27
ExpandedDNSConfig 25 26 28 - 30
ExperimentalHostUserNamespaceDefaulting - 25 - 28 30
GRPCContainerProbe - 25 27 - 29
HPAContainerMetrics 25 27 30 - 32
HonorPVReclaimPolicy 25 31 33 - 36
IPTablesOwnershipCleanup 25 27 28 - 30
IPv6DualStack - - 25 - 27
IdentifyPodOS - - 25 - 27
InPlacePodVerticalScalingAllocatedStatus 32 - - 33 36
InTreePluginAWSUnregister 25 - - - 31
InTreePluginAzureDiskUnregister 25 - - - 31
InTreePluginAzureFileUnregister 25 - - - 31
InTreePluginGCEUnregister 25 - - - 31
InTreePluginOpenStackUnregister 25 - - - 31
InTreePluginPortworxUnregister 25 - - - 36
InTreePluginRBDUnregister 25 - - 28 31
InTreePluginvSphereUnregister 25 - - - 31
IndexedJob - - 25 - 26
JobMutableNodeSchedulingDirectives - 25 27 - 29
JobPodFailurePolicy 25 26 31 - 33
JobReadyPods - 25 29 - 31
JobTrackingWithFinalizers - 25 26 - 29
KMSv2 25 27 29 - 32
KMSv2KDF - 28 29 - 32
KubeProxyDrainingTerminatingNodes 28 30 31 - 33
KubeletCredentialProviders - 25 26 - 28
KubeletPodResources - 25 28 - 30
KubeletPodResourcesGetAllocatable - 25 28 - 30
LegacyServiceAccountTokenCleanUp 28 29 30 - 32
LegacyServiceAccountTokenNoAutoGeneration - 25 26 - 29
LegacyServiceAccountTokenTracking 26 27 28 - 30
LegacySidecarContainers - - - 33 34
LoadBalancerIPMode 29 30 32 - 35
LocalStorageCapacityIsolation - - 25 - 27
MemoryManager - 25 32 - 36
MinDomainsInPodTopologySpread - 25 30 - 32
MinimizeIPTablesRestore 26 27 28 - 30
MixedProtocolLBService - 25 26 - 28
MultiCIDRRangeAllocator 25 - - - 29
NetworkPolicyEndPort - - 25 - 27
NetworkPolicyStatus 25 - - - 28
NewVolumeManagerReconstruction - 27 30 - 32
NodeOutOfServiceVolumeDetach 25 26 28 - 32
NonPreemptingPriority - - 25 - 26
OpenAPIV3 - 25 27 - 29
PDBUnhealthyPodEvictionPolicy 26 27 31 - 33
PersistentVolumeLastPhaseTransitionTime 28 29 31 - 33
PodAffinityNamespaceSelector - - 25 - 26
PodDisruptionConditions 25 26 31 - 34
PodHasNetworkCondition 25 - - - 28
PodHostIPs 28 29 30 - 32
PodIndexLabel - 28 32 - 35
PodOverhead - - 25 - 26
PodSecurity - - 25 - 28
PreferNominatedNode - - 25 - 26
ProbeHostPodSecurityStandards - - 34 - 35
ProbeTerminationGracePeriod - 25 28 - 29
ProxyTerminatingEndpoints 25 26 28 - 30
ReadWriteOncePod 25 27 29 - 31
RemainingItemCount - 25 29 - 33
RemoveSelfLink - - 25 - 30
RetroactiveDefaultStorageClass 25 26 28 - 29
SecurityContextDeny 27 - - - 30
ServerSideApply - - 25 - 32
ServerSideFieldValidation - 25 27 - 32
ServiceIPStaticSubrange - 25 26 - 28
ServiceInternalTrafficPolicy - 25 26 - 28
ServiceLBNodePortControl - - 25 - 26
ServiceLoadBalancerClass - - 25 - 26
ServiceNodePortStaticSubrange 27 28 29 - 31
ServiceTrafficDistribution 30 31 33 - 36
SizeMemoryBackedVolumes - 25 - - 35
SkipReadOnlyValidationGCE 28 - - 29 31 on
StableLoadBalancerNodeSet - 27 30 - 32
StatefulSetAutoDeletePVC 25 27 32 - 35
StatefulSetMinReadySeconds - - 25 - 27
StatefulSetStartOrdinal 26 27 31 - 34
StrictCostEnforcementForVAP - 30 32 - 35
StrictCostEnforcementForWebhooks - 30 32 - 35
StructuredAuthorizationConfiguration 29 30 32 - 36
SuspendJob - - 25 - 26
TopologyAwareHints - 25 33 - 36
TopologyManager - 25 27 - 29
UserNamespacesPodSecurityStandards 29 - - - 35
UserNamespacesStatelessPodsSupport 25 - - - 28
ValidatingAdmissionPolicy 26 28 30 - 32
VolumeCapacityPriority 25 - - - 33
WatchBookmark - - 25 - 33
WatchFromStorageWithoutResourceVersion - 29 - 33 36
WindowsHostProcessContainers - 25 26 - 28
ZeroLimitedNominalConcurrencyShares - 29 30 - 32
"""
"""Those that a release from 1.25 on had and 1.36 has not, with the minor version from which they
are gone behind the four; 25 stands for that or any before. From kube_features.go (Kubernetes, API
server, component-base, controller manager, extensions) of each of these releases."""
