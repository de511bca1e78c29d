"""A host that remembers every question and answer, and one that answers from that memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar, cast

from nodeward.host.base import ERRORS, LIMIT, Host, HostError, Stat, TooBigError
from nodeward.host.query import Query, from_plain, to_plain
from nodeward.host.redact import (
    REDACTED,
    another_machine_id,
    is_private_der,
    redact,
    redact_environ,
)

A = TypeVar("A")
T = TypeVar("T")

SCHEMA = "nodeward.recording/v1"
RAISED = "!"
"""The member that marks an error in a recording: no field of an answer can have this name."""


class Recorder:
    """Asks another host and keeps question and answer, errors included.

    A question that is put again is answered from memory: the machine goes on changing, and a
    replay can give one answer only.
    """

    def __init__(self, inner: Host) -> None:
        self._inner = inner
        self._given: dict[str, object] = {}
        self.log: dict[str, object] = {}

    @property
    def live(self) -> bool:
        return self._inner.live

    @property
    def root(self) -> str:
        return self._inner.root

    def _keep(self, key: str, ask: Callable[[], T], plain: Callable[[T], object]) -> T:
        if key not in self._given:
            try:
                answer = ask()
            except HostError as exc:
                self._given[key] = exc
                self.log[key] = {RAISED: type(exc).__name__, "path": exc.path, "why": exc.why}
            else:
                self._given[key] = answer
                self.log[key] = plain(answer)
        given = self._given[key]
        if isinstance(given, HostError):
            raise given
        return cast(T, given)

    def read(self, path: str, *, limit: int = LIMIT) -> bytes:
        key = f"read {path}"
        if isinstance(self._given.get(key), TooBigError):
            del self._given[key]  # this reader may take more
        data = self._keep(key, lambda: self._inner.read(path, limit=limit), to_plain)
        return _within(path, data, limit)

    def stat(self, path: str) -> Stat:
        return self._keep(f"stat {path}", lambda: self._inner.stat(path), asdict)

    def lstat(self, path: str) -> Stat:
        return self._keep(f"lstat {path}", lambda: self._inner.lstat(path), asdict)

    def link(self, path: str) -> str:
        return self._keep(f"link {path}", lambda: self._inner.link(path), to_plain)

    def real(self, path: str) -> str:
        return self._keep(f"real {path}", lambda: self._inner.real(path), to_plain)

    def names(self, path: str) -> tuple[str, ...]:
        return self._keep(f"names {path}", lambda: self._inner.names(path), to_plain)

    def xattr(self, path: str, name: str) -> bytes:
        return self._keep(f"xattr {name} {path}", lambda: self._inner.xattr(path, name), to_plain)

    def ask(self, query: Query[A]) -> A:
        return self._keep(f"ask {query.key()}", lambda: self._inner.ask(query), to_plain)


class Replay:
    """Answers from a recording. A question that was never asked is a HostError that says so."""

    def __init__(self, log: Mapping[str, object], *, live: bool, root: str = "/") -> None:
        self._log = log
        self._live = live
        self._root = root

    @property
    def live(self) -> bool:
        return self._live

    @property
    def root(self) -> str:
        return self._root

    def _answer(self, key: str, path: str, kind_of: object) -> Any:  # noqa: ANN401  JSON of the recording
        if key not in self._log:
            raise HostError(path, "not in this recording")
        answer = self._log[key]
        if isinstance(answer, dict) and RAISED in answer:
            kind = ERRORS.get(str(answer[RAISED]), HostError)
            raise kind(str(answer.get("path", path)), str(answer.get("why", "")))
        try:
            return from_plain(kind_of, answer)
        except (ValueError, TypeError, KeyError):
            raise HostError(path, "the recording holds no answer of this kind") from None

    def read(self, path: str, *, limit: int = LIMIT) -> bytes:
        return _within(path, self._answer(f"read {path}", path, bytes), limit)

    def stat(self, path: str) -> Stat:
        answer: Stat = self._answer(f"stat {path}", path, Stat)
        return answer

    def lstat(self, path: str) -> Stat:
        answer: Stat = self._answer(f"lstat {path}", path, Stat)
        return answer

    def link(self, path: str) -> str:
        return str(self._answer(f"link {path}", path, str))

    def real(self, path: str) -> str:
        return str(self._answer(f"real {path}", path, str))

    def names(self, path: str) -> tuple[str, ...]:
        return tuple(self._answer(f"names {path}", path, tuple[str, ...]))

    def xattr(self, path: str, name: str) -> bytes:
        return bytes(self._answer(f"xattr {name} {path}", path, bytes))

    def ask(self, query: Query[A]) -> A:
        key = query.key()
        answer: A = self._answer(f"ask {key}", key, query.answer_type)
        return answer


def _within(path: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise TooBigError(path, f"more than {limit} bytes")
    return data


def redacted(log: Mapping[str, object]) -> dict[str, object]:
    """The log without secrets, and with another machine id in place of this machine's."""
    machine_id = log.get("read /etc/machine-id")
    swap = machine_id.strip() if isinstance(machine_id, str) and machine_id.strip() else None
    return {_swapped(redact(key), swap): _redacted(key, value, swap) for key, value in log.items()}


def _redacted(key: str, value: object, machine_id: str | None) -> object:
    match value:
        case str() if key.startswith("read ") and key.endswith("/environ"):
            return redact_environ(value)
        case str() if key.startswith("read ") and is_private_der(value):
            return REDACTED
        case str():
            return _swapped(redact(value), machine_id)
        case list():
            return [_redacted(key, v, machine_id) for v in value]
        case dict():
            return {k: _redacted(key, v, machine_id) for k, v in value.items()}
        case _:
            return value


def _swapped(text: str, machine_id: str | None) -> str:
    return text.replace(machine_id, another_machine_id(machine_id)) if machine_id else text


def dump(recorder: Recorder, *, node: str, taken_at: str) -> str:
    """The recording as a file's text, redacted."""
    body = {
        "schema": SCHEMA,
        "node": node,
        "taken_at": taken_at,
        "live": recorder.live,
        "root": recorder.root,
        "log": redacted(recorder.log),
    }
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


class NoRecordingError(ValueError):
    """A file that is no recording, or one of another form."""


def load(text: str) -> tuple[Replay, str, str]:
    """The recorded host, its node's name, and when it was taken (RFC 3339)."""
    try:
        body = json.loads(text)
        if body["schema"] != SCHEMA:
            raise NoRecordingError(f"schema is {str(body['schema'])[:60]!r}, not {SCHEMA!r}")
        log, live = body["log"], body["live"]
        if not isinstance(log, dict) or not isinstance(live, bool):
            raise NoRecordingError("log must be an object and live a boolean")
        return (
            Replay(log, live=live, root=str(body["root"])),
            str(body["node"]),
            str(body["taken_at"]),
        )
    except KeyError as exc:
        raise NoRecordingError(f"{exc.args[0]} is missing") from None
    except (TypeError, RecursionError):
        raise NoRecordingError("no object") from None
    except ValueError as exc:
        if isinstance(exc, NoRecordingError):
            raise
        raise NoRecordingError("no JSON") from None
