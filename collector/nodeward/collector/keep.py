"""What an operator does with the store as a whole: backup, restore, prune.

SQLite is copied by its own online backup, while the collector runs. PostgreSQL has better tools of
its own (pg_dump, pg_basebackup), which see to roles and replicas too: we say so and do nothing.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.engine import make_url

from nodeward.collector.db import tables as t
from nodeward.collector.db.migrate import head, migrate
from nodeward.collector.posture import unpack
from nodeward.collector.problem import Problem


def _file(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise Problem(400, "postgresql", "use pg_dump or pg_basebackup for PostgreSQL")
    return Path(str(parsed.database))


def backup(url: str, to: Path) -> None:
    """A consistent copy, checked, complete or not there at all."""
    source = _file(url)
    if not source.is_file():
        raise Problem(400, "nothing", f"there is no database at {source}")
    if to.exists():
        raise Problem(400, "exists", f"{to} is there already")
    partial = to.with_name(to.name + ".partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(partial)) as copy:
        live.backup(copy, pages=2_000)
        copy.execute("PRAGMA journal_mode=DELETE")
    _sound(partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(to)


def restore(url: str, source: Path, *, replace: bool) -> None:
    """The store as it was at the backup, brought to this version's schema."""
    from nodeward.collector.db.engine import open_engine

    target = _file(url)
    _sound(source)
    if target.exists() and not replace:
        raise Problem(400, "exists", f"{target} is there already: --replace, with no collector on")
    partial = target.with_name(target.name + ".restoring")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(partial)) as new:
        old.backup(new)
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    partial.rename(target)
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()


def _sound(path: Path) -> None:
    """Raises Problem unless the file is a whole store of a schema that we know."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            told = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except (sqlite3.Error, TypeError) as exc:
        raise Problem(400, "no-backup", f"{path} is no collector's store: {exc}") from None
    if told != "ok":
        raise Problem(400, "damaged", f"{path} is damaged: {told}")
    if revision > head():
        raise Problem(400, "newer", f"{path} is of a newer version ({revision})")


def prune(engine: Engine, before: int, out: Path | None) -> int:
    """Changes before that time leave the store, into a gzip NDJSON file if one is given."""
    with engine.execution_options(writes=True).begin() as connection:
        if out is not None:
            with gzip.open(out, "xt", encoding="utf-8") as file:
                _write(file, _changes(connection, before))
        gone = connection.execute(t.change.delete().where(t.change.c.at < before))
        return int(gone.rowcount)


def _changes(connection: Connection, before: int) -> Iterator[dict[str, Any]]:
    c = t.change.c
    query = (
        select(c.at, c.old, c.new, t.node.c.name, t.cluster.c.name.label("cluster"),
               t.rule.c.name.label("check"))
        .join(t.node, t.node.c.id == c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .join(t.rule, t.rule.c.id == c.rule)
        .where(c.at < before)
        .order_by(c.at)
    )  # fmt: skip
    for row in connection.execute(query):
        old, new = (unpack(v) if v else None for v in (row.old, row.new))
        yield {
            "at": row.at,
            "cluster": row.cluster,
            "node": row.name,
            "check": row.check,
            "old": old[0].value if old else None,
            "new": new[0].value if new else None,
        }


def _write(file: IO[str], rows: Iterator[dict[str, Any]]) -> None:
    for row in rows:
        file.write(json.dumps(row) + "\n")
