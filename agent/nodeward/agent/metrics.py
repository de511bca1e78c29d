"""The posture as Prometheus text. Pure. One series a check, with its status as a label: the series
of an old status is no longer exposed, and Prometheus marks it stale at the next scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nodeward.agent.spool import STATUSES, Tally
from nodeward.facts.agent import Agent
from nodeward.facts.pki_metrics import CertificateRow
from nodeward.model.verdict import legible


def exposition(
    agent: Agent,
    tally: Tally,
    posture: Mapping[str, Mapping[str, Any]],
    certificates: Iterable[CertificateRow],
    at: float,
) -> str:
    """Prometheus text format 0.0.4. `at`: when the node was looked at, seconds since 1970."""
    lines = [*_lines(agent, tally, posture, at), *_certificates(certificates)]
    return "".join(f"{line}\n" for line in lines)


def _certificates(rows: Iterable[CertificateRow]) -> Iterator[str]:
    name = "nodeward_certificate_not_after_timestamp_seconds"
    yield from _head(name, "When a certificate in use ends.")
    for row in rows:
        labels = _labels(component=row.component, path=row.path)
        yield f"{name}{{{labels}}} {row.not_after}"


def _lines(
    agent: Agent, tally: Tally, posture: Mapping[str, Mapping[str, Any]], at: float
) -> Iterator[str]:
    yield from _head("nodeward_check_info", "The status that each check has now.")
    for check, finding in sorted(posture.items()):
        labels = _labels(check=check, severity=finding["severity"], status=finding["status"])
        yield f"nodeward_check_info{{{labels}}} 1"
    yield from _head("nodeward_findings", "Checks by status.")
    for status in STATUSES:
        count = sum(f["status"] == status for f in posture.values())
        yield f"nodeward_findings{{{_labels(status=status)}}} {count}"
    yield from _one("nodeward_last_look_timestamp_seconds", "When the node was looked at.", at)
    failing = bool(agent.kept.failing)
    yield from _one("nodeward_spool_failing", "Whether nothing can be kept.", int(failing))
    if not failing:  # else the file cannot be asked
        yield from _spool(tally)
    yield from _one(
        "nodeward_enrolled", "Whether the collector knows this agent.", int(agent.standing.enrolled)
    )
    yield from _one(
        "nodeward_watch_degraded",
        "Kinds of changes that are noticed late.",
        len(agent.watch.lost),
    )


def _spool(tally: Tally) -> Iterator[str]:
    yield from _one("nodeward_spool_reports", "Reports that wait.", tally.depth)
    yield from _one("nodeward_spool_bytes", "Size of the reports that wait.", tally.size)
    yield from _one(
        "nodeward_spool_dropped_total", "Reports dropped over a bound.", tally.dropped, "counter"
    )


def _one(name: str, text: str, value: float, kind: str = "gauge") -> Iterator[str]:
    yield from _head(name, text, kind)
    yield f"{name} {value}"


def _head(name: str, text: str, kind: str = "gauge") -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(**values: object) -> str:
    return ",".join(f'{name}="{_escaped(str(value))}"' for name, value in values.items())


def _escaped(value: str) -> str:
    return legible(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
