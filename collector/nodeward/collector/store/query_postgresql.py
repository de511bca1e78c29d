"""SQL over the views on PostgreSQL, by a login that may read nothing but the schema `ask`.

What the views show is decided by a key: the collector writes down what an asker may see under a
random one, tells it to the asker's own connection, and forgets it after the question. A question
may set another, but cannot guess one.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url

from nodeward.collector.problem import bad
from nodeward.collector.store import query
from nodeward.collector.store.access import Scope
from nodeward.collector.store.query import VIEWS, Dialect, Within, table, value_rows, view_sql

MOST_ROW: Final = 256 << 10
"""Bytes of a row: it is in memory as a whole, here and there."""
AT_ONCE: Final = 64
"""Rows that are fetched at once."""
LIFE_MS: Final = 60_000
SETTING: Final = "nodeward.scope"
CATALOGS: Final = re.compile(
    r"pg_|_to_xml|ts_stat|ts_rewrite|information_schema|_setting|set_config|u&", re.IGNORECASE
)
"""How a statement gets at what PostgreSQL says to everybody of all that is there: the questions
that others ask, how many rows a table has."""
WORD: Final = re.compile(r"\w+")
ESCAPED: Final = re.compile(r"u&\s*\"", re.IGNORECASE)
"""A name in another spelling."""
UNSETTLED: Final = ("clock_timestamp", "gen_random_uuid", "random", "timeofday")
"""Functions that are volatile only because they answer differently each time."""

DIALECT: Final = Dialect(
    moment=lambda column: f"to_timestamp({column} / 1000.0)",
    hexed=lambda column: f"encode({column}, 'hex')",
    each=lambda column: f"jsonb_each_text({column}::jsonb)",
    now="extract(epoch FROM clock_timestamp()) * 1000",
)
_MINE: Final = (
    f"FROM public.query_scope WHERE key = current_setting('{SETTING}', true)"
    " AND until > extract(epoch FROM clock_timestamp()) * 1000"
)
_EVERYTHING: Final = f"coalesce((SELECT clusters IS NULL {_MINE}), false)"
WITHIN: Final = Within(
    # Both are read once a statement, not once a row.
    cluster=lambda column: (
        f"({_EVERYTHING} OR {column} = ANY ((SELECT clusters::int[] {_MINE})::int[]))"
    ),
    everything=_EVERYTHING,
)


def make_views(connection: Connection) -> None:
    """The schema `ask`, brought up to date; readable by the role nodeward_query if there is one.

    A barrier: nothing of a question is evaluated on rows that its asker may not see, since the
    words of an error would tell of them.
    """
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS ask"))
    values = f"SELECT * FROM (VALUES {value_rows()}) AS x (value, status, severity)"  # noqa: S608
    connection.execute(text(f"CREATE OR REPLACE VIEW ask.value_name AS {values}"))
    for name in VIEWS:
        select = view_sql(name, DIALECT, "public.", "ask.value_name", WITHIN)
        made = f"CREATE OR REPLACE VIEW ask.{name} WITH (security_barrier) AS {select}"
        connection.exec_driver_sql(made)
    role = text("SELECT 1 FROM pg_roles WHERE rolname = 'nodeward_query'")
    if connection.execute(role).scalar():
        connection.execute(text("GRANT USAGE ON SCHEMA ask TO nodeward_query"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA ask TO nodeward_query"))


def answer(engine: Engine, url: str, scope: Scope, sql: str) -> Mapping[str, Any]:
    """What one SELECT of an asker comes to. Raises a 400 with the database's own words."""
    if not scope.everything and (found := CATALOGS.search(sql)):
        raise bad("sql", f"{found[0]!r} is not for tokens that are limited to some clusters")
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with _told(engine, scope) as key, psycopg.connect(conninfo) as connection:
            connection.read_only = True
            for setting in (
                f"SET LOCAL statement_timeout = {int(query.DEADLINE_S * 1000)}",
                "SET LOCAL search_path = ask, pg_catalog",
                "SET LOCAL work_mem = '16MB'",
                "SET LOCAL cursor_tuple_fraction = 1",
            ):
                connection.execute(setting.encode())
            _refuse_acts(connection, sql)
            # As a parameter: the text of a statement can be seen by others of this login.
            connection.execute("SELECT set_config(%s, %s, true)", (SETTING, key))
            # The server takes one statement only, as the query of a cursor.
            with connection.cursor(name="asked") as cursor:
                cursor.execute(_bounded(sql).encode())
                columns = [column.name for column in cursor.description or ()]
                told = table(columns, _rows(cursor))
            connection.rollback()  # whatever it did besides
            return told
    except (psycopg.Error, UnicodeEncodeError) as exc:
        raise bad("sql", str(exc).splitlines()[0]) from None


def _refuse_acts(connection: psycopg.Connection[Any], sql: str) -> None:
    """A transaction that is read-only still makes large objects, takes advisory locks, ends other
    sessions and writes to the log. What does more than answer is a function that PostgreSQL calls
    volatile, and is called by its name."""
    if ESCAPED.search(sql):
        raise bad("sql", 'U&"..." is not taken: write names as they are')
    words = sorted({word.lower() for word in WORD.findall(sql)})
    called = connection.execute(_ACTS, (words, list(UNSETTLED))).fetchone()
    if called is not None:
        raise bad("sql", f"{called[0]!r} is a function that may do more than answer")


_ACTS: Final = (
    "SELECT proname FROM pg_catalog.pg_proc"
    " WHERE provolatile = 'v' AND proname = ANY(%s) AND proname <> ALL(%s) LIMIT 1"
)


def _bounded(sql: str) -> str:
    """With an end to its rows, and an error for one that is too large to be fetched."""
    size = "pg_column_size(asked)"
    return (
        f"SELECT asked.* FROM (\n{sql.strip().rstrip(';')}\n) AS asked"  # noqa: S608
        f" WHERE CASE WHEN {size} > {MOST_ROW}"
        f" THEN ('a row of ' || {size} || ' bytes is too large')::int = 0 ELSE true END"
        f" LIMIT {query.MOST_ROWS + 1}"
    )


def _rows(cursor: psycopg.ServerCursor[Any]) -> Iterator[Any]:
    until = time.monotonic() + query.DEADLINE_S
    while part := cursor.fetchmany(AT_ONCE):
        yield from part
        if time.monotonic() > until:
            raise bad("sql", f"it took more than {query.DEADLINE_S:g} s")


@contextmanager
def _told(engine: Engine, scope: Scope) -> Iterator[str]:
    """A key under which the database knows what this asker may see, for as long as it is asked."""
    key = secrets.token_hex(16)
    within = scope.clusters
    clusters = None if within is None else "{" + ",".join(map(str, sorted(within))) + "}"
    with engine.begin() as connection:
        connection.execute(_SOON)
        connection.execute(_TELL, {"key": key, "clusters": clusters})
    try:
        yield key
    finally:
        with engine.begin() as connection:
            connection.execute(_SOON)
            connection.execute(_FORGET, {"key": key})


_NOW: Final = "extract(epoch FROM clock_timestamp()) * 1000"  # one clock for all collectors
_SOON: Final = text("SET LOCAL synchronous_commit = off")
_TELL: Final = text(
    f"INSERT INTO query_scope (key, until, clusters) VALUES (:key, {_NOW} + {LIFE_MS}, :clusters)"  # noqa: S608
)
_FORGET: Final = text(f"DELETE FROM query_scope WHERE key = :key OR until < {_NOW}")  # noqa: S608
