"""In and out: an API token opens the page, or a login at the provider (oidc.py)."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from nodeward.collector.center import Center
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
from nodeward.collector.store.access import asker_of, end_session


def inside(target: str) -> str:
    """Only a path of this site: a link may not carry a visitor away."""
    plain = target.isprintable() and "\\" not in target
    return target if target.startswith("/") and not target.startswith("//") and plain else "/"


async def ask_in(request: Request) -> Response:
    target = inside(request.query_params.get("next", "/"))
    return _door(request, target, failed=False)


def _door(request: Request, target: str, status: int = 200, *, failed: bool) -> Response:
    center: Center = request.app.state.center
    provider = center.provider.settings.name if center.provider else None
    return html(
        "login.html",
        status,
        visit=None,
        title="Log in",
        target=target,
        failed=failed,
        provider=provider,
    )


async def let_in(request: Request) -> Response:
    try:
        same_origin(request)
        form = await form_of(request)
    except Problem as problem:
        return trouble(None, problem)
    token, target = form.get("token", ""), inside(form.get("next", "/"))
    if not await asyncio.to_thread(_known, request, token):
        return _door(request, target, 401, failed=True)
    return inside_with(request, token, target)


def inside_with(request: Request, token: str, target: str) -> Response:
    """On to where they wanted to go, with the token in a cookie that scripts cannot read."""
    response = RedirectResponse(target, 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, path="/", secure=secure, httponly=True, samesite="lax")
    return response


def _known(request: Request, token: str) -> bool:
    center: Center = request.app.state.center
    with center.engine.connect() as connection, connection.begin():
        return asker_of(connection, token, center.clock.now()) is not None


async def let_out(request: Request) -> Response:
    visit = await asyncio.to_thread(visitor, request)
    if visit is None:
        return to_door(request, "/")
    try:
        await own_form(visit)
    except Problem as problem:
        return trouble(visit, problem)
    center = visit.center
    await center.writer.act(lambda c: end_session(c, visit.token, center.clock.now()))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


ROUTES: Final = [
    Route("/login", ask_in, methods=["GET"]),
    Route("/login", let_in, methods=["POST"]),
    Route("/logout", let_out, methods=["POST"]),
]
