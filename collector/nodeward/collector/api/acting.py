"""How operators and admins act: the act and its line in the audit log share a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from starlette.requests import Request

from nodeward.collector import wire
from nodeward.collector.api.people import asker_now
from nodeward.collector.center import Center
from nodeward.collector.clock import span_ms
from nodeward.collector.problem import Problem, bad, gone
from nodeward.collector.store.access import Asker, Role
from nodeward.collector.store.audit import note

T = TypeVar("T")
Short = wire.Name
Act = Callable[[Connection, Asker, int], T]
LONGEST_MS: Final = 3 * 366 * 86_400_000


async def acting(
    request: Request,
    role: Role,
    name: str,
    on: str,
    act: Act[T],
    detail: Mapping[str, Any] | None = None,
) -> T:
    """Do it as the asker, and write down that it was done. `detail`: what was given, and nothing
    that would open anything."""
    center: Center = request.app.state.center
    asker = await asyncio.to_thread(asker_now, request, role)
    return await act_as(center, asker, role, name, on, act, detail)


async def act_as(
    center: Center,
    asker: Asker,
    role: Role,
    name: str,
    on: str,
    act: Act[T],
    detail: Mapping[str, Any] | None = None,
) -> T:
    """The same for an asker who is known already."""
    asker.needs(role)
    now = center.clock.now()

    def both(connection: Connection) -> T:
        result = act(connection, asker, now)
        note(connection, asker.name, name, on, now, detail)
        return result

    return await center.writer.act(both)


async def heard(request: Request) -> None:
    """This replica knows of it before the answer; the others within seconds."""
    center: Center = request.app.state.center
    await asyncio.to_thread(center.keys.poll)


def span(text: str, field: str) -> int:
    try:
        span = span_ms(text)
    except ValueError as exc:
        raise bad(field, str(exc)) from None
    if not 0 < span <= LONGEST_MS:
        raise bad(field, "too long")
    return span


def whole(asker: Asker, cluster: int | None) -> None:
    """An asker limited to some clusters acts on those only."""
    if asker.scope.clusters is not None and cluster not in asker.scope.clusters:
        raise gone("cluster")


def fleet_wide(asker: Asker) -> None:
    """Rights are given only by admins of everything: else one could widen their own."""
    if not asker.scope.everything:
        raise Problem(403, "scope", "this token is limited to some clusters")
