"""Read-only SQL over documented views: those of VIEWS.

SQLite: a connection of its own, opened read-only, on which the views are made for this asker's
clusters; then an authorizer lets nothing be read but through them. PostgreSQL: a login of its own
(`query_database`) that may read the schema `ask` and nothing else.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url

from nodeward.collector.posture import LEVELS, unpack
from nodeward.collector.problem import Problem, bad
from nodeward.collector.store.access import EVERYTHING, Scope

DEADLINE_S: Final = 5.0
MOST_ROWS: Final = 10_000
MOST_SQL: Final = 20_000
MOST_CELL: Final = 1 << 20

VIEWS: Final[Mapping[str, str]] = {
    "node": """
        SELECT c.name AS cluster, n.name AS node, {first} AS first_seen, {seen} AS last_seen,
               {reported} AS last_report, p.score AS score, s.fails AS fails, f.os AS os,
               f.os_version AS os_version, f.kernel AS kernel, f.kubelet AS kubelet,
               f.runtime AS runtime, f.cloud AS cloud, f.roles AS roles, f.agent AS agent,
               n.retired_at IS NOT NULL AS retired
        FROM {main}node n JOIN {main}cluster c ON c.id = n.cluster
        JOIN {main}posture p ON p.node = n.id
        LEFT JOIN {main}state_set s ON s.id = p."set"
        LEFT JOIN {main}platform f ON f.id = p.platform WHERE {scope_n}""",
    "finding": """
        SELECT c.name AS cluster, n.name AS node, r.name AS check_id, v.status AS status,
               v.severity AS severity
        FROM {main}posting q JOIN {main}posture p ON p."set" = q."set"
        JOIN {main}node n ON n.id = p.node AND n.retired_at IS NULL
        JOIN {main}cluster c ON c.id = n.cluster JOIN {main}rule r ON r.id = q.rule
        JOIN {values} v ON v.value = q.value WHERE {scope_n}""",
    "change": """
        SELECT {at} AS at, c.name AS cluster, n.name AS node, r.name AS check_id,
               o.status AS old_status, o.severity AS old_severity, v.status AS new_status,
               v.severity AS new_severity
        FROM {main}change h JOIN {main}node n ON n.id = h.node
        JOIN {main}cluster c ON c.id = n.cluster JOIN {main}rule r ON r.id = h.rule
        LEFT JOIN {values} o ON o.value = h.old LEFT JOIN {values} v ON v.value = h.new
        WHERE {scope_n}""",
    "tally": """
        SELECT r.name AS check_id, c.name AS cluster, v.status AS status, v.severity AS severity,
               k.nodes AS nodes
        FROM {main}counter k JOIN {main}cluster c ON c.id = k.cluster
        JOIN {main}rule r ON r.id = k.rule JOIN {values} v ON v.value = k.value
        WHERE k.nodes > 0 AND {scope_k}""",
    "node_key": """
        SELECT c.name AS cluster, n.name AS node, {key} AS key, k.component AS component,
               k.place AS place, k.private = 1 AS private, k.plane = 1 AS control_plane
        FROM {main}node_key k JOIN {main}node n ON n.id = k.node
        JOIN {main}cluster c ON c.id = n.cluster WHERE {scope_n}""",
    "waiver": """
        SELECT w.id AS id, w."check" AS check_glob, w.node AS node_glob, w.labels AS labels,
               w.reason AS reason, w.owner AS owner, {until} AS until,
               w.approved_at IS NOT NULL AND w.ended_at IS NULL AS approved
        FROM {main}waiver w WHERE {everything}""",
}


@dataclass(frozen=True)
class Dialect:
    """How a column of milliseconds becomes a time, and one of bytes a text."""

    moment: Callable[[str], str]
    hexed: Callable[[str], str]


def value_rows() -> str:
    """(value, status, severity) of every value, as SQL."""
    rows = ((v, *(part.value for part in unpack(v))) for v in LEVELS)
    return ", ".join(f"({v}, '{status}', '{severity}')" for v, status, severity in rows)


def view_sql(name: str, dialect: Dialect, main: str, values: str, scope: Scope) -> str:
    """The SELECT of one view."""
    moment = dialect.moment
    return VIEWS[name].format(
        main=main,
        values=values,
        first=moment("p.first_at"),
        seen=moment("p.seen_at"),
        reported=moment("p.report_at"),
        at=moment("h.at"),
        until=moment("w.expires_at"),
        key=dialect.hexed("k.key"),
        scope_n=_within(scope, "n.cluster"),
        scope_k=_within(scope, "k.cluster"),
        everything="1 = 1" if scope.everything else "1 = 0",
    )


def _within(scope: Scope, column: str) -> str:
    if scope.clusters is None:
        return "1 = 1"
    ids = ", ".join(str(int(i)) for i in sorted(scope.clusters))
    return f"{column} IN ({ids})" if ids else "1 = 0"


def run(engine: Engine, query_url: str, scope: Scope, sql: str) -> Mapping[str, Any]:
    """{"columns", "rows", "truncated"} of one SELECT. A 400 with the database's own words."""
    if len(sql) > MOST_SQL or "\0" in sql:
        raise bad("sql", "too long, or with a NUL in it")
    if engine.dialect.name == "sqlite":
        return _sqlite(str(engine.url.database), scope, sql)
    if not query_url:
        raise Problem(501, "no-query", "set query_database: a login that may read the views only")
    if not scope.everything:
        raise Problem(403, "scope", "SQL is for tokens of the whole fleet on PostgreSQL")
    return _postgresql(query_url, sql)


def _answer(columns: Sequence[str], rows: list[Sequence[Any]]) -> Mapping[str, Any]:
    return {
        "columns": list(columns),
        "rows": [list(row) for row in rows[:MOST_ROWS]],
        "truncated": len(rows) > MOST_ROWS,
    }


# -- SQLite


SQLITE: Final = Dialect(
    lambda column: f"strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch')",
    lambda column: f"lower(hex({column}))",
)


def _sqlite(path: str, scope: Scope, sql: str) -> Mapping[str, Any]:
    with closing(sqlite3.connect(":memory:", uri=True, isolation_level=None)) as connection:
        _confine(connection, _make_views(connection, path, scope))
        try:
            cursor = connection.execute(sql)
            rows = cursor.fetchmany(MOST_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning) as exc:
            raise bad("sql", str(exc)) from None
        except (OverflowError, MemoryError):
            raise bad("sql", "the result is too large") from None
        if cursor.description is None:
            raise bad("sql", "only SELECT")
        return _answer([d[0] for d in cursor.description], [_texts(row) for row in rows])


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
    for name, hidden in inner.items():
        select = view_sql(name, SQLITE, f"{store}.", "temp.value_name", scope)
        connection.execute(f"CREATE TEMP VIEW {hidden} AS {select}")
    for name in _TABLES - VIEWS.keys():
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT NULL WHERE 0")
    for name, hidden in inner.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {hidden}")  # noqa: S608
    return frozenset(inner.values())


def _texts(row: Sequence[Any]) -> Sequence[Any]:
    return [value.hex() if isinstance(value, bytes) else value for value in row]


_TABLES: Final = frozenset(
    ("node", "cluster", "posture", "state_set", "platform", "posting", "rule", "change", "counter",
     "waiver", "node_key")
)  # fmt: skip
_REFUSED: Final = frozenset(
    ("load_extension", "randomblob", "zeroblob", "readfile", "writefile", "edit", "fts3_tokenizer")
)


def _confine(connection: sqlite3.Connection, readers: frozenset[str]) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_CELL)
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
    until = time.monotonic() + DEADLINE_S
    connection.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)


# -- PostgreSQL


POSTGRESQL: Final = Dialect(
    lambda column: f"to_timestamp({column} / 1000.0)",
    lambda column: f"encode({column}, 'hex')",
)


def make_views(connection: Connection) -> None:
    """The schema `ask`, brought up to date; readable by the role nodeward_query if there is one."""
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS ask"))
    values = f"SELECT * FROM (VALUES {value_rows()}) AS x (value, status, severity)"  # noqa: S608
    connection.execute(text(f"CREATE OR REPLACE VIEW ask.value_name AS {values}"))
    for name in VIEWS:
        select = view_sql(name, POSTGRESQL, "public.", "ask.value_name", EVERYTHING)
        connection.execute(text(f"CREATE OR REPLACE VIEW ask.{name} AS {select}"))
    role = text("SELECT 1 FROM pg_roles WHERE rolname = 'nodeward_query'")
    if connection.execute(role).scalar():
        connection.execute(text("GRANT USAGE ON SCHEMA ask TO nodeward_query"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA ask TO nodeward_query"))


def _postgresql(url: str, sql: str) -> Mapping[str, Any]:
    import psycopg

    wrapped = f"SELECT * FROM (\n{sql.strip().rstrip(';')}\n) AS asked LIMIT {MOST_ROWS + 1}"  # noqa: S608
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(conninfo) as connection:
            connection.read_only = True
            for setting in (
                f"SET LOCAL statement_timeout = {int(DEADLINE_S * 1000)}",
                "SET LOCAL search_path = ask, pg_catalog",
                "SET LOCAL work_mem = '16MB'",
            ):
                connection.execute(setting.encode())
            # Prepared: the server then takes one statement only.
            cursor = connection.execute(wrapped.encode(), prepare=True)
            columns = [c.name for c in cursor.description or ()]
            return _answer(columns, [_texts(row) for row in cursor.fetchall()])
    except (psycopg.Error, UnicodeEncodeError) as exc:
        raise bad("sql", str(exc).splitlines()[0]) from None
