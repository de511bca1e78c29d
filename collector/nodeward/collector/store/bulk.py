"""The rows that every report writes, in bulk: through the driver, past what a statement's
compilation and a dictionary a row cost. The SQL of the ingest path is here and nowhere else.

SQLite takes tuples one by one in C. PostgreSQL is given appended rows as binary COPY, and rows to
be changed as one array a column. Both take the tuples in the order of the columns below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

Row = tuple[Any, ...]
AT_ONCE: Final = 64
"""Short rows for one of SQLite's statements. It takes half as long as one by one; longer rows gain
nothing."""

HELD: Final = (
    "node", "cluster", "set", "boot", "seq", "digest", "first_at", "platform", "report_at",
)  # fmt: skip
"""What a report is judged by, of its node's posture."""
POSTURE: Final = (
    "set", "platform", "score", "boot", "seq", "digest", "first_at", "report_at", "seen_at",
    "skew_ms",
)  # fmt: skip
"""Columns of a posture that a report sets; the node comes last in the tuple."""
BEAT: Final = ("seen_at", "skew_ms", "spool")
"""The same for a heartbeat. Its time by the node's clock is the sum of the first two."""
REPORT: Final = (
    "node", "boot", "seq", "agent", "at", "kind", "sha", "signed_at", "signature", "verified",
    "body",
)  # fmt: skip
CHANGE: Final = ("at", "node", "rule", "old", "new")
COUNT: Final = ("rule", "cluster", "value", "nodes")


class Bulk(Protocol):
    """Within the connection's transaction."""

    def held(self, nodes: Sequence[int]) -> list[Row]:
        """HELD of these nodes, locked against other writers. `nodes` are in order."""

    def keys(self, agents: Sequence[str]) -> list[Row]:
        """These keys that there are, and the status of each."""

    def postures(self, rows: Sequence[Row]) -> None:
        """POSTURE and the node."""

    def beats(self, rows: Sequence[Row]) -> None:
        """BEAT, the node, and the node's time: where that is later than the last."""

    def reports(self, rows: Sequence[Row]) -> None:
        """REPORT."""

    def changes(self, rows: Sequence[Row]) -> None:
        """CHANGE."""

    def folded(self, rows: Sequence[Row]) -> None:
        """Bodies are no longer needed of these (sha, node, boot, seq): they were good."""

    def evidence(self, rows: Sequence[Row]) -> None:
        """Blob and node, in place of what was there."""

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """COUNT: so many nodes more, in `counter` or `total`."""


def bulk(connection: Connection) -> Bulk:
    return (_Sqlite if connection.dialect.name == "sqlite" else _Postgresql)(connection)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _setting(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}" = ?' for name in columns)


def _inserting(table: str, columns: Sequence[str], rows: int = 1) -> str:
    marks = ", ".join("?" * len(columns))
    values = ", ".join([f"({marks})"] * rows)
    return f"INSERT INTO {table} ({_quoted(columns)}) VALUES {values}"


_ADDING: Final = (
    "ON CONFLICT (rule, cluster, value) DO UPDATE SET nodes = {0}.nodes + excluded.nodes"
)
_LATER: Final = "coalesce(posture.seen_at + posture.skew_ms, -1) <"
_HELD: Final = f"SELECT {_quoted(HELD)} FROM posture WHERE node "
_KEYS: Final = "SELECT id, status FROM agent WHERE id "


class _Sqlite:
    _POSTURES: Final = f"UPDATE posture SET {_setting(POSTURE)} WHERE node = ?"
    _BEATS: Final = f"UPDATE posture SET {_setting(BEAT)} WHERE node = ? AND {_LATER} ?"
    _FOLDED: Final = "UPDATE report SET body = NULL, verified = 1, sha = ? WHERE " + " AND ".join(
        f"{name} = ?" for name in ("node", "boot", "seq")
    )
    _EVIDENCE: Final = (
        _inserting("evidence", ("blob", "node"))
        + " ON CONFLICT (node) DO UPDATE SET blob = excluded.blob"
    )
    _REPORTS: Final = _inserting("report", REPORT)
    _CHANGES: Final = _inserting("change", CHANGE)
    _ADD: Final = {
        (table, rows): f"{_inserting(table, COUNT, rows)} {_ADDING.format(table)}"
        for table in ("counter", "total")
        for rows in (1, AT_ONCE)
    }

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def held(self, nodes: Sequence[int]) -> list[Row]:
        ids = msgspec.json.encode(nodes).decode()
        query = _HELD + "IN (SELECT value FROM json_each(?))"
        return [tuple(row) for row in self._connection.exec_driver_sql(query, (ids,))]

    def keys(self, agents: Sequence[str]) -> list[Row]:
        ids = msgspec.json.encode(agents).decode()
        query = _KEYS + "IN (SELECT value FROM json_each(?))"
        return [tuple(row) for row in self._connection.exec_driver_sql(query, (ids,))]

    def postures(self, rows: Sequence[Row]) -> None:
        self._many(self._POSTURES, rows)

    def beats(self, rows: Sequence[Row]) -> None:
        self._many(self._BEATS, rows)

    def reports(self, rows: Sequence[Row]) -> None:
        self._many(self._REPORTS, rows)

    def changes(self, rows: Sequence[Row]) -> None:
        self._many(self._CHANGES, rows)

    def folded(self, rows: Sequence[Row]) -> None:
        self._many(self._FOLDED, rows)

    def evidence(self, rows: Sequence[Row]) -> None:
        self._many(self._EVIDENCE, rows)

    def add(self, table: str, rows: Sequence[Row]) -> None:
        starts = range(0, len(rows) - AT_ONCE + 1, AT_ONCE)
        groups = [tuple(chain.from_iterable(rows[i : i + AT_ONCE])) for i in starts]
        self._many(self._ADD[table, AT_ONCE], groups)
        self._many(self._ADD[table, 1], rows[len(starts) * AT_ONCE :])

    def _many(self, statement: str, rows: Sequence[Row]) -> None:
        if rows:
            self._connection.exec_driver_sql(statement, list(rows))


# -- PostgreSQL -------------------------------------------------------------------------------

_TYPES: Final = {
    "set": "int", "platform": "int", "score": "bigint", "boot": "text", "seq": "bigint",
    "digest": "bytea", "sha": "bytea", "blob": "bytea", "first_at": "bigint", "report_at": "bigint",
    "seen_at": "bigint", "skew_ms": "bigint", "spool": "int", "node": "int", "rule": "int",
    "cluster": "int", "value": "smallint", "nodes": "int", "said": "bigint",
}  # fmt: skip


def _unnested(columns: Sequence[str]) -> str:
    arrays = ", ".join(f"%s::{_TYPES[name]}[]" for name in columns)
    return f"unnest({arrays}) AS new({_quoted(columns)})"


def _updating(columns: Sequence[str], *also: str) -> str:
    values = ", ".join(f'"{name}" = new."{name}"' for name in columns)
    source = _unnested((*columns, "node", *also))
    return f"UPDATE posture SET {values} FROM {source} WHERE posture.node = new.node"


def _array(values: Iterable[Any]) -> str:
    """The literal of an array; the driver would adapt one value after the other."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:  # noqa: ANN401  whatever a column holds
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f'"\\\\x{bytes(value).hex()}"'


_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = struct.pack(">h", -1)
# (number of columns), then length and value of each
_CHANGE_ROW: Final = struct.Struct(">h iq ii ii ih ih")
_REPORT_BEGIN: Final = struct.Struct(">h ii i")
_REPORT_SEQ: Final = struct.Struct(">iq i")
_REPORT_AT: Final = struct.Struct(">iq ih i")
_REPORT_SIGNED: Final = struct.Struct(">iq i")
_REPORT_VERIFIED: Final = struct.Struct(">ih i")


def _change_bytes(row: Row) -> bytes:
    at, node, rule, old, new = row
    return _CHANGE_ROW.pack(5, 8, at, 4, node, 4, rule, 2, old, 2, new)


def _report_bytes(row: Row) -> bytes:
    node, boot, seq, agent, at, kind, sha, signed_at, signature, verified, body = row
    boot, agent = boot.encode(), agent.encode()
    return b"".join(
        (
            _REPORT_BEGIN.pack(11, 4, node, len(boot)), boot,
            _REPORT_SEQ.pack(8, seq, len(agent)), agent,
            _REPORT_AT.pack(8, at, 2, kind, len(sha)), sha,
            _REPORT_SIGNED.pack(8, signed_at, len(signature)), signature,
            _REPORT_VERIFIED.pack(2, verified, len(body)), body,
        )
    )  # fmt: skip


class _Postgresql:
    _FOLDED: Final = (
        "UPDATE report SET body = NULL, verified = 1, sha = new.sha"
        f" FROM {_unnested(('sha', 'node', 'boot', 'seq'))}"
        " WHERE report.node = new.node AND report.boot = new.boot AND report.seq = new.seq"
    )
    _EVIDENCE: Final = (
        f"INSERT INTO evidence (blob, node) SELECT * FROM {_unnested(('blob', 'node'))}"
        " ON CONFLICT (node) DO UPDATE SET blob = excluded.blob"
    )
    _POSTURES: Final = _updating(POSTURE)
    _BEATS: Final = f"{_updating(BEAT, 'said')} AND {_LATER} new.said"
    _ADD: Final = {
        table: f"INSERT INTO {table} ({_quoted(COUNT)})"
        f" SELECT {_quoted(COUNT)} FROM {_unnested(COUNT)} {_ADDING.format(table)}"
        for table in ("counter", "total")
    }

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def held(self, nodes: Sequence[int]) -> list[Row]:
        query = _HELD + "= ANY(%s::int[]) ORDER BY node FOR UPDATE"
        return [tuple(row) for row in self._connection.exec_driver_sql(query, (_array(nodes),))]

    def keys(self, agents: Sequence[str]) -> list[Row]:
        query = _KEYS + "= ANY(%s::text[])"
        return [tuple(row) for row in self._connection.exec_driver_sql(query, (_array(agents),))]

    def postures(self, rows: Sequence[Row]) -> None:
        self._by_columns(self._POSTURES, rows)

    def beats(self, rows: Sequence[Row]) -> None:
        self._by_columns(self._BEATS, rows)

    def reports(self, rows: Sequence[Row]) -> None:
        self._copy("report", REPORT, map(_report_bytes, rows))

    def changes(self, rows: Sequence[Row]) -> None:
        self._copy("change", CHANGE, map(_change_bytes, rows))

    def folded(self, rows: Sequence[Row]) -> None:
        self._by_columns(self._FOLDED, rows)

    def evidence(self, rows: Sequence[Row]) -> None:
        self._by_columns(self._EVIDENCE, rows)

    def add(self, table: str, rows: Sequence[Row]) -> None:
        self._by_columns(self._ADD[table], rows)

    def _by_columns(self, statement: str, rows: Sequence[Row]) -> None:
        columns = tuple(map(_array, zip(*rows, strict=True)))
        self._connection.exec_driver_sql(statement, columns)

    def _copy(self, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
        statement = f"COPY {table} ({_quoted(columns)}) FROM STDIN (FORMAT binary)"
        driver: Any = self._connection.connection.driver_connection  # the pool gives it no type
        dialect = self._connection.dialect
        try:
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(b"".join((_HEAD, *rows, _END)))
        except dialect.loaded_dbapi.Error as exc:  # as SQLAlchemy does for its own statements
            lost = dialect.is_disconnect(exc, driver, None)
            if lost:
                self._connection.invalidate(exc)
            raise DBAPIError.instance(
                statement, None, exc, dialect.loaded_dbapi.Error,
                connection_invalidated=lost, dialect=dialect,
            ) from exc  # fmt: skip
