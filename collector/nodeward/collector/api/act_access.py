"""Acts on tokens: those by which agents join, and those by which people and programs ask."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import Response

from nodeward.collector import wire
from nodeward.collector.api.acting import Short, acting, fleet_wide, span, whole
from nodeward.collector.api.answer import answer, body_of, tagged
from nodeward.collector.api.people import asking, gate
from nodeward.collector.db import tables as t
from nodeward.collector.problem import Problem, bad
from nodeward.collector.store.access import (
    Asker,
    Role,
    access_json,
    make_access,
    revoke_access,
)
from nodeward.collector.store.asked import Db
from nodeward.collector.store.enrol import join_tokens_json, make_join_token, revoke_join_token


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


async def tokens(request: Request) -> Response:
    want = wire.decode(await body_of(request), TokenIn)
    ttl_ms = span(want.ttl, "ttl")

    def act(connection: Connection, asker: Asker, now: int) -> str:
        query = select(t.cluster.c.id).where(t.cluster.c.name == want.cluster)
        whole(asker, connection.execute(query).scalar_one_or_none())
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

    given = msgspec.to_builtins(want)
    token = await acting(request, Role.OPERATOR, "token.create", want.cluster, act, given)
    return answer({"token": token}, 201)


async def access(request: Request) -> Response:
    want = wire.decode(await body_of(request), AccessIn)
    if want.role not in ("viewer", "operator", "admin"):
        raise bad("role", "must be viewer, operator or admin")
    ttl_ms = span(want.ttl, "ttl")

    def act(connection: Connection, asker: Asker, now: int) -> str:
        fleet_wide(asker)
        return make_access(
            connection,
            name=want.name,
            role=Role.named(want.role),
            labels=want.labels,
            ttl_ms=ttl_ms,
            now=now,
        )

    given = msgspec.to_builtins(want)
    token = await acting(request, Role.ADMIN, "access.create", want.name, act, given)
    return answer({"token": token}, 201)


async def access_revoke(request: Request) -> Response:
    which = request.path_params["access"]

    def act(connection: Connection, asker: Asker, now: int) -> None:
        fleet_wide(asker)
        revoke_access(connection, which, now)

    await acting(request, Role.ADMIN, "access.revoke", which, act)
    return answer({"access": which})


async def access_list(request: Request) -> Response:
    """Tokens that were made and sessions that were begun, without what would open anything."""
    items = await asyncio.to_thread(
        asking, request, Role.ADMIN, lambda db: access_json(db.connection, everything(db))
    )
    return tagged(request, {"items": items, "next": None, "total": len(items)})


def everything(db: Db) -> int:
    """Now; for askers of the whole fleet."""
    if not db.scope.everything:
        raise Problem(403, "scope", "this token is limited to some clusters")
    return db.now


async def token_list(request: Request) -> Response:
    """Join tokens that are still good, without the tokens themselves."""
    items = await asyncio.to_thread(
        asking, request, Role.OPERATOR, lambda db: join_tokens_json(db.connection, db.scope, db.now)
    )
    return tagged(request, {"items": items, "next": None, "total": len(items)})


async def token_revoke(request: Request) -> Response:
    """Nobody joins by it any more; who did stays."""
    which = request.path_params["token"]

    def act(connection: Connection, asker: Asker, _now: int) -> None:
        revoke_join_token(connection, which, asker.scope)

    await acting(request, Role.OPERATOR, "token.revoke", which, act)
    return answer({"token": which})


ROUTES: Final = [
    gate(Role.OPERATOR, "/v1/tokens", tokens, "POST"),
    gate(Role.OPERATOR, "/v1/tokens", token_list),
    gate(Role.OPERATOR, "/v1/tokens/{token}/revoke", token_revoke, "POST"),
    gate(Role.ADMIN, "/v1/access", access, "POST"),
    gate(Role.ADMIN, "/v1/access", access_list),
    gate(Role.ADMIN, "/v1/access/{access}/revoke", access_revoke, "POST"),
]
