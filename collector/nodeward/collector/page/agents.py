"""Agents: what became of those enrolled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection
from starlette.routing import Route

from nodeward.collector.page import questions
from nodeward.collector.page.checks import page_filter
from nodeward.collector.page.visit import Shown, Visit, action, view
from nodeward.collector.store import ask, lifecycle
from nodeward.collector.store.access import Role
from nodeward.collector.store.ask import Db, Filter


def agents(visit: Visit, db: Db) -> Shown:
    want = page_filter(visit, (str,))
    page = ask.agents(db, want)
    data = {"states": questions.agent_states(db, want), "items": page.items, "next": page.next}
    more = {"clusters": [c["cluster"] for c in ask.clusters(db, Filter()).items]}
    return Shown("Agents", data, ask.KEY, page.items, more)


def _act(name: str, do: Callable[..., None]) -> Route:
    def act(visit: Visit, connection: Connection, form: Mapping[str, str], _now: int) -> None:
        do(connection, form["agent"], visit.asker.scope)

    return action(f"/agents/{{agent}}/{name}", Role.OPERATOR, f"agent.{name}", act, "/agents")


ROUTES: Final = [
    view("/agents", "agents.html", agents, "cluster node label state limit cursor"),
    _act("approve", lifecycle.approve),
    _act("release", lifecycle.release),
    _act("revoke", lifecycle.revoke),
]
