"""What is stored. Times are milliseconds since 1970, UTC; digests are raw bytes.

Nothing holds a row per (node, check): a node points at a state set, which thousands share; counts
are kept as counters; what a finding says lies in one blob a node; only changes are rows, appended.
Every table that grows with the fleet has `node` as the first part of its key, so the same
definitions distribute by node. There are no foreign keys between them for the same reason: all
writes go through nodeward.collector.store.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

meta = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# -- shared by the whole fleet: small, copied to every shard ---------------------------------

cluster = Table(
    "cluster",
    meta,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)
cluster_label = Table(
    "cluster_label",
    meta,
    Column("cluster", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("cluster", "key"),
)
rule = Table(  # a check, as the reports name it
    "rule",
    meta,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)
layout = Table(  # a list of checks in order
    "layout",
    meta,
    Column("id", Integer, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
)
layout_rule = Table(
    "layout_rule",
    meta,
    Column("layout", Integer, nullable=False),
    Column("place", Integer, nullable=False),
    Column("rule", Integer, nullable=False),
    PrimaryKeyConstraint("layout", "place"),
    sqlite_with_rowid=False,
)
state_set = Table(  # one posture, shared by all nodes that have it
    "state_set",
    meta,
    Column("id", Integer, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("layout", Integer, nullable=False),
    Column("vec", LargeBinary, nullable=False),
    Column("fails", Integer, nullable=False),
    Column("score", BigInteger, nullable=False),
    Column("mask", Integer, nullable=False),
)
posting = Table(  # which sets have a check at a value, for what is not well
    "posting",
    meta,
    Column("rule", Integer, nullable=False),
    Column("value", SmallInteger, nullable=False),
    Column("set", Integer, nullable=False),
    PrimaryKeyConstraint("rule", "value", "set"),
    sqlite_with_rowid=False,
)
platform = Table(  # what kind of machine, shared by all nodes alike
    "platform",
    meta,
    Column("id", Integer, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("os", Text, nullable=False),
    Column("os_version", Text, nullable=False),
    Column("kernel", Text, nullable=False),
    Column("kubelet", Text, nullable=False),
    Column("runtime", Text, nullable=False),
    Column("cloud", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("catalog", Text, nullable=False),
)
counter = Table(  # nodes of a cluster that have a check at a value
    "counter",
    meta,
    Column("rule", Integer, nullable=False),
    Column("cluster", Integer, nullable=False),
    Column("value", SmallInteger, nullable=False),
    Column("nodes", Integer, nullable=False),
    PrimaryKeyConstraint("rule", "cluster", "value"),
    sqlite_with_rowid=False,
)
dictionary = Table(  # what the evidence of most nodes says; it is compressed against that
    "dictionary",
    meta,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
total = Table(  # the same summed: cluster 0 is the fleet; check 0 is all checks, and value 0 nodes
    "total",
    meta,
    Column("rule", Integer, nullable=False),
    Column("cluster", Integer, nullable=False),
    Column("value", SmallInteger, nullable=False),
    Column("nodes", Integer, nullable=False),
    PrimaryKeyConstraint("rule", "cluster", "value"),
    sqlite_with_rowid=False,
)
node = Table(  # who there is; rarely written
    "node",
    meta,
    Column("id", Integer, primary_key=True),
    Column("cluster", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("uid", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    UniqueConstraint("cluster", "name"),
)

# -- one or more rows a node ------------------------------------------------------------------

posture = Table(
    "posture",
    meta,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("cluster", Integer, nullable=False),
    Column("set", Integer),  # empty until the first report
    Column("platform", Integer),
    Column("score", BigInteger, nullable=False, server_default="0"),
    Column("boot", Text),
    Column("seq", BigInteger),
    Column("digest", LargeBinary),
    Column("first_at", BigInteger),
    Column("report_at", BigInteger),
    Column("seen_at", BigInteger),
    Column("skew_ms", BigInteger),  # the node's clock minus ours
    Column("spool", Integer),  # reports waiting on the node, as it last said
    Index(None, "set", "node", "platform"),  # the heat map by platform reads it alone
    Index(None, "cluster", "node"),
    Index("ix_posture_score", "score", "node"),
)
evidence = Table(  # what the findings say: zstd, decoded only to be shown
    "evidence",
    meta,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("blob", LargeBinary, nullable=False),
)
report = Table(  # what came in; the body stays until its signature was verified and it was folded
    "report",
    meta,
    Column("node", Integer, nullable=False),
    Column("boot", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("agent", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),  # 0 full, 1 delta
    Column("sha", LargeBinary, nullable=False),  # its identity (wire.py); empty while it waits
    Column("signed_at", BigInteger, nullable=False),  # seconds: the signature covers it
    Column("signature", LargeBinary, nullable=False),
    Column("verified", SmallInteger, nullable=False),  # 0 not yet, 1 good, 2 bad
    Column("body", LargeBinary),
    PrimaryKeyConstraint("node", "boot", "seq"),
    Index(None, "at"),
)
Index(
    "ix_report_waiting",
    report.c.at,
    report.c.node,
    sqlite_where=report.c.body.is_not(None),
    postgresql_where=report.c.body.is_not(None),
)
boot = Table(  # boots an agent spoke of: one that returns is a clone or a replay
    "boot",
    meta,
    Column("node", Integer, nullable=False),
    Column("boot", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("node", "boot"),
)
change = Table(  # append-only; on PostgreSQL a partition a day (db/partitions.py)
    "change",
    meta,
    Column("at", BigInteger, nullable=False),
    Column("node", Integer, nullable=False),
    Column("rule", Integer, nullable=False),
    Column("old", SmallInteger, nullable=False),
    Column("new", SmallInteger, nullable=False),
    Index(None, "node"),
    # On PostgreSQL a few bytes a page: rows lie in the order of time there (store/ask_changes.py).
    Index(
        None,
        "at",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    ),
    postgresql_partition_by="RANGE (at)",
)
life = Table(  # how a node stood when it was retired, of those that came back since
    "life",
    meta,
    Column("node", Integer, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("set", Integer, nullable=False),
    PrimaryKeyConstraint("node", "ended_at"),
    Index(None, "set"),
)
trend = Table(  # how many findings stood at each value, the last count of each day
    "trend",
    meta,
    Column("day", Integer, nullable=False),  # days since 1970, UTC
    Column("cluster", Integer, nullable=False),
    Column("value", SmallInteger, nullable=False),
    Column("findings", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "cluster", "value"),
)
listening = Table(  # when a collector was there to hear nodes
    "listening",
    meta,
    Column("since", BigInteger, primary_key=True, autoincrement=False),
    Column("until", BigInteger, nullable=False),
)
kept = Table(  # how far back something is remembered, once a part of it was let go
    "kept",
    meta,
    Column("what", Text, primary_key=True),
    Column("since", BigInteger, nullable=False),
)
expiry = Table(  # of each check about certificates' ends the one that ends first
    "expiry",
    meta,
    Column("node", Integer, nullable=False),
    Column("rule", Integer, nullable=False),
    Column("cluster", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),  # as expiry.end_ms has it
    Column("renewer", Text, nullable=False),  # who renews it, as the node says
    PrimaryKeyConstraint("node", "rule"),
    Index(None, "at", "node", "rule"),
    Index(None, "cluster", "at", "node", "rule"),
)

node_key = Table(  # the keys that a node names (store/shared.py); gone when it retires
    "node_key",
    meta,
    Column("node", Integer, nullable=False),
    Column("key", LargeBinary, nullable=False),  # SHA-256 of the public half
    Column("cluster", Integer, nullable=False),
    Column("component", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("sort", SmallInteger, nullable=False),  # facts/named_keys.py
    Column("private", SmallInteger, nullable=False),  # 1: the private half lies there
    Column("plane", SmallInteger, nullable=False),  # 1: the node is a control plane
    PrimaryKeyConstraint("node", "key"),
    Index("ix_node_key_key", "key", "private", "plane", "sort", "node", "cluster"),
)

# -- who may speak ----------------------------------------------------------------------------

agent = Table(
    "agent",
    meta,
    Column("id", Text, primary_key=True),
    Column("node", Integer, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("method", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),  # by the database's clock
    Index(None, "node"),
    Index(None, "changed_at"),
)
join_token = Table(
    "join_token",
    meta,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("cluster", Integer, nullable=False),
    Column("node", Text),  # a glob; empty means any name, and then somebody must approve
    Column("uses", Integer, nullable=False),
    Column("approve", SmallInteger, nullable=False),  # 1: enrolled as pending
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)
access = Table(  # API tokens of people and programs
    "access",
    meta,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON: cluster labels it is limited to
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("subject", Text),  # who logged in: a session, not a token that was made
)
security_event = Table(
    "security_event",
    meta,
    Column("id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("node", Integer),
    Column("agent", Text),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "node", "at"),
    Index(None, "at"),
)
audit = Table(
    "audit",
    meta,
    Column("id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "at"),
)

# -- what operators decide --------------------------------------------------------------------

waiver = Table(  # never deleted: it is its own history
    "waiver",
    meta,
    Column("id", Text, primary_key=True),
    Column("check", Text, nullable=False),  # a glob
    Column("node", Text, nullable=False),  # a glob
    Column("labels", Text, nullable=False),  # JSON: of the cluster; `cluster` is its name
    Column("reason", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("approved_by", Text),
    Column("approved_at", BigInteger),
    Column("ended_by", Text),
    Column("ended_at", BigInteger),
)
look = Table(  # nodes asked for a fresh look that have not said yet that they looked
    "look",
    meta,
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("asked_at", BigInteger, nullable=False),  # names the request
    Column("asked_by", Text, nullable=False),
)
question = Table(  # SQL that somebody saved
    "question",
    meta,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),  # the name of the token that saved it
    Column("scope", Text, nullable=False),  # JSON: the labels of that token, as in access
    Column("name", Text, nullable=False),
    Column("sql", Text, nullable=False),
    Column("shared", SmallInteger, nullable=False),  # 1: all may see it that have the same scope
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    UniqueConstraint("owner", "scope", "name"),
)
query_scope = Table(  # what an asker may see, while a question in SQL is answered (PostgreSQL)
    "query_scope",
    meta,
    Column("key", Text, primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("clusters", Text),  # an array of ids; empty: all
)
secret = Table(  # keys that all replicas share
    "secret",
    meta,
    Column("id", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
alert_rule = Table(
    "alert_rule",
    meta,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("spec", Text, nullable=False),  # JSON: kind, filter, target
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("upto", BigInteger, nullable=False),  # changes up to this time were looked at
)
alert_out = Table(  # to be delivered; stays after that, so that it is told once
    "alert_out",
    meta,
    Column("rule", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("sent_at", BigInteger),
    PrimaryKeyConstraint("rule", "key"),
    Index(None, "sent_at", "next_at"),
)
