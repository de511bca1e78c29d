"""What people and programs ask, with a token that says who they are and what they may see."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nodeward.collector import wire
from nodeward.collector.api.answer import answer, body_of, tagged
from nodeward.collector.center import Center
from nodeward.collector.clock import DAY_MS, moment_ms
from nodeward.collector.export import FORMS
from nodeward.collector.problem import Problem, bad
from nodeward.collector.store import ask, past
from nodeward.collector.store.access import Asker, Role, asker_of
from nodeward.collector.store.ask import Db, Filter, Page
from nodeward.collector.store.audit import audit_log, events
from nodeward.collector.store.shared import shared_keys
from nodeward.collector.store.sql import run
from nodeward.collector.store.waivers import waivers_json
from nodeward.model import Severity, Status

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]
MOST_VALUES: Final = 64
VALUE: Final = re.compile(r"[^\x00-\x1f]{1,512}")
KNOWN: Final = frozenset(
    (
        "status", "severity", "check", "cluster", "node", "label", "since", "until", "seen",
        "state", "waived", "reading", "role", "at", "format", "sort", "limit", "cursor",
    )
)  # fmt: skip

FILTERS: Final[Mapping[str, frozenset[str]]] = {
    path: frozenset(names.split())
    for path, names in {
        "/v1/nodes": "cluster node label seen since until sort limit cursor",
        "/v1/nodes/{cluster}/{name}/diff": "since until",
        "/v1/retirements": "cluster node label since until limit cursor",
        "/v1/findings": "status severity check cluster node label seen waived at format limit"
        " cursor",
        "/v1/changes": "status severity check cluster node label since until limit cursor",
        "/v1/checks": "check cluster label limit",
        "/v1/clusters": "cluster label limit",
        "/v1/platforms": "cluster node label seen limit",
        "/v1/divergence": "cluster node label seen role limit",
        "/v1/agents": "cluster node label state limit cursor",
        "/v1/shared-keys": "cluster node label reading limit cursor",
        "/v1/waivers": "state limit",
        "/v1/events": "cluster node since limit cursor",
        "/v1/audit": "limit cursor",
    }.items()
}
"""What each list can be asked for; anything else is refused, because it would be ignored. Lists
without cursors come whole."""


def asker_now(request: Request, role: Role) -> Asker:
    """Who asks, if they may; looked up once a request. Blocks: call it in a thread."""
    asker: Asker | None = request.scope.get("nodeward.asker")
    if asker is None:
        center: Center = request.app.state.center
        with center.engine.connect() as connection, connection.begin():
            asker = asker_of(connection, bearer(request), center.clock.now())
    if asker is None:
        raise Problem(401, "unauthorized", "send a valid token: Authorization: Bearer nwt_...")
    request.scope["nodeward.asker"], request.scope["nodeward.who"] = asker, asker.name
    asker.needs(role)
    return asker


def now_of(request: Request) -> int:
    center: Center = request.app.state.center
    return center.clock.now()


def gate(role: Role, path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    """A route for those of this role: others learn nothing of it, and no body of theirs is read."""

    @wraps(endpoint)
    async def inside(request: Request) -> Response:
        await asyncio.to_thread(asker_now, request, role)
        return await endpoint(request)

    return Route(path, inside, methods=[method], name=f"{method} {path}")


def asking(request: Request, role: Role, question: Callable[[Db], T]) -> T:
    """Authenticate, then answer. Blocks: call it in a thread."""
    center: Center = request.app.state.center
    return center.ask(asker_now(request, role), question)


async def answered(request: Request, role: Role, question: Callable[[Db], T]) -> T:
    """The same in the asker's turn."""
    center: Center = request.app.state.center
    asker = await asyncio.to_thread(asker_now, request, role)
    return await center.turns.take(asker.name, lambda: center.ask(asker, question))


def bearer(request: Request) -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def filter_of(
    request: Request,
    cursor: tuple[type, ...] = (),
    also: tuple[str, ...] = (),
    known: frozenset[str] = KNOWN,
) -> Filter:
    """The query string as a filter; an unknown or malformed part is a 400 that names it.

    `also` are parameters that the page reads itself; its forms leave fields empty.
    """
    params = request.query_params
    if also:
        params = QueryParams([(k, v) for k, v in params.multi_items() if v])
    for name in params:
        if name not in known and name not in also:
            raise bad(name, "there is no such filter")
        if len(params.getlist(name)) > MOST_VALUES or not all(
            VALUE.fullmatch(v) for v in params.getlist(name)
        ):
            raise bad(name, "too many values, or one that is empty, long or of control characters")
    now = now_of(request)
    since, until = params.get("since"), params.get("until")
    return Filter(
        statuses=frozenset(_each(params.getlist("status"), Status, "status")),
        severities=frozenset(_each(params.getlist("severity"), Severity, "severity")),
        checks=tuple(params.getlist("check")),
        cluster=params.get("cluster"),
        node=params.get("node"),
        labels=tuple(_label(text) for text in params.getlist("label")),
        since=moment_ms(since, "since", now) if since is not None else None,
        until=moment_ms(until, "until", now) if until is not None else None,
        seen=params.get("seen"),
        state=params.get("state"),
        reading=params.get("reading"),
        role=params.get("role", "control-plane"),
        waived=_yes_no(params.get("waived"), "waived"),
        sort=_one_of(params.get("sort", "name"), ("name", "score"), "sort"),
        limit=_limit(params.get("limit", "50")),
        cursor=ask.cursor_of(params["cursor"], cursor) if params.get("cursor") else None,
    )


def _each(texts: list[str], kind: Callable[[str], T], field: str) -> list[T]:
    try:
        return [kind(word) for text in texts for word in text.split(",")]
    except ValueError:
        raise bad(field, f"there is no such {field}") from None


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise bad("label", "must be KEY=VALUE")
    return key, value


def _one_of(text: str, allowed: tuple[str, ...], field: str) -> str:
    if text not in allowed:
        raise bad(field, f"must be one of {', '.join(allowed)}")
    return text


def _yes_no(text: str | None, field: str) -> bool | None:
    if text is None:
        return None
    return _one_of(text, ("true", "false"), field) == "true"


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= ask.MOST):
        raise bad("limit", f"must be from 1 to {ask.MOST}")
    return int(text)


def _page_json(page: Page) -> Mapping[str, Any]:
    out: dict[str, Any] = {"items": page.items, "next": page.next}
    if page.total is not None:
        out["total"] = page.total
    return out


def _list(
    path: str,
    question: Callable[[Db, Filter], Page],
    *cursor: type,
    role: Role = Role.VIEWER,
) -> Route:
    """A route that answers with a page of rows."""

    async def endpoint(request: Request) -> Response:
        by_score = request.query_params.get("sort") == "score"
        kinds = (int, int) if by_score and path == "/v1/nodes" else cursor
        want = filter_of(request, kinds, known=FILTERS[path])
        page = await answered(request, role, lambda db: question(db, want))
        return tagged(request, _page_json(page))

    return gate(role, path, endpoint)


async def findings(request: Request) -> Response:
    """Now, or as of `at`."""
    params = request.query_params
    at = moment_ms(params["at"], "at", now_of(request)) if "at" in params else None
    cursor = (int, int, int) if at is None else (int, int)
    want = filter_of(request, cursor, known=FILTERS["/v1/findings"])

    form = params.get("format", "json")
    _one_of(form, ("json", *FORMS), "format")
    if form != "json" and at is not None:
        raise bad("format", "the findings of another time come as json only")
    if want.waived is not None and at is not None:
        raise bad("waived", "waivers are of today, not of another time")

    def question(db: Db) -> Page:
        return ask.findings(db, want) if at is None else past.findings_at(db, want, at)

    page = await answered(request, Role.VIEWER, question)
    return tagged(request, _page_json(page)) if form == "json" else _formed(page, form)


def _formed(page: Page, form: str) -> Response:
    """A page in the form of another program; where to go on is in a header, as for the web."""
    write, kind = FORMS[form]
    headers = {"Nodeward-Next": page.next} if page.next else {}
    return Response(write(page.items), 200, headers, media_type=kind)


async def diff(request: Request) -> Response:
    cluster, name = request.path_params["cluster"], request.path_params["name"]
    known = FILTERS["/v1/nodes/{cluster}/{name}/diff"]
    want, now = filter_of(request, known=known), now_of(request)
    since = now - DAY_MS if want.since is None else want.since
    until = now if want.until is None else want.until
    if since > until:
        raise bad("since", "must be before until")
    found = await answered(
        request, Role.VIEWER, lambda db: past.diff(db, cluster, name, since, until)
    )
    return tagged(request, found)


async def node(request: Request) -> Response:
    cluster, name = request.path_params["cluster"], request.path_params["name"]
    found = await answered(request, Role.VIEWER, lambda db: ask.node(db, cluster, name))
    return tagged(request, found)


class QueryIn(msgspec.Struct, forbid_unknown_fields=True):
    sql: str


async def query(request: Request) -> Response:
    """One SELECT over the views."""
    center: Center = request.app.state.center
    want = wire.decode(await body_of(request), QueryIn)
    asker = await asyncio.to_thread(asker_now, request, Role.VIEWER)
    url = center.settings.query_database
    found = await center.turns.take(
        asker.name, lambda: run(center.engine, url, asker.scope, want.sql)
    )
    return answer(found)


def _waivers(db: Db, want: Filter) -> Page:
    items = waivers_json(db.connection, db.scope, db.now, want.state)
    return Page(items, total=len(items))


def _audit(db: Db, want: Filter) -> Page:
    if not db.scope.everything:
        raise Problem(403, "scope", "this token is limited to some clusters")
    return audit_log(db, want)


ROUTES = [
    _list("/v1/nodes", ask.nodes, str, str),
    gate(Role.VIEWER, "/v1/nodes/{cluster}/{name}", node),
    gate(Role.VIEWER, "/v1/nodes/{cluster}/{name}/diff", diff),
    _list("/v1/retirements", ask.retirements, int, int),
    gate(Role.VIEWER, "/v1/findings", findings),
    _list("/v1/changes", ask.changes, int, int, int),
    _list("/v1/checks", ask.checks),
    _list("/v1/clusters", ask.clusters),
    _list("/v1/platforms", ask.platforms),
    _list("/v1/divergence", lambda db, want: past.divergence(db, want, want.role)),
    _list("/v1/agents", ask.agents, str),
    _list("/v1/shared-keys", shared_keys, int, int, str),
    gate(Role.VIEWER, "/v1/query", query, "POST"),
    _list("/v1/waivers", _waivers),
    _list("/v1/events", events, str, role=Role.OPERATOR),
    _list("/v1/audit", _audit, str, role=Role.ADMIN),
]
