"""What operators and admins do: each act and its line in the audit log share a transaction."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import msgspec
from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nodeward.collector import wire
from nodeward.collector.api.answer import answer, body_of
from nodeward.collector.api.people import asker_now
from nodeward.collector.center import Center
from nodeward.collector.clock import moment_ms, now_ms, span_ms
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert
from nodeward.collector.problem import Problem, bad, gone
from nodeward.collector.store import lifecycle, waivers
from nodeward.collector.store.access import Asker, Role, make_access, revoke_access
from nodeward.collector.store.alerts import Rule, make_rule
from nodeward.collector.store.audit import note
from nodeward.collector.store.enrol import make_join_token

T = TypeVar("T")
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
Act = Callable[[Connection, Asker, int], T]
LONGEST_MS: Final = 3 * 366 * 86_400_000


class TokenIn(msgspec.Struct, forbid_unknown_fields=True):
    cluster: Short
    node: Short | None = None
    uses: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    ttl: Short = "1h"
    approve: bool = False


class AccessIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Short
    role: Short = "viewer"
    labels: dict[Short, Short] = {}
    ttl: Short = "90d"


class WaiverIn(msgspec.Struct, forbid_unknown_fields=True):
    check: Short
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
    owner: Short
    until: Short
    node: Short = "*"
    labels: dict[Short, Short] = {}


class LookIn(msgspec.Struct, forbid_unknown_fields=True):
    cluster: Short | None = None
    node: Short = "*"


async def acting(request: Request, role: Role, name: str, on: str, act: Act[T]) -> T:
    """Do it as the asker, and write down that it was done."""
    center: Center = request.app.state.center
    asker = await asyncio.to_thread(asker_now, request, role)
    return await act_as(center, asker, role, name, on, act)


async def act_as(center: Center, asker: Asker, role: Role, name: str, on: str, act: Act[T]) -> T:
    """The same for an asker who is known already."""
    asker.needs(role)
    now = now_ms()

    def both(connection: Connection) -> T:
        result = act(connection, asker, now)
        note(connection, asker.name, name, on, now)
        return result

    return await center.writer.act(both)


async def _heard(request: Request) -> None:
    """This replica knows of it before the answer; the others within seconds."""
    center: Center = request.app.state.center
    await asyncio.to_thread(center.keys.poll)


def _span(text: str, field: str) -> int:
    try:
        span = span_ms(text)
    except ValueError as exc:
        raise bad(field, str(exc)) from None
    if not 0 < span <= LONGEST_MS:
        raise bad(field, "too long")
    return span


def _whole(asker: Asker, cluster: int | None) -> None:
    """An asker limited to some clusters acts on those only."""
    if asker.scope.clusters is not None and cluster not in asker.scope.clusters:
        raise gone("cluster")


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
            lambda connection, asker, now: act(connection, agent, asker.scope, now),
        )
        await _heard(request)
        return answer({"agent": agent})

    return Route(f"/v1/agents/{{agent}}/{name}", endpoint, methods=["POST"])


async def retire(request: Request) -> Response:
    cluster, name = request.path_params["cluster"], request.path_params["name"]
    center: Center = request.app.state.center

    def act(connection: Connection, asker: Asker, now: int) -> None:
        node = lifecycle.node_id(connection, cluster, name, asker.scope)
        lifecycle.retire(connection, center.writer.names, [node], now, f"by {asker.name}")

    await acting(request, Role.OPERATOR, "node.retire", f"{cluster}/{name}", act)
    await _heard(request)
    return answer({"cluster": cluster, "node": name})


async def look(request: Request) -> Response:
    """A fresh look at these nodes; each hears of it in the answer to its next heartbeat."""
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
            for row in connection.execute(query)
            if fnmatch.fnmatchcase(row.name, want.node)
        ]
        if not rows:
            raise gone("node")
        connection.execute(insert(connection, t.look).on_conflict_do_nothing(), rows)
        return len(rows)

    on = f"{want.cluster or '*'}/{want.node}"
    return answer({"nodes": await acting(request, Role.OPERATOR, "look", on, act)}, 202)


async def tokens(request: Request) -> Response:
    want = wire.decode(await body_of(request), TokenIn)
    ttl_ms = _span(want.ttl, "ttl")

    def act(connection: Connection, asker: Asker, now: int) -> str:
        query = select(t.cluster.c.id).where(t.cluster.c.name == want.cluster)
        _whole(asker, connection.execute(query).scalar_one_or_none())
        return make_join_token(
            connection,
            cluster=want.cluster,
            node=want.node,
            uses=want.uses,
            ttl_ms=ttl_ms,
            approve=want.approve or want.node is None,
            by=asker.name,
            now=now,
        )

    token = await acting(request, Role.OPERATOR, "token.create", want.cluster, act)
    return answer({"token": token}, 201)


async def access(request: Request) -> Response:
    want = wire.decode(await body_of(request), AccessIn)
    if want.role not in ("viewer", "operator", "admin"):
        raise bad("role", "must be viewer, operator or admin")
    ttl_ms = _span(want.ttl, "ttl")

    def act(connection: Connection, asker: Asker, now: int) -> str:
        _fleet_wide(asker)
        return make_access(
            connection,
            name=want.name,
            role=Role.named(want.role),
            labels=want.labels,
            ttl_ms=ttl_ms,
            now=now,
        )

    token = await acting(request, Role.ADMIN, "access.create", want.name, act)
    return answer({"token": token}, 201)


async def access_revoke(request: Request) -> Response:
    which = request.path_params["access"]

    def act(connection: Connection, asker: Asker, now: int) -> None:
        _fleet_wide(asker)
        revoke_access(connection, which, now)

    await acting(request, Role.ADMIN, "access.revoke", which, act)
    return answer({"access": which})


def _fleet_wide(asker: Asker) -> None:
    """Rights are given only by admins of everything: else one could widen their own."""
    if not asker.scope.everything:
        raise Problem(403, "scope", "this token is limited to some clusters")


async def waiver(request: Request) -> Response:
    want = wire.decode(await body_of(request), WaiverIn)
    until = moment_ms(want.until, "until", now_ms())
    if want.until[-1:] in "smhdw":
        until = now_ms() + _span(want.until, "until")

    def act(connection: Connection, asker: Asker, now: int) -> str:
        if not waivers.in_scope(connection, want.labels, asker.scope):
            raise bad("labels", "a waiver must stay within the clusters of your token")
        return waivers.make_waiver(
            connection,
            check=want.check,
            node=want.node,
            labels=want.labels,
            reason=want.reason,
            owner=want.owner,
            expires_at=until,
            by=asker.name,
            approved=False,
            now=now,
        )

    made = await acting(request, Role.OPERATOR, "waiver.create", want.check, act)
    return answer({"id": made, "state": "pending"}, 201)


class AlertIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Short
    kind: Short
    target: Short
    url: Annotated[str, msgspec.Meta(max_length=2_000)]
    check: Short = "*"
    severity: Short = "high"
    cluster: Short = "*"
    more_than: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0


async def alert(request: Request) -> Response:
    """A rule that tells Alertmanager or a webhook; the answer holds the secret that signs it."""
    want = wire.decode(await body_of(request), AlertIn)
    given = msgspec.structs.asdict(want)
    name = given.pop("name")

    def act(connection: Connection, asker: Asker, now: int) -> str:
        _fleet_wide(asker)
        return make_rule(connection, name=name, rule=Rule(**given), by=asker.name, now=now)

    return answer({"secret": await acting(request, Role.ADMIN, "alert.create", name, act)}, 201)


async def alert_delete(request: Request) -> Response:
    name = request.path_params["name"]

    def act(connection: Connection, asker: Asker, _now: int) -> None:
        _fleet_wide(asker)
        rules = select(t.alert_rule.c.id).where(t.alert_rule.c.name == name)
        connection.execute(t.alert_out.delete().where(t.alert_out.c.rule.in_(rules)))
        this = t.alert_rule.delete().where(t.alert_rule.c.name == name)
        if connection.execute(this).rowcount != 1:
            raise gone("alert rule")

    await acting(request, Role.ADMIN, "alert.delete", name, act)
    return answer({"name": name})


def _waiver_act(name: str, do: Callable[..., None]) -> Route:
    async def endpoint(request: Request) -> Response:
        which = request.path_params["waiver"]
        await acting(
            request,
            Role.OPERATOR,
            f"waiver.{name}",
            which,
            lambda connection, asker, now: do(connection, which, asker.scope, asker.name, now),
        )
        return answer({"id": which})

    return Route(f"/v1/waivers/{{waiver}}/{name}", endpoint, methods=["POST"])


ROUTES: Final = [
    *(_agent_act(name) for name in ("approve", "release", "revoke")),
    Route("/v1/nodes/{cluster}/{name}/retire", retire, methods=["POST"]),
    Route("/v1/look", look, methods=["POST"]),
    Route("/v1/tokens", tokens, methods=["POST"]),
    Route("/v1/access", access, methods=["POST"]),
    Route("/v1/access/{access}/revoke", access_revoke, methods=["POST"]),
    Route("/v1/waivers", waiver, methods=["POST"]),
    Route("/v1/alerts", alert, methods=["POST"]),
    Route("/v1/alerts/{name}/delete", alert_delete, methods=["POST"]),
    _waiver_act("approve", waivers.approve_waiver),
    _waiver_act("end", waivers.end_waiver),
]
