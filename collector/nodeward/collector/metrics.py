"""What Prometheus may ask: how the collector does, and the fleet's counts with bounded labels."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, func, select

from nodeward.collector.clock import SharedClock
from nodeward.collector.db import tables as t
from nodeward.collector.posture import unpack
from nodeward.collector.settings import Settings
from nodeward.collector.store.fold import unverified_ms
from nodeward.collector.store.writer import Writer

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Measured(Protocol):
    """What a running collector has of which numbers are told."""

    settings: Settings
    engine: Engine
    writer: Writer
    clock: SharedClock


class Metrics:
    """Counters of one process. Counted on the event loop alone, so they need no locks."""

    def __init__(self, center: Measured) -> None:
        self.registry = CollectorRegistry()
        self._requests: dict[tuple[str, int], int] = defaultdict(int)
        self._seconds: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._spent: dict[str, float] = defaultdict(float)
        self._reports: dict[str, int] = defaultdict(int)
        self.registry.register(_Own(self))
        self.registry.register(_Fleet(center))

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests[route, code] += 1
        self._seconds[route][bisect_left(BUCKETS, seconds)] += 1
        self._spent[route] += seconds

    def report(self, outcome: str) -> None:
        self._reports[outcome] += 1

    def families(self) -> Iterator[Metric]:
        """All of it as Prometheus wants it. In another thread: from copies."""
        requests = CounterMetricFamily(
            "nodeward_collector_requests",
            "Requests answered, by route and status code.",
            labels=["route", "code"],
        )
        for (route, code), many in dict(self._requests).items():
            requests.add_metric([route, str(code)], many)
        yield requests
        seconds = HistogramMetricFamily(
            "nodeward_collector_request_seconds", "Time to answer, by route.", labels=["route"]
        )
        bounds = [*map(str, BUCKETS), "+Inf"]
        for route, counts in dict(self._seconds).items():
            upto = zip(bounds, accumulate(counts), strict=True)
            seconds.add_metric([route], [*upto], sum_value=self._spent[route])
        yield seconds
        reports = CounterMetricFamily(
            "nodeward_collector_reports",
            "Reports that came in, by what became of them.",
            labels=["outcome"],
        )
        for outcome, many in dict(self._reports).items():
            reports.add_metric([outcome], many)
        yield reports


class _Own(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families()


class _Fleet(Collector):
    """Read at each scrape from the counters: never a label per node."""

    def __init__(self, center: Measured) -> None:
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
        unverified = GaugeMetricFamily(
            "nodeward_collector_unverified_seconds",
            "For how long the oldest report waits whose signature was not looked at: 60 at most.",
        )
        with center.engine.connect() as connection:
            unverified.add_metric([], unverified_ms(connection, center.clock.now()) / 1000)
            yield unverified
            yield self._nodes(connection)
            yield self._findings(connection)

    def _nodes(self, connection: Connection) -> GaugeMetricFamily:
        nodes = GaugeMetricFamily(
            "nodeward_fleet_nodes", "Nodes by cluster and whether they were heard of lately.",
            labels=["cluster", "seen"],
        )  # fmt: skip
        p = t.posture.c
        limit = self._center.clock.now() - self._center.settings.stale_ms
        query = (
            select(
                t.cluster.c.name,
                func.count().label("all"),
                func.count().filter(p.seen_at >= limit).label("current"),
            )
            .join(t.cluster, t.cluster.c.id == p.cluster)
            .join(t.node, t.node.c.id == p.node)
            .where(t.node.c.retired_at.is_(None))
            .group_by(t.cluster.c.name)
        )
        for row in connection.execute(query):
            nodes.add_metric([row.name, "current"], row.current)
            nodes.add_metric([row.name, "stale"], row.all - row.current)
        return nodes

    def _findings(self, connection: Connection) -> GaugeMetricFamily:
        findings = GaugeMetricFamily(
            "nodeward_fleet_findings", "Nodes that have a check at a status.",
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
