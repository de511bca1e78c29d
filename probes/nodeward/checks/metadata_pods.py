"""What pods can get of the cloud's metadata endpoints, from the networks they really have."""

from __future__ import annotations

from dataclasses import replace

from nodeward.checks.metadata_samples import (
    EC2,
    NET,
    NO_RIGHT,
    NO_RULES,
    SAC,
    cell_of,
    from_pods,
    not_asked,
    on_cloud,
)
from nodeward.facts.cloud import Cloud
from nodeward.facts.endpoints import BY_NAME, Kind, sent_table
from nodeward.facts.firewall import NodeRules
from nodeward.facts.matrix import Matrix, judge, reached
from nodeward.facts.metadata import (
    UNCLEAR,
    Cell,
    HostReach,
    Metadata,
    Outcome,
    PodReach,
    chosen_cloud,
    why_not,
)
from nodeward.facts.podnet import Pod, PodNetworks
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

HOW = (
    "nodeward asks from every network that a running pod has, once each, as a process without"
    " any right: a child of nodeward enters the pod's network namespace, proves that it has left"
    " the host's, becomes an unused uid without capabilities, and sends the requests of the table"
    " for this node's cloud, all at once. It follows no redirect, uses no proxy, makes no second"
    " attempt, reads at most 256 bytes of a body and keeps none of them. An answer of another"
    " shape than the service's own is `intercepted`, which is neither open nor closed. Nothing is"
    " sent where no cloud is recognised and none is configured. Rules that go by a pod's cgroup"
    " or process instead of its network are not seen from here."
)
_AGENT = Pod("2b7e9a40-0000-4000-8000-000000000002", "kube-system", "cni")
_OWN = Pod("2b7e9a40-0000-4000-8000-000000000003", "default", "scraper")


def weaker(cell: Cell) -> Severity | None:
    """An endpoint that wants a token which nodeward does not ask for is not all open."""
    return Severity.MEDIUM if cell.outcome is Outcome.TOKEN_WANTED else None


JUDGED = (Kind.IMDS, Kind.ALTERNATIVE)


@check(
    "meta.pod.reach",
    title="No pod can use the cloud's metadata service",
    why=(
        "The metadata service gives the node's own cloud credential, and often the data that the"
        " node was set up with, to whoever may ask. A pod that reaches it is as good as the node"
        f" in the eyes of the cloud.\n\n{HOW}\n\n{sent_table()}"
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Keep pods from the metadata addresses: a NetworkPolicy whose egress leaves them out, the"
        " platform's own switch (AKS IMDS restriction, GKE Workload Identity), or on AWS session"
        " tokens with hop limit 1. Cover IPv6 and every address of the platform.",
        steps=(
            "aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required"
            " --http-put-response-hop-limit 1",
        ),
        breaks="Pods that take the node's credential need one of their own (workload identity).",
    ),
    sources=[SAC, EC2],
    mappings={"sac": ["S10a", "S10c"], "nsa-cisa-1.2": ["CL"]},
    examples=lambda: [
        Example(Status.PASS, from_pods("aws", cell_of(Outcome.TIMEOUT)), "dropped on the way"),
        Example(
            Status.PASS,
            from_pods("aws", cell_of(Outcome.HOP_LIMIT)),
            "the service answers, but its token does not come as far as a pod",
        ),
        Example(
            Status.PASS,
            from_pods("gce", cell_of(Outcome.CONCEALED, "gce-metadata")),
            "GKE's metadata server for pods answers in its place",
        ),
        Example(Status.FAIL, from_pods("aws", cell_of(Outcome.OPEN)), "IMDSv1 answers a pod"),
        Example(
            Status.FAIL, from_pods("aws", cell_of(Outcome.TOKEN)), "a pod gets an IMDSv2 token"
        ),
        Example(
            Status.FAIL,
            from_pods(
                "aws",
                cell_of(Outcome.UNREACHABLE),
                Cell("aws-imds", "[fd00:ec2::254]:80", Outcome.OPEN),
            ),
            "IPv4 is blocked, IPv6 is not",
        ),
        Example(
            Status.FAIL,
            from_pods("alibaba", cell_of(Outcome.TOKEN_WANTED, "alibaba-metadata")),
            "reached, in hardened mode (medium)",
        ),
        Example(
            Status.UNKNOWN,
            from_pods("aws", cell_of(Outcome.INTERCEPTED)),
            "something else answers in the service's place",
        ),
        Example(Status.UNKNOWN, from_pods("aws", cell_of(Outcome.SILENT)), "connected, no answer"),
        *not_asked(),
    ],
)
def pod_reach(
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks | Absent | Unreadable,
    pods: PodReach | Absent | Unreadable,
    host: HostReach | Absent | Unreadable,
    rules: NodeRules | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    return judge(Matrix(cloud, networks, pods, host, p, rules), JUDGED, severity=weaker, whole=True)


@check(
    "meta.hop-limit",
    title="A pod gets no session token of the metadata service",
    why=(
        "With a hop limit of 1 the answer that carries the token ends at the node: a pod, one hop"
        " further, never sees it. The limit does not protect the version without tokens."
        " nodeward asks for a token that lives one second and throws it away unread."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Set the hop limit to 1.",
        steps=(
            "aws ec2 modify-instance-metadata-options --instance-id ID"
            " --http-put-response-hop-limit 1",
        ),
        breaks="Pods that take the node's credential need one of their own (workload identity).",
    ),
    sources=[EC2, SAC],
    mappings={"sac": ["S10a"]},
    examples=lambda: [
        Example(Status.PASS, from_pods("aws", cell_of(Outcome.HOP_LIMIT)), "hop limit 1"),
        Example(Status.PASS, from_pods("aws", cell_of(Outcome.REFUSED)), "blocked altogether"),
        Example(
            Status.FAIL, from_pods("aws", cell_of(Outcome.TOKEN, token_given=True)), "hop limit 2"
        ),
        Example(
            Status.FAIL,
            from_pods("aws", cell_of(Outcome.OPEN, token_given=True)),
            "v1 is open, and the token comes too",
        ),
        Example(
            Status.PASS,
            from_pods("aws", cell_of(Outcome.OPEN)),
            "v1 is open (see meta.imdsv1), but no token comes",
        ),
        Example(
            Status.UNKNOWN,
            from_pods("aws", replace(cell_of(Outcome.OPEN), token_unclear=True)),
            "v1 is open, and the request for a token gets an answer that is none",
        ),
        Example(
            Status.NOT_APPLICABLE,
            from_pods("gce", cell_of(Outcome.OPEN, "gce-metadata")),
            "a cloud without a hop limit",
        ),
        *not_asked(),
    ],
)
def hop_limit(
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks | Absent | Unreadable,
    pods: PodReach | Absent | Unreadable,
    host: HostReach | Absent | Unreadable,
    rules: NodeRules | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    name = chosen_cloud(cloud, p)
    if why_not(cloud, p) is None and name != "aws":
        return Verdict.not_applicable(f"{name} has no hop limit for its metadata service")
    matrix = Matrix(cloud, networks, pods, host, p, rules)
    found = judge(matrix, (Kind.IMDS,), bad=lambda c: c.token_given, what="get a token of")
    unclear = [(at, c) for at in matrix.places for c in at.cells if c.token_unclear]
    if found.status is Status.PASS and unclear:
        place, cell = unclear[0]
        because = f"{place} asked for a token and got an unclear answer: {cell}"
        return Verdict.unknown(because, *found.evidence)
    return found


@check(
    "meta.imdsv1",
    title="The metadata service answers only with a session token",
    why=(
        "The first version answers any plain GET, so a pod, or a server that can be talked into"
        " fetching a URL, gets the node's credential. The second demands a token that such a"
        " request cannot have. A hop limit does not protect the first version."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Demand session tokens (AWS: HttpTokens=required; OCI: disable IMDSv1; Alibaba: hardened"
        " mode).",
        steps=("aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required",),
        breaks="Software too old for session tokens loses the metadata service.",
    ),
    sources=[
        EC2,
        Source(
            "Oracle Cloud: instance metadata service",
            "https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm",
        ),
    ],
    mappings={"sac": ["S10a"], "nsa-cisa-1.2": ["CL"]},
    examples=lambda: [
        Example(
            Status.PASS,
            from_pods("aws", host=HostReach((cell_of(Outcome.TOKEN, plain_refused=True),))),
            "a plain GET from the host is answered 401",
        ),
        Example(
            Status.UNKNOWN,
            from_pods("aws", host=HostReach((cell_of(Outcome.TOKEN),))),
            "a token comes, and a plain GET gets no answer in time",
        ),
        Example(
            Status.UNKNOWN,
            from_pods(
                "oci",
                host=HostReach(
                    (
                        cell_of(Outcome.INTERCEPTED, "oci-imds-v2"),
                        cell_of(Outcome.DENIED, "oci-imds-v1"),
                    )
                ),
            ),
            "404 from something that is not the service",
        ),
        Example(
            Status.PASS,
            from_pods("oci", host=HostReach((cell_of(Outcome.DENIED, "oci-imds-v1"),))),
            "OCI answers 404: the first version is off",
        ),
        Example(
            Status.FAIL,
            from_pods("aws", host=HostReach((cell_of(Outcome.OPEN),))),
            "a plain GET from the host is answered",
        ),
        Example(Status.FAIL, from_pods("aws", cell_of(Outcome.OPEN)), "a plain GET from a pod"),
        Example(
            Status.UNKNOWN,
            from_pods("aws", cell_of(Outcome.TIMEOUT), host=HostReach((cell_of(Outcome.TIMEOUT),))),
            "nothing here gets an answer: the version cannot be told",
        ),
        Example(
            Status.UNKNOWN,
            (on_cloud("aws"), NET, NO_RIGHT, Unreadable("AskFromHost", "offline"), NO_RULES),
            "a tree at rest",
        ),
        Example(
            Status.NOT_APPLICABLE,
            from_pods("hetzner", cell_of(Outcome.OPEN, "hetzner-metadata")),
            "a cloud without session tokens",
        ),
        *not_asked()[-3:],
    ],
)
def imdsv1(
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks | Absent | Unreadable,
    pods: PodReach | Absent | Unreadable,
    host: HostReach | Absent | Unreadable,
    rules: NodeRules | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    early = why_not(cloud, p)
    if early is not None:
        return early
    name = chosen_cloud(cloud, p)
    if not any(e.version_one for e in BY_NAME.values() if e.cloud == name):
        return Verdict.not_applicable(f"{name} has no session tokens that it could demand")
    matrix = Matrix(cloud, networks, pods, host, p, rules)
    rows = [("host", matrix.host_cells), *((f"pod {at}", at.cells) for at in matrix.places)]
    said = [
        (who, cell)
        for who, found in rows
        for cell in found
        if BY_NAME[cell.endpoint].version_one and _says_version(cell, found)
    ]
    open_ones = [(who, cell) for who, cell in said if cell.outcome is Outcome.OPEN]
    if open_ones:
        evidence = most([Evidence(who, str(cell)) for who, cell in open_ones])
        who, cell = open_ones[0]
        return Verdict.failed(f"{who} is answered without a token: {cell}", *evidence)
    if not said:
        return Verdict.unknown(
            "no place here gets an answer of the service's own: the version cannot be told"
        )
    who, cell = said[0]
    return Verdict.passed(f"without a token there is no data: {cell}", Evidence(who, str(cell)))


def _says_version(cell: Cell, beside: tuple[Cell, ...]) -> bool:
    """Whether the service itself told if it answers without a token. What denies one request and
    answers another at the same address in another shape than the service's is not the service."""
    match cell.outcome:
        case Outcome.TOKEN:
            return cell.plain_refused
        case Outcome.DENIED:
            others = {c.outcome for c in beside if c.address == cell.address}
            return Outcome.INTERCEPTED not in others
        case outcome:
            return outcome in (Outcome.OPEN, Outcome.TOKEN_WANTED, Outcome.HOP_LIMIT)


@check(
    "meta.hostnetwork",
    title="Only system pods share the host's network while it reaches the metadata service",
    why=(
        "A pod with hostNetwork asks as the host does: no NetworkPolicy and no hop limit stands"
        " between it and the metadata service."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Take hostNetwork from pods that do not need it (Pod Security Standard `baseline`), or"
        " name their namespaces under `metadata.system_namespaces` when they are part of the"
        " platform.",
        breaks="A pod that listens on the node's address needs a hostPort or a Service instead.",
    ),
    sources=[
        SAC,
        Source(
            "Pod Security Standards",
            "https://kubernetes.io/docs/concepts/security/pod-security-standards/",
        ),
    ],
    mappings={"sac": ["S10a"], "cis-kubernetes-1.12": ["5.2.5"], "nsa-cisa-1.2": ["PS"]},
    examples=lambda: [
        Example(
            Status.PASS,
            (on_cloud("aws"), PodNetworks(on_host=(_AGENT,)), HostReach((cell_of(Outcome.TOKEN),))),
            "kube-system only",
        ),
        Example(
            Status.PASS,
            (on_cloud("aws"), PodNetworks(on_host=(_OWN,)), HostReach((cell_of(Outcome.REFUSED),))),
            "the host itself is kept from the service",
        ),
        Example(
            Status.PASS,
            (
                on_cloud("aws"),
                PodNetworks(on_host=(_OWN,)),
                HostReach((cell_of(Outcome.REFUSED), cell_of(Outcome.OPEN, "eks-pod-identity"))),
            ),
            "only the agent that is meant for pods answers",
        ),
        Example(
            Status.FAIL,
            (on_cloud("aws"), PodNetworks(on_host=(_OWN,)), HostReach((cell_of(Outcome.TOKEN),))),
            "default/scraper",
        ),
        Example(
            Status.UNKNOWN,
            (on_cloud("aws"), PodNetworks(on_host=(_OWN,)), Unreadable("the host's network", "no")),
        ),
        Example(
            Status.UNKNOWN,
            (on_cloud("aws"), Unreadable("/proc", "EACCES"), HostReach((cell_of(Outcome.TOKEN),))),
        ),
        Example(
            Status.NOT_APPLICABLE,
            (Cloud(None, (), ("/sys/class/dmi/id",)), PodNetworks(), HostReach()),
            "no cloud is recognised",
        ),
    ],
)
def host_network_pods(
    cloud: Cloud | Absent | Unreadable,
    networks: PodNetworks,
    host: HostReach | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    early = why_not(cloud, p)
    if early is not None:
        return early
    own = [pod for pod in networks.on_host if pod.namespace not in p.system_namespaces]
    evidence = most([Evidence("pod in the host's network", str(pod), "/proc") for pod in own])
    if not own and not networks.hidden and networks.complete:
        if not networks.on_host:
            return Verdict.passed("no pod shares the host's network")
        count = len(networks.on_host)
        return Verdict.passed(f"{count} pods share the host's network, all of the system")
    if not isinstance(host, HostReach) or not host.cells:
        return Verdict.unknown("it is not known what the host's network reaches", *evidence)
    judged = [cell for cell in host.cells if cell.kind in (*JUDGED, Kind.FABRIC)]
    if not judged:
        return Verdict.unknown("it is not known what the host's network reaches", *evidence)
    open_cells = [cell for cell in judged if reached(cell)]
    if own and open_cells:
        return Verdict.failed(
            f"{len(own)} pods outside the system's namespaces share the host's network, which"
            f" reaches {open_cells[0]}: {', '.join(map(str, own[:5]))}",
            *evidence,
        )
    unclear = [cell for cell in judged if cell.outcome in UNCLEAR]
    if unclear:
        return Verdict.unknown(f"the host got an unclear answer: {unclear[0]}", *evidence)
    if not open_cells:
        return Verdict.passed(f"the host's network does not reach it: {judged[0]}", *evidence)
    return Verdict.unknown("some pods' networks may not be looked at", *evidence)
