"""What is known of this node and not yet acknowledged by a collector, on disk, within bounds.

One SQLite file holds two postures, `base` (before the oldest waiting report) and `latest`, and
between them the waiting reports as a chain of changes. So a report that no longer finds its
predecessor at the collector can be sent whole, and the oldest can be dropped without losing what
the node's state is: only the history gets shorter, and how much is counted.

Only one process may open it at a time (see nodeward.agent.locks). Each change of it is one
transaction.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nodeward.agent.config import SpoolBounds
from nodeward.model.report import digest_of_rows

T = TypeVar("T")

MEMORY = ":memory:"
STATUSES = ("pass", "fail", "not-applicable", "unknown", "error")

FILE = "spool.db"
MAJOR, MINOR = 1, 0
"""Same major: tables and columns were only added, so an older agent may use a newer file."""

PAGE = 4096
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE base (check_id TEXT PRIMARY KEY, finding TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE latest (check_id TEXT PRIMARY KEY, finding TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE waiting (
  seq INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  digest TEXT NOT NULL,
  made_at REAL NOT NULL,
  kernel_boot TEXT NOT NULL,
  made_up REAL NOT NULL,
  size INTEGER NOT NULL,
  body BLOB NOT NULL
);
"""

Body = dict[str, Any]
"""A report as JSON (nodeward.report/v1)."""


class SpoolFullError(Exception):
    """The disk has no room, or fails. What was to be kept was not; what was there is unharmed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on two clocks: `wall` seconds since 1970, which may jump, and `up` seconds since
    this kernel booted (suspend counted), which do not. `boot` names the kernel's boot."""

    wall: float
    up: float
    boot: str


@dataclass(frozen=True, slots=True)
class Tally:
    """`depth` reports wait, of `size` bytes. Counted since the file is: `dropped` over a bound,
    `refused` by the collector for good. `set_aside`: spool files that could not be read."""

    boot: str
    seq: int
    acked: int
    depth: int
    size: int
    dropped: int
    refused: int
    set_aside: int


class Spool:
    """See the module. `now` tells the moment; tests give their own. Without a `folder` it is kept
    in memory, for a look whose disk takes nothing."""

    def __init__(self, folder: Path | None, bounds: SpoolBounds, now: Callable[[], Moment]) -> None:
        self._path = folder / FILE if folder else Path(MEMORY)
        self._bounds = bounds
        self._now = now
        self._lost = {"set_aside": 1}
        if folder:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as exc:
            self._start_anew(exc)

    def close(self) -> None:
        self._db.close()

    # -- what is known ---------------------------------------------------------------------

    def latest(self) -> dict[str, Body]:
        """The posture after the last `put`: finding by check id."""
        return self._recovering(lambda: self._posture("latest"))

    def tally(self) -> Tally:
        def ask() -> Tally:
            depth, size = self._db.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM waiting"
            ).fetchone()
            count = self._count
            return Tally(
                str(self._about("boot")), count("seq"), count("acked"), depth, _whole(size),
                count("dropped"), count("refused"), count("set_aside"),
            )  # fmt: skip

        return self._recovering(ask)

    def held(self) -> str:
        """Digest of the posture that the collector holds, if it has everything up to now."""
        return self._recovering(lambda: str(self._about("held")))

    def looked(self) -> int:
        """The collector's request for a look that was looked for last; 0 before the first."""
        ask = "SELECT coalesce(max(value), 0) FROM about WHERE key = 'looked'"  # older files: none
        return self._recovering(lambda: _whole(self._db.execute(ask).fetchone()[0]))

    def head(self) -> dict[str, Any] | None:
        """The last report's own members, without findings; None before the first."""
        return self._recovering(self._last_head)

    # -- looks come in ---------------------------------------------------------------------

    def put(self, head: Mapping[str, Any], found: Mapping[str, Body], *, whole: bool) -> int | None:
        """Keep what changed since the last one, durably, and return its sequence number.

        `head` is the report without findings. `whole`: `found` is every check, so what it lacks
        is gone; otherwise only those judged again. None: nothing changed, nothing was written.
        Raises SpoolFullError.
        """
        return self._recovering(lambda: self._put(head, found, whole=whole))

    def keep_looked(self, request: int) -> None:
        """What was put comes of a look that began after this request was heard."""
        self._recovering(lambda: self._set(looked=request))

    def put_full(self, head: Mapping[str, Any]) -> int:
        """Queue the whole latest posture, because the collector holds another one."""

        def write() -> int:
            with self._transaction():
                return self._enqueue(head, "full", None, self._posture("latest"))

        return self._recovering(write)

    def begin_anew(self, head: Mapping[str, Any]) -> None:
        """A new boot, which starts with the whole latest posture. What waited is dropped."""

        def write() -> None:
            with self._transaction():
                waiting = self._db.execute("SELECT count(*) FROM waiting").fetchone()[0]
                self._db.execute("DELETE FROM waiting")
                dropped = self._count("dropped") + waiting
                self._set(boot=os.urandom(16).hex(), seq=0, acked=0, held="", dropped=dropped)
                self._enqueue(head, "full", None, self._posture("latest"))

        self._recovering(write)

    def _put(
        self, head: Mapping[str, Any], found: Mapping[str, Body], *, whole: bool
    ) -> int | None:
        before = self._posture("latest")
        after = dict(found) if whole else {**before, **found}
        changed = {k: f for k, f in found.items() if before.get(k) != f}
        gone = set(before) - set(after)
        if not changed and not gone and _lasting(head) == _lasting(self._last_head()):
            return None
        full = not before or bool(gone)
        with self._transaction():
            self._store("latest", after if full else changed, replace=full)
            base = None if full else digest_of(before)
            seq = self._enqueue(head, "full" if full else "delta", base, after if full else changed)
            self._set(head=_json(head).decode())
        self.shrink()
        return seq

    def _last_head(self) -> dict[str, Any] | None:
        raw = _parsed(self._about("head"))
        return raw if isinstance(raw, dict) else None

    def _enqueue(
        self, head: Mapping[str, Any], kind: str, base: str | None, findings: Mapping[str, Body]
    ) -> int:
        seq = self._count("seq") + 1
        latest = self._posture("latest")
        digest = digest_of(latest)
        body: Body = {
            **head,
            "boot": self._about("boot"),
            "seq": seq,
            "kind": kind,
            "digest": digest,
            **({"base": base} if base else {}),
            "summary": summary_of(latest),
            "findings": [findings[k] for k in sorted(findings)],
        }
        packed = gzip.compress(_json(body), 6, mtime=0)
        now = self._now()
        self._db.execute(
            "INSERT INTO waiting (seq, kind, digest, made_at, kernel_boot, made_up, size, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, kind, digest, now.wall, now.boot, now.up, len(packed), packed),
        )
        self._set(seq=seq)
        return seq

    # -- reports go out --------------------------------------------------------------------

    def oldest(self) -> tuple[int, Body] | None:
        """The next report to send."""

        def ask() -> tuple[int, Body] | None:
            row = self._db.execute("SELECT seq, body FROM waiting ORDER BY seq LIMIT 1").fetchone()
            return (row[0], _unpack(row[1])) if row else None

        return self._recovering(ask)

    def as_full(self, body: Body) -> Body:
        """The oldest waiting report as a full one: what was known before it, and its changes."""
        if body["kind"] == "full":
            return body
        posture = self._recovering(lambda: self._posture("base")) | _by_check(body)
        whole = {k: v for k, v in body.items() if k != "base"}
        return {**whole, "kind": "full", "findings": [posture[k] for k in sorted(posture)]}

    def ack(self, seq: int) -> None:
        """The collector has it durably."""
        self._recovering(lambda: self._fold(seq, acked=seq))

    def refuse(self, seq: int) -> None:
        """The collector will never take it: set it aside and count it."""
        self._recovering(lambda: self._fold(seq, refused=1))

    def shrink(self) -> None:
        """Drop the oldest while a bound is exceeded. The newest always stays."""
        while self._over_bounds():
            seq = self._db.execute("SELECT min(seq) FROM waiting").fetchone()[0]
            self._fold(seq, dropped=1)

    def _over_bounds(self) -> bool:
        depth, size, oldest = self._db.execute(
            "SELECT count(*), coalesce(sum(size), 0), min(seq) FROM waiting"
        ).fetchone()
        if depth <= 1:
            return False
        return size > self._bounds.max_bytes or self._age(oldest) > self._bounds.max_age_s

    def _age(self, seq: int) -> float:
        wall, boot, up = self._db.execute(
            "SELECT made_at, kernel_boot, made_up FROM waiting WHERE seq = ?", (seq,)
        ).fetchone()
        now = self._now()
        with _reading():
            return float(now.up - up if boot == now.boot else now.wall - wall)

    def _fold(self, seq: int, *, acked: int = 0, dropped: int = 0, refused: int = 0) -> None:
        with self._transaction():
            row = self._db.execute("SELECT body FROM waiting WHERE seq = ?", (seq,)).fetchone()
            if row is None:
                return
            body = _unpack(row[0])
            self._store("base", _by_check(body), replace=body["kind"] == "full")
            self._db.execute("DELETE FROM waiting WHERE seq = ?", (seq,))
            if acked:
                self._set(acked=acked, held=body["digest"])
            self._set(
                dropped=self._count("dropped") + dropped,
                refused=self._count("refused") + refused,
            )

    # -- the file --------------------------------------------------------------------------

    def _posture(self, table: str) -> dict[str, Body]:
        rows = self._db.execute(f"SELECT check_id, finding FROM {table}")  # noqa: S608  ours
        found = {check: _parsed(text) for check, text in rows}
        _demand(found.values())
        return found

    def _store(self, table: str, findings: Mapping[str, Body], *, replace: bool) -> None:
        if replace:
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608  ours
        self._db.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",  # noqa: S608  ours
            [(check, _json(finding).decode()) for check, finding in findings.items()],
        )

    def _about(self, key: str) -> Any:  # noqa: ANN401  a number or a text, by key
        row = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError(f"no {key} in this spool")
        return row[0]

    def _count(self, key: str) -> int:
        return _whole(self._about(key))

    def _set(self, **values: object) -> None:
        self._db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", values.items())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _recovering(self, work: Callable[[], T]) -> T:
        """Do it; when the file turns out to be no database, start a new one and do it again."""
        try:
            return work()
        except sqlite3.DatabaseError as exc:
            self._start_anew(exc)
            return work()

    def _start_anew(self, exc: sqlite3.DatabaseError) -> None:
        if _cannot_write(exc):
            raise SpoolFullError(str(exc)) from exc
        if not _corrupt(exc):
            raise exc
        self._set_aside("corrupt")
        self._db = self._open()
        self._set(**self._lost)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a 2xx or a `put` that returned must survive
        db.execute(f"PRAGMA max_page_count={4 * self._bounds.max_bytes // PAGE + 4096}")
        db.execute("PRAGMA journal_size_limit=1048576")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._create(db)
        elif version // 100 != MAJOR:
            db.close()
            self._set_aside(f"v{version // 100}")
            raise sqlite3.DatabaseError("file is not a database of this version")

    def _create(self, db: sqlite3.Connection) -> None:
        first = {"boot": os.urandom(16).hex(), "seq": 0, "acked": 0, "held": "", "head": "null"}
        counters = {"dropped": 0, "refused": 0, "set_aside": 0}
        db.execute("BEGIN EXCLUSIVE")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.executemany("INSERT INTO about VALUES (?, ?)", {**first, **counters}.items())
        db.execute(f"PRAGMA user_version={MAJOR * 100 + MINOR}")
        db.execute("COMMIT")

    def _set_aside(self, why: str) -> None:
        """Keep the last such file for whoever wants to know, and no more than one of a kind."""
        if hasattr(self, "_db"):
            self._db.close()
        self._lost = {**self._lost, **_counters(self._path)}
        for suffix in ("-wal", "-shm"):
            self._path.with_name(FILE + suffix).unlink(missing_ok=True)
        if self._path.exists():
            self._path.replace(self._path.with_name(f"{FILE}.{why}"))


def digest_of(posture: Mapping[str, Body]) -> str:
    """posture_digest of findings as JSON."""
    return digest_of_rows(
        [
            f["check"],
            f["status"],
            f["severity"],
            f["because"],
            [[e["what"], e["value"], e.get("source", "")] for e in f.get("evidence", ())],
        ]
        for f in posture.values()
    )


def summary_of(posture: Mapping[str, Body]) -> dict[str, int]:
    counts = dict.fromkeys(STATUSES, 0)
    for finding in posture.values():
        counts[finding["status"]] += 1
    return counts


def _lasting(head: Mapping[str, Any] | None) -> dict[str, Any]:
    """A report's members but for the time: a change of these is worth a report of its own."""
    return {k: v for k, v in (head or {}).items() if k != "taken_at"}


def _by_check(body: Body) -> dict[str, Body]:
    return {finding["check"]: finding for finding in body["findings"]}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()


@contextmanager
def _reading() -> Iterator[None]:
    """SQLite has no checksums: what stands in a sound file may be rotten too, and is then taken
    like a file that is none."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OSError, EOFError, zlib.error) as exc:
        raise sqlite3.DatabaseError("malformed text in the spool") from exc


def _whole(value: object) -> int:
    with _reading():
        return int(str(value))


def _parsed(text: str) -> Any:  # noqa: ANN401  JSON
    with _reading():
        return json.loads(text)


def _demand(findings: Iterable[Body]) -> None:
    """What is needed of each finding must be there."""
    with _reading():
        for one in findings:
            texts = [one["check"], one["severity"], one["because"]]
            for piece in one.get("evidence", ()):
                texts += [piece["what"], piece["value"], piece.get("source", "")]
            if one["status"] not in STATUSES or not all(isinstance(text, str) for text in texts):
                raise ValueError


def _unpack(packed: bytes) -> Body:
    with _reading():
        body: Body = json.loads(gzip.decompress(packed))
        if body["kind"] not in ("full", "delta") or not isinstance(body["digest"], str):
            raise ValueError
        _demand(body["findings"])
    return body


def _counters(path: Path) -> dict[str, int]:
    """What was counted in a file that is set aside, as far as it can still be read. What waited in
    it is dropped with it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = dict(db.execute("SELECT key, value FROM about"))
            waited = db.execute("SELECT count(*) FROM waiting").fetchone()[0]
            return {
                "dropped": _whole(rows["dropped"]) + waited,
                "refused": _whole(rows["refused"]),
                "set_aside": _whole(rows["set_aside"]) + 1,
            }
    except (sqlite3.Error, KeyError):
        return {}


def _cannot_write(exc: sqlite3.DatabaseError) -> bool:
    name = getattr(exc, "sqlite_errorname", "")
    return name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY"))


def _corrupt(exc: sqlite3.DatabaseError) -> bool:
    name = getattr(exc, "sqlite_errorname", "")
    if not name or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return True  # without a name it is one of ours
    return name == "SQLITE_ERROR" and "no such" in str(exc)  # a table or column is missing
