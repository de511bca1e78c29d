"""Agents: how to enrol one, and what became of those enrolled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from markupsafe import escape
from sqlalchemy import Connection, select
from starlette.responses import Response
from starlette.routing import Route

from nodeward.collector.authority import BUNDLE
from nodeward.collector.clock import span_ms
from nodeward.collector.db import tables as t
from nodeward.collector.page import questions
from nodeward.collector.page.checks import page_filter
from nodeward.collector.page.render import html
from nodeward.collector.page.visit import Shown, Visit, action, view
from nodeward.collector.problem import bad, gone
from nodeward.collector.store import ask, lifecycle
from nodeward.collector.store.access import Role
from nodeward.collector.store.ask import Db, Filter
from nodeward.collector.store.enrol import make_join_token

TTL: Final = "24h"


def agents(visit: Visit, db: Db) -> Shown:
    page = ask.agents(db, page_filter(visit, (str,)))
    data = {"states": questions.agent_states(db), "items": page.items, "next": page.next}
    more = {"clusters": [c["cluster"] for c in ask.clusters(db, Filter()).items]}
    return Shown("Agents", data, ask.KEY, page.items, more)


def enrol(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> Response:
    """A join token, shown once, in the commands that use it."""
    cluster = form.get("on", "")
    if not 0 < len(cluster) <= 253 or not cluster.isprintable():
        raise bad("cluster", "must be given")
    found = connection.execute(
        select(t.cluster.c.id).where(t.cluster.c.name == cluster)
    ).scalar_one_or_none()
    if visit.asker.scope.clusters is not None and found not in visit.asker.scope.clusters:
        raise gone("cluster")
    node = form.get("node") or None
    token = make_join_token(
        connection,
        cluster=cluster,
        node=node,
        uses=1,
        ttl_ms=span_ms(TTL),
        approve=node is None,
        by=visit.asker.name,
        now=now,
    )
    request, settings = visit.request, visit.center.settings
    return html(
        "enrol.html",
        visit=visit,
        title="Enrol a node",
        token=token,
        cluster=cluster,
        node=node,
        ttl=TTL,
        address=f"{request.url.scheme}://{request.headers.get('Host', '')}",
        ca=escape("" if settings.tls_cert else authorities(Path(settings.state))),  # whole, not cut
    )


def authorities(state: Path) -> str:
    """Our own authorities' certificates; "" where somebody else's signs ours, or none is there."""
    for name in (BUNDLE, "ca.crt"):
        try:
            text = (state / name).read_text("ascii")
        except (OSError, ValueError):
            continue
        if text.startswith("-----BEGIN CERTIFICATE-----"):
            return text.strip()
    return ""


def _act(name: str, do: Callable[..., None]) -> Route:
    def act(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> None:
        do(connection, form["agent"], visit.asker.scope, now)

    return action(f"/agents/{{agent}}/{name}", Role.OPERATOR, f"agent.{name}", act, "/agents")


ROUTES: Final = [
    view("/agents", "agents.html", agents, "cluster node label state limit cursor"),
    action("/agents/enrol", Role.OPERATOR, "token.create", enrol, "/agents"),
    _act("approve", lifecycle.approve),
    _act("release", lifecycle.release),
    _act("revoke", lifecycle.revoke),
]
