"""Acts on waivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nodeward.collector import wire
from nodeward.collector.api.acting import Short, acting, span
from nodeward.collector.api.answer import answer, body_of
from nodeward.collector.api.people import gate, now_of
from nodeward.collector.clock import moment_ms
from nodeward.collector.store import waivers
from nodeward.collector.store.access import Asker, Role


class WaiverIn(msgspec.Struct, forbid_unknown_fields=True):
    check: Short
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000, pattern=wire.PLAIN)]
    owner: Short
    until: Short
    node: Short = "*"
    labels: dict[Short, Short] = {}


async def waiver(request: Request) -> Response:
    want = wire.decode(await body_of(request), WaiverIn)
    asked = now_of(request)
    until = moment_ms(want.until, "until", asked)
    if want.until[-1:] in "smhdw":
        until = asked + span(want.until, "until")

    def act(connection: Connection, asker: Asker, now: int) -> str:
        return waivers.make_waiver(
            connection,
            check=want.check,
            node=want.node,
            labels=want.labels,
            reason=want.reason,
            owner=want.owner,
            expires_at=until,
            scope=asker.scope,
            by=asker.name,
            approved=False,
            now=now,
        )

    given = msgspec.to_builtins(want)
    made = await acting(request, Role.OPERATOR, "waiver.create", want.check, act, given)
    return answer({"id": made, "state": "pending"}, 201)


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

    return gate(Role.OPERATOR, f"/v1/waivers/{{waiver}}/{name}", endpoint, "POST")


ROUTES: Final = [
    gate(Role.OPERATOR, "/v1/waivers", waiver, "POST"),
    _waiver_act("approve", waivers.approve_waiver),
    _waiver_act("end", waivers.end_waiver),
]
