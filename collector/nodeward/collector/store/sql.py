"""One SELECT of an asker over the documented views, on either database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine

from nodeward.collector.problem import Problem, bad
from nodeward.collector.store import query_sqlite
from nodeward.collector.store.access import Scope
from nodeward.collector.store.query import MOST_SQL


def run(engine: Engine, query_url: str, scope: Scope, sql: str) -> Mapping[str, Any]:
    """{"columns", "rows", "truncated"} of one SELECT. A 400 with the database's own words."""
    if len(sql) > MOST_SQL or "\0" in sql:
        raise bad("sql", "too long, or with a NUL in it")
    if engine.dialect.name == "sqlite":
        return query_sqlite.answer(str(engine.url.database), scope, sql)
    if not query_url:
        raise Problem(501, "no-query", "set query_database: a login that may read the views only")
    from nodeward.collector.store import query_postgresql  # its driver is an extra

    return query_postgresql.answer(engine, query_url, scope, sql)
