"""The matrix of endpoint by place, and the verdicts that rules about pods draw from it alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from nodeward.facts.cloud import Cloud
from nodeward.facts.endpoints import BY_NAME, Kind
from nodeward.facts.firewall import NodeRules
from nodeward.facts.metadata import (
    REACHED,
    UNCLEAR,
    Cell,
    HostReach,
    Metadata,
    Place,
    PodReach,
    chosen_cloud,
    sent,
    targets,
    why_not,
)
from nodeward.facts.podnet import PodNetworks
from nodeward.lazy import dataclass
from nodeward.model import (
    Absent,
    Evidence,
    Row,
    Severity,
    Table,
    Unreadable,
    Verdict,
    most,
)

SHOWN = 5
"""Pods named in a sentence; the evidence names more."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """All that rules about pods start from, as they were given it."""

    cloud: Cloud | Absent | Unreadable
    networks: PodNetworks | Absent | Unreadable
    pods: PodReach | Absent | Unreadable
    host: HostReach | Absent | Unreadable
    p: Metadata
    rules: NodeRules | Absent | Unreadable

    @property
    def places(self) -> tuple[Place, ...]:
        return self.pods.places if isinstance(self.pods, PodReach) else ()

    @property
    def host_cells(self) -> tuple[Cell, ...]:
        return self.host.cells if isinstance(self.host, HostReach) else ()

    def asks(self, kinds: Collection[Kind]) -> bool:
        """Whether this cloud has an endpoint of these kinds."""
        return any(t.endpoint.kind in kinds for t in targets(self.cloud, self.p))


def reached(cell: Cell) -> bool:
    return cell.outcome in REACHED


def judge(
    matrix: Matrix,
    kinds: Collection[Kind],
    *,
    bad: Callable[[Cell], bool] = reached,
    what: str = "use",
    severity: Callable[[Cell], Severity | None] = lambda _: None,
    whole: bool = False,
) -> Verdict:
    """Fail when a pod's network gets a bad cell of these kinds, unknown while one is unclear or
    untested, pass when each was asked and none is bad. A node without pods proves nothing.

    One rule shows the `whole` matrix; the others show what is bad or unclear, so that not every
    pod that comes or goes changes every finding.
    """
    early = why_not(matrix.cloud, matrix.p) or _nothing_to_ask(matrix, kinds)
    if early is not None:
        return early
    rows = [(place, tuple(c for c in place.cells if c.kind in kinds)) for place in matrix.places]
    shown_rows = rows if whole else [r for r in rows if _rank(r, bad) < FINE]
    evidence = (*most(_rows(shown_rows, bad)), *_beside(matrix, kinds))
    evidence += tuple(rule_evidence(matrix, kinds))
    offenders = [(p, [c for c in found if bad(c)]) for p, found in rows]
    offenders = [(p, found) for p, found in offenders if found]
    if offenders:
        cell = offenders[0][1][0]
        because = (
            f"{len(offenders)} of {_networks(len(rows))} can {what} {cell.endpoint} over"
            f" {_families(c for _, found in offenders for c in found)}:"
            f" {_named(p for p, _ in offenders)} ({cell.outcome})"
        )
        return Verdict.failed(because, *evidence, severity=severity(cell))
    none = f"none of {_networks(len(rows))}" if whole else "no pod network"
    doubted = doubt(matrix, rows)
    if doubted:
        return Verdict.unknown(f"{none} is seen to {what} it, but {doubted}", *evidence)
    names = ", ".join(dict.fromkeys(c.endpoint for _, found in rows for c in found))
    return Verdict.passed(f"{none} can {what} {names}", *evidence)


def _networks(count: int) -> str:
    return f"{count} pod network" + ("s" if count != 1 else "")


def _nothing_to_ask(matrix: Matrix, kinds: Collection[Kind]) -> Verdict | None:
    if not matrix.asks(kinds):
        cloud = chosen_cloud(matrix.cloud, matrix.p)
        return Verdict.not_applicable(f"{cloud} has no {' or '.join(kinds)}")
    match matrix.networks:
        case Unreadable(what, error):
            return Verdict.unknown(f"could not look at {what}: {error}")
        case Absent(what):
            return Verdict.unknown(f"{what} is not here: the pods cannot be told")
        case PodNetworks(networks=(), hidden=()) as found:
            hidden = "" if found.complete else "; processes of others are hidden from us"
            return Verdict.unknown(
                f"no pod with a network of its own runs here: nothing to ask from{hidden}",
                *_beside(matrix, kinds),
            )
        case _:
            pass
    match matrix.pods:
        case Unreadable(what, error):
            return Verdict.unknown(f"{what}: {error}", *_beside(matrix, kinds))
        case Absent(what):
            return Verdict.unknown(f"{what} is not here", *_beside(matrix, kinds))
        case _:
            return None


def doubt(matrix: Matrix, rows: list[tuple[Place, tuple[Cell, ...]]]) -> str:
    """What keeps a node without an offender from passing; "" where nothing does."""
    for place, found in rows:
        if place.problem or not found:
            return f"{place} was not asked: {place.problem}"
        for cell in found:
            if cell.outcome in UNCLEAR:
                return f"{place} got an unclear answer: {cell}"
    if not isinstance(matrix.networks, PodNetworks):
        return "the pods cannot be told"
    if matrix.networks.hidden:
        hidden = matrix.networks.hidden
        return f"{_named(hidden)} cannot be looked at: needs CAP_SYS_PTRACE"
    if not matrix.networks.complete:
        return "processes of others are hidden from us"
    return "" if rows else "no pod network was asked"


def _named(things: Iterable[object]) -> str:
    names = [str(t) for t in things]
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def _families(found: Iterable[Cell]) -> str:
    return " and ".join(sorted({"IPv6" if cell.ipv6 else "IPv4" for cell in found}))


Asked = tuple[Place, tuple[Cell, ...]]
FINE = 2


def _rank(row: Asked, bad: Callable[[Cell], bool]) -> int:
    """0 for a row with a bad cell, 1 for an unclear one, FINE for the rest."""
    place, found = row
    if any(bad(c) for c in found):
        return 0
    return 1 if place.problem or any(c.outcome in UNCLEAR for c in found) else FINE


def _rows(rows: list[Asked], bad: Callable[[Cell], bool]) -> list[Evidence]:
    """A line a network of pods, the worst first."""
    return [
        Evidence(
            f"pod {place}",
            shown(found) or place.problem,
            f"network namespace {place.inode}",
            reach_row(f"pod {place}", found),
        )
        for place, found in sorted(rows, key=lambda row: _rank(row, bad))
    ]


def reach_row(place: str, found: Iterable[Cell]) -> Row:
    """One place's row of the matrix: a column for each address of each endpoint."""
    cells = tuple((f"{c.endpoint} {c.address}", str(c.outcome)) for c in found)
    return Row(Table.REACH, place, cells)


def shown(found: Iterable[Cell]) -> str:
    """Cells of one place as one line."""
    return "; ".join(str(c) + (f" [{', '.join(c.words)}]" if c.words else "") for c in found)


def _beside(matrix: Matrix, kinds: Collection[Kind]) -> Iterator[Evidence]:
    """The host's own row, the pods that share it, and what was sent from each place."""
    cells = [c for c in matrix.host_cells if c.kind in kinds]
    if cells:
        yield Evidence("host", shown(cells), "host network", reach_row("host", cells))
    elif isinstance(matrix.host, HostReach) and matrix.host.problem:
        yield Evidence("host", matrix.host.problem, "host network")
    elif isinstance(matrix.host, Unreadable):
        yield Evidence("host", matrix.host.error, matrix.host.what)
    if isinstance(matrix.networks, PodNetworks) and matrix.networks.on_host:
        yield Evidence("pods in the host's network", _named(matrix.networks.on_host), "/proc")
    asked = [t for t in targets(matrix.cloud, matrix.p) if t.endpoint.kind in kinds]
    for line in sent(asked) if matrix.places or cells else ():
        yield Evidence("sent once from each place", line)


def rule_evidence(
    matrix: Matrix, kinds: Collection[Kind], hooks: Collection[str] = ("prerouting", "forward")
) -> Iterator[Evidence]:
    """The rules of the node that name these endpoints, and the routes to them."""
    match matrix.rules:
        case NodeRules(problem="") as rules:
            named = [
                Evidence(f"rule in {e.hook}", f"{e.endpoint} {e.address}: {e}", e.where)
                for e in rules.effects
                if e.hook in hooks and BY_NAME[e.endpoint].kind in kinds
            ]
            yield from most(named)
            if not rules.complete:
                yield Evidence("rules", "too many to read them all", "nf_tables")
        case NodeRules(problem=problem):
            yield Evidence("rules", f"not read: {problem}", "nf_tables")
        case Unreadable(what, error):
            yield Evidence("rules", f"not read: {error}", what)
        case Absent():
            return
    if isinstance(matrix.rules, NodeRules):
        for route in matrix.rules.routes:
            yield Evidence("route of the node", f"{route.address}: {route}", "rtnetlink")
