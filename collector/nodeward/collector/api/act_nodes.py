"""Acts on agents' keys and on nodes."""

from __future__ import annotations

import fnmatch
from typing import Final

import msgspec
from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nodeward.collector import wire
from nodeward.collector.api.acting import Short, acting, heard
from nodeward.collector.api.answer import answer, body_of
from nodeward.collector.api.people import gate
from nodeward.collector.center import Center
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert
from nodeward.collector.problem import gone
from nodeward.collector.store import lifecycle
from nodeward.collector.store.access import Asker, Role


class LookIn(msgspec.Struct, forbid_unknown_fields=True):
    cluster: Short | None = None
    node: Short = "*"


def _agent_act(name: str) -> Route:
    """POST /v1/agents/{agent}/approve and its like."""

    async def endpoint(request: Request) -> Response:
        agent = request.path_params["agent"]
        act = getattr(lifecycle, name)
        await acting(
            request,
            Role.OPERATOR,
            f"agent.{name}",
            agent,
            lambda connection, asker, _now: act(connection, agent, asker.scope),
        )
        await heard(request)
        return answer({"agent": agent})

    return gate(Role.OPERATOR, f"/v1/agents/{{agent}}/{name}", endpoint, "POST")


async def retire(request: Request) -> Response:
    cluster, name = request.path_params["cluster"], request.path_params["name"]
    center: Center = request.app.state.center

    def act(connection: Connection, asker: Asker, now: int) -> None:
        node = lifecycle.node_id(connection, cluster, name, asker.scope)
        lifecycle.retire(connection, center.writer.names, [node], now, f"by {asker.name}")

    await acting(request, Role.OPERATOR, "node.retire", f"{cluster}/{name}", act)
    await heard(request)
    return answer({"cluster": cluster, "node": name})


async def look(request: Request) -> Response:
    """A fresh look at these nodes; each hears of it in the answers to its heartbeats until it has
    looked. Who asks again wants a look from now on, and not one that may have begun."""
    want = wire.decode(await body_of(request), LookIn)

    def act(connection: Connection, asker: Asker, now: int) -> int:
        query = (
            select(t.node.c.id, t.node.c.name, t.node.c.cluster)
            .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
            .where(t.node.c.retired_at.is_(None))
        )
        if want.cluster is not None:
            query = query.where(t.cluster.c.name == want.cluster)
        if asker.scope.clusters is not None:
            query = query.where(t.node.c.cluster.in_(sorted(asker.scope.clusters)))
        rows = [
            {"node": row.id, "asked_at": now, "asked_by": asker.name}
            for row in connection.execute(query.order_by(t.node.c.id))
            if fnmatch.fnmatchcase(row.name, want.node)
        ]
        if not rows:
            raise gone("node")
        statement = insert(connection, t.look)
        asked = {"asked_at": statement.excluded.asked_at, "asked_by": statement.excluded.asked_by}
        statement = statement.on_conflict_do_update(index_elements=["node"], set_=asked)
        connection.execute(statement, rows)
        return len(rows)

    on = f"{want.cluster or '*'}/{want.node}"
    return answer({"nodes": await acting(request, Role.OPERATOR, "look", on, act)}, 202)


ROUTES: Final = [
    *(_agent_act(name) for name in ("approve", "release", "revoke")),
    gate(Role.OPERATOR, "/v1/nodes/{cluster}/{name}/retire", retire, "POST"),
    gate(Role.OPERATOR, "/v1/look", look, "POST"),
]
