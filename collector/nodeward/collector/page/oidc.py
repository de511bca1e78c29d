"""To the login provider and back: what comes of it is a session like any token's, but shorter."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from dataclasses import asdict
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from nodeward.collector.center import Center
from nodeward.collector.oidc import BACK, PENDING_S, Pending, Person, Provider
from nodeward.collector.page.door import inside, inside_with
from nodeward.collector.page.visit import trouble
from nodeward.collector.problem import Problem
from nodeward.collector.store.access import make_access
from nodeward.collector.store.audit import note

PENDING: Final = "__Host-nodeward-login"
"""The prefix: no other host, not even one below ours, can set it (RFC 6265bis, 4.1.3.2)."""


async def to_provider(request: Request) -> Response:
    """Remember in a sealed cookie what was begun, so that any replica can finish it."""
    target = inside(request.query_params.get("next", "/"))
    try:
        provider = _provider(request)
        url, pending = await asyncio.to_thread(provider.begin, target, _now_s(request))
        sealed = await asyncio.to_thread(_sealed, request, pending)
    except Problem as problem:
        return trouble(None, problem)
    response = RedirectResponse(url, 303)
    response.set_cookie(
        PENDING, sealed, max_age=PENDING_S, path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


async def from_provider(request: Request) -> Response:
    try:
        provider = _provider(request)
        pending = await asyncio.to_thread(_unsealed, request)
        told = dict(request.query_params)
        person = await asyncio.to_thread(provider.finish, pending, told, _now_s(request))
        token = await _session(request, provider, person)
    except Problem as problem:
        response = trouble(None, problem)
    else:
        response = inside_with(request, token, inside(pending.target))
    response.delete_cookie(PENDING, path="/", secure=True, httponly=True, samesite="lax")
    return response


def _now_s(request: Request) -> float:
    center: Center = request.app.state.center
    return center.clock.now() / 1000


def _provider(request: Request) -> Provider:
    center: Center = request.app.state.center
    if center.provider is None:
        raise Problem(404, "not-found", "there is no login provider here")
    return center.provider


async def _session(request: Request, provider: Provider, person: Person) -> str:
    center: Center = request.app.state.center

    def act(connection: Connection) -> str:
        now = center.clock.now()
        given = {"role": person.grant.role.name.lower(), "group": person.grant.group}
        note(connection, person.name, "login", person.subject, now, given)
        return make_access(
            connection,
            name=person.name,
            role=person.grant.role,
            labels=person.grant.labels,
            ttl_ms=provider.settings.session_ms,
            now=now,
            subject=person.subject,
        )

    return await center.writer.act(act)


def _sealed(request: Request, pending: Pending) -> str:
    told = base64.urlsafe_b64encode(json.dumps(asdict(pending)).encode()).decode()
    return f"{told}.{_seal(request, told)}"


def _unsealed(request: Request) -> Pending:
    told, dot, seal = request.cookies.get(PENDING, "").partition(".")
    if not dot or not hmac.compare_digest(_seal(request, told).encode(), seal.encode()):
        raise Problem(403, "login", "this login was not begun here, or has ended: begin again")
    return Pending(**json.loads(base64.urlsafe_b64decode(told)))


def _seal(request: Request, told: str) -> str:
    center: Center = request.app.state.center
    return hmac.digest(center.login_secret, told.encode(), "sha256").hex()


ROUTES: Final = [
    Route("/login/oidc", to_provider, methods=["GET"]),
    Route(BACK, from_provider, methods=["GET"]),
]
