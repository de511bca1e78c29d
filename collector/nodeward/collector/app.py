"""The application: routes around a Center, and what every answer has in common."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodeward.collector import logs
from nodeward.collector.api import acts, openapi, operate, people
from nodeward.collector.api.agents import CALLS, Front
from nodeward.collector.api.answer import HEADERS, problem_answer
from nodeward.collector.center import Center
from nodeward.collector.notify import notify
from nodeward.collector.problem import AWAY, Problem, store_away
from nodeward.collector.rate import Guard

log = logging.getLogger(__name__)

QUIET = frozenset((*CALLS, "/livez", "/readyz", "/metrics"))
"""Asked too often to be worth a line each."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
API: tuple[BaseRoute, ...] = (*acts.ROUTES, *people.ROUTES, *operate.ROUTES, *openapi.ROUTES)


Telling = Callable[[Request, Problem], Response]


def _plainly(_request: Request, problem: Problem) -> Response:
    return problem_answer(problem)


def build_app(
    center: Center, more: Iterable[BaseRoute] = (), telling: Telling = _plainly
) -> Starlette:
    """The collector's application: the API and `more` routes (the page). Runs the center.

    `telling`: how an asker hears of an address that is none.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with center.running():
            notify("READY=1")
            yield
            notify("STOPPING=1")

    app = Starlette(
        routes=[*API, *more],
        lifespan=lifespan,
        middleware=[
            Middleware(Common, center=center),
            Middleware(Guard, center=center),
            Middleware(Front, center=center),
        ],
        exception_handlers={
            Problem: _problem,
            HTTPException: _http,
            **dict.fromkeys(AWAY, _store_away),
            Exception: _defect,
        },
    )
    app.router.redirect_slashes = False
    app.state.center = center
    app.state.telling = telling
    return app


def _problem(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Problem)
    return problem_answer(exc)


def _store_away(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, AWAY)
    telling: Telling = request.app.state.telling
    return telling(request, store_away(exc))


def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    code = {404: "not-found", 405: "method"}.get(exc.status_code, "refused")
    telling: Telling = request.app.state.telling
    response = telling(request, Problem(exc.status_code, code, exc.detail))
    if exc.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed(request))
    return response


def _allowed(request: Request) -> list[str]:
    """The methods of all routes at this path: a framework's route knows but its own."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


def _defect(request: Request, exc: Exception) -> Response:
    log.error("a defect: %s", type(exc).__name__)
    telling: Telling = request.app.state.telling
    return telling(request, Problem(500, "defect", "a defect in the collector; its log says more"))


class Common:
    """Request ids, security headers, counting, and a line of the log for what people ask."""

    def __init__(self, app: ASGIApp, center: Center) -> None:
        self._app = app
        self._metrics = center.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _given_id(scope) or secrets.token_hex(8).encode()
        logs.request_id.set(request_id.decode())
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
            route = str(scope.get("nodeward.route") or _pattern(scope) or "other")
            took = time.perf_counter() - began
            self._metrics.request(route, code, took)
            if route not in QUIET:
                _log_request(scope, route, code, took)


def _pattern(scope: Scope) -> str | None:
    return getattr(scope.get("route"), "path", None)


def _given_id(scope: Scope) -> bytes | None:
    """An id that a proxy or the asker gave, if it cannot be mistaken for anything else."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value if REQUEST_ID.fullmatch(value) else None
    return None


def _log_request(scope: Scope, route: str, code: int, took: float) -> None:
    """Never the query string or a header: they may hold a secret."""
    told = {
        "method": scope["method"],
        "route": route,
        "status": code,
        "ms": round(took * 1000, 1),
        "from": (scope.get("client") or ("",))[0],
        "who": scope.get("nodeward.who"),
    }
    log.info("%s %s %d", scope["method"], route, code, extra={"told": told})
