"""The application: routes around a Center, and what every answer has in common."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodeward.collector.api import acts, openapi, operate, people
from nodeward.collector.api.agents import Front
from nodeward.collector.api.answer import HEADERS, problem_answer
from nodeward.collector.center import Center
from nodeward.collector.notify import notify
from nodeward.collector.problem import AWAY, Problem, store_away

log = logging.getLogger(__name__)

API: tuple[BaseRoute, ...] = (*acts.ROUTES, *people.ROUTES, *operate.ROUTES, *openapi.ROUTES)


def build_app(center: Center, more: Iterable[BaseRoute] = ()) -> Starlette:
    """The collector's application: the API and `more` routes (the page). Runs the center."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with center.running():
            notify("READY=1")
            yield
            notify("STOPPING=1")

    app = Starlette(
        routes=[*API, *more],
        lifespan=lifespan,
        middleware=[Middleware(Common, center=center), Middleware(Front, center=center)],
        exception_handlers={
            Problem: _problem,
            HTTPException: _http,
            **dict.fromkeys(AWAY, _store_away),
            Exception: _defect,
        },
    )
    app.router.redirect_slashes = False
    app.state.center = center
    return app


def _problem(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Problem)
    return problem_answer(exc)


def _store_away(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, AWAY)
    return problem_answer(store_away(exc))


def _http(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    code = {404: "not-found", 405: "method"}.get(exc.status_code, "refused")
    return problem_answer(Problem(exc.status_code, code, exc.detail))


def _defect(_request: Request, exc: Exception) -> Response:
    log.error("a defect: %s", type(exc).__name__)
    return problem_answer(Problem(500, "defect", "a defect in the collector; its log says more"))


class Common:
    """Request ids, security headers, counting. Plain ASGI: it costs every heartbeat."""

    def __init__(self, app: ASGIApp, center: Center) -> None:
        self._app = app
        self._metrics = center.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = secrets.token_hex(8).encode()
        code = 500

        async def dressed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [
                    *message.get("headers", ()), *HEADERS, (b"x-request-id", request_id)
                ]  # fmt: skip
            await send(message)

        try:
            await self._app(scope, receive, dressed)
        finally:
            route = scope.get("nodeward.route") or getattr(scope.get("route"), "path", None)
            self._metrics.request(str(route or "other"), code, time.perf_counter() - began)
