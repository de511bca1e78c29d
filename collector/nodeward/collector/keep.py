"""What an operator does with the store as a whole: backup and restore.

SQLite is copied by its own online backup, while the collector runs; PostgreSQL by pg_dump and
pg_restore of its own. What a cluster of databases needs besides (roles, replicas, the log for any
point in time) is PostgreSQL's: pg_basebackup.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL, make_url

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import APPLICATION, open_engine
from nodeward.collector.db.migrate import is_known, migrate
from nodeward.collector.problem import Problem

ASIDE = "nodeward_before"
"""The schema in which a store lies while another takes its place."""


def backup(url: str, to: Path) -> None:
    """A consistent copy, complete or not there at all. Readable by its owner alone."""
    if to.exists():
        raise Problem(400, "exists", f"{to} is there already")
    partial = to.with_name(to.name + ".partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        _backup_sqlite(Path(str(parsed.database)), partial)
    else:
        _dump(parsed, partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(to)


def restore(url: str, source: Path, *, replace: bool) -> None:
    """The store as it was at the backup, brought to this version's schema."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        _restore_sqlite(Path(str(parsed.database)), source, replace=replace)
    else:
        _restore_dump(parsed, source, replace=replace)
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()


# -- SQLite


def _backup_sqlite(source: Path, to: Path) -> None:
    if not source.is_file():
        raise Problem(400, "nothing", f"there is no database at {source}")
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(to)) as copy:
        live.backup(copy, pages=2_000)
        copy.execute("PRAGMA journal_mode=DELETE")
    _sound(to)


def _restore_sqlite(target: Path, source: Path, *, replace: bool) -> None:
    _sound(source)
    if target.exists():
        if not replace:
            raise Problem(400, "exists", f"{target} is there already: --replace")
        _unused(target)
    partial = target.with_name(target.name + ".restoring")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(partial)) as new:
        old.backup(new)
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    partial.rename(target)


def _unused(path: Path) -> None:
    """Raises Problem while somebody has it open: a collector would go on writing to what is gone.

    Each connection to a database in WAL mode holds a lock on it, though it does nothing.
    """
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as exc:
        raise Problem(400, "in-use", f"{path} is in use: stop the collector first") from exc
    except sqlite3.DatabaseError:
        return  # what is no database is nobody's


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
    _known(path, revision)


def _known(path: Path, revision: str) -> None:
    if not is_known(revision):
        raise Problem(
            400, "newer", f"{path} is of a schema that this version does not know ({revision})"
        )


# -- PostgreSQL


def _dump(url: URL, to: Path) -> None:
    _run("pg_dump", url, "--format=custom", f"--file={to}")


def _restore_dump(url: URL, source: Path, *, replace: bool) -> None:
    """All of it, or what was there before: that lies aside meanwhile.

    It may be of another schema than the backup, with tables that the backup does not know.
    """
    listed = _run("pg_restore", None, "--data-only", "--table=alembic_version", "-f-", str(source))
    copied = re.search(r"^COPY .*alembic_version.*\n(\w+)$", listed, re.MULTILINE)
    if copied is None:
        raise Problem(400, "no-backup", f"{source} is no collector's store")
    _known(source, copied[1])
    how = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    engine = open_engine(url.render_as_string(hide_password=False))
    try:
        with engine.begin() as connection:
            if inspect(connection).has_table("alembic_version") and not replace:
                raise Problem(400, "exists", "there is a store already: --replace")
            _aside(connection)
        try:
            _run("pg_restore", url, *how, str(source))
        except Problem:
            with engine.begin() as connection:
                _move(connection, ASIDE, "public")
                connection.execute(text(f"DROP SCHEMA {ASIDE}"))
            raise
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {ASIDE} CASCADE"))
            connection.execute(text("DROP SCHEMA IF EXISTS ask CASCADE"))  # of its time
    finally:
        engine.dispose()


def _aside(connection: Connection) -> None:
    there = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    if connection.execute(there, {"name": ASIDE}).first() is not None:
        told = f"a restore was cut off: the store from before it lies in the schema {ASIDE}"
        raise Problem(400, "cut-off", told)
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name = :name"
    )
    if connection.execute(others, {"name": APPLICATION}).scalar_one():
        raise Problem(400, "in-use", "the store is in use: stop all collectors first")
    connection.execute(text("DROP SCHEMA IF EXISTS ask CASCADE"))
    connection.execute(text(f"CREATE SCHEMA {ASIDE}"))
    _move(connection, "public", ASIDE)


def _move(connection: Connection, here: str, there: str) -> None:
    """Our tables and nobody else's, with the partitions of one of them."""
    ours = {*t.meta.tables, "alembic_version"}
    quote = connection.dialect.identifier_preparer.quote
    for name in inspect(connection).get_table_names(schema=here):
        if name in ours or name.startswith("change_"):
            connection.execute(text(f"ALTER TABLE {here}.{quote(name)} SET SCHEMA {there}"))


def _run(program: str, url: URL | None, *arguments: str) -> str:
    """What it printed. The password goes by the environment: others may read a command line."""
    path = shutil.which(program)
    if path is None:
        raise Problem(400, "no-program", f"{program} is not installed: package postgresql-client")
    environment, where = dict(os.environ), []
    if url is not None:
        if url.password:
            environment["PGPASSWORD"] = str(url.password)
        plain = url.set(drivername="postgresql", password=None)
        where = [f"--dbname={plain.render_as_string()}"]
    done = subprocess.run(  # noqa: S603  two programs of PostgreSQL, no shell
        [path, *where, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it failed"]
        raise Problem(400, program, f"{program}: {last[0]}")
    return done.stdout
