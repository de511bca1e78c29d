"""For probes and Prometheus: alive, ready, metrics."""

from __future__ import annotations

import asyncio

from prometheus_client.exposition import choose_encoder
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nodeward.collector.api.people import asking
from nodeward.collector.center import Center
from nodeward.collector.db import migrate
from nodeward.collector.problem import Problem
from nodeward.collector.store.access import Role
from nodeward.collector.store.ask import Db


async def livez(request: Request) -> Response:
    center: Center = request.app.state.center
    if not center.writer.alive:
        raise Problem(503, "writer", "the writer has ended", retry_after=5)
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    center: Center = request.app.state.center
    await asyncio.to_thread(_ready, center)
    return PlainTextResponse("ok\n")


def _ready(center: Center) -> None:
    try:
        with center.engine.connect() as connection:
            revision = migrate.current(connection)
    except SQLAlchemyError:
        raise Problem(503, "database", "the database does not answer", retry_after=5) from None
    if revision != migrate.head():
        raise Problem(503, "schema", "the schema is of another version", retry_after=5)


async def metrics(request: Request) -> Response:
    center: Center = request.app.state.center
    if not center.settings.metrics_open:
        await asyncio.to_thread(asking, request, Role.VIEWER, _sees_all)
    encode, kind = choose_encoder(request.headers.get("Accept", ""))
    body = await asyncio.to_thread(encode, center.metrics.registry)
    return Response(body, media_type=kind)


def _sees_all(db: Db) -> None:
    if not db.scope.everything:
        raise Problem(403, "scope", "metrics are of the whole fleet; this token is limited")


ROUTES = [
    Route("/livez", livez, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
]
