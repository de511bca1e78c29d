"""What Prometheus may ask: how the collector does, and the fleet's counts with bounded labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.posture import unpack

if TYPE_CHECKING:
    from nodeward.collector.center import Center


class Metrics:
    """Counters of one process."""

    def __init__(self, center: Center) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "nodeward_collector_requests",
            "Requests answered, by route and status code.",
            ["route", "code"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "nodeward_collector_request_seconds",
            "Time to answer, by route.",
            ["route"],
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=self.registry,
        )
        self.reports = Counter(
            "nodeward_collector_reports",
            "Reports that came in, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self._of_request: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.registry.register(_Fleet(center))

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count an answered request. The children are remembered: looking them up is slow."""
        found = self._of_request.get((route, code))
        if found is None:
            counted = self.requests.labels(route, str(code))
            found = self._of_request[route, code] = (counted, self.seconds.labels(route))
        found[0].inc()
        found[1].observe(seconds)

    def report(self, outcome: str) -> None:
        self.reports.labels(outcome).inc()


class _Fleet(Collector):
    """Read at each scrape from the counters: never a label per node."""

    def __init__(self, center: Center) -> None:
        self._center = center

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        center = self._center
        waiting = GaugeMetricFamily(
            "nodeward_collector_writes_waiting", "Requests that wait for the next transaction."
        )
        waiting.add_metric([], center.writer.waiting)
        yield waiting
        with center.engine.connect() as connection:
            yield self._nodes(connection)
            yield self._findings(connection)

    def _nodes(self, connection: Connection) -> GaugeMetricFamily:
        nodes = GaugeMetricFamily(
            "nodeward_nodes", "Nodes by cluster and whether they were heard of lately.",
            labels=["cluster", "seen"],
        )  # fmt: skip
        p = t.posture.c
        limit = now_ms() - self._center.settings.stale_ms
        query = (
            select(
                t.cluster.c.name,
                func.count().label("all"),
                func.count().filter(p.seen_at >= limit).label("current"),
            )
            .join(t.cluster, t.cluster.c.id == p.cluster)
            .group_by(t.cluster.c.name)
        )
        for row in connection.execute(query):
            nodes.add_metric([row.name, "current"], row.current)
            nodes.add_metric([row.name, "stale"], row.all - row.current)
        return nodes

    def _findings(self, connection: Connection) -> GaugeMetricFamily:
        findings = GaugeMetricFamily(
            "nodeward_findings", "Nodes that have a check at a status.",
            labels=["check", "status", "severity"],
        )  # fmt: skip
        c = t.counter.c
        query = (
            select(t.rule.c.name, c.value, func.sum(c.nodes).label("nodes"))
            .join(t.rule, t.rule.c.id == c.rule)
            .group_by(t.rule.c.name, c.value)
        )
        for row in connection.execute(query):
            status, severity = unpack(row.value)
            findings.add_metric([row.name, status.value, severity.value], float(row.nodes))
        return findings
