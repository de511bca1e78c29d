"""What an operator does with the store as a whole: backup, restore, archive, prune."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, inspect, select, text

from nodeward.collector import archive, keep
from nodeward.collector.clock import now_ms, rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import current, head, migrate
from nodeward.collector.db.partitions import DAY_MS, day_start, make_days
from nodeward.collector.problem import Problem

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump of the very version that runs, as an operator would have."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin")):
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _f(check: str = "a.x", status: str = "fail") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": "seen"}


# -- backup and restore


def test_a_backup_of_a_running_collector_restores_what_was_acknowledged(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    first = start()
    agent = first.agent("n1")
    agent.full(_f("a.x", "fail"))
    url, copy = first.settings.database_url, tmp_path / "copy"
    keep.backup(url, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    agent.full(_f("a.x", "pass"))
    first.stop()
    with pytest.raises(Problem, match="--replace"):
        keep.restore(url, copy, replace=False)
    keep.restore(url, copy, replace=True)
    second = start()
    assert [f["status"] for f in second.items("/v1/findings")] == ["fail"]
    agent.url = second.url
    assert agent.beat().json()["error"]["code"] == "send-full"


def test_a_backup_restores_into_an_empty_database(
    start: Callable[..., Any], tmp_path: Path, postgres: Any
) -> None:
    first = start()
    first.agent("n1").full(_f("a.x", "fail"))
    copy = tmp_path / "copy"
    keep.backup(first.settings.database_url, copy)
    first.stop()
    fresh = postgres.database() if first.settings.database else f"sqlite:///{tmp_path / 'new.db'}"
    keep.restore(fresh, copy, replace=False)
    second = start(replace(first.settings, database=fresh))
    assert [f["status"] for f in second.items("/v1/findings")] == ["fail"]


@pytest.mark.root
def test_a_backup_from_before_an_upgrade_restores_over_the_upgraded_store(
    postgres: Any, tmp_path: Path
) -> None:
    url, copy = postgres.database(), tmp_path / "old"
    engine = open_engine(url)
    migrate(engine, "0040")
    with engine.begin() as connection:
        connection.execute(t.cluster.insert(), [{"name": "of old", "created_at": 1}])
    keep.backup(url, copy)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(t.cluster.update().values(name="of late"))
    keep.restore(url, copy, replace=True)
    with engine.connect() as connection:
        assert current(connection) == head()
        assert connection.execute(t.cluster.select()).one().name == "of old"
        assert connection.execute(text("SELECT count(*) FROM ask.node_key")).scalar() == 0
        assert "nodeward_before" not in inspect(connection).get_schema_names()
    engine.dispose()


@pytest.mark.root
def test_a_restore_that_fails_leaves_what_was_there(postgres: Any, tmp_path: Path) -> None:
    url, copy = postgres.database(), tmp_path / "copy"
    engine = open_engine(url)
    migrate(engine)
    with engine.begin() as connection:
        rows = [{"name": f"c{i}", "created_at": 1} for i in range(5_000)]
        connection.execute(t.cluster.insert(), rows)
    keep.backup(url, copy)
    copy.write_bytes(copy.read_bytes()[:-20_000])
    with pytest.raises(Problem):
        keep.restore(url, copy, replace=True)
    with engine.connect() as connection:
        many = connection.execute(select(func.count()).select_from(t.cluster)).scalar()
        assert many == 5_000
        assert current(connection) == head()
    migrate(engine)
    engine.dispose()


def test_nothing_is_restored_under_a_running_collector(collector: Any, tmp_path: Path) -> None:
    agent, copy = collector.agent("n1"), tmp_path / "copy"
    agent.full(_f("a.x", "fail"))
    keep.backup(collector.settings.database_url, copy)
    with pytest.raises(Problem, match="in use"):
        keep.restore(collector.settings.database_url, copy, replace=True)
    assert agent.delta(_f("a.x", "pass")).status_code == 200


def test_what_is_no_backup_is_not_restored(collector: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.db"
    for content in (b"SQLite format 3\0" + b"x" * 5_000, b"PGDMP" + b"x" * 5_000, b""):
        bad.write_bytes(content)
        with pytest.raises(Problem):
            keep.restore(collector.settings.database_url, bad, replace=True)
    assert collector.items("/v1/nodes") == []


@SQLITE_ONLY
def test_a_backup_of_a_schema_that_is_not_known_is_not_restored(
    collector: Any, tmp_path: Path
) -> None:
    url, copy = collector.settings.database_url, tmp_path / "copy"
    keep.backup(url, copy)
    with sqlite3.connect(copy) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(Problem, match="9999"):
        keep.restore(url, copy, replace=True)


@SQLITE_ONLY
def test_a_backup_never_overwrites(collector: Any, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    with pytest.raises(Problem, match="is there already"):
        keep.backup(collector.settings.database_url, there)
    assert there.read_text() == "mine"


# -- archive and prune


def _age(collector: Any, days: int) -> None:
    """Move all changes and first sights so many days back."""
    c, p = t.change.c, t.posture.c
    ago = days * DAY_MS
    collector.center.writer.act_now(
        lambda connection: [
            connection.execute(t.change.update().values(at=c.at - ago)),
            connection.execute(t.posture.update().values(first_at=p.first_at - ago - DAY_MS)),
        ]
    )


def _one_change(collector: Any, *, days_ago: int) -> None:
    agent = collector.agent("n1")
    agent.full(_f("a.x", "fail"))
    agent.full(_f("a.x", "pass"))
    _age(collector, days_ago)


def test_a_closed_day_is_a_parquet_file_that_holds_its_changes(
    collector: Any, tmp_path: Path
) -> None:
    _one_change(collector, days_ago=3)
    now = now_ms()
    assert archive.archive_closed(collector.center.engine, tmp_path, now) == 1
    day = datetime.fromtimestamp(now / 1000 - 3 * 86_400, UTC)
    rows = pq.read_table(tmp_path / f"day={day:%Y-%m-%d}" / "change.parquet").to_pylist()
    (row,) = [r for r in rows if r["old_status"] is not None]
    at = row.pop("at")
    assert abs(at - day).total_seconds() < 600
    assert {k: v for k, v in row.items() if k != "day"} == {
        "cluster": "east", "node": "n1", "check": "a.x", "old_status": "fail",
        "old_severity": "high", "new_status": "pass", "new_severity": "high",
    }  # fmt: skip


@SQLITE_ONLY
def test_an_archived_day_is_not_written_again_and_today_not_at_all(
    collector: Any, tmp_path: Path
) -> None:
    _one_change(collector, days_ago=3)
    engine = collector.center.engine
    collector.agent("n2").full(_f("a.x", "fail"))
    assert archive.archive_closed(engine, tmp_path, now_ms()) == 1
    assert archive.archive_closed(engine, tmp_path, now_ms()) == 0
    assert len(list(tmp_path.glob("day=*"))) == 1


def test_what_is_not_in_the_archive_does_not_leave(collector: Any, tmp_path: Path) -> None:
    _one_change(collector, days_ago=3)
    engine = collector.center.engine
    assert archive.let_go(engine, tmp_path, now_ms()) == 0
    before = len(collector.items("/v1/changes"))
    assert before > 0
    archive.archive_closed(engine, tmp_path, now_ms())
    assert archive.let_go(engine, tmp_path, now_ms()) == before
    assert collector.items("/v1/changes") == []


def test_a_day_whose_file_was_made_too_early_is_written_anew_before_it_leaves(
    collector: Any, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    _one_change(collector, days_ago=3)
    engine = collector.center.engine
    archive.archive_closed(engine, tmp_path, now_ms())
    late = text("INSERT INTO change SELECT at + 1, node, rule, old, new FROM change")
    collector.center.writer.act_now(lambda c: c.execute(late))
    many = len(collector.items("/v1/changes"))
    assert archive.let_go(engine, tmp_path, now_ms()) == many
    files = list(tmp_path.glob("day=*/*.parquet"))
    assert sum(pq.read_metadata(file).num_rows for file in files) == many


def test_a_question_about_a_time_that_is_forgotten_is_refused(collector: Any) -> None:
    _one_change(collector, days_ago=3)
    then = rfc3339(now_ms() - 3 * DAY_MS - 3_600_000)
    assert collector.get("/v1/findings", at=then).status_code == 200
    archive.let_go(collector.center.engine, None, now_ms())
    answer = collector.get("/v1/findings", at=then)
    assert answer.status_code == 410
    assert answer.json()["error"] == {
        "code": "not-kept", "field": "at", "message": answer.json()["error"]["message"],
    }  # fmt: skip
    assert collector.get("/v1/nodes/east/n1/diff", since=then).status_code == 410
    assert collector.get("/v1/findings", at=rfc3339(now_ms())).status_code == 200


@SQLITE_ONLY
def test_a_finding_is_never_said_to_stand_longer_than_is_remembered(collector: Any) -> None:
    """It changed since the node was first seen; when, has been forgotten."""
    _one_change(collector, days_ago=3)
    archive.let_go(collector.center.engine, None, now_ms())
    (found,) = collector.items("/v1/findings")
    assert found["since"] == rfc3339(day_start(now_ms()))


@pytest.mark.root
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_days_with_a_partition_leave_with_it(collector: Any) -> None:
    engine, now = collector.center.engine, now_ms()
    _one_change(collector, days_ago=0)
    long_ago = day_start(now) - 100 * DAY_MS
    with engine.begin() as connection:
        make_days(connection, long_ago)
        row = {"at": long_ago + DAY_MS + 5, "node": 1, "rule": 1, "old": 8, "new": 16}
        connection.execute(t.change.insert(), [row])
    assert archive.let_go(engine, None, now) == 1
    with engine.connect() as connection:
        left = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'change'::regclass"
        ).scalar()
    assert left == 4  # the next three days, and what has none


@SQLITE_ONLY
def test_the_collector_archives_and_forgets_by_itself(
    start: Callable[..., Any], settings: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    running = start(replace(settings, archive=str(folder), keep_changes="2d"))
    _one_change(running, days_ago=3)
    running.center._tidy()
    assert len(list(folder.glob("day=*/change.parquet"))) == 1
    assert running.items("/v1/changes") == []
