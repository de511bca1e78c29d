"""SQL questions that people saved: their own, and those that others of the same token scope share.

Who somebody is: the name of the token together with the labels that it is limited to. Two tenants
may both have an "alice"; neither sees a question of the other's, shared or not, because its text
may say names that only one of them may know.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, update

from nodeward.collector.clock import rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import Record
from nodeward.collector.problem import Problem, bad, gone
from nodeward.collector.store.access import Asker
from nodeward.collector.store.query import MOST_SQL

MOST_NAME: Final = 100
MOST_SAVED: Final = 200
"""Questions of one owner."""

_q = t.question.c


def saved(connection: Connection, asker: Asker) -> list[Mapping[str, Any]]:
    """The asker's own questions, then those shared with them, by name."""
    rows = connection.execute(_visible(asker).order_by(_q.owner != asker.name, _q.name, _q.id))
    return [_json(row, asker) for row in rows]


def one(connection: Connection, asker: Asker, question: str) -> Mapping[str, Any]:
    row = connection.execute(_visible(asker).where(_q.id == question)).one_or_none()
    if row is None:
        raise gone("question")
    return _json(row, asker)


def _visible(asker: Asker) -> Select[Any]:
    own_or_shared = or_(_q.owner == asker.name, _q.shared == 1)
    return select(t.question).where(_q.scope == asker.labels, own_or_shared)


def _json(row: Record, asker: Asker) -> Mapping[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "sql": row.sql,
        "owner": row.owner,
        "own": row.owner == asker.name,
        "shared": bool(row.shared),
        "changed_at": rfc3339(row.changed_at),
    }


def keep(
    connection: Connection, asker: Asker, *, name: str, sql: str, shared: bool, now: int
) -> str:
    """A new question; its id."""
    _checked(name, sql)
    many = connection.execute(select(func.count()).select_from(t.question).where(*_owned(asker)))
    if many.scalar_one() >= MOST_SAVED:
        raise Problem(409, "too-many", f"at most {MOST_SAVED} questions; delete one first")
    _free(connection, asker, name, "")
    row = {
        "id": secrets.token_hex(8),
        "owner": asker.name,
        "scope": asker.labels,
        "name": name,
        "sql": sql,
        "shared": int(shared),
        "created_at": now,
        "changed_at": now,
    }
    connection.execute(t.question.insert(), [row])
    return str(row["id"])


def change(
    connection: Connection,
    asker: Asker,
    question: str,
    *,
    name: str,
    sql: str,
    shared: bool,
    now: int,
) -> None:
    """Another name, text or circle; only its owner's."""
    _checked(name, sql)
    _free(connection, asker, name, question)
    this = update(t.question).where(_q.id == question, *_owned(asker))
    values = {"name": name, "sql": sql, "shared": int(shared), "changed_at": now}
    if connection.execute(this.values(**values)).rowcount != 1:
        raise gone("question of yours")


def forget(connection: Connection, asker: Asker, question: str) -> None:
    this = t.question.delete().where(_q.id == question, *_owned(asker))
    if connection.execute(this).rowcount != 1:
        raise gone("question of yours")


def _owned(asker: Asker) -> tuple[ColumnElement[bool], ...]:
    return _q.owner == asker.name, _q.scope == asker.labels


def _free(connection: Connection, asker: Asker, name: str, but: str) -> None:
    query = select(_q.id).where(_q.name == name, _q.id != but, *_owned(asker))
    if connection.execute(query).first() is not None:
        raise bad("name", "you have a question of this name")


def _checked(name: str, sql: str) -> None:
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise bad("name", f"must be given, in at most {MOST_NAME} characters of one line")
    if not 0 < len(sql) <= MOST_SQL or "\0" in sql:
        raise bad("sql", f"must be given, in at most {MOST_SQL} characters")
