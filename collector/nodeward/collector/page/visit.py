"""Who looks at the page, and how a view is answered: as HTML, JSON or CSV.

A session is the API token itself, in a cookie that scripts cannot read: it ends when the token
expires or is revoked, on every replica, and there is nothing more to keep. A form must carry a
value that only the holder of the cookie was given.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, quote, urlencode

from markupsafe import Markup, escape
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from nodeward.collector.api.acting import act_as
from nodeward.collector.api.answer import answer, body_of, problem_answer
from nodeward.collector.center import Center
from nodeward.collector.page.render import html
from nodeward.collector.page.text import csv_cell
from nodeward.collector.problem import Problem, bad
from nodeward.collector.store.access import Asker, Role, asker_of
from nodeward.collector.store.ask import MOST, Db

COOKIE: Final = "nodeward"
LARGEST_FORM: Final = 64 << 10
MOST_ROWS: Final = 10_000
"""Rows of a CSV; where there are more it says so."""


@dataclass(frozen=True)
class Visit:
    """A request by somebody we know."""

    request: Request
    asker: Asker
    token: str

    @property
    def center(self) -> Center:
        center: Center = self.request.app.state.center
        return center

    @property
    def csrf(self) -> str:
        """What a form of this visitor must send along."""
        return hmac.new(self.token.encode(), b"nodeward page form", hashlib.sha256).hexdigest()

    @cached_property
    def query(self) -> Mapping[str, str]:
        return dict(self.request.query_params)

    def link(self, **over: object) -> Markup:
        """This view with other parameters, for a template; None takes one away."""
        return escape(self.address(**over))

    def address(self, **over: object) -> str:
        over = {"cursor": None, "format": None, **over}
        kept = [(k, v) for k, v in self.request.query_params.multi_items() if v and k not in over]
        kept += [(k, str(v)) for k, v in over.items() if v not in (None, "")]
        path = quote(self.request.url.path)
        return f"{path}?{urlencode(kept)}" if kept else path

    def turned_to(self, cursor: str) -> Visit:
        """The same visit to the page of the list that begins there."""
        query = self.address(cursor=cursor, limit=MOST, format="csv").partition("?")[2]
        request = Request({**self.request.scope, "query_string": query.encode()})
        return Visit(request, self.asker, self.token)


@dataclass(frozen=True)
class Shown:
    """What a view found: `data` is its JSON, `columns` and `rows` its CSV, `more` only the
    template's.

    Rows are mappings, or the cells themselves in the order of `columns`.
    """

    title: str
    data: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any] | Sequence[Any]]
    more: Mapping[str, Any] = field(default_factory=dict)


T = TypeVar("T")
Question = Callable[[Visit, Db], Shown]
Act = Callable[[Visit, Connection, Mapping[str, str], int], object]


def visitor(request: Request) -> Visit | None:
    """Who the cookie belongs to. Blocks: call it in a thread."""
    token = request.cookies.get(COOKIE, "")
    if not token:
        return None
    center: Center = request.app.state.center
    with center.engine.connect() as connection, connection.begin():
        asker = asker_of(connection, token, center.clock.now())
    if asker is None:
        return None
    request.scope["nodeward.who"] = asker.name
    return Visit(request, asker, token)


def to_door(request: Request, then: str | None = None) -> Response:
    """Log in first, then come back; after a form, which is lost, to `then`."""
    here = then or request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(here, safe='')}", 303)


def view(path: str, template: str, question: Question, takes: str = "") -> Route:
    """A page at an address; its data are one parameter away. `takes`: the parameters that it heeds;
    one that it does not is refused, so that nobody takes a list for what it is not."""
    known = {"format", *takes.split()}

    async def endpoint(request: Request) -> Response:
        visit = await asyncio.to_thread(visitor, request)
        if visit is None:
            return to_door(request)
        try:
            for name in visit.query.keys() - known:
                raise bad(name, "this view has no such filter")
            if visit.query.get("format") == "csv":
                return await _turn(visit, lambda: _csv(visit, question))
            shown = await _turn(visit, lambda: _ask(visit, question))
        except Problem as problem:
            as_data = visit.query.get("format") in ("json", "csv")
            return problem_answer(problem) if as_data else trouble(visit, problem)
        return _answer(visit, template, shown)

    return Route(path, endpoint, methods=["GET"], name=template)


async def _turn(visit: Visit, act: Callable[[], T]) -> T:
    return await visit.center.turns.take(visit.asker.name, act)


def _ask(visit: Visit, question: Question) -> Shown:
    return visit.center.ask(visit.asker, lambda db: question(visit, db))


def _answer(visit: Visit, template: str, shown: Shown) -> Response:
    form = visit.query.get("format", "html")
    if form == "json":
        return answer(shown.data, headers={"Cache-Control": "private, no-store"})
    if form != "html":
        return trouble(visit, bad("format", "must be html, json or csv"))
    return html(template, visit=visit, title=shown.title, data=shown.data, **shown.more)


def _csv(visit: Visit, question: Question) -> Response:
    """All rows of a view, page by page. One that is asked for with a limit ends there, and says
    like one of MOST_ROWS, in a header and in its last line, where the rest is."""
    page = visit if visit.query.get("limit") else visit.turned_to(visit.query.get("cursor", ""))
    shown = _ask(page, question)
    rows, following = list(shown.rows), shown.data.get("next")
    while following and not visit.query.get("limit") and len(rows) < MOST_ROWS:
        part = _ask(visit.turned_to(following), question)
        rows += part.rows
        following = part.data.get("next")
    lines = [_line(row, shown.columns) for row in rows]
    headers = {
        "Content-Disposition": 'attachment; filename="nodeward.csv"',
        "Cache-Control": "private, no-store",
    }
    if following:
        rest = visit.address(cursor=following, format="csv")
        headers["Link"] = f'<{rest}>; rel="next"'
        lines.append([f"More than these {len(rows)} rows: {rest}"])
    elif shown.data.get("truncated"):
        headers["X-Nodeward-Truncated"] = "true"
        lines.append([f"More than these {len(rows)} rows: ask for fewer at a time"])
    body = _csv_text(shown.columns, lines).encode("utf-8", "replace")
    return Response(body, 200, headers, "text/csv")


def _line(row: Mapping[str, Any] | Sequence[Any], columns: Sequence[str]) -> list[Any]:
    return [row.get(key) for key in columns] if isinstance(row, Mapping) else list(row)


def _csv_text(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(value) for value in line] for line in lines)
    return out.getvalue()


def _cell(value: object) -> str:
    """Nested values stay JSON."""
    return csv_cell(json.dumps(value) if isinstance(value, dict | list) else value)


def trouble(visit: Visit | None, problem: Problem) -> Response:
    """What went wrong, as a page."""
    return html(
        "trouble.html", problem.status, visit=visit, title="This did not work", problem=problem
    )


LOST: Final = {
    404: "there is no such page",
    405: "this address only takes a form: open the page that the form stands on",
}


def lost(request: Request, problem: Problem) -> Response:
    """An address that is none: a page for people, JSON for programs."""
    people = "text/html" in request.headers.get("Accept", "")
    if not people or request.url.path.startswith("/v1/"):
        return problem_answer(problem)
    said = LOST.get(problem.status, problem.message)
    return trouble(None, Problem(problem.status, problem.code, said))


def action(
    path: str, role: Role, name: str, act: Act, then: str, again: tuple[str, Question] | None = None
) -> Route:
    """A form's target: checks where it came from, does it, writes it down, goes on to `then`.

    `again`: the template and the question of the form's own view, which is shown with what was
    filled in (`draft`) where a field was wrong (`problem`).
    """

    async def endpoint(request: Request) -> Response:
        visit = await asyncio.to_thread(visitor, request)
        if visit is None:
            return to_door(request, then)
        form: dict[str, str] = {}
        try:
            form = await own_form(visit)
            where = {k: str(v) for k, v in request.path_params.items()}
            on = ", ".join(where.values()) or form.get("on", "")
            result = await act_as(
                visit.center,
                visit.asker,
                role,
                name,
                on,
                lambda connection, _asker, now: act(visit, connection, form | where, now),
                {name: value for name, value in form.items() if name not in ("on", "sql")},
            )
        except Problem as problem:
            if again is None or problem.field is None or not form:
                return trouble(visit, problem)
            return await _turn(visit, partial(_once_more, visit, *again, form, problem))
        await asyncio.to_thread(visit.center.keys.poll)
        if isinstance(result, Response):
            return result
        return RedirectResponse(then, 303)

    return Route(path, endpoint, methods=["POST"], name=f"do {name}")


def _once_more(
    visit: Visit, template: str, question: Question, form: Mapping[str, str], problem: Problem
) -> Response:
    shown = _ask(visit, question)
    draft = {**shown.more["draft"], **form}
    more = {**shown.more, "draft": draft, "problem": problem}
    return html(template, problem.status, visit=visit, title=shown.title, data=shown.data, **more)


async def own_form(visit: Visit) -> dict[str, str]:
    """The form, if it is one that we gave to this visitor."""
    same_origin(visit.request)
    form = await form_of(visit.request)
    if not hmac.compare_digest(form.pop("csrf", "").encode(), visit.csrf.encode()):
        raise Problem(403, "csrf", "this form is too old, or not ours: go back and reload")
    return form


def same_origin(request: Request) -> None:
    """Browsers say where a form stands; another site's form is refused."""
    origin = request.headers.get("Origin")
    ours = f"{request.url.scheme}://{request.headers.get('Host', '')}"
    if origin is not None and origin != ours:
        raise Problem(403, "origin", "forms of other sites are refused")
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "origin", "forms of other sites are refused")


async def form_of(request: Request) -> dict[str, str]:
    """The fields of an urlencoded form; the last of each name."""
    body = await body_of(request)
    if len(body) > LARGEST_FORM:
        raise Problem(413, "too-large", f"a form has at most {LARGEST_FORM} bytes")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise Problem(400, "bad-form", "not a form") from None
    if any("\0" in part for name, values in fields.items() for part in (name, *values)):
        raise Problem(400, "bad-form", "no text of ours holds a NUL")
    return {k: v[-1].strip() for k, v in fields.items()}
