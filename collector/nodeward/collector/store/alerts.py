"""Alerts: rules over changes, silence and counts; what they find is queued in the database.

Finding and queueing share a transaction, and a queued alert's key says what it is about, so it is
told once however often the rule is looked at, by however many replicas, across restarts.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, func, select, update

from nodeward.collector.clock import DAY_MS, rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, insert
from nodeward.collector.posture import CODE, unpack
from nodeward.collector.problem import bad, gone
from nodeward.collector.store.names import Names
from nodeward.collector.store.telling import check_apprise
from nodeward.model import Severity, Status

KINDS: Final = ("change", "silence", "threshold", "unknown")
TARGETS: Final = ("alertmanager", "webhook", "apprise")
OVERLAP_MS: Final = 60_000
"""Changes of the last minute are looked at again: some commit later than their time says."""
MOST_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Rule:
    """What to tell, and whom. `more_than` is for threshold and unknown."""

    kind: str
    target: str
    url: str
    check: str = "*"
    severity: str = "high"
    cluster: str = "*"
    more_than: int = 0

    def checked(self) -> Rule:
        if self.kind not in KINDS:
            raise bad("kind", f"must be one of {', '.join(KINDS)}")
        if self.target not in TARGETS:
            raise bad("target", f"must be one of {', '.join(TARGETS)}")
        if self.target == "apprise":
            check_apprise(self.url)
        elif not self.url.startswith(("https://", "http://")):
            raise bad("url", "must be http or https")
        if self.severity not in {s.value for s in Severity}:
            raise bad("severity", "there is no such severity")
        return self


def make_rule(connection: Connection, *, name: str, rule: Rule, by: str, now: int) -> str:
    """Store a rule; the secret that signs its webhook, shown here for the only time."""
    secret = secrets.token_urlsafe(32)
    row = {
        "id": secrets.token_hex(6),
        "name": name,
        "spec": json.dumps(rule.checked().__dict__ | {"secret": secret}),
        "created_by": by,
        "created_at": now,
        "upto": now,
    }
    connection.execute(insert(connection, t.alert_rule).on_conflict_do_nothing(), [row])
    query = select(t.alert_rule.c.id).where(t.alert_rule.c.name == name)
    if connection.execute(query).scalar_one() != row["id"]:
        raise bad("name", "there is an alert rule of that name")
    return secret


def delete_rule(connection: Connection, name: str) -> None:
    """The rule, and what it had still to tell."""
    rules = select(t.alert_rule.c.id).where(t.alert_rule.c.name == name)
    connection.execute(t.alert_out.delete().where(t.alert_out.c.rule.in_(rules)))
    this = t.alert_rule.delete().where(t.alert_rule.c.name == name)
    if connection.execute(this).rowcount != 1:
        raise gone("alert rule")


def rules_json(connection: Connection, now: int) -> list[dict[str, Any]]:
    """All rules by name, and how many alerts of each wait to be delivered."""
    o = t.alert_out.c
    due = (o.rule == t.alert_rule.c.id, o.sent_at.is_(None), o.next_at <= now)
    waiting = select(func.count()).where(*due).scalar_subquery()
    query = select(t.alert_rule, waiting.label("waiting")).order_by(t.alert_rule.c.name)
    return [_rule_json(row) for row in connection.execute(query)]


def _rule_json(row: Record) -> dict[str, Any]:
    spec = json.loads(row.spec)
    url = urlsplit(spec.pop("url"))
    host = "" if spec["target"] == "apprise" else url.hostname or ""  # there it may be a key
    spec.pop("secret", None)
    return {
        "name": row.name,
        **spec,
        "at": f"{url.scheme}://{host}",
        "created_by": row.created_by,
        "created_at": rfc3339(row.created_at),
        "waiting": row.waiting,
    }


def evaluate(connection: Connection, names: Names, stale_ms: int, now: int) -> None:
    """Queue what the rules find."""
    for row in connection.execute(select(t.alert_rule).with_for_update()).all():
        spec = json.loads(row.spec)
        spec.pop("secret", None)
        rule = Rule(**spec)
        match rule.kind:
            case "change":
                found = _changes(connection, names, rule, row.upto)
            case "silence":
                found = _silent(connection, rule, now - stale_ms)
            case "threshold":
                found = _over(connection, rule, (Status.FAIL,), now)
            case _:
                found = _over(connection, rule, (Status.UNKNOWN, Status.ERROR), now)
        _queue(connection, row, found, now)


def _queue(
    connection: Connection, rule: Record, found: Iterable[Mapping[str, Any]], now: int
) -> None:
    rows = [
        {
            "rule": rule.id,
            "key": hashlib.sha256(json.dumps(alert["about"]).encode()).hexdigest(),
            "body": json.dumps(dict(alert)),
            "created_at": now,
            "next_at": now,
            "tries": 0,
        }
        for alert in found
    ]
    if rows:
        connection.execute(insert(connection, t.alert_out).on_conflict_do_nothing(), rows)
    this = update(t.alert_rule).where(t.alert_rule.c.id == rule.id)
    connection.execute(this.values(upto=now))


def _changes(
    connection: Connection, names: Names, rule: Rule, upto: int
) -> list[Mapping[str, Any]]:
    """What came to fail, of at least the rule's severity."""
    c = t.change.c
    least = Severity(rule.severity).rank
    values = [CODE[Status.FAIL] * 8 + rank for rank in range(least, 5)]
    query = (
        select(c.at, c.rule, c.new, t.node.c.name, t.cluster.c.name.label("cluster"))
        .join(t.node, t.node.c.id == c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(c.at > upto - OVERLAP_MS, c.new.in_(values))
        .order_by(c.at)
    )
    out: list[Mapping[str, Any]] = []
    for row in connection.execute(query.limit(MOST_AT_ONCE * 10)):
        check = names.rule_name(connection, row.rule)
        if fnmatchcase(check, rule.check) and fnmatchcase(row.cluster, rule.cluster):
            severity = unpack(row.new)[1].value
            out.append(
                {
                    "about": [row.cluster, row.name, check, row.at],
                    "summary": f"{check} fails on {row.cluster}/{row.name}",
                    "labels": {
                        "cluster": row.cluster,
                        "node": row.name,
                        "check": check,
                        "severity": severity,
                    },
                    "at": rfc3339(row.at),
                }
            )
    return out


def _silent(connection: Connection, rule: Rule, before: int) -> list[Mapping[str, Any]]:
    """Nodes that were heard of, and have not been for too long: once for each silence."""
    p = t.posture.c
    query = (
        select(p.seen_at, t.node.c.name, t.cluster.c.name.label("cluster"))
        .join(t.node, t.node.c.id == p.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(t.node.c.retired_at.is_(None), p.seen_at < before)
        .order_by(p.seen_at.desc())
    )
    return [
        {
            "about": [row.cluster, row.name, row.seen_at],
            "summary": f"{row.cluster}/{row.name} has not been heard of since its last beat",
            "labels": {"cluster": row.cluster, "node": row.name, "severity": rule.severity},
            "at": rfc3339(row.seen_at),
        }
        for row in connection.execute(query.limit(MOST_AT_ONCE))
        if fnmatchcase(row.cluster, rule.cluster)
    ]


def _over(
    connection: Connection, rule: Rule, statuses: tuple[Status, ...], now: int
) -> list[Mapping[str, Any]]:
    """A cluster with more such findings than the rule allows: once a day."""
    c = t.counter.c
    least = Severity(rule.severity).rank if Status.FAIL in statuses else 0
    values = [CODE[status] * 8 + rank for status in statuses for rank in range(least, 5)]
    query = (
        select(t.cluster.c.name, t.rule.c.name.label("check"), func.sum(c.nodes).label("nodes"))
        .join(t.cluster, t.cluster.c.id == c.cluster)
        .join(t.rule, t.rule.c.id == c.rule)
        .where(c.value.in_(values), c.nodes > 0)
        .group_by(t.cluster.c.name, t.rule.c.name)
    )
    sums: dict[str, int] = {}
    for row in connection.execute(query):
        if fnmatchcase(row.check, rule.check) and fnmatchcase(row.name, rule.cluster):
            sums[row.name] = sums.get(row.name, 0) + int(row.nodes)
    word = statuses[0].value
    return [
        {
            "about": [cluster, word, now // DAY_MS],
            "summary": f"{cluster} has {many} findings {word}, more than {rule.more_than}",
            "labels": {"cluster": cluster, "severity": rule.severity},
            "at": rfc3339(now),
        }
        for cluster, many in sorted(sums.items())
        if many > rule.more_than
    ]
