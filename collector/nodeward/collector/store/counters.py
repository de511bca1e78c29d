"""How many nodes have a check at a value: added up in the transaction that changes a posture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from sqlalchemy import Connection

from nodeward.collector.posture import State, differences
from nodeward.collector.store.bulk import Row, bulk

FLEET = 0
"""In place of a cluster: all of them. Check 0 is all checks, and value 0 of it counts nodes."""


class Moves:
    """Nodes that go from one state to another, and clusters that gain or lose nodes.

    Those that make the same step are counted once and multiplied: after an outage, or a change of
    policy, thousands do.
    """

    def __init__(self) -> None:
        self._states: dict[bytes, State] = {}
        self._steps: dict[tuple[bytes, bytes], Counter[int]] = defaultdict(Counter)
        self._nodes: Counter[int] = Counter()

    def step(self, cluster: int, old: State, new: State) -> None:
        """A node of that cluster was in one state and is in the other."""
        if old.digest != new.digest:
            self._states[old.digest], self._states[new.digest] = old, new
            self._steps[old.digest, new.digest][cluster] += 1

    def nodes(self, cluster: int, more: int) -> None:
        self._nodes[cluster] += more

    def write(self, connection: Connection) -> None:
        """Add it all up. Rows in one order, so that two replicas cannot deadlock here."""
        by_cluster = self._counted()
        totals = list(_rows(by_cluster.pop(FLEET, {}), FLEET))
        for cluster in sorted(self._nodes.keys() | by_cluster.keys()):
            sums = Counter({(0, 0): self._nodes[cluster]})
            for (_rule, value), many in by_cluster[cluster].items():
                sums[0, value] += many
            totals += _rows(sums, cluster)
        rows = [r for cluster in sorted(by_cluster) for r in _rows(by_cluster[cluster], cluster)]
        for table, content in (("counter", rows), ("total", totals)):
            if content:
                bulk(connection).add(table, content)

    def _counted(self) -> defaultdict[int, dict[tuple[int, int], int]]:
        """Cluster, or FLEET -> (check, value) -> nodes more."""
        out: defaultdict[int, dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))
        for (old, new), clusters in self._steps.items():
            found = differences(self._states[old], self._states[new])
            for cluster, many in (*clusters.items(), (FLEET, clusters.total())):
                counts = out[cluster]
                for rule, before, after in found:
                    if before:
                        counts[rule, before] -= many
                    if after:
                        counts[rule, after] += many
        return out


def _rows(counts: dict[tuple[int, int], int], cluster: int) -> Iterator[Row]:
    for (rule, value), many in sorted(counts.items()):
        if many:
            yield rule, cluster, value, many
