"""Whether what keeps pods from the metadata endpoints keeps them from all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nodeward.facts.cloud import Cloud, Sign
from nodeward.facts.endpoints import Kind
from nodeward.facts.firewall import Effect, NodeRules
from nodeward.facts.matrix import Matrix, doubt, rule_evidence, shown
from nodeward.facts.metadata import (
    REACHED,
    UNCLEAR,
    Cell,
    HostReach,
    Metadata,
    Outcome,
    Place,
    PodReach,
    Target,
    targets,
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

JUDGED = (Kind.IMDS, Kind.ALTERNATIVE, Kind.FABRIC)

_AWS = Cloud("aws", (Sign("aws", "Amazon EC2", "/sys/class/dmi/id/sys_vendor"),))
_FOUR, _SIX, _TASK = "169.254.169.254:80", "[fd00:ec2::254]:80", "169.254.170.2:80"
_NET = PodNetworks(
    (PodNetwork(1, (7,), (Pod("2b7e9a40-0000-4000-8000-000000000001", "default", "web"),)),)
)


def _row(four: Outcome, six: Outcome) -> tuple[Cell, ...]:
    return Cell("aws-imds", _FOUR, four), Cell("aws-imds", _SIX, six)


def _given(
    pod: tuple[Outcome, Outcome], host: tuple[Outcome, Outcome], *covered: str
) -> tuple[Cloud, PodNetworks, PodReach, HostReach, NodeRules]:
    rules = NodeRules(
        tuple(
            Effect("aws-imds", a, "forward", "drop", "ip filter FORWARD handle 3") for a in covered
        )
    )
    place = Place(("default/web",), 1, _row(*pod))
    return _AWS, _NET, PodReach((place,)), HostReach(_row(*host)), rules


_O, _X = Outcome.OPEN, Outcome.TIMEOUT


@check(
    "meta.rule-coverage",
    title="What keeps pods from the metadata service covers every address of it",
    why=(
        "A rule for 169.254.169.254 alone leaves IPv6 and the platform's other addresses and ports"
        " open: AKS' own restriction is for IPv4 only. A pod that is kept from one address and"
        " reaches another is not kept from the service. Rules are read from the kernel, and what"
        " pods really reach is measured (see meta.pod.reach)."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Write the rule for every address and port that the evidence names as open, in ip and ip6"
        " alike.",
        steps=(
            "ip6tables -I FORWARD -d fd00:ec2::254/128 -p tcp --dport 80 -j DROP",
            "iptables -I FORWARD -d 169.254.169.254/32 -p tcp --dport 80 -j DROP",
        ),
        breaks="Pods that take the node's credential need one of their own (workload identity).",
    ),
    sources=[
        Source(
            "Securing a Cluster: restricting cloud metadata API access",
            "https://kubernetes.io/docs/tasks/administer-cluster/securing-a-cluster/#restricting-cloud-metadata-api-access",
        ),
        Source(
            "Kubernetes: Network Policies",
            "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
        ),
    ],
    mappings={"sac": ["S10c"]},
    examples=lambda: [
        Example(
            Status.PASS,
            (*_given((_X, _X), (_O, _O), _FOUR, _SIX),),
            "rules for both address families, and both are closed",
        ),
        Example(Status.PASS, (*_given((_X, _X), (_O, _O)),), "closed by something else"),
        Example(
            Status.FAIL,
            (*_given((_X, _O), (_O, _O), _FOUR),),
            "a rule for IPv4; over IPv6 the pod gets an answer",
        ),
        Example(
            Status.FAIL,
            _given((_O, _X), (_O, _X), _FOUR),
            "the rule has a condition that this pod does not meet",
        ),
        Example(
            Status.FAIL,
            (*_given((Outcome.HOP_LIMIT, Outcome.TOKEN), (Outcome.TOKEN, Outcome.TOKEN)),),
            "the hop limit holds on one address only",
        ),
        Example(
            Status.FAIL,
            (
                _AWS,
                _NET,
                Unreadable("the pods' networks", "no right"),
                HostReach(),
                _given((_X, _X), (_O, _O), _FOUR)[-1],
            ),
            "a rule for IPv4 only, and pods cannot be asked",
        ),
        Example(
            Status.UNKNOWN,
            (
                _AWS,
                _NET,
                Unreadable("the pods' networks", "needs CAP_SYS_ADMIN"),
                HostReach(),
                Unreadable("nf_tables", "needs CAP_NET_ADMIN"),
            ),
            "neither rules nor pods can be looked at",
        ),
        Example(
            Status.UNKNOWN,
            (
                _AWS,
                _NET,
                Unreadable("the pods' networks", "needs CAP_SYS_ADMIN"),
                HostReach(),
                _given((_X, _X), (_O, _O), _FOUR, _SIX, _TASK)[-1],
            ),
            "rules for every address, and no look whether they hold for each pod",
        ),
        Example(
            Status.UNKNOWN,
            (
                _AWS,
                _NET,
                Unreadable("the pods' networks", "needs CAP_SYS_ADMIN"),
                HostReach(),
                replace(_given((_X, _X), (_O, _O), _FOUR)[-1], complete=False),
            ),
            "a rule for IPv4, more rules than are read, and pods cannot be asked",
        ),
        Example(
            Status.UNKNOWN,
            (
                _AWS,
                _NET,
                PodReach((Place(("default/web",), 1, _row(_X, _X)), Place(("prod/db",), 2))),
                HostReach(),
                NodeRules(),
            ),
            "one of two pods' networks went away while it was asked",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (*_given((_O, _O), (_O, _O)),),
            "nothing stands in the way at all: meta.pod.reach says so",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (
                Cloud(None, (), ("/sys/class/dmi/id",)),
                PodNetworks(),
                PodReach(),
                HostReach(),
                NodeRules(),
            ),
            "no cloud is recognised",
        ),
    ],
)
def rule_coverage(
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
    matrix = Matrix(cloud, networks, pods, host, p, rules)
    judged = [t for t in targets(cloud, p) if t.endpoint.kind in JUDGED]
    evidence = (*_rows(matrix), *rule_evidence(matrix, JUDGED))
    for place in matrix.places:
        gap = _gap(place, matrix.host_cells)
        if gap:
            return Verdict.failed(gap, *evidence)
    passed_by = _passed_by(matrix)
    if passed_by:
        return Verdict.failed(passed_by, *evidence)
    covered, open_ones = _by_rules(matrix, judged)
    if covered and open_ones:
        return Verdict.failed(
            f"rules on this node cover {', '.join(covered)} but not {', '.join(open_ones)}",
            *evidence,
        )
    asked = [c for place in matrix.places for c in place.cells if c.kind in JUDGED]
    if any(c.outcome in REACHED for c in asked) and not covered:
        return Verdict.not_applicable(
            "nothing on this node stands between pods and the endpoints: see meta.pod.reach",
            *evidence,
        )
    return _rest(matrix, covered, evidence)


def _rest(matrix: Matrix, covered: list[str], evidence: tuple[Evidence, ...]) -> Verdict:
    """A rule may have a condition that a pod does not meet: without a look from every pod's
    network nothing is proved."""
    rows = [(at, tuple(c for c in at.cells if c.kind in JUDGED)) for at in matrix.places]
    doubted = doubt(matrix, rows)
    if doubted:
        seen = f"rules on this node cover {', '.join(covered)}" if covered else "no rule is seen"
        return Verdict.unknown(f"{seen}, but {doubted}", *evidence)
    if covered:
        return Verdict.passed(f"rules on this node cover {', '.join(covered)}", *evidence)
    return Verdict.passed(
        "no pod network gets to the service at any address; no rule here names them", *evidence
    )


def _rows(matrix: Matrix) -> Iterator[Evidence]:
    rows = [(f"pod {place}", place.cells) for place in matrix.places]
    yield from most(
        [
            Evidence(who, shown(c for c in cells if c.kind in JUDGED))
            for who, cells in [*rows, ("host", matrix.host_cells)]
            if cells
        ]
    )


def _gap(place: Place, host: tuple[Cell, ...]) -> str:
    """One address that this pod reaches beside another that the host reaches and the pod does
    not: something stands in the way of that one only."""
    from_host = {(c.endpoint, c.address) for c in host if c.outcome in REACHED}
    cells = [c for c in place.cells if c.kind in JUDGED]
    reached = [c for c in cells if c.outcome in REACHED]
    kept = [
        c
        for c in cells
        if (c.endpoint, c.address) in from_host and c.outcome not in REACHED | UNCLEAR
    ]
    if not reached or not kept:
        return ""
    return f"{place} is kept from {_at(kept[0])} ({kept[0].outcome}) but not from {_at(reached[0])}"


def _passed_by(matrix: Matrix) -> str:
    """A rule that names an address and does not hold for a pod that reaches it."""
    if not isinstance(matrix.rules, NodeRules):
        return ""
    for place in matrix.places:
        for cell in place.cells:
            rules = matrix.rules.blocking(cell.address)
            if cell.outcome in REACHED and rules:
                return f"{place} reaches {_at(cell)} past the rule {rules[0].where}: {rules[0]}"
    return ""


def _at(cell: Cell) -> str:
    return f"{cell.endpoint} {cell.address}"


def _by_rules(matrix: Matrix, judged: list[Target]) -> tuple[list[str], list[str]]:
    """The addresses that a rule blocks, and those that none does and pods may reach: where pods
    were asked, those that one reached; where not, all the rest."""
    if not isinstance(matrix.rules, NodeRules) or matrix.rules.problem:
        return [], []
    rules = matrix.rules
    covered = [t for t in judged if rules.blocking(t.address)]
    rest = [t for t in judged if not rules.blocking(t.address)]
    asked = [c for place in matrix.places for c in place.cells]
    if asked:
        reached = {(c.endpoint, c.address) for c in asked if c.outcome in REACHED}
        rest = [t for t in rest if (t.endpoint.name, t.address) in reached]
    elif not rules.complete:
        rest = []  # what covers them may be among the rules that were not read
    return [f"{t.endpoint.name} {t.address}" for t in covered], [
        f"{t.endpoint.name} {t.address}" for t in rest
    ]
