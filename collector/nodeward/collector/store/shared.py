"""Keys that lie on more than one node, as the nodes' own findings name them.

A node tells its keys in the evidence of one check. Of every key seen twice a plain reading is made:
what any cluster shares is `expected`, the rest is worth a look. Whoever may see some clusters only
is told of keys within those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, case, delete, false, func, literal, null, or_, select

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record, insert
from nodeward.collector.problem import bad
from nodeward.collector.store.asked import Db, Filter, Page, clusters_of, cursor_text
from nodeward.collector.store.evidence import Said
from nodeward.facts.named_keys import NamedKey, Sort, read_key

CHECK: Final = "cert.shared-key"
READINGS: Final = ("two-clusters", "clone", "signer-on-worker", "copied", "expected")
"""The gravest first."""
MOST_NODES: Final = 10
"""Nodes that are named for one key, those with its private half first."""


class Held(NamedTuple):
    """The keys of a node, and whether it is a control plane."""

    keys: tuple[NamedKey, ...]
    plane: bool


def held_keys(said: Said) -> Held:
    """What a node says of its keys."""
    raw = said.findings.get(CHECK)
    evidence = msgspec.json.decode(raw).get("evidence", ()) if raw else ()
    keys = {k.sha256: k for k in map(read_key, evidence) if k}
    roles = said.inventory.get("roles")
    return Held(tuple(keys.values()), isinstance(roles, list) and "control-plane" in roles)


def told_anew(before: Said, after: Said) -> bool:
    """Whether what `held_keys` reads has changed."""
    old, new = before.findings.get(CHECK), after.findings.get(CHECK)
    same = (None if old is None else bytes(old)) == (None if new is None else bytes(new))
    return not same or before.inventory.get("roles") != after.inventory.get("roles")


def keep_keys(connection: Connection, held: Mapping[int, Held]) -> None:
    """These nodes, which are not retired, hold these keys now, and no others."""
    if not held:
        return
    k, n = t.node_key, t.node.c
    connection.execute(k.delete().where(k.c.node.in_(sorted(held))))
    there = select(n.id, n.cluster).where(n.id.in_(sorted(held)))
    rows = [
        {
            "node": node.id,
            "key": bytes.fromhex(key.sha256),
            "cluster": node.cluster,
            "component": key.component,
            "place": key.place,
            "sort": int(key.sort),
            "private": int(key.private),
            "plane": int(held[node.id].plane),
        }
        for node in connection.execute(there)
        for key in held[node.id].keys
    ]
    if rows:
        connection.execute(insert(connection, k), rows)


def forget_keys(connection: Connection, nodes: Iterable[int]) -> None:
    connection.execute(delete(t.node_key).where(t.node_key.c.node.in_(list(nodes))))


# -- the question -------------------------------------------------------------------------------


def shared_keys(db: Db, want: Filter) -> Page:
    """Keys on more than one node; without `reading` those that are not as expected."""
    found = _read(_grouped(db, want)).subquery()
    c = found.c
    query = select(found).order_by(c.rank, c.nodes.desc(), c.key)
    if want.reading is None:
        query = query.where(c.rank < READINGS.index("expected"))
    elif want.reading != "all":
        if want.reading not in READINGS:
            raise bad("reading", f"must be one of {', '.join((*READINGS, 'all'))}")
        query = query.where(c.rank == READINGS.index(want.reading))
    if want.cursor:
        rank, nodes, key = want.cursor
        later = (c.nodes == nodes) & (c.key > _of_hex(key))
        query = query.where(or_(c.rank > rank, (c.rank == rank) & or_(c.nodes < nodes, later)))
    rows = db.connection.execute(query.limit(want.limit + 1)).all()
    shown = rows[: want.limit]
    items = [_json(row, _on(db, row), _clusters(db, row)) for row in shown]
    if len(rows) <= want.limit:
        return Page(items)
    last = shown[-1]
    return Page(items, cursor_text(last.rank, last.nodes, last.key.hex()))


def _of_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise bad("cursor", "not a cursor of this list") from None


def _grouped(db: Db, want: Filter) -> Select[Any]:
    """Each key on two nodes or more within the scope. Who only trusts it makes no second cluster
    of it."""
    k = t.node_key.c
    own = case((k.sort < int(Sort.TRUST), k.cluster), else_=null())
    query = select(
        k.key,
        func.count().label("nodes"),
        func.min(own).label("first"),
        func.max(own).label("last"),
        func.min(k.sort).label("sort"),
        func.sum(k.private).label("private"),
        func.sum(k.private * (1 - k.plane)).label("off_plane"),
    ).group_by(k.key)
    if db.scope.clusters is not None:
        query = query.where(_among(db.scope.clusters))
    asked = clusters_of(db, want)
    if asked is not None and (want.cluster is not None or want.labels):
        query = query.where(k.key.in_(select(k.key).where(_among(asked))))
    if want.node is not None:
        named = select(t.node.c.id).where(t.node.c.name == want.node)
        query = query.where(k.key.in_(select(k.key).where(k.node.in_(named))))
    return query.having(func.count() > 1)


def _among(clusters: Iterable[int]) -> Any:  # noqa: ANN401  a condition
    ids = sorted(clusters)
    return t.node_key.c.cluster.in_(ids) if ids else false()


def _read(grouped: Select[Any]) -> Select[Any]:
    """With the reading of each, as its place among READINGS."""
    found = grouped.subquery()
    c = found.c
    of = {name: literal(rank) for rank, name in enumerate(READINGS)}
    rank = case(
        (c.sort == int(Sort.TRUST), of["expected"]),
        (c.sort == int(Sort.NODE), of["clone"]),
        (c.first != c.last, of["two-clusters"]),
        ((c.sort == int(Sort.SIGNER)) & (c.off_plane > 0), of["signer-on-worker"]),
        (c.sort == int(Sort.SIGNER), of["expected"]),
        ((c.sort == int(Sort.PLANE)) & (c.off_plane == 0), of["expected"]),
        else_=of["copied"],
    )
    return select(found, rank.label("rank"))


def _on(db: Db, row: Record) -> Sequence[Record]:
    """Some of the nodes, those with the private half first; where that lies on workers, those."""
    k = t.node_key.c
    query = (
        select(
            k.component, k.place, k.private, k.plane, k.sort, t.node.c.name, t.posture.c.seen_at,
            t.cluster.c.name.label("cluster"),
        )
        .join(t.node, t.node.c.id == k.node)
        .join(t.cluster, t.cluster.c.id == k.cluster)
        .join(t.posture, t.posture.c.node == k.node)
        .where(k.key == row.key)
    )  # fmt: skip
    if db.scope.clusters is not None:
        query = query.where(_among(db.scope.clusters))
    # As the index has them, so that of a key on every node only these are read.
    ordered = query.order_by(k.private.desc(), k.plane.desc(), k.sort.desc(), k.node.desc())
    loose = (k.private == 1) & (k.plane == 0)
    out: list[Record] = []
    if row.off_plane:
        out = list(db.connection.execute(ordered.where(loose).limit(MOST_NODES)))
        ordered = ordered.where(or_(k.private == 0, k.plane == 1))
    if len(out) < MOST_NODES:
        out += db.connection.execute(ordered.limit(MOST_NODES - len(out)))
    return sorted(out, key=lambda one: (-one.private, one.plane, one.cluster, one.name))


def _clusters(db: Db, row: Record) -> int:
    """How many clusters have it, apart from those that only trust it."""
    if row.first is None or row.first == row.last:
        return 1
    k = t.node_key.c
    query = select(func.count(k.cluster.distinct()))
    query = query.where(k.key == row.key, k.sort < int(Sort.TRUST))
    if db.scope.clusters is not None:
        query = query.where(_among(db.scope.clusters))
    return int(db.connection.execute(query).scalar_one())


def _json(row: Record, on: Sequence[Record], clusters: int) -> Mapping[str, Any]:
    reading = READINGS[row.rank]
    component = min(on, key=lambda one: one.sort).component
    return {
        "key": f"sha256:{row.key.hex()}",
        "reading": reading,
        "because": _because(reading, component, row, clusters),
        "component": component,
        "nodes": row.nodes,
        "clusters": clusters,
        "private": int(row.private),
        "on": [
            {
                "cluster": one.cluster,
                "node": one.name,
                "component": one.component,
                "place": one.place,
                "private": bool(one.private),
                "control_plane": bool(one.plane),
                "last_seen": rfc3339(one.seen_at),
            }
            for one in on
        ],
    }


def _because(reading: str, component: str, row: Record, clusters: int) -> str:
    match reading:
        case "clone":
            return (
                f"{row.nodes} nodes have one {component} key: made from one image, or one node"
                " under two names"
            )
        case "two-clusters":
            return f"{clusters} clusters have one {component} key: what it makes is good in all"
        case "signer-on-worker":
            return (
                f"the private key of {component} lies on {row.private} nodes, {row.off_plane} of"
                " them no control plane"
            )
        case "copied":
            return f"one {component} key on {row.nodes} nodes: who takes one of them has it"
        case _ if row.private:
            return f"{row.private} control planes share the {component} key, as they must"
        case _:
            return f"{row.nodes} nodes know the public half of {component}"
