"""Dated exceptions: asked for, approved by somebody else, ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection

from nodeward.collector.clock import moment_ms, span_ms
from nodeward.collector.page.checks import page_filter
from nodeward.collector.page.visit import Shown, Visit, action, view
from nodeward.collector.problem import bad
from nodeward.collector.store import waivers as store
from nodeward.collector.store.access import Role
from nodeward.collector.store.ask import Db


def waivers(visit: Visit, db: Db) -> Shown:
    want = page_filter(visit, ())
    items = store.waivers_json(db.connection, db.scope, db.now, want.state)
    draft = dict.fromkeys(("on", "node", "cluster", "reason", "owner", "until"), "")
    draft |= {"node": "*", **visit.query, "on": visit.query.get("check", "")}
    more = {"states": store.STATES, "draft": draft}
    return Shown("Waivers", {"items": items}, store.TOLD, items, more)


def make(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> None:
    store.make_waiver(
        connection,
        check=_given(form, "on"),
        node=form.get("node") or "*",
        labels={"cluster": form["cluster"]} if form.get("cluster") else {},
        reason=_given(form, "reason"),
        owner=_given(form, "owner"),
        expires_at=_until(form.get("until", ""), now),
        scope=visit.asker.scope,
        by=visit.asker.name,
        approved=False,
        now=now,
    )


def _given(form: Mapping[str, str], field: str) -> str:
    text = form.get(field, "")
    if not 0 < len(text) <= 2_000:
        raise bad(field, "must be given, in at most 2000 characters")
    return text


def _until(text: str, now: int) -> int:
    """A date, or a span from now such as 30d."""
    try:
        return now + span_ms(text)
    except ValueError:
        return moment_ms(text, "until", now)


def approve(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> None:
    asker = visit.asker
    store.approve_waiver(connection, form["waiver"], asker.scope, asker.name, now)


def end(visit: Visit, connection: Connection, form: Mapping[str, str], now: int) -> None:
    store.end_waiver(connection, form["waiver"], visit.asker.scope, visit.asker.name, now)


ROUTES: Final = [
    view("/waivers", "waivers.html", waivers, "state check cluster node"),
    action(
        "/waivers",
        Role.OPERATOR,
        "waiver.create",
        make,
        "/waivers",
        again=("waivers.html", waivers),
    ),
    action("/waivers/{waiver}/approve", Role.OPERATOR, "waiver.approve", approve, "/waivers"),
    action("/waivers/{waiver}/end", Role.OPERATOR, "waiver.end", end, "/waivers"),
]
