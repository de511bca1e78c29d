"""Questions in SQL over the read-only views; saved ones to start from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, TypedDict

from sqlalchemy import Connection
from starlette.responses import RedirectResponse, Response

from nodeward.collector.page.visit import Shown, Visit, action, view
from nodeward.collector.problem import Problem, busy
from nodeward.collector.store import saved
from nodeward.collector.store.access import Role
from nodeward.collector.store.ask import Db
from nodeward.collector.store.sql import run

AT_ONCE: Final = threading.BoundedSemaphore(2)
"""Queries of the page that may run at a time in one collector; each ends after its deadline."""

VIEWS: Final[Mapping[str, str]] = {
    "node": "cluster, node, first_seen, last_seen, last_report, score, fails, os, os_version,"
    " kernel, kubelet, runtime, cloud, roles, agent, retired",
    "finding": "cluster, node, check_id, status, severity; what fails, is unknown or in error",
    "change": "at, cluster, node, check_id, old_status, old_severity, new_status, new_severity",
    "tally": "check_id, cluster, status, severity, nodes",
    "waiver": "id, check_glob, node_glob, labels, reason, owner, until, approved",
}


class _Fields(TypedDict):
    name: str
    sql: str
    shared: bool


BUILT_IN: Final = {
    "What fails on most nodes": (
        "SELECT check_id, severity, sum(nodes) AS nodes FROM tally WHERE status = 'fail'\n"
        "GROUP BY check_id, severity ORDER BY nodes DESC LIMIT 20"
    ),
    "Which nodes can load SCTP, since when": (
        "SELECT f.cluster, f.node, coalesce(max(c.at), n.first_seen) AS since FROM finding f\n"
        "JOIN node n ON n.cluster = f.cluster AND n.node = f.node\n"
        "LEFT JOIN change c\n"
        "ON c.cluster = f.cluster AND c.node = f.node AND c.check_id = f.check_id\n"
        "WHERE f.check_id = 'kernel.module.sctp' AND f.status = 'fail'\n"
        "GROUP BY f.cluster, f.node, n.first_seen ORDER BY since DESC"
    ),
    "The posture of each cluster": (
        "SELECT cluster, status, sum(nodes) AS findings FROM tally\n"
        "GROUP BY cluster, status ORDER BY 1, 2"
    ),
    "The twenty worst nodes": (
        "SELECT cluster, node, fails, score FROM node WHERE NOT retired\n"
        "ORDER BY score DESC LIMIT 20"
    ),
    "Nodes where much could not be judged": (
        "SELECT cluster, node, count(*) AS unknown FROM finding WHERE status = 'unknown'\n"
        "GROUP BY cluster, node ORDER BY unknown DESC LIMIT 50"
    ),
    "Kernels and kubelets in use": (
        "SELECT kernel, kubelet, count(*) AS nodes FROM node WHERE NOT retired\n"
        "GROUP BY kernel, kubelet ORDER BY nodes DESC"
    ),
    "What became worse": (
        "SELECT at, cluster, node, check_id, old_status, new_severity FROM change\n"
        "WHERE new_status = 'fail' ORDER BY at DESC LIMIT 100"
    ),
}


def sql(visit: Visit, db: Db) -> Shown:
    """What a SELECT found; a refusal of the database stands beside the text that it refused."""
    chosen = visit.query.get("saved")
    question = None if not chosen else saved.one(db.connection, visit.asker, chosen)
    text = _lines(visit.query.get("sql") or (question["sql"] if question else ""))
    found: dict[str, Any] = {"columns": [], "rows": [], "truncated": False}
    refusal = ""
    if text:
        try:
            found = dict(_run(visit, text))
        except Problem as problem:
            if visit.query.get("format", "html") != "html":
                raise
            refusal = problem.message
    more = {
        "sql": text,
        "question": question,
        "built_in": BUILT_IN,
        "saved": saved.saved(db.connection, visit.asker),
        "refusal": refusal,
        "views": VIEWS,
    }
    return Shown("SQL", found, found["columns"], found["rows"], more)


def _lines(text: str) -> str:
    """As it was typed: browsers send a form's lines with a carriage return at the end of each."""
    return text.replace("\r\n", "\n")


def _run(visit: Visit, text: str) -> Any:  # noqa: ANN401  JSON
    if not AT_ONCE.acquire(timeout=5):
        raise busy("too many questions at once")
    try:
        center = visit.center
        return run(center.engine, center.settings.query_database, visit.asker.scope, text)
    finally:
        AT_ONCE.release()


def keep(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> Response:
    """A new question under a name."""
    made = saved.keep(connection, visit.asker, **_fields(form), now=now)
    return RedirectResponse(f"/sql?saved={made}", 303)


def change(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> Response:
    """Its name, text or circle."""
    which = form["question"]
    saved.change(connection, visit.asker, which, **_fields(form), now=now)
    return RedirectResponse(f"/sql?saved={which}", 303)


def _fields(form: Mapping[str, str]) -> _Fields:
    return {
        "name": form.get("on", ""),
        "sql": _lines(form.get("sql", "")),
        "shared": form.get("shared") == "yes",
    }


def forget(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> None:
    saved.forget(connection, visit.asker, form["question"])


ROUTES: Final = [
    view("/sql", "sql.html", sql, "sql saved"),
    action("/sql/saved", Role.VIEWER, "question.create", keep, "/sql"),
    action("/sql/saved/{question}", Role.VIEWER, "question.change", change, "/sql"),
    action("/sql/saved/{question}/delete", Role.VIEWER, "question.delete", forget, "/sql"),
]
