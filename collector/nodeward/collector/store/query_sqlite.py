"""SQL over the views on SQLite: a connection of its own, confined by an authorizer."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote

from nodeward.collector.problem import bad
from nodeward.collector.store import query
from nodeward.collector.store.access import Scope
from nodeward.collector.store.query import VIEWS, Dialect, Within, table, value_rows, view_sql

MOST_CELL: Final = 1 << 20
MOST_COLUMNS: Final = 64

DIALECT: Final = Dialect(
    moment=lambda column: f"strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch')",
    hexed=lambda column: f"lower(hex({column}))",
    each=lambda column: f"json_each({column})",
    now="(julianday('now') - 2440587.5) * 86400000",
)


def answer(path: str, scope: Scope, sql: str) -> Mapping[str, Any]:
    """What one SELECT of an asker comes to. Raises a 400 with the database's own words."""
    with closing(sqlite3.connect(":memory:", uri=True, isolation_level=None)) as connection:
        _confine(connection, _make_views(connection, path, scope))
        try:
            cursor = connection.execute(sql)
            if cursor.description is None:
                raise bad("sql", "only SELECT")
            return table([column[0] for column in cursor.description], cursor)
        except (sqlite3.Error, sqlite3.Warning) as exc:
            raise bad("sql", str(exc)) from None
        except (OverflowError, MemoryError):
            raise bad("sql", "the result is too large") from None


def _within(scope: Scope) -> Within:
    if scope.clusters is None:
        return Within(lambda _column: "1 = 1", "1 = 1")
    ids = ", ".join(str(int(i)) for i in sorted(scope.clusters))
    return Within(lambda column: f"{column} IN ({ids})" if ids else "1 = 0", "1 = 0")


def _make_views(connection: sqlite3.Connection, path: str, scope: Scope) -> frozenset[str]:
    """The views, each over one of a random name; those names alone may read tables.

    SQLite tells the authorizer the innermost view that reads, but gives it the name of a WITH or
    of an alias just the same: only a name that cannot be guessed is a proof. Where a table is read
    without any of its columns it tells no reader at all; so the database has a name that cannot be
    guessed either, and its tables' own names mean nothing.
    """
    store = f"store_{secrets.token_hex(16)}"
    connection.execute(f"ATTACH ? AS {store}", (f"file:{quote(path)}?mode=ro",))
    connection.execute("CREATE TEMP TABLE value_name (value INTEGER PRIMARY KEY, status, severity)")
    connection.execute(f"INSERT INTO value_name VALUES {value_rows()}")  # noqa: S608  ours
    inner = {name: f"inner_{secrets.token_hex(16)}" for name in VIEWS}
    within = _within(scope)
    for name, hidden in inner.items():
        select = view_sql(name, DIALECT, f"{store}.", "temp.value_name", within)
        connection.execute(f"CREATE TEMP VIEW {hidden} AS {select}")
    for name in _TABLES - VIEWS.keys():
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT NULL WHERE 0")
    for name, hidden in inner.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {hidden}")  # noqa: S608
    return frozenset(inner.values())


_TABLES: Final = frozenset(
    ("node", "cluster", "cluster_label", "posture", "state_set", "platform", "posting", "rule",
     "change", "counter", "waiver", "node_key")
)  # fmt: skip
_REFUSED: Final = frozenset(
    ("load_extension", "randomblob", "zeroblob", "readfile", "writefile", "edit", "fts3_tokenizer")
)


def _confine(connection: sqlite3.Connection, readers: frozenset[str]) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_CELL)
    connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, MOST_COLUMNS)
    connection.setlimit(sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 50)
    connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)

    def allowed(
        action: int, first: str | None, second: str | None, database: str | None, source: str | None
    ) -> int:
        """What SQLite asks before it compiles a statement. `source`: the view that reads."""
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_DENY if second in _REFUSED else sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and (
            source in readers
            or first in readers
            or (database == "temp" and first in VIEWS)
            or (not second and (first in _TABLES or first == "value_name"))
        ):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    connection.set_authorizer(allowed)
    until = time.monotonic() + query.DEADLINE_S
    connection.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
