"""Alerts that are due, told to whom their rule names; what fails is tried again."""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Final

import requests
from sqlalchemy import Connection, Engine, func, select, update

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.problem import bad
from nodeward.collector.store.writer import Writer

AT_ONCE: Final = 50
CLAIM_MS: Final = 60_000
SLOWEST_MS: Final = 600_000
TIMEOUT_S: Final = (5, 15)
MOST_REFUSED: Final = 10
"""Of one rule in one turn."""


class Told(Enum):
    """What became of an alert. REFUSED: its target answered that it does not take this one."""

    SENT = auto()
    REFUSED = auto()
    AWAY = auto()


def deliver(engine: Engine, writer: Writer, now: Callable[[], int], ca: str = "") -> int:
    """Send what is due, of each rule some; how much was sent. What fails is tried again, ever more
    slowly; where the target is away the rest of the rule waits with it. `ca`: a file of those
    to trust in place of the system's."""
    o, r = t.alert_out.c, t.alert_rule.c
    due = (o.sent_at.is_(None), o.next_at <= now())
    rules = select(o.rule, func.min(o.next_at).label("first")).where(*due).group_by(o.rule)
    with engine.connect() as connection:
        waiting = [row.rule for row in connection.execute(rules.order_by("first")).all()]
    sent = 0
    for rule in waiting:
        query = (
            select(o.rule, o.key, o.body, o.tries, o.next_at, r.name, r.spec)
            .join(t.alert_rule, r.id == o.rule)
            .where(o.rule == rule, *due)
            .order_by(o.next_at, o.tries.desc(), o.key)
            .limit(AT_ONCE)
        )
        with engine.connect() as connection:
            rows = connection.execute(query).all()
        sent += _send_all(writer, rows, now, ca)
    return sent


def _send_all(writer: Writer, rows: Sequence[Record], now: Callable[[], int], ca: str) -> int:
    """Until the target is away or refuses many; how many were sent."""
    counted = Counter[Told]()
    for row in rows:
        if not writer.act_now(partial(_claim, row=row, now=now())):
            break  # another replica sends these
        told = _send(row, ca)
        writer.act_now(partial(_settle, row=row, told=told, now=now()))
        counted[told] += 1
        if counted[Told.AWAY] or counted[Told.REFUSED] == MOST_REFUSED:
            break
    return counted[Told.SENT]


def _claim(connection: Connection, row: Record, now: int) -> bool:
    o = t.alert_out.c
    this = update(t.alert_out).where(
        o.rule == row.rule, o.key == row.key, o.next_at == row.next_at, o.sent_at.is_(None)
    )
    return bool(connection.execute(this.values(next_at=now + CLAIM_MS)).rowcount)


def _settle(connection: Connection, row: Record, told: Told, now: int) -> None:
    o = t.alert_out.c
    this = update(t.alert_out).where(o.rule == row.rule, o.key == row.key)
    if told is Told.SENT:
        connection.execute(this.values(sent_at=now))
        return
    again = now + min(1_000 * 2 ** min(row.tries, 10), SLOWEST_MS)
    connection.execute(this.values(tries=row.tries + 1, next_at=again))
    if told is Told.REFUSED:
        return
    rest = update(t.alert_out).where(o.rule == row.rule, o.sent_at.is_(None), o.next_at < again)
    connection.execute(rest.values(next_at=again))


def _send(row: Record, ca: str) -> Told:
    spec, alert = json.loads(row.spec), json.loads(row.body)
    if spec["target"] == "apprise":
        return Told.SENT if _by_apprise(row.name, spec["url"], alert) else Told.AWAY
    url, body = _request(row.name, spec, alert)
    raw = json.dumps(body).encode()
    signature = hmac.new(spec["secret"].encode(), raw, "sha256").hexdigest()
    headers = {"Content-Type": "application/json", "Nodeward-Signature": f"sha256={signature}"}
    try:
        with requests.Session() as http:
            http.trust_env = False
            http.verify = ca or True
            answer = http.post(
                url, data=raw, headers=headers, timeout=TIMEOUT_S, allow_redirects=False
            )
    except (requests.RequestException, OSError):  # a CA file that is not there
        return Told.AWAY
    if answer.ok:
        return Told.SENT
    return Told.REFUSED if answer.status_code in (400, 413, 422) else Told.AWAY


def _request(name: str, spec: Mapping[str, Any], alert: Mapping[str, Any]) -> tuple[str, Any]:
    """URL and body: Alertmanager's v2 API, or our own plain form."""
    if spec["target"] == "webhook":
        return spec["url"], {"schema": "nodeward.alert/v1", "rule": name, **alert}
    labels = {"alertname": name, **alert["labels"]}
    one = {
        "labels": labels,
        "annotations": {"summary": alert["summary"]},
        "startsAt": alert["at"],
    }
    return spec["url"].rstrip("/") + "/api/v2/alerts", [one]


# -- chat, mail and pagers: what apprise knows ---------------------------------------------------


def check_apprise(url: str) -> None:
    """Raises Problem where the extra is missing or no service of it has such a URL."""
    if not _apprise().add(url):
        raise bad("url", "no service that apprise knows has such a URL")


def _apprise() -> Any:  # noqa: ANN401  it ships no types
    try:
        import apprise
    except ModuleNotFoundError:
        raise bad("target", "apprise needs the extra: pip install 'nodeward[notify]'") from None
    return apprise.Apprise()


def _by_apprise(name: str, url: str, alert: Mapping[str, Any]) -> bool:
    """Labels come from nodes: they are sent as plain text, never as somebody's markup."""
    service = _apprise()
    labels = ", ".join(f"{k}={v}" for k, v in sorted(alert["labels"].items()))
    body = f"{alert['summary']}\n{labels}\nsince {alert['at']}"
    title = f"nodeward: {name}"
    kind = "failure" if alert["labels"].get("severity") in ("high", "critical") else "warning"
    return bool(service.add(url)) and bool(
        service.notify(body=body, title=title, notify_type=kind, body_format="text")
    )
