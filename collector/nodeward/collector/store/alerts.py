"""Alerts: rules over changes, silence and counts; what they find is queued in the database.

A queued alert's key says what it is about, so it is told once however often the rule is looked at,
by however many replicas, across restarts; and how far a rule was looked at is written down only
after all that was found is queued.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain, islice
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, case, func, or_, select, update

from nodeward.collector.clock import DAY_MS, rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, clock_of, insert
from nodeward.collector.posture import CODE, unpack
from nodeward.collector.problem import bad, gone
from nodeward.collector.store.access import EVERYTHING
from nodeward.collector.store.names import Names
from nodeward.collector.store.telling import check_apprise
from nodeward.collector.store.waivers import Waiver, active_waivers, covering, ended_waivers
from nodeward.collector.store.writer import Writer
from nodeward.model import Severity, Status

KINDS: Final = ("change", "silence", "threshold", "unknown", "rise")
COUNTING: Final = ("threshold", "unknown", "rise")
"""Kinds that count, which is done once in COUNT_MS."""
COUNT_MS: Final = 60_000
UNKNOWN: Final = (Status.UNKNOWN, Status.ERROR)
TARGETS: Final = ("alertmanager", "webhook", "apprise")
OVERLAP_MS: Final = 60_000
"""Changes of the last minute are looked at again: some commit later than their time says. All these
times are of the database's clock, for those who write changes and who looks at them differ."""
MOST_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Rule:
    """What to tell, and whom. `more_than` is for the kinds that count."""

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
    begins = clock_of(connection)
    row = {
        "id": secrets.token_hex(6),
        "name": name,
        "spec": json.dumps(rule.checked().__dict__ | {"secret": secret}),
        "created_by": by,
        "created_at": now,
        "upto": begins if rule.kind == "change" else 0,
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


def evaluate(engine: Engine, writer: Writer, stale_ms: int, now: int, *, listening_ms: int) -> None:
    """Queue what the rules find. Blocks: it reads in the caller's thread, and only what is new goes
    through the writer.

    `listening_ms`: for how long we have been. Who was not heard of because we were away is not
    silent. `now`: by the database's clock, which may have been set back since it was looked last.
    """
    with engine.connect() as connection:
        rows = connection.execute(select(t.alert_rule)).all()
    for row in rows:
        spec = json.loads(row.spec)
        spec.pop("secret", None)
        rule = Rule(**spec)
        if rule.kind == "silence" and listening_ms < stale_ms:
            continue
        if rule.kind in COUNTING and now - row.upto < COUNT_MS:
            continue
        with engine.connect() as connection:
            told = _told(connection, row)
            upto = min(row.upto, now)
            found = _found(connection, writer.names, rule, upto, stale_ms, now)
            fresh = (alert for alert in found if _key(alert) not in told)
            while part := list(islice(fresh, MOST_AT_ONCE)):
                writer.act_now(partial(_queue, rule=row.id, found=part, now=now))
        writer.act_now(partial(_looked, rule=row.id, now=now))


def _told(connection: Connection, rule: Record) -> set[str]:
    """Keys of what was queued in the time that is looked at again."""
    o = t.alert_out.c
    query = select(o.key).where(o.rule == rule.id, o.created_at > rule.upto - 2 * DAY_MS)
    return set(connection.execute(query).scalars())


def _found(
    connection: Connection, names: Names, rule: Rule, upto: int, stale_ms: int, now: int
) -> Iterator[Mapping[str, Any]]:
    match rule.kind:
        case "change":
            again = _resurfaced(connection, names, rule, upto, now)
            return chain(_changes(connection, names, rule, upto, now), again)
        case "silence":
            return _silent(connection, rule, upto - stale_ms - DAY_MS, now - stale_ms)
        case "rise":
            return _risen(connection, names, rule, now)
        case "threshold":
            return _over(connection, rule, (Status.FAIL,), now)
        case _:
            return _over(connection, rule, UNKNOWN, now)


def _key(alert: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(alert["about"]).encode()).hexdigest()


def _queue(connection: Connection, rule: str, found: Sequence[Mapping[str, Any]], now: int) -> None:
    """Unless the rule is gone meanwhile."""
    there = select(t.alert_rule.c.id).where(t.alert_rule.c.id == rule).with_for_update()
    if connection.execute(there).first() is None:
        return
    rows = [
        {
            "rule": rule,
            "key": _key(alert),
            "body": json.dumps(dict(alert)),
            "created_at": now,
            "next_at": now,
            "tries": 0,
        }
        for alert in found
    ]
    connection.execute(insert(connection, t.alert_out).on_conflict_do_nothing(), rows)


def _looked(connection: Connection, rule: str, now: int) -> None:
    """All up to now was queued. Never back: another replica may have looked later."""
    this = update(t.alert_rule).where(t.alert_rule.c.id == rule, t.alert_rule.c.upto < now)
    connection.execute(this.values(upto=now))


def forget_told(connection: Connection, before: int) -> None:
    """Alerts that were delivered before that time. None of them is looked for again."""
    o = t.alert_out.c
    connection.execute(t.alert_out.delete().where(o.sent_at < before, o.created_at < before))


# -- what rules find ----------------------------------------------------------------------------


def _changes(
    connection: Connection, names: Names, rule: Rule, upto: int, now: int
) -> Iterator[Mapping[str, Any]]:
    """What came to fail, of at least the rule's severity, and is not waived."""
    c = t.change.c
    values = _values((Status.FAIL,), Severity(rule.severity).rank)
    query = (
        select(
            c.at, c.rule, c.new, t.node.c.name, t.node.c.cluster.label("cluster_id"),
            t.cluster.c.name.label("cluster"),
        )
        .join(t.node, t.node.c.id == c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(c.at > upto - OVERLAP_MS, c.new.in_(values))
        .order_by(c.at)
    )  # fmt: skip
    waivers = active_waivers(connection, EVERYTHING, now)
    for row in connection.execution_options(yield_per=MOST_AT_ONCE).execute(query):
        check = names.rule_name(connection, row.rule)
        if not (fnmatchcase(check, rule.check) and fnmatchcase(row.cluster, rule.cluster)):
            continue
        if covering(waivers, row.cluster_id, row.name, check) is not None:
            continue
        yield {
            "about": [row.cluster, row.name, check, row.at],
            "summary": f"{check} fails on {row.cluster}/{row.name}",
            "labels": {
                "cluster": row.cluster,
                "node": row.name,
                "check": check,
                "severity": unpack(row.new)[1].value,
            },
            "at": rfc3339(row.at),
        }


def _resurfaced(
    connection: Connection, names: Names, rule: Rule, upto: int, now: int
) -> Iterator[Mapping[str, Any]]:
    """Waivers that have ended, if something that they covered still fails."""
    active = active_waivers(connection, EVERYTHING, now)
    for waiver in ended_waivers(connection, upto - OVERLAP_MS, now):
        many = sum(
            covering([waiver], *finding) is not None and covering(active, *finding) is None
            for finding in _failing(connection, names, rule, waiver)
        )
        if many:
            yield {
                "about": ["waiver", waiver.id],
                "summary": f"a waiver of {waiver.check} has ended, and {many} findings fail",
                "labels": {"check": waiver.check, "severity": rule.severity},
                "at": rfc3339(waiver.expires_at),
            }


def _failing(
    connection: Connection, names: Names, rule: Rule, waiver: Waiver
) -> Iterator[tuple[int, str, str]]:
    """(cluster, node, check) of what fails now, as far as the checks of both go."""
    names.learn_rules(connection)
    both = (rule.check, waiver.check)
    checks = {i: n for n, i in names.rules.items() if all(fnmatchcase(n, glob) for glob in both)}
    q, n = t.posting.c, t.node.c
    query = (
        select(n.cluster, n.name, q.rule, t.cluster.c.name.label("cluster_name"))
        .join(t.posture, t.posture.c.set == q.set)
        .join(t.node, n.id == t.posture.c.node)
        .join(t.cluster, t.cluster.c.id == n.cluster)
        .where(q.rule.in_(sorted(checks)), n.retired_at.is_(None))
        .where(q.value.in_(_values((Status.FAIL,), Severity(rule.severity).rank)))
    )
    for row in connection.execution_options(yield_per=MOST_AT_ONCE).execute(query):
        if fnmatchcase(row.cluster_name, rule.cluster):
            yield row.cluster, row.name, checks[row.rule]


def _silent(
    connection: Connection, rule: Rule, after: int, before: int
) -> Iterator[Mapping[str, Any]]:
    """Nodes last heard of between these times: once for each silence."""
    p = t.posture.c
    query = (
        select(p.seen_at, t.node.c.name, t.cluster.c.name.label("cluster"))
        .join(t.node, t.node.c.id == p.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(t.node.c.retired_at.is_(None), p.seen_at > after, p.seen_at < before)
    )
    for row in connection.execution_options(yield_per=MOST_AT_ONCE).execute(query):
        if fnmatchcase(row.cluster, rule.cluster):
            yield {
                "about": [row.cluster, row.name, row.seen_at],
                "summary": f"{row.cluster}/{row.name} has not been heard of since its last beat",
                "labels": {"cluster": row.cluster, "node": row.name, "severity": rule.severity},
                "at": rfc3339(row.seen_at),
            }


def _risen(
    connection: Connection, names: Names, rule: Rule, now: int
) -> Iterator[Mapping[str, Any]]:
    """A cluster where more findings became unknown within a day than stopped being so: once a
    day."""
    c, values = t.change.c, _values(UNKNOWN, 0)
    more = case((c.new.in_(values), 1), else_=0) - case((c.old.in_(values), 1), else_=0)
    query = (
        select(t.cluster.c.name, c.rule, func.sum(more).label("more"))
        .join(t.node, t.node.c.id == c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .where(c.at > now - DAY_MS, or_(c.new.in_(values), c.old.in_(values)))
        .where(t.node.c.retired_at.is_(None))
        .group_by(t.cluster.c.name, c.rule)
    )
    sums: Counter[str] = Counter()
    for row in connection.execute(query):
        check = names.rule_name(connection, row.rule)
        if fnmatchcase(check, rule.check) and fnmatchcase(row.name, rule.cluster):
            sums[row.name] += int(row.more)
    for cluster, many in sorted(sums.items()):
        if many > rule.more_than:
            told = f"{many} more findings are unknown than a day ago"
            yield _of_cluster(rule, cluster, "rise", now, told)


def _values(statuses: Sequence[Status], least: int) -> list[int]:
    return [CODE[status] * 8 + rank for status in statuses for rank in range(least, 5)]


def _over(
    connection: Connection, rule: Rule, statuses: Sequence[Status], now: int
) -> Iterator[Mapping[str, Any]]:
    """A cluster with more such findings than the rule allows: once a day."""
    c = t.counter.c
    least = Severity(rule.severity).rank if Status.FAIL in statuses else 0
    query = (
        select(t.cluster.c.name, t.rule.c.name.label("check"), func.sum(c.nodes).label("nodes"))
        .join(t.cluster, t.cluster.c.id == c.cluster)
        .join(t.rule, t.rule.c.id == c.rule)
        .where(c.value.in_(_values(statuses, least)), c.nodes > 0)
        .group_by(t.cluster.c.name, t.rule.c.name)
    )
    sums: Counter[str] = Counter()
    for row in connection.execute(query):
        if fnmatchcase(row.check, rule.check) and fnmatchcase(row.name, rule.cluster):
            sums[row.name] += int(row.nodes)
    word = statuses[0].value
    for cluster, many in sorted(sums.items()):
        if many > rule.more_than:
            told = f"{many} findings {word}, more than {rule.more_than}"
            yield _of_cluster(rule, cluster, word, now, told)


def _of_cluster(rule: Rule, cluster: str, what: str, now: int, told: str) -> Mapping[str, Any]:
    return {
        "about": [cluster, what, now // DAY_MS],
        "summary": f"{cluster}: {told}",
        "labels": {"cluster": cluster, "severity": rule.severity},
        "at": rfc3339(now),
    }
