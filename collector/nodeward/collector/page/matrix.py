"""The metadata findings of a node as the matrix they are: who asks, what is asked, what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nodeward.collector.page.rows import drawn
from nodeward.facts.endpoints import BY_NAME, Kind
from nodeward.facts.metadata import REACHED, UNCLEAR, Outcome
from nodeward.model import Table

FAMILY: Final = "meta.pod.reach", "meta.alt-endpoints", "meta.azure-wireserver", "meta.host.reach"
"""Each has rows; the first that has one of a place has the most of it."""
MOST_COLUMNS: Final = 40
HOST: Final = "host"
KEPT_OUT: Final = frozenset(Outcome) - REACHED - UNCLEAR
MEANT_FOR_PODS: Final = frozenset({Kind.NAMES, Kind.EXPECTED})


@dataclass(frozen=True)
class Matrix:
    """`cells` are by place, then endpoint; `source` is where a place was looked at from."""

    endpoints: tuple[str, ...]
    cells: Mapping[str, Mapping[str, str]]
    problems: Mapping[str, str]

    @staticmethod
    def tone(place: str, endpoint: str, outcome: str) -> str:
        """How a cell is coloured: what pods reach is worse than what the host itself does.

        An outcome that only an agent of another version knows is never taken for a good one.
        """
        if outcome in KEPT_OUT:
            return "pass"
        if outcome not in REACHED:
            return "unknown"
        known = BY_NAME.get(endpoint.partition(" ")[0])
        if known is not None and known.kind in MEANT_FOR_PODS:
            return "meant"
        return "warn" if place == HOST else "fail"


def matrix(findings: Sequence[Mapping[str, Any]]) -> Matrix | None:
    """From the rows of the metadata findings; None where there is none."""
    cells: dict[str, dict[str, str]] = {}
    problems: dict[str, str] = {}
    for check in FAMILY:
        for one in drawn([f for f in findings if f["check"] == check], Table.REACH):
            row = cells.setdefault(one.row.name, {})
            for endpoint, outcome in one.row.cells:
                row.setdefault(endpoint, outcome)
            if not one.row.cells:
                problems[one.row.name] = str(one.piece.get("value", ""))
    endpoints = sorted({e for row in cells.values() for e in row})[:MOST_COLUMNS]
    ordered = dict(sorted(cells.items(), key=lambda item: item[0] == HOST))
    return Matrix(tuple(endpoints), ordered, problems) if cells else None
