"""Nodes: the list, and one with all that it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nodeward.collector.page.certificates import timeline
from nodeward.collector.page.chain import chains
from nodeward.collector.page.checks import FINDING, finding_rows, page_filter
from nodeward.collector.page.listeners import listeners
from nodeward.collector.page.matrix import matrix
from nodeward.collector.page.visit import Shown, Visit, view
from nodeward.collector.store import ask
from nodeward.collector.store.ask import Db, Filter
from nodeward.model import Status

FAMILIES: Final = {
    "kernel": "Kernel and modules",
    "kubelet": "Kubelet",
    "kubeproxy": "kube-proxy",
    "host": "Host",
    "cert": "Certificates and credentials",
    "meta": "Cloud metadata",
    "agent": "nodeward itself",
}


def nodes(visit: Visit, db: Db) -> Shown:
    by_score = visit.query.get("sort") == "score"
    page = ask.nodes(db, page_filter(visit, (int, int) if by_score else (str, str)))
    names = ("cluster", "node", "seen", "score", "last_seen", "kernel", "kubelet")
    rows = [{**{n: i[n] for n in names}, **i["summary"]} for i in page.items]
    clusters = [c["cluster"] for c in ask.clusters(db, Filter()).items]
    columns = (*names, *(s.value for s in Status))
    data = {"items": page.items, "next": page.next}
    return Shown("Nodes", data, columns, rows, {"clusters": clusters})


def node(visit: Visit, db: Db) -> Shown:
    cluster, name = visit.request.path_params["cluster"], visit.request.path_params["name"]
    found = ask.node(db, cluster, name)
    findings = found["findings"]
    changes = ask.changes(db, Filter(cluster=cluster, node=name, limit=10))
    ports = listeners(findings)
    more = {
        "families": _families(findings),
        "certificates": timeline(findings, db.now),
        "matrix": matrix(findings),
        "listeners": ports,
        "ports_from": sorted({f["check"] for line in ports for f in line["verdicts"]}),
        "chains": chains(findings),
        "changes": changes.items,
    }
    return Shown(f"{name} in {cluster}", found, FINDING, finding_rows(findings), more)


def _families(findings: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Findings by what they are about, the worst of each first, as they come."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings:
        groups.setdefault(finding["check"].split(".")[0], []).append(finding)
    known = [*FAMILIES, *sorted(set(groups) - set(FAMILIES))]
    return [(FAMILIES.get(f, f), groups[f]) for f in known if f in groups]


ROUTES: Final = [
    view("/nodes", "nodes.html", nodes, "cluster node label seen sort limit cursor"),
    view("/nodes/{cluster}/{name}", "node.html", node),
]
