"""The identities that the cloud gives to the node and, through an agent on it, to pods."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from nodeward.facts.cloud import Cloud, Sign
from nodeward.facts.listeners import Listener, Listeners
from nodeward.facts.metadata import (
    REACHED,
    Cell,
    Metadata,
    Outcome,
    Place,
    PodReach,
    chosen_cloud,
    why_not,
)
from nodeward.facts.processes import Process, Processes
from nodeward.facts.provisioning import CloudConfigs
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
)

AGENT = "eks-pod-identity-agent"
CREDENTIAL_PORT = 80

_AGENT_RUNS = Processes((Process(9, 1, AGENT, f"/{AGENT}", (AGENT,), None, 0),))


def _listens(*addresses: str, port: int = CREDENTIAL_PORT) -> Listeners:
    rows = tuple(Listener(a, port, i, 0, 9, AGENT) for i, a in enumerate(addresses))
    return Listeners(rows, "sock_diag")


@check(
    "meta.eks-pod-identity",
    title="The EKS Pod Identity agent gives credentials at link-local addresses only",
    why=(
        "The agent hands credentials to pods at 169.254.170.23 and [fd00:ec2::23], addresses that"
        " no other machine can send to. Bound to a routable address it would answer the network."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Leave the agent's --bind-hosts at its default, 169.254.170.23 and [fd00:ec2::23].",
        breaks="Nothing: pods are told the link-local addresses.",
    ),
    sources=[
        Source("EKS Pod Identity agent", "https://github.com/aws/eks-pod-identity-agent"),
        Source(
            "Amazon EKS: how EKS Pod Identity works",
            "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html",
        ),
    ],
    mappings={"sac": ["S10b"]},
    examples=lambda: [
        Example(Status.PASS, (_AGENT_RUNS, _listens("169.254.170.23", "fd00:ec2::23"))),
        Example(Status.FAIL, (_AGENT_RUNS, _listens("::")), "every address"),
        Example(Status.FAIL, (_AGENT_RUNS, _listens("10.0.3.7")), "the node's own address"),
        Example(Status.UNKNOWN, (_AGENT_RUNS, Unreadable("sock_diag", "EPERM"))),
        Example(
            Status.UNKNOWN, (_AGENT_RUNS, _listens(port=2703)), "it runs, and no socket is its own"
        ),
        Example(Status.NOT_APPLICABLE, (Processes(()), _listens()), "no agent runs here"),
    ],
)
def eks_pod_identity(processes: Processes, listeners: Listeners) -> Verdict:
    pids = {process.pid for process in processes.running(AGENT)}
    if not pids:
        if not processes.complete:
            return Verdict.unknown("processes of others are hidden from us")
        return Verdict.not_applicable(f"no {AGENT} runs here")
    own = [row for row in listeners.on(CREDENTIAL_PORT) if row.pid in pids]
    evidence = [row.evidence() for row in own]
    wide = [row for row in own if not _stays_on_the_node(row)]
    if wide:
        return Verdict.failed(f"{AGENT} listens at {wide[0]}", *evidence)
    if not own:
        return Verdict.unknown(f"{AGENT} runs, but no socket on port {CREDENTIAL_PORT} is its own")
    return Verdict.passed(f"{AGENT} listens at {', '.join(map(str, own))}", *evidence)


def _stays_on_the_node(row: Listener) -> bool:
    """Link-local, loopback, or the unique local address that EKS sets on the node itself."""
    address = ipaddress.ip_address(row.address)
    return address.is_link_local or address.is_loopback or str(address) == "fd00:ec2::23"


_AWS = Cloud("aws", (Sign("aws", "Amazon EC2", "/sys/class/dmi/id/sys_vendor"),))
_KUBELET = Processes(
    (
        Process(
            7, 1, "kubelet", "/usr/bin/kubelet",
            ("kubelet", "--image-credential-provider-config=/etc/eks/ecr.json"), None, 0,
        ),
    )
)  # fmt: skip
_NO_CONFIG = Absent("a cloud configuration")


def _pods(outcome: Outcome) -> PodReach:
    cell = Cell("aws-imds", "169.254.169.254:80", outcome)
    return PodReach((Place(("default/web",), 1, (cell,)),))


@check(
    "meta.instance-credential",
    title="The credential that the cloud gives this node is out of pods' reach",
    why=(
        "A node that pulls from the cloud's registry or runs its cloud provider has a credential"
        " attached. Whether one is attached is told by the kubelet's arguments and the cloud"
        " configuration alone: the service's listing of credentials is never asked. What the"
        " credential may do is seen in the cloud's own console."
    ),
    severity=Severity.INFO,
    remedy=Remedy(
        "Cut the node's role down to what the kubelet needs, give pods identities of their own"
        " (IRSA or EKS Pod Identity, Workload Identity, Entra Workload ID), and keep pods from the"
        " metadata service.",
        breaks="Pods that take the node's credential need one of their own.",
    ),
    sources=[
        Source(
            "Amazon EKS: node IAM role and least privilege",
            "https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html",
        ),
        Source(
            "Kubernetes: kubelet image credential provider",
            "https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/",
        ),
    ],
    mappings={"sac": ["S10b", "B16"], "nsa-cisa-1.2": ["CL"]},
    examples=lambda: [
        Example(
            Status.PASS,
            (_AWS, _KUBELET, _NO_CONFIG, _pods(Outcome.HOP_LIMIT)),
            "attached, and no pod gets to it: look after its scope",
        ),
        Example(
            Status.FAIL,
            (_AWS, _KUBELET, _NO_CONFIG, _pods(Outcome.OPEN)),
            "attached, and a pod can take it",
        ),
        Example(
            Status.UNKNOWN,
            (_AWS, _KUBELET, _NO_CONFIG, Unreadable("the pods' networks", "no right")),
            "attached, and pods cannot be asked",
        ),
        Example(
            Status.UNKNOWN,
            (_AWS, Processes(()), _NO_CONFIG, PodReach()),
            "nothing on the node tells whether one is attached",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (Cloud(None, (), ("/sys/class/dmi/id",)), Processes(()), _NO_CONFIG, PodReach()),
            "no cloud is recognised",
        ),
    ],
)
def instance_credential(
    cloud: Cloud | Absent | Unreadable,
    processes: Processes | Absent | Unreadable,
    configs: CloudConfigs | Absent | Unreadable,
    pods: PodReach | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    early = why_not(cloud, p)
    if early is not None:
        return early
    signs = list(_signs(processes, configs))
    if not signs:
        return Verdict.unknown(
            f"nothing on this node tells whether {chosen_cloud(cloud, p)} gave it a credential"
        )
    cells = [c for place in pods.places for c in place.cells] if isinstance(pods, PodReach) else []
    if not cells:
        return Verdict.unknown(
            "a credential is attached; whether pods reach it is not known", *signs
        )
    for cell in cells:
        if cell.outcome in REACHED:
            return Verdict.failed(f"a credential is attached, and a pod reaches {cell}", *signs)
    return Verdict.passed(
        "a credential is attached and no pod gets to it: keep what it may do small", *signs
    )


def _signs(
    processes: Processes | Absent | Unreadable, configs: CloudConfigs | Absent | Unreadable
) -> Iterator[Evidence]:
    if isinstance(processes, Processes):
        for kubelet in processes.running("kubelet"):
            for word in kubelet.argv or ():
                flag, _, value = word.partition("=")
                if flag == "--image-credential-provider-config" or (
                    flag == "--cloud-provider" and value not in ("", "external")
                ):
                    yield Evidence("kubelet argument", word, f"pid {kubelet.pid}")
    if isinstance(configs, CloudConfigs):
        for path in configs.managed:
            yield Evidence("managed identity", "useManagedIdentityExtension: true", path)
