"""In and out: an API token opens the page."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms
from nodeward.collector.page.render import html
from nodeward.collector.page.visit import (
    COOKIE,
    form_of,
    own_form,
    same_origin,
    to_door,
    trouble,
    visitor,
)
from nodeward.collector.problem import Problem
from nodeward.collector.store.access import asker_of


def inside(target: str) -> str:
    """Only a path of this site: a link may not carry a visitor away."""
    plain = target.isprintable() and "\\" not in target
    return target if target.startswith("/") and not target.startswith("//") and plain else "/"


async def ask_in(request: Request) -> Response:
    target = inside(request.query_params.get("next", "/"))
    return html("login.html", visit=None, title="Log in", target=target, failed=False)


async def let_in(request: Request) -> Response:
    try:
        same_origin(request)
        form = await form_of(request)
    except Problem as problem:
        return trouble(None, problem)
    token, target = form.get("token", ""), inside(form.get("next", "/"))
    if not await asyncio.to_thread(_known, request, token):
        return html("login.html", 401, visit=None, title="Log in", target=target, failed=True)
    response = RedirectResponse(target, 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, path="/", secure=secure, httponly=True, samesite="lax")
    return response


def _known(request: Request, token: str) -> bool:
    center: Center = request.app.state.center
    with center.engine.connect() as connection, connection.begin():
        return asker_of(connection, token, now_ms()) is not None


async def let_out(request: Request) -> Response:
    visit = await asyncio.to_thread(visitor, request)
    if visit is None:
        return to_door(request)
    try:
        await own_form(visit)
    except Problem as problem:
        return trouble(visit, problem)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


ROUTES: Final = [
    Route("/login", ask_in, methods=["GET"]),
    Route("/login", let_in, methods=["POST"]),
    Route("/logout", let_out, methods=["POST"]),
]
