"""The questions: what nodes there are, what is wrong with them, what changed.

Every function takes the asker's scope and puts it into the SQL; there is no other way to rows.
"""

from __future__ import annotations

from nodeward.collector.store.ask_changes import changes
from nodeward.collector.store.ask_findings import findings, statuses
from nodeward.collector.store.ask_nodes import node, nodes, retirements
from nodeward.collector.store.ask_rollups import KEY, agents, checks, clusters, platforms
from nodeward.collector.store.asked import (
    MOST,
    STALE_MS,
    Db,
    Filter,
    Page,
    cursor_of,
    cursor_text,
    levels_of,
    rules_of,
    value_json,
)
from nodeward.collector.store.node_rows import node_row, nodes_from, rows_of_role

__all__ = [
    "KEY",
    "MOST",
    "STALE_MS",
    "Db",
    "Filter",
    "Page",
    "agents",
    "changes",
    "checks",
    "clusters",
    "cursor_of",
    "cursor_text",
    "findings",
    "levels_of",
    "node",
    "node_row",
    "nodes",
    "nodes_from",
    "platforms",
    "retirements",
    "rows_of_role",
    "rules_of",
    "statuses",
    "value_json",
]
