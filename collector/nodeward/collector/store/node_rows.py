"""Nodes as rows, with all that is shown of them but their findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, or_, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.problem import gone
from nodeward.collector.store.asked import Db, Filter, seen_as, within

NODE: Final = (
    select(
        t.node.c.id,
        t.node.c.name,
        t.node.c.retired_at,
        t.node.c.cluster.label("cluster_id"),
        t.cluster.c.name.label("cluster"),
        t.posture.c.set,
        t.posture.c.score,
        t.posture.c.digest,
        t.posture.c.first_at,
        t.posture.c.report_at,
        t.posture.c.seen_at,
        t.posture.c.skew_ms,
        t.posture.c.spool,
        *(t.platform.c[n] for n in (
            "os", "os_version", "kernel", "kubelet", "runtime", "cloud", "roles", "agent",
        )),
    )
    .select_from(t.posture)
    .join(t.node, t.node.c.id == t.posture.c.node)
    .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
    .outerjoin(t.platform, t.platform.c.id == t.posture.c.platform)
)  # fmt: skip


def node_row(db: Db, cluster: str, name: str) -> Record:
    """The node of that name, if the asker may see it."""
    query = NODE.where(
        *within(db, Filter(cluster=cluster)), t.cluster.c.name == cluster, t.node.c.name == name
    )
    row = db.connection.execute(query).one_or_none()
    if row is None:
        raise gone("node")
    return row


def nodes_from(db: Db, want: Filter, first: int, count: int, at: int) -> Sequence[Record]:
    """Nodes that the filter lets through, by id, from that id on; also those gone since `at`."""
    query = NODE.where(*within(db, want), *_seen_at(db, want, at), t.posture.c.node >= first)
    return db.connection.execute(query.order_by(t.posture.c.node).limit(count)).all()


def _seen_at(db: Db, want: Filter, at: int) -> list[ColumnElement[bool]]:
    gone = t.node.c.retired_at
    return [or_(gone.is_(None), gone > at)] if want.seen is None else seen_as(db, want)


def rows_of_role(db: Db, want: Filter, role: str) -> Sequence[Record]:
    """Nodes that say they have this role."""
    query = NODE.where(*within(db, want), *seen_as(db, want), t.posture.c.set.is_not(None))
    rows = db.connection.execute(query.where(t.platform.c.roles.contains(role, autoescape=True)))
    return [row for row in rows if role in row.roles.split()]
