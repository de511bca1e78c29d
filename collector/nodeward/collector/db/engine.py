"""A database opened: SQLite in WAL mode, or PostgreSQL; the rest of the collector sees one kind."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    create_engine,
    event,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from nodeward.collector.problem import Problem

Record: TypeAlias = Any
"""A row of a query: its columns are attributes."""
APPLICATION = "nodeward collector"
"""As what a collector that serves is known to PostgreSQL."""
BUSY_S = 30
"""How long a writer waits for another process (an operator's command) to let go of SQLite."""


def open_engine(url: str, *, readers: int = 8, application: str = "nodeward") -> Engine:
    """An engine for `sqlite:////path/file` or `postgresql://...`.

    SQLite runs with synchronous=FULL: a commit is on the disk before a report is acknowledged.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(url, readers)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return create_engine(
        parsed,
        pool_size=readers,
        max_overflow=4,
        pool_pre_ping=True,
        connect_args={"application_name": application},
    )


def _sqlite(url: str, readers: int) -> Engine:
    path = make_url(url).database
    if not path or path == ":memory:":
        raise ValueError("the database must be a file: sqlite:////path/collector.db")
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=readers,
        max_overflow=4,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
    )
    event.listen(engine, "connect", _pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _pragmas(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-65536",
        "mmap_size=268435456",
        "wal_autocheckpoint=4000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A writer takes the lock at once: a read that later turns into a write could not be retried.
    write = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def database_now(connection: Connection) -> ColumnElement[int]:
    """The database's own clock, in ms since 1970: one for all collectors that share it."""
    if is_sqlite(connection):
        told = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
    else:
        told = "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)"
    return literal_column(told, BigInteger)


def clock_of(connection: Connection) -> int:
    """What it says."""
    now: int = connection.execute(select(database_now(connection))).scalar_one()
    return now


@contextmanager
def deadline(connection: Connection, seconds: float) -> Iterator[None]:
    """What is asked within ends after so long, however many statements it is: then a Problem."""
    until = time.monotonic() + seconds
    slow = Problem(503, "slow", f"it took more than {seconds:g} s: ask for less")

    def check(*_: object) -> None:
        if time.monotonic() > until:
            raise slow

    event.listen(connection, "before_cursor_execute", check)
    driver: Any = connection.connection.driver_connection  # the pool gives it no type
    sqlite_ = is_sqlite(connection)
    if sqlite_:
        driver.set_progress_handler(lambda: time.monotonic() > until, 20_000)
    else:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
    try:
        yield
    except OperationalError:
        check()
        raise
    finally:
        if sqlite_:
            driver.set_progress_handler(None, 0)


def is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def insert(connection: Connection, table: Any) -> Any:  # noqa: ANN401  the dialects share no type
    """The dialect's own INSERT, which knows ON CONFLICT in the same words on both."""
    return sqlite.insert(table) if is_sqlite(connection) else postgresql.insert(table)
