"""Changes of closed days as Parquet files, for years of history outside the database.

A folder `day=2026-11-23` with one file each, the layout that DuckDB, Spark and Athena read as a
table. A file is whole or not there, and the same however often it is made: a day is closed when it
cannot change any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, func, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.partitions import DAY_MS, day_start
from nodeward.collector.posture import NONE, unpack
from nodeward.collector.problem import Problem
from nodeward.collector.store.retention import forget_changes

if TYPE_CHECKING:
    import pyarrow as pa

WORDS: Final = (
    "cluster", "node", "check", "old_status", "old_severity", "new_status", "new_severity",
)  # fmt: skip
"""Columns of texts that recur, beside the time."""
NAMES: Final = "node"
"""There are so many of these that numbers for them take more than zstd needs for the names."""
SETTLED_MS: Final = 3_600_000
"""A report's changes carry the time it came in, and are written within seconds; an hour is safe."""
BATCH: Final = 50_000
GROUP: Final = 20
"""So many batches make a row group. Each group names its nodes anew: with a batch each, a change
takes twice as many bytes."""


def available() -> None:
    """Raises Problem where the extra is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        told = "an archive needs the extra: pip install 'nodeward[archive]'"
        raise Problem(400, "no-pyarrow", told) from None


def archive_closed(engine: Engine, folder: Path, now: int) -> int:
    """Write each closed day that has changes and no file yet; how many were written.

    Raises OSError where the folder cannot be written.
    """
    with engine.connect() as connection:
        first = connection.execute(select(func.min(t.change.c.at))).scalar()
        if first is None:
            return 0
        end = day_start(now - SETTLED_MS)
        days = [d for d in range(day_start(first), end, DAY_MS) if not _file(folder, d).exists()]
        return sum(_write_day(connection, _file(folder, day), day) for day in days)


def let_go(engine: Engine, folder: Path | None, before: int) -> int:
    """Changes of the days before that time leave the store; how many did.

    With an archive, only days that are wholly in it; one that is not is written anew.
    """
    with engine.execution_options(writes=True).begin() as connection:
        end = day_start(before)
        if folder is not None:
            end = _archived_until(connection, folder, end)
        return forget_changes(connection, end)


def _archived_until(connection: Connection, folder: Path, end: int) -> int:
    first = connection.execute(select(func.min(t.change.c.at))).scalar()
    day = end if first is None else day_start(first)
    while day < end and (_empty(connection, day) or _file(folder, day).exists()):
        if not _is_whole(connection, _file(folder, day), day):
            _write_day(connection, _file(folder, day), day)
        day += DAY_MS
    return min(day, end)


def _is_whole(connection: Connection, file: Path, day: int) -> bool:
    """Whether all changes of that day are in it. Some came later where a clock was ahead."""
    import pyarrow.parquet as pq

    held = connection.execute(_rows(day).with_only_columns(func.count()).order_by(None))
    many: int = held.scalar_one()
    return many == 0 or many <= pq.read_metadata(file).num_rows


def _empty(connection: Connection, day: int) -> bool:
    return connection.execute(_rows(day).limit(1)).first() is None


def _file(folder: Path, day: int) -> Path:
    return folder / f"day={datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}" / "change.parquet"


def _rows(day: int) -> Any:  # noqa: ANN401  SQLAlchemy's select has a type a column
    c = t.change.c
    return (
        select(c.at, t.cluster.c.name.label("cluster"), t.node.c.name.label("node"),
               t.rule.c.name.label("check"), c.old, c.new)
        .join(t.node, t.node.c.id == c.node)
        .join(t.cluster, t.cluster.c.id == t.node.c.cluster)
        .join(t.rule, t.rule.c.id == c.rule)
        .where(c.at >= day, c.at < day + DAY_MS)
        .order_by(c.at, c.node, c.rule)
    )  # fmt: skip


def _write_day(connection: Connection, file: Path, day: int) -> bool:
    """Whether the day had any change. Written beside, synced, then named."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if _empty(connection, day):
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{os.getpid()}.partial")
    with pq.ParquetWriter(
        partial, _schema(), compression="zstd", compression_level=9,
        use_dictionary=[word for word in WORDS if word != NAMES],
        column_encoding={"at": "DELTA_BINARY_PACKED"},
    ) as writer:  # fmt: skip
        batches = _batches(connection, day)
        while group := list(islice(batches, GROUP)):
            table = pa.Table.from_batches(group).unify_dictionaries()
            writer.write_table(table, row_group_size=GROUP * BATCH)
    _sync(partial)
    partial.rename(file)
    _sync(file.parent)
    return True


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _schema() -> pa.Schema:
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [pa.field("at", pa.timestamp("ms", tz="UTC"), nullable=False)]
        + [pa.field(name, word) for name in WORDS]
    )


def _batches(connection: Connection, day: int) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    streamed = connection.execute(_rows(day), execution_options={"yield_per": BATCH})
    for rows in streamed.partitions():
        columns = zip(*[(r.at, r.cluster, r.node, r.check, *_value(r.old), *_value(r.new))
                        for r in rows], strict=True)  # fmt: skip
        schema = _schema()
        arrays = [pa.array(column, type=field.type)
                  for column, field in zip(columns, schema, strict=True)]  # fmt: skip
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _value(value: int) -> tuple[str | None, str | None]:
    """Status and severity; none where the check was not there."""
    if value == NONE:
        return None, None
    status, severity = unpack(value)
    return status.value, severity.value
