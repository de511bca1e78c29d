"""What is judged: how many nodes fail it, why it matters, and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from glob import escape
from typing import Any, Final, TypeAlias

from nodeward.checks import catalog
from nodeward.collector.api.people import filter_of
from nodeward.collector.page import questions
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.problem import bad, gone
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import Check, CheckId, Severity, Status
from nodeward.model.report import remedy_to_json

MOST_GROUPS: Final = 24
"""Columns of the heat map; more would not be legible. Group by a label then."""


def _title(check: str) -> str:
    rule = catalog().get(CheckId(check))
    return rule.title if rule else ""


def checks(visit: Visit, db: Db) -> Shown:
    want = page_filter(visit, ())
    items = [
        {**row, "title": _title(row["check"])}
        for row in ask.checks(db, want).items
        if not want.severities or row["severity"] in want.severities
    ]
    rows = [
        {"check": i["check"], "severity": i["severity"], **i["nodes"], "title": i["title"]}
        for i in items
    ]
    clusters = [c["cluster"] for c in ask.clusters(db, Filter()).items]
    more = {"clusters": clusters, "severities": [s.value for s in Severity]}
    columns = ("check", "severity", *(s.value for s in Status), "title")
    return Shown("Checks", {"items": items}, columns, rows, more)


def check(visit: Visit, db: Db) -> Shown:
    """One check, and the findings of every node that has something to say of it."""
    name = visit.request.path_params["check"]
    if name not in catalog() and not _heard_of(db, name):
        raise gone("check")
    want = page_filter(visit, (int, int, int), checks=(name,))
    if not want.statuses:
        want = page_filter(
            visit, (int, int, int), checks=(name,), statuses=frozenset({Status.FAIL})
        )
    page = ask.findings(db, want)
    data = {
        "check": name,
        "nodes": ask.statuses(db, want),
        "about": _rule(catalog().get(CheckId(name))),
        "items": page.items,
        "next": page.next,
    }
    more = {
        "statuses": [s.value for s in Status],
        "shown": [s.value for s in want.statuses],
        "severities": [s.value for s in Severity],
        "clusters": [c["cluster"] for c in ask.clusters(db, Filter()).items],
    }
    return Shown(name, data, FINDING, finding_rows(page.items), more)


def _heard_of(db: Db, name: str) -> bool:
    """Whether agents told of a check that we do not have, now or ever."""
    exact = Filter(checks=(escape(name),), limit=1)
    return bool(ask.checks(db, exact).items or ask.changes(db, exact).items)


def _rule(rule: Check[...] | None) -> Mapping[str, Any] | None:
    if rule is None:
        return None
    return {
        "title": rule.title,
        "why": rule.why,
        "severity": rule.severity.value,
        "remedy": remedy_to_json(rule.remedy),
        "sources": [{"name": s.name, "url": s.url} for s in rule.sources],
        "mappings": {k: v for k, v in rule.mappings.items() if v},
    }


FINDING: Final = (
    "cluster", "node", "check", "status", "severity", "because", "since", "last_seen", "waiver",
)  # fmt: skip


def finding_rows(items: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401  JSON
    """Findings for a spreadsheet."""
    names = FINDING[:-1]
    return [
        {**{n: item[n] for n in names}, "waiver": (item["waiver"] or {}).get("id")}
        for item in items
    ]


def page_filter(visit: Visit, cursor: tuple[type, ...], **over: Any) -> Filter:  # noqa: ANN401
    """The address's filter, with what the view itself decides."""
    return replace(filter_of(visit.request, cursor, also=("format", "by", "days")), **over)


Cells: TypeAlias = Mapping[str, Mapping[str, Counter[str]]]
NODES: Final = "node."
"""How `by` says that nodes are grouped by what they are, and not by their cluster."""


def heat(visit: Visit, db: Db) -> Shown:
    """Checks by groups of nodes: the share of each group's nodes that fail."""
    by = visit.query.get("by") or "cluster"
    if by.startswith(NODES):
        kind = by.removeprefix(NODES)
        if kind not in questions.KINDS:
            raise bad("by", f"must be a label of clusters, or {NODES} and one of "
                      + ", ".join(questions.KINDS))  # fmt: skip
        cells, sizes = questions.heat_of_nodes(db, kind)
    else:
        cells, sizes = _by_clusters(db, by)
    sizes = Counter({name: many for name, many in sizes.items() if many})
    columns = [name for name, _ in sizes.most_common(MOST_GROUPS)]
    rows: list[dict[str, Any]] = [
        {
            "check": name,
            "cells": [_cell(cells[name].get(c, Counter())) for c in columns],
        }
        for name in sorted(cells)
        if any(counts[s] for counts in cells[name].values() for s in ("fail", "unknown", "error"))
    ]
    rows.sort(key=lambda r: (-sum(c["fail"] for c in r["cells"]), r["check"]))
    data = {"by": by, "columns": columns, "rows": rows, "groups": len(sizes)}
    flat = [
        {"check": r["check"], by: column, **cell}
        for r in rows
        for column, cell in zip(columns, r["cells"], strict=True)
    ]
    more = {"labels": questions.label_keys(db), "kinds": questions.KINDS, "sizes": sizes}
    return Shown("Heat map", data, ("check", by, *_cell(Counter())), flat, more)


def _by_clusters(db: Db, by: str) -> tuple[Cells, Mapping[str, int]]:
    """By each cluster itself, or by its value of a label."""
    names = questions.cluster_groups(db, None)
    groups = names if by == "cluster" else questions.cluster_groups(db, by)
    nodes = {row["cluster"]: row["nodes"] for row in ask.clusters(db, Filter()).items}
    sizes: Counter[str] = Counter()
    for cluster, group in groups.items():
        sizes[group] += nodes.get(names[cluster], 0)
    return questions.heat(db, groups), sizes


def _cell(counts: Counter[str]) -> dict[str, int]:
    judged = counts["pass"] + counts["fail"]
    return {
        "fail": counts["fail"],
        "judged": judged,
        "unknown": counts["unknown"] + counts["error"],
        "shade": -(-10 * counts["fail"] // judged) if judged else 0,
    }


ROUTES: Final = [
    view("/checks", "checks.html", checks, "check severity cluster label"),
    view(
        "/checks/{check}",
        "check.html",
        check,
        "status severity cluster node label seen waived limit cursor",
    ),
    view("/heat", "heat.html", heat, "by"),
]
