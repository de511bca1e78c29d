"""What pods can get of the cloud's metadata endpoints, from the networks they really have."""

from __future__ import annotations

from dataclasses import replace

from nodeward.facts.cloud import Cloud, Sign
from nodeward.facts.endpoints import BY_NAME, SECRET_ATTRIBUTES, Kind, sent_table
from nodeward.facts.firewall import NodeRules
from nodeward.facts.matrix import Matrix, judge, reached
from nodeward.facts.metadata import (
    UNCLEAR,
    Cell,
    HostReach,
    Metadata,
    Outcome,
    Place,
    PodReach,
    chosen_cloud,
    why_not,
)
from nodeward.facts.podnet import Pod, PodNetwork, PodNetworks
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

SAC = Source(
    "Securing a Cluster: restricting cloud metadata API access",
    "https://kubernetes.io/docs/tasks/administer-cluster/securing-a-cluster/#restricting-cloud-metadata-api-access",
)
EC2 = Source(
    "Amazon EC2: use IMDS, session tokens and the hop limit",
    "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html",
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


def _cloud(name: str) -> Cloud:
    return Cloud(name, (Sign(name, name, "/sys/class/dmi/id/sys_vendor"),))


def _cell(
    outcome: Outcome,
    name: str = "aws-imds",
    *,
    token_given: bool = False,
    plain_refused: bool = False,
) -> Cell:
    address = BY_NAME[name].addresses[0]
    return Cell(name, address, outcome, token_given=token_given, plain_refused=plain_refused)


_WEB = Pod("2b7e9a40-0000-4000-8000-000000000001", "default", "web")
_AGENT = Pod("2b7e9a40-0000-4000-8000-000000000002", "kube-system", "cni")
_OWN = Pod("2b7e9a40-0000-4000-8000-000000000003", "default", "scraper")
NO_RULES = NodeRules()
_NET = PodNetworks((PodNetwork(4026532001, (4711,), (_WEB,)),))
_NO_RIGHT = Unreadable("the pods' networks", "needs CAP_SYS_ADMIN to enter them")


def _pods(*cells: Cell) -> PodReach:
    return PodReach((Place((str(_WEB),), 4026532001, cells),))


def _given(
    cloud: str, *cells: Cell, host: HostReach | None = None
) -> tuple[Cloud, PodNetworks, PodReach, HostReach, NodeRules]:
    return _cloud(cloud), _NET, _pods(*cells), host or HostReach(), NO_RULES


def _not_asked(cloud: str = "aws") -> tuple[Example, ...]:
    """The rows that every rule about pods' reach has alike."""
    here, none = _cloud(cloud), HostReach()
    return (
        Example(
            Status.UNKNOWN,
            (here, PodNetworks(), PodReach(), none, NO_RULES),
            "no pod with a network of its own: there is nothing to ask from",
        ),
        Example(Status.UNKNOWN, (here, _NET, _NO_RIGHT, none, NO_RULES), "needs CAP_SYS_ADMIN"),
        Example(
            Status.UNKNOWN,
            (
                here,
                _NET,
                PodReach((Place((str(_WEB),), 1, (), "the pod is gone"),)),
                none,
                NO_RULES,
            ),
            "a pod's network went away while it was asked",
        ),
        Example(
            Status.UNKNOWN,
            (Cloud(None), PodNetworks(), PodReach(), none, NO_RULES),
            "the cloud cannot be told: nothing is sent",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (Cloud(None, (), ("/sys/class/dmi/id",)), PodNetworks(), PodReach(), none, NO_RULES),
            "no cloud is recognised: nothing is sent",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (here, _NET, PodReach(), none, NO_RULES, Metadata(enabled="off")),
            "switched off: nothing is sent",
        ),
    )


def _weaker(cell: Cell) -> Severity | None:
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
        Example(Status.PASS, _given("aws", _cell(Outcome.TIMEOUT)), "dropped on the way"),
        Example(
            Status.PASS,
            _given("aws", _cell(Outcome.HOP_LIMIT)),
            "the service answers, but its token does not come as far as a pod",
        ),
        Example(
            Status.PASS,
            _given("gce", _cell(Outcome.CONCEALED, "gce-metadata")),
            "GKE's metadata server for pods answers in its place",
        ),
        Example(Status.FAIL, _given("aws", _cell(Outcome.OPEN)), "IMDSv1 answers a pod"),
        Example(Status.FAIL, _given("aws", _cell(Outcome.TOKEN)), "a pod gets an IMDSv2 token"),
        Example(
            Status.FAIL,
            _given(
                "aws",
                _cell(Outcome.UNREACHABLE),
                Cell("aws-imds", "[fd00:ec2::254]:80", Outcome.OPEN),
            ),
            "IPv4 is blocked, IPv6 is not",
        ),
        Example(
            Status.FAIL,
            _given("alibaba", _cell(Outcome.TOKEN_WANTED, "alibaba-metadata")),
            "reached, in hardened mode (medium)",
        ),
        Example(
            Status.UNKNOWN,
            _given("aws", _cell(Outcome.INTERCEPTED)),
            "something else answers in the service's place",
        ),
        Example(Status.UNKNOWN, _given("aws", _cell(Outcome.SILENT)), "connected, no answer"),
        *_not_asked(),
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
    return judge(
        Matrix(cloud, networks, pods, host, p, rules), JUDGED, severity=_weaker, whole=True
    )


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
        Example(Status.PASS, _given("aws", _cell(Outcome.HOP_LIMIT)), "hop limit 1"),
        Example(Status.PASS, _given("aws", _cell(Outcome.REFUSED)), "blocked altogether"),
        Example(Status.FAIL, _given("aws", _cell(Outcome.TOKEN, token_given=True)), "hop limit 2"),
        Example(
            Status.FAIL,
            _given("aws", _cell(Outcome.OPEN, token_given=True)),
            "v1 is open, and the token comes too",
        ),
        Example(
            Status.PASS,
            _given("aws", _cell(Outcome.OPEN)),
            "v1 is open (see meta.imdsv1), but no token comes",
        ),
        Example(
            Status.UNKNOWN,
            _given("aws", replace(_cell(Outcome.OPEN), token_unclear=True)),
            "v1 is open, and the request for a token gets an answer that is none",
        ),
        Example(
            Status.NOT_APPLICABLE,
            _given("gce", _cell(Outcome.OPEN, "gce-metadata")),
            "a cloud without a hop limit",
        ),
        *_not_asked(),
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
            _given("aws", host=HostReach((_cell(Outcome.TOKEN, plain_refused=True),))),
            "a plain GET from the host is answered 401",
        ),
        Example(
            Status.UNKNOWN,
            _given("aws", host=HostReach((_cell(Outcome.TOKEN),))),
            "a token comes, and a plain GET gets no answer in time",
        ),
        Example(
            Status.UNKNOWN,
            _given(
                "oci",
                host=HostReach(
                    (
                        _cell(Outcome.INTERCEPTED, "oci-imds-v2"),
                        _cell(Outcome.DENIED, "oci-imds-v1"),
                    )
                ),
            ),
            "404 from something that is not the service",
        ),
        Example(
            Status.PASS,
            _given("oci", host=HostReach((_cell(Outcome.DENIED, "oci-imds-v1"),))),
            "OCI answers 404: the first version is off",
        ),
        Example(
            Status.FAIL,
            _given("aws", host=HostReach((_cell(Outcome.OPEN),))),
            "a plain GET from the host is answered",
        ),
        Example(Status.FAIL, _given("aws", _cell(Outcome.OPEN)), "a plain GET from a pod"),
        Example(
            Status.UNKNOWN,
            _given("aws", _cell(Outcome.TIMEOUT), host=HostReach((_cell(Outcome.TIMEOUT),))),
            "nothing here gets an answer: the version cannot be told",
        ),
        Example(
            Status.UNKNOWN,
            (_cloud("aws"), _NET, _NO_RIGHT, Unreadable("AskFromHost", "offline"), NO_RULES),
            "a tree at rest",
        ),
        Example(
            Status.NOT_APPLICABLE,
            _given("hetzner", _cell(Outcome.OPEN, "hetzner-metadata")),
            "a cloud without session tokens",
        ),
        *_not_asked()[-3:],
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
        Example(Status.PASS, _given("alibaba", _cell(Outcome.TIMEOUT, "alibaba-metadata"))),
        Example(Status.FAIL, _given("alibaba", _cell(Outcome.OPEN, "alibaba-metadata"))),
        Example(Status.FAIL, _given("scaleway", _cell(Outcome.OPEN, "scaleway-metadata"))),
        Example(
            Status.NOT_APPLICABLE,
            _given("gce", _cell(Outcome.OPEN, "gce-metadata")),
            "a platform without other addresses",
        ),
        *_not_asked("alibaba"),
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
    return judge(matrix, (Kind.ALTERNATIVE,), severity=_weaker)


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
            _given(
                "azure",
                _cell(Outcome.TIMEOUT, "azure-wireserver"),
                _cell(Outcome.TIMEOUT, "azure-hostgaplugin"),
            ),
        ),
        Example(
            Status.FAIL,
            _given(
                "azure",
                _cell(Outcome.TIMEOUT, "azure-wireserver"),
                _cell(Outcome.OPEN, "azure-hostgaplugin"),
            ),
            "one of the two ports is left open",
        ),
        Example(Status.NOT_APPLICABLE, _given("aws", _cell(Outcome.OPEN)), "not on Azure"),
        *_not_asked("azure"),
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
            _given("gce", _cell(Outcome.CONCEALED, "gce-attribute-names")),
            "GKE's metadata server answers in its place",
        ),
        Example(
            Status.PASS,
            _given("gce", _cell(Outcome.REFUSED, "gce-attribute-names")),
            "blocked altogether",
        ),
        Example(
            Status.FAIL,
            _given(
                "gce",
                Cell("gce-attribute-names", "169.254.169.254:80", Outcome.OPEN, "", ("kube-env",)),
            ),
            "kube-env is in the list",
        ),
        Example(
            Status.UNKNOWN,
            _given("gce", _cell(Outcome.LONGER, "gce-attribute-names")),
            "none of them in the first 256 bytes of a longer list",
        ),
        Example(Status.NOT_APPLICABLE, _given("aws", _cell(Outcome.OPEN)), "another cloud"),
        *_not_asked("gce"),
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
            (_cloud("aws"), PodNetworks(on_host=(_AGENT,)), HostReach((_cell(Outcome.TOKEN),))),
            "kube-system only",
        ),
        Example(
            Status.PASS,
            (_cloud("aws"), PodNetworks(on_host=(_OWN,)), HostReach((_cell(Outcome.REFUSED),))),
            "the host itself is kept from the service",
        ),
        Example(
            Status.PASS,
            (
                _cloud("aws"),
                PodNetworks(on_host=(_OWN,)),
                HostReach((_cell(Outcome.REFUSED), _cell(Outcome.OPEN, "eks-pod-identity"))),
            ),
            "only the agent that is meant for pods answers",
        ),
        Example(
            Status.FAIL,
            (_cloud("aws"), PodNetworks(on_host=(_OWN,)), HostReach((_cell(Outcome.TOKEN),))),
            "default/scraper",
        ),
        Example(
            Status.UNKNOWN,
            (_cloud("aws"), PodNetworks(on_host=(_OWN,)), Unreadable("the host's network", "no")),
        ),
        Example(
            Status.UNKNOWN,
            (_cloud("aws"), Unreadable("/proc", "EACCES"), HostReach((_cell(Outcome.TOKEN),))),
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
