"""The JSON web tokens in the volumes of this node's pods, and at other places.

One question for all of them: their files change every hour, and what a probe reads file by file
is watched. Only files that are named after a token are opened: a Secret holds other things too.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError, MissingError
from nodeward.host.query import Query
from nodeward.host.token import TOKEN_LIMIT, TokenRow, describe
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

VOLUMES = ("kubernetes.io~projected", "kubernetes.io~secret")
MOST_FILES, MOST_FOLDERS = 2000, 8000
_REGULAR = 0o100000


@dataclass(frozen=True, slots=True)
class StoredTokenRow:
    """A JSON web token in a file; `token` is None where it could not be read: see `error`."""

    path: str
    token: TokenRow | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class StoredTokenRows:
    """`unseen` are folders that could not be searched, with the reason; `empty` are volumes
    without any entry, which the kubelet never leaves: what is mounted there is not shown to us."""

    rows: tuple[StoredTokenRow, ...]
    unseen: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenVolumes(Query[StoredTokenRows]):
    """Of the pods of these kubelets (their root directories), and right inside `folders`."""

    answer_type: ClassVar[object] = StoredTokenRows
    at_rest: ClassVar[bool] = True

    kubelets: tuple[str, ...]
    folders: tuple[str, ...]

    def answer(self, host: TreeHost) -> StoredTokenRows:
        search = _Search(host, MOST_FILES, MOST_FOLDERS)
        for kubelet in self.kubelets:
            search.pods(f"{kubelet.rstrip('/')}/pods")
        for folder in self.folders:
            search.files(folder)
        return StoredTokenRows(tuple(search.rows), tuple(search.unseen), tuple(search.empty))


@dataclass(slots=True)
class _Search:
    host: TreeHost
    files_left: int
    folders_left: int
    rows: list[StoredTokenRow] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    there: bool = False  # whether the folder of the last `names` was one

    def pods(self, pods: str) -> None:
        for pod in self.names(pods):
            for kind in VOLUMES:
                folder = f"{pods}/{pod}/volumes/{kind}"
                for volume in self.names(folder):
                    if self.files(f"{folder}/{volume}") == 0:
                        self.empty.append(f"{folder}/{volume}")

    def files(self, folder: str) -> int | None:
        """Look at what is named after a token; how many entries the folder has, None: no folder."""
        names = self.names(folder)
        for name in names:
            if named_after_a_token(name):
                self.one(f"{folder}/{name}")
        return len(names) if self.there else None

    def names(self, folder: str) -> tuple[str, ...]:
        self.there = False
        if self.folders_left <= 0:
            self.left_out(folder)
            return ()
        self.folders_left -= 1
        try:
            found = self.host.names(folder)
        except MissingError:
            return ()
        except HostError as exc:
            self.unseen.append(f"{folder}: {exc.why}")
            return ()
        self.there = True
        return found

    def one(self, path: str) -> None:
        try:
            at = self.host.stat(path)
            if at.mode & 0o170000 != _REGULAR or at.size > TOKEN_LIMIT:
                return
            if self.files_left <= 0:
                self.left_out(path)
                return
            self.files_left -= 1
            token = describe(self.host.read(path, limit=TOKEN_LIMIT).decode("utf-8", "replace"))
        except MissingError:
            return
        except HostError as exc:
            self.rows.append(StoredTokenRow(path, error=exc.why))
            return
        if token.kind == "jwt":
            self.rows.append(StoredTokenRow(path, token))

    def left_out(self, path: str) -> None:
        text = "more folders or files than are looked at"
        if not any(u.endswith(text) for u in self.unseen):
            self.unseen.append(f"{path} and more: {text}")


def named_after_a_token(name: str) -> bool:
    """The kubelet's own entries ("..data") hold the same once more."""
    return not name.startswith("..") and ("token" in name.lower() or name.endswith(".jwt"))
