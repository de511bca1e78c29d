"""Services beside the one that gives credentials: other addresses, Azure's, names of attributes."""

from __future__ import annotations

from nodeward.checks.metadata_pods import weaker
from nodeward.checks.metadata_samples import SAC, cell_of, from_pods, not_asked
from nodeward.facts.cloud import Cloud
from nodeward.facts.endpoints import SECRET_ATTRIBUTES, Kind
from nodeward.facts.firewall import NodeRules
from nodeward.facts.matrix import Matrix, judge
from nodeward.facts.metadata import (
    Cell,
    HostReach,
    Metadata,
    Outcome,
    PodReach,
)
from nodeward.facts.podnet import PodNetworks
from nodeward.model import (
    Absent,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)


@check(
    "meta.alt-endpoints",
    title="Pods cannot use the platform's other metadata addresses",
    why=(
        "Some platforms serve metadata or credentials at other addresses than 169.254.169.254;"
        " Alibaba's is not even link-local. Rules written for the usual address leave them open."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Leave these addresses out of pods' egress too: 100.100.100.200, 169.254.42.42,"
        " 169.254.0.23, 169.254.170.2.",
        breaks="Pods that take the node's credential need one of their own (workload identity).",
    ),
    sources=[
        SAC,
        Source(
            "Alibaba Cloud: instance metadata",
            "https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata",
        ),
    ],
    mappings={"sac": ["S10a"]},
    examples=lambda: [
        Example(Status.PASS, from_pods("alibaba", cell_of(Outcome.TIMEOUT, "alibaba-metadata"))),
        Example(Status.FAIL, from_pods("alibaba", cell_of(Outcome.OPEN, "alibaba-metadata"))),
        Example(Status.FAIL, from_pods("scaleway", cell_of(Outcome.OPEN, "scaleway-metadata"))),
        Example(
            Status.NOT_APPLICABLE,
            from_pods("gce", cell_of(Outcome.OPEN, "gce-metadata")),
            "a platform without other addresses",
        ),
        *not_asked("alibaba"),
    ],
)
def alternative_endpoints(
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks | Absent | Unreadable,
    pods: PodReach | Absent | Unreadable,
    host: HostReach | Absent | Unreadable,
    rules: NodeRules | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    matrix = Matrix(cloud, networks, pods, host, p, rules)
    return judge(matrix, (Kind.ALTERNATIVE,), severity=weaker)


@check(
    "meta.azure-wireserver",
    title="Pods cannot use Azure's WireServer and HostGAPlugin",
    why=(
        "The WireServer at 168.63.129.16 hands the Azure agent its goal state, with settings and"
        " certificates of extensions. Ports 80 and 32526 are for that agent alone; DNS at the same"
        " address is normal."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Drop what is forwarded to ports 80 and 32526 of 168.63.129.16.",
        steps=(
            "iptables -I FORWARD -d 168.63.129.16/32 -p tcp -m multiport --dports 80,32526 -j DROP",
        ),
        breaks="Nothing that runs in a pod should need it.",
    ),
    sources=[
        SAC,
        Source(
            "Azure: what is IP address 168.63.129.16",
            "https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16",
        ),
    ],
    mappings={"sac": ["S10a"]},
    examples=lambda: [
        Example(
            Status.PASS,
            from_pods(
                "azure",
                cell_of(Outcome.TIMEOUT, "azure-wireserver"),
                cell_of(Outcome.TIMEOUT, "azure-hostgaplugin"),
            ),
        ),
        Example(
            Status.FAIL,
            from_pods(
                "azure",
                cell_of(Outcome.TIMEOUT, "azure-wireserver"),
                cell_of(Outcome.OPEN, "azure-hostgaplugin"),
            ),
            "one of the two ports is left open",
        ),
        Example(Status.NOT_APPLICABLE, from_pods("aws", cell_of(Outcome.OPEN)), "not on Azure"),
        *not_asked("azure"),
    ],
)
def azure_wireserver(
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks | Absent | Unreadable,
    pods: PodReach | Absent | Unreadable,
    host: HostReach | Absent | Unreadable,
    rules: NodeRules | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    return judge(Matrix(cloud, networks, pods, host, p, rules), (Kind.FABRIC,))


@check(
    "meta.attributes-names",
    title="Pods see no provisioning data among the instance's attributes",
    why=(
        "On Google Cloud the attributes kube-env, kubelet-config, user-data and startup-script"
        " hold what the node was set up with, often its bootstrap credential. nodeward asks for"
        " the list of names only and looks for these in its first 256 bytes."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Use Workload Identity, which hides them from pods, or keep pods from the metadata"
        " service.",
        breaks="Pods that take the node's credential need one of their own (workload identity).",
    ),
    sources=[
        SAC,
        Source(
            "GKE: protecting cluster metadata",
            "https://cloud.google.com/kubernetes-engine/docs/how-to/protecting-cluster-metadata",
        ),
    ],
    mappings={"sac": ["S10a", "S10d"]},
    examples=lambda: [
        Example(
            Status.PASS,
            from_pods("gce", cell_of(Outcome.CONCEALED, "gce-attribute-names")),
            "GKE's metadata server answers in its place",
        ),
        Example(
            Status.PASS,
            from_pods("gce", cell_of(Outcome.REFUSED, "gce-attribute-names")),
            "blocked altogether",
        ),
        Example(
            Status.FAIL,
            from_pods(
                "gce",
                Cell("gce-attribute-names", "169.254.169.254:80", Outcome.OPEN, "", ("kube-env",)),
            ),
            "kube-env is in the list",
        ),
        Example(
            Status.UNKNOWN,
            from_pods("gce", cell_of(Outcome.LONGER, "gce-attribute-names")),
            "none of them in the first 256 bytes of a longer list",
        ),
        Example(Status.NOT_APPLICABLE, from_pods("aws", cell_of(Outcome.OPEN)), "another cloud"),
        *not_asked("gce"),
    ],
)
def attribute_names(
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks | Absent | Unreadable,
    pods: PodReach | Absent | Unreadable,
    host: HostReach | Absent | Unreadable,
    rules: NodeRules | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    matrix = Matrix(cloud, networks, pods, host, p, rules)
    return judge(
        matrix, (Kind.NAMES,), bad=lambda c: bool(SECRET_ATTRIBUTES & set(c.words)),
        what="see provisioning data in",
    )  # fmt: skip
