"""A host that remembers what it was asked for, so that a change of just that can be watched for."""

from __future__ import annotations

from typing import TypeVar

from nodeward.agent.plan import OF_PROCESS
from nodeward.host import LIMIT, Host, Query, Stat

A = TypeVar("A")


class Traced:
    """Passes every question on. `seen` gets each path; one whose entries were listed ends in "/".

    Questions that are no file (`ask`) are not kept: a fact says itself which events concern it.
    """

    def __init__(self, inner: Host, seen: set[str]) -> None:
        self._inner = inner
        self._seen = seen

    @property
    def live(self) -> bool:
        return self._inner.live

    @property
    def root(self) -> str:
        return self._inner.root

    def _add(self, path: str) -> None:
        of_process = path.startswith("/proc/") and path[6:7].isdigit()
        if not of_process or OF_PROCESS.match(path):  # others are thousands, and gone tomorrow
            self._seen.add(path)

    def read(self, path: str, *, limit: int = LIMIT) -> bytes:
        self._add(path)
        return self._inner.read(path, limit=limit)

    def stat(self, path: str) -> Stat:
        self._add(path)
        return self._inner.stat(path)

    def lstat(self, path: str) -> Stat:
        self._add(path)
        return self._inner.lstat(path)

    def link(self, path: str) -> str:
        self._add(path)
        return self._inner.link(path)

    def real(self, path: str) -> str:
        self._add(path)
        return self._inner.real(path)

    def names(self, path: str) -> tuple[str, ...]:
        self._add(path.rstrip("/") + "/")
        return self._inner.names(path)

    def xattr(self, path: str, name: str) -> bytes:
        self._add(path)
        return self._inner.xattr(path, name)

    def ask(self, query: Query[A]) -> A:
        return self._inner.ask(query)
