"""What any process of the host can get of the cloud's metadata service."""

from __future__ import annotations

from nodeward.facts.cloud import Cloud, Sign
from nodeward.facts.endpoints import BY_NAME, Kind
from nodeward.facts.firewall import NodeRules
from nodeward.facts.matrix import Matrix, reach_row, rule_evidence
from nodeward.facts.metadata import (
    REACHED,
    UNCLEAR,
    Cell,
    HostReach,
    Metadata,
    Outcome,
    sent,
    targets,
    why_not,
)
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

_AWS = Cloud("aws", (Sign("aws", "Amazon EC2", "/sys/class/dmi/id/sys_vendor"),))
_AT = "169.254.169.254:80"
JUDGED = (Kind.IMDS, Kind.ALTERNATIVE, Kind.FABRIC)


def _seen(outcome: Outcome) -> HostReach:
    return HostReach((Cell("aws-imds", _AT, outcome),))


@check(
    "meta.host.reach",
    title="An ordinary process of the node cannot use the cloud's metadata service",
    why=(
        "The metadata service gives the node's own cloud credential to whoever may ask. Pods with"
        " the host's network, and any account on the node, ask from here, and no NetworkPolicy"
        " covers them. nodeward asks as a process without any right, one safe request an address,"
        " and reads no credential; see meta.pod.reach for all that can be sent."
    ),
    severity=Severity.LOW,
    remedy=Remedy(
        "Let only the accounts that need it send to the metadata addresses: an owner match on the"
        " node's own output. Keep hostNetwork to system pods.",
        steps=(
            "nft add table inet metadata",
            "nft 'add chain inet metadata out { type filter hook output priority 0; }'",
            "nft 'add rule inet metadata out ip daddr 169.254.169.254 meta skuid != 0 reject'",
        ),
        breaks="Agents of the cloud that do not run as root lose the metadata service.",
    ),
    sources=[
        Source(
            "Securing a Cluster: restricting cloud metadata API access",
            "https://kubernetes.io/docs/tasks/administer-cluster/securing-a-cluster/#restricting-cloud-metadata-api-access",
        ),
        Source(
            "Amazon EC2: limit access to the instance metadata service",
            "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html",
        ),
    ],
    mappings={"sac": ["S10a"], "nsa-cisa-1.2": ["CL"]},
    examples=lambda: [
        Example(
            Status.PASS,
            (_AWS, _seen(Outcome.UNREACHABLE), NodeRules()),
            "an owner match rejects it",
        ),
        Example(
            Status.FAIL, (_AWS, _seen(Outcome.OPEN), NodeRules()), "IMDSv1 answers without a token"
        ),
        Example(Status.FAIL, (_AWS, _seen(Outcome.TOKEN), NodeRules()), "IMDSv2 gives a token"),
        Example(
            Status.UNKNOWN,
            (_AWS, _seen(Outcome.INTERCEPTED), NodeRules()),
            "something else answers",
        ),
        Example(
            Status.UNKNOWN,
            (_AWS, Unreadable("AskFromHost", "offline"), NodeRules()),
            "a tree at rest",
        ),
        Example(
            Status.UNKNOWN,
            (Unreadable("/sys/class/dmi/id", "EACCES"), HostReach(), NodeRules()),
            "the cloud cannot be told: nothing is sent",
        ),
        Example(
            Status.UNKNOWN,
            (Cloud(None), HostReach(), NodeRules()),
            "no firmware table, no file tells",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (Cloud(None, (), ("/sys/class/dmi/id",)), HostReach(), NodeRules()),
            "no cloud is recognised: nothing is sent",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (_AWS, HostReach(), NodeRules(), Metadata(enabled="off")),
            "switched off: nothing is sent",
        ),
    ],
)
def host_reach(
    cloud: Cloud | Absent | Unreadable,
    reach: HostReach | Absent | Unreadable,
    rules: NodeRules | Absent | Unreadable,
    p: Metadata,
) -> Verdict:
    not_asked = why_not(cloud, p)
    if not_asked is not None:
        return not_asked
    if not isinstance(reach, HostReach):
        why = reach.error if isinstance(reach, Unreadable) else "absent"
        return Verdict.unknown(f"the metadata endpoints were not asked: {why}")
    judged = [cell for cell in reach.cells if cell.kind in JUDGED]
    if reach.problem or not judged:
        return Verdict.unknown(f"the metadata endpoints were not asked: {reach.problem}")
    evidence = most([cell_evidence(cell) for cell in sorted(judged, key=worst_first)])
    matrix = Matrix(cloud, Absent("pods"), Absent("pods"), reach, p, rules)
    evidence += tuple(rule_evidence(matrix, JUDGED, ("output",)))
    evidence += tuple(Evidence("sent once", line) for line in sent(targets(cloud, p)))
    reached = [cell for cell in judged if cell.outcome in REACHED]
    if reached:
        return Verdict.failed(f"any process of the host can use {reached[0]}", *evidence)
    unclear = [cell for cell in judged if cell.outcome in UNCLEAR]
    if unclear:
        return Verdict.unknown(f"it cannot be told whether {unclear[0]} is the service", *evidence)
    return Verdict.passed(f"no process without rights gets an answer: {judged[0]}", *evidence)


def worst_first(cell: Cell) -> tuple[int, str, str]:
    rank = 0 if cell.outcome in REACHED else 1 if cell.outcome in UNCLEAR else 2
    return rank, cell.endpoint, cell.address


def cell_evidence(cell: Cell) -> Evidence:
    kind = BY_NAME[cell.endpoint].kind
    row = reach_row("host", [cell])
    return Evidence(f"{kind} {cell.endpoint}", str(cell), "host network", row)
