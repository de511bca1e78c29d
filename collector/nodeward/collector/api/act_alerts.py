"""Acts on alert rules."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from nodeward.collector import wire
from nodeward.collector.api.act_access import everything
from nodeward.collector.api.acting import Short, acting, fleet_wide
from nodeward.collector.api.answer import answer, body_of, tagged
from nodeward.collector.api.people import asking, gate
from nodeward.collector.store.access import Asker, Role
from nodeward.collector.store.alerts import Rule, delete_rule, make_rule, rules_json


class AlertIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Short
    kind: Short
    target: Short
    url: Annotated[str, msgspec.Meta(max_length=2_000, pattern=wire.PLAIN)]
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
        fleet_wide(asker)
        return make_rule(connection, name=name, rule=Rule(**given), by=asker.name, now=now)

    told = {key: value for key, value in given.items() if key != "url"}  # it may hold a key
    secret = await acting(request, Role.ADMIN, "alert.create", name, act, told)
    return answer({"secret": secret}, 201)


async def alert_delete(request: Request) -> Response:
    name = request.path_params["name"]

    def act(connection: Connection, asker: Asker, _now: int) -> None:
        fleet_wide(asker)
        delete_rule(connection, name)

    await acting(request, Role.ADMIN, "alert.delete", name, act)
    return answer({"name": name})


async def alert_list(request: Request) -> Response:
    """The rules; of a target only where it is, since the rest of its address may be a key."""
    items = await asyncio.to_thread(
        asking, request, Role.ADMIN, lambda db: rules_json(db.connection, everything(db))
    )
    return tagged(request, {"items": items, "next": None, "total": len(items)})


ROUTES: Final = [
    gate(Role.ADMIN, "/v1/alerts", alert, "POST"),
    gate(Role.ADMIN, "/v1/alerts", alert_list),
    gate(Role.ADMIN, "/v1/alerts/{name}/delete", alert_delete, "POST"),
]
