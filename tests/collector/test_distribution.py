"""The same definitions distribute by node: no key of a table that grows with the fleet lacks it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import UniqueConstraint

from nodeward.collector.db import tables as t

DOC = (Path(__file__).parents[2] / "docs" / "collector.md").read_text()
DDL = DOC[DOC.index("SELECT create_reference_table") : DOC.index("The others stay on the")]
REFERENCE, GROWING = DDL.split("SELECT create_distributed_table('posture', 'node');")
DISTRIBUTED = ["posture", *re.findall(r"'(\w+)'[,\]]", GROWING.split("unnest")[1])]
SHARED = re.findall(r"'(\w+)'[,\]]", REFERENCE)
WITH_NODE_AND_SMALL = {"agent", "join_token", "security_event", "waiver"}
"""They have a column `node` and a row a key, a token, an event: not one or more for each node."""


def test_every_table_of_the_documented_ddl_is_one_of_ours_and_there_once() -> None:
    named = [*DISTRIBUTED, *SHARED]
    assert len(named) == len(set(named)) > 15
    assert set(named) <= t.meta.tables.keys()


def test_every_table_with_rows_for_each_node_is_distributed() -> None:
    with_node = {name for name, table in t.meta.tables.items() if "node" in table.c}
    assert with_node - WITH_NODE_AND_SMALL == set(DISTRIBUTED)


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_the_distribution_column_is_in_every_key(name: str) -> None:
    table = t.meta.tables[name]
    assert not table.c.node.nullable
    unique = (c for c in table.constraints if isinstance(c, UniqueConstraint))
    keys = [set(table.primary_key.columns.keys())]
    keys += [set(c.columns.keys()) for c in unique]
    keys += [set(i.columns.keys()) for i in table.indexes if i.unique]
    assert all("node" in key for key in keys if key)


def test_nothing_refers_to_a_row_of_another_shard() -> None:
    assert all(not table.foreign_keys for table in t.meta.tables.values())
