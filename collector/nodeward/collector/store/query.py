"""Read-only SQL over documented views: those of VIEWS.

SQLite: a connection of its own, opened read-only, on which the views are made for this asker's
clusters; then an authorizer lets nothing be read but through them (query_sqlite.py). PostgreSQL: a
login of its own (`query_database`) that may read the schema `ask` and nothing else, whose views
show what the asker may see (query_postgresql.py).

An answer is bounded in rows and in bytes: what comes after that is left out and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from nodeward.collector.posture import LEVELS, unpack

DEADLINE_S: Final = 5.0
MOST_ROWS: Final = 10_000
MOST_SQL: Final = 20_000
MOST_ANSWER: Final = 16 << 20
"""Bytes of texts in an answer, about: one that is longer is cut there, after a row."""

VIEWS: Final[Mapping[str, str]] = {
    "node": """
        SELECT c.name AS cluster, n.name AS node, {first} AS first_seen, {seen} AS last_seen,
               {reported} AS last_report, p.score AS score, s.fails AS fails, f.os AS os,
               f.os_version AS os_version, f.kernel AS kernel, f.kubelet AS kubelet,
               f.runtime AS runtime, f.cloud AS cloud, f.roles AS roles, f.agent AS agent,
               n.retired_at IS NOT NULL AS retired
        FROM {main}node n JOIN {main}cluster c ON c.id = n.cluster
        JOIN {main}posture p ON p.node = n.id
        LEFT JOIN {main}state_set s ON s.id = p."set"
        LEFT JOIN {main}platform f ON f.id = p.platform WHERE {scope_n}""",
    "finding": """
        SELECT c.name AS cluster, n.name AS node, r.name AS check_id, v.status AS status,
               v.severity AS severity
        FROM {main}posting q JOIN {main}posture p ON p."set" = q."set"
        JOIN {main}node n ON n.id = p.node AND n.retired_at IS NULL
        JOIN {main}cluster c ON c.id = n.cluster JOIN {main}rule r ON r.id = q.rule
        JOIN {values} v ON v.value = q.value WHERE {scope_n}""",
    "change": """
        SELECT {at} AS at, c.name AS cluster, n.name AS node, r.name AS check_id,
               o.status AS old_status, o.severity AS old_severity, v.status AS new_status,
               v.severity AS new_severity
        FROM {main}change h JOIN {main}node n ON n.id = h.node
        JOIN {main}cluster c ON c.id = n.cluster JOIN {main}rule r ON r.id = h.rule
        LEFT JOIN {values} o ON o.value = h.old LEFT JOIN {values} v ON v.value = h.new
        WHERE {scope_n}""",
    "tally": """
        SELECT r.name AS check_id, c.name AS cluster, v.status AS status, v.severity AS severity,
               k.nodes AS nodes
        FROM {main}counter k JOIN {main}cluster c ON c.id = k.cluster
        JOIN {main}rule r ON r.id = k.rule JOIN {values} v ON v.value = k.value
        WHERE k.nodes > 0 AND {scope_k}""",
    "node_key": """
        SELECT c.name AS cluster, n.name AS node, {key} AS key, k.component AS component,
               k.place AS place, k.private = 1 AS private, k.plane = 1 AS control_plane
        FROM {main}node_key k JOIN {main}node n ON n.id = k.node
        JOIN {main}cluster c ON c.id = n.cluster WHERE {scope_n}""",
    "waiver": """
        SELECT w.id AS id, w."check" AS check_glob, w.node AS node_glob, w.labels AS labels,
               w.reason AS reason, w.owner AS owner, {until} AS until,
               w.approved_at IS NOT NULL AND w.ended_at IS NULL AND w.expires_at > {now}
                   AS approved
        FROM {main}waiver w
        WHERE {everything} OR (
            EXISTS (SELECT 1 FROM {main}cluster c WHERE {covered})
            AND NOT EXISTS (SELECT 1 FROM {main}cluster c WHERE {covered} AND NOT ({scope_c}))
            AND w.labels <> '{{}}')""",
}
_COVERED: Final = """NOT EXISTS (
    SELECT 1 FROM {each} l WHERE NOT (CASE WHEN l.key = 'cluster' THEN c.name = l.value
        ELSE EXISTS (SELECT 1 FROM {main}cluster_label x
                     WHERE x.cluster = c.id AND x.key = l.key AND x.value = l.value) END))"""
"""Whether a waiver `w` covers cluster `c`. A scoped asker sees those that cover nothing else than
what they may see, and something."""


@dataclass(frozen=True)
class Dialect:
    """How a column of milliseconds becomes a time, one of bytes a text, and one of JSON the rows
    (key, value) of its members; and now in milliseconds."""

    moment: Callable[[str], str]
    hexed: Callable[[str], str]
    each: Callable[[str], str]
    now: str


@dataclass(frozen=True)
class Within:
    """What an asker may see, as SQL: whether a column's cluster is among it, and whether it is
    everything."""

    cluster: Callable[[str], str]
    everything: str


def value_rows() -> str:
    """(value, status, severity) of every value, as SQL."""
    rows = ((v, *(part.value for part in unpack(v))) for v in LEVELS)
    return ", ".join(f"({v}, '{status}', '{severity}')" for v, status, severity in rows)


def view_sql(name: str, dialect: Dialect, main: str, values: str, within: Within) -> str:
    """The SELECT of one view."""
    moment = dialect.moment
    return VIEWS[name].format(
        main=main,
        values=values,
        first=moment("p.first_at"),
        seen=moment("p.seen_at"),
        reported=moment("p.report_at"),
        at=moment("h.at"),
        until=moment("w.expires_at"),
        now=dialect.now,
        key=dialect.hexed("k.key"),
        covered=_COVERED.format(main=main, each=dialect.each("w.labels")),
        scope_n=within.cluster("n.cluster"),
        scope_k=within.cluster("k.cluster"),
        scope_c=within.cluster("c.id"),
        everything=within.everything,
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Mapping[str, Any]:
    """{"columns", "rows", "truncated"}: as many of the rows as an answer may hold."""
    kept: list[list[Any]] = []
    size = 0
    for row in rows:
        if len(kept) == MOST_ROWS or size > MOST_ANSWER:
            return {"columns": list(columns), "rows": kept, "truncated": True}
        kept.append([_plain(value) for value in row])
        size += sum(len(value) if isinstance(value, str) else 8 for value in kept[-1])
    return {"columns": list(columns), "rows": kept, "truncated": False}


_PLAIN: Final = (type(None), bool, int, float, str, datetime, date, time, timedelta)


def _plain(value: Any) -> Any:  # noqa: ANN401  whatever a database has for types
    """What JSON has a form for stays; bytes are hex, the rest is what it says."""
    if isinstance(value, _PLAIN):
        return value
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)
