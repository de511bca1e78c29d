"""The schema, both ways, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from nodeward.collector.clock import now_ms
from nodeward.collector.db import migrate, partitions
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.tables import meta


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
