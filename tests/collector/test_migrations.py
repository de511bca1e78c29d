"""The schema, both ways, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from nodeward.collector.clock import now_ms, rfc3339
from nodeward.collector.db import migrate, partitions
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.tables import meta
from nodeward.collector.settings import Settings
from nodeward.collector.store.dictionary import FEW


@pytest.fixture
def engine(database: str, tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(database or f"sqlite:///{tmp_path / 'test.db'}")
    yield engine
    engine.dispose()


def _tables(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_migrations_make_what_the_tables_say(engine: Engine) -> None:
    migrate.migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        differences = [
            d
            for d in compare_metadata(context, meta)
            if not (d[0] == "remove_table" and d[1].name.startswith("change_"))
            and not (d[0] == "remove_index" and d[1].table.name.startswith("change_"))
        ]
    assert differences == []


def test_each_migration_can_be_undone_and_done_again(engine: Engine) -> None:
    migrate.migrate(engine)
    up = _tables(engine)
    migrate.migrate(engine, "base")
    assert _tables(engine) == set()
    migrate.migrate(engine)
    assert _tables(engine) == up


ASKED = ("nodes", "retirements", "findings", "changes", "checks", "clusters", "agents", "waivers",
         "shared-keys", "platforms", "events")  # fmt: skip


def _answers(collector: Any) -> dict[str, Any]:
    """What the lists say."""
    return {path: collector.items(f"/v1/{path}") for path in ASKED}


def _down_and_up(url: str, to: str) -> None:
    """Each step there alone, and then back."""
    steps = ScriptDirectory.from_config(migrate._config()).walk_revisions(base=to)
    engine = open_engine(url)
    for step in steps:
        migrate.migrate(engine, step.revision)
    migrate.migrate(engine)
    engine.dispose()


def _fleet(collector: Any) -> list[Any]:
    """So many nodes that there is a dictionary; one is gone."""
    agents = [collector.agent(f"n{number}") for number in range(FEW)]
    for agent in agents:
        agent.full(*(_finding(check, "fail") for check in ("a.x", "cert.expiry.etcd")))
    collector.fold()
    for agent in agents:
        agent.delta(_finding("a.x", "unknown"))
    collector.fold()
    collector.post(f"/v1/nodes/east/{agents.pop().node}/retire")
    waiver = {"check": "a.*", "reason": "r", "owner": "o", "until": rfc3339(now_ms() + 10**9)}
    assert collector.post("/v1/waivers", waiver).status_code == 201
    return agents


def _finding(check: str, status: str) -> dict[str, Any]:
    because = "the certificate ends on 2027-01-01"
    return {"check": check, "status": status, "severity": "high", "because": because}


def test_answers_are_the_same_after_each_migration_was_undone_and_done_again(
    settings: Settings, start: Callable[..., Any]
) -> None:
    """Down to 0030 nothing of this is lost. Below it the words are, until nodes are asked for them;
    below 0002 the waivers."""
    one = start()
    agents, before = _fleet(one), _answers(one)
    with one.center.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM dictionary")).scalar() == 1
    one.stop()
    _down_and_up(settings.database_url, "0030")
    two = start()
    two.admin = one.admin
    assert _answers(two) == before
    two.stop()
    _down_and_up(settings.database_url, "0001")
    three = start()
    three.admin = one.admin
    agent = agents[0]
    agent.url = three.url
    assert agent.beat().json()["error"]["code"] == "send-full"
    after = _answers(three)
    assert [f["because"] for f in after["findings"]] == [""] * len(before["findings"])
    assert agent.full(*agent.findings.values()).status_code == 200
    after = _answers(three)
    for path in set(ASKED) - {"waivers", "nodes", "findings", "platforms"}:
        assert after[path] == before[path]
    assert [_words(f) for f in after["findings"] if f["node"] == agent.node] == [
        _words(f) for f in before["findings"] if f["node"] == agent.node
    ]
    assert [n["summary"] for n in after["nodes"]] == [n["summary"] for n in before["nodes"]]
    three.stop()


def _words(finding: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in finding.items() if key not in ("last_seen", "waiver")}


def test_migrating_what_is_at_head_does_nothing(engine: Engine) -> None:
    migrate.migrate(engine)
    migrate.migrate(engine)
    with engine.connect() as connection:
        assert migrate.current(connection) == migrate.head()


@pytest.mark.root
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_row_from_the_future_keeps_no_day_from_its_partition(engine: Engine) -> None:
    migrate.migrate(engine)
    later = now_ms() + 2 * partitions.DAY_MS
    row = {"at": later, "node": 1, "rule": 1, "old": 8, "new": 16}
    with engine.begin() as connection:
        connection.execute(meta.tables["change"].insert(), [row])
        assert connection.execute(text("SELECT count(*) FROM ONLY change_other")).scalar() == 1
        partitions.make_days(connection, now_ms())
        assert connection.execute(text("SELECT count(*) FROM ONLY change_other")).scalar() == 0
        assert connection.execute(text("SELECT at FROM change")).scalar() == later


def test_days_ahead_get_partitions_of_their_own(engine: Engine) -> None:
    migrate.migrate(engine)
    for _ in range(2):
        with engine.execution_options(writes=True).begin() as connection:
            partitions.make_days(connection, now_ms())
    tomorrow = now_ms() + partitions.DAY_MS
    row = {"at": tomorrow, "node": 1, "rule": 1, "old": 8, "new": 16}
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(meta.tables["change"].insert(), [row])
        if connection.dialect.name == "postgresql":
            count = connection.execute(text("SELECT count(*) FROM ONLY change_other")).scalar()
            assert count == 0
