"""Which kubeconfigs the configurations of network plugins name. Nothing else of them is taken over:
some hold a token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError, MissingError
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

ENDINGS = (".conf", ".conflist", ".json")
LIMIT = 256 << 10


@dataclass(frozen=True, slots=True)
class NamedKubeconfig:
    """`path` as it stands; `named_by` is the configuration that names it."""

    path: str
    named_by: str


@dataclass(frozen=True, slots=True)
class CniNames:
    """`unseen` are files and folders that could not be read, with the reason."""

    rows: tuple[NamedKubeconfig, ...]
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CniKubeconfigs(Query[CniNames]):
    """Of the configurations right inside these folders: every text called "kubeconfig", as Calico
    (in "kubernetes") and Multus have it."""

    answer_type: ClassVar[object] = CniNames
    at_rest: ClassVar[bool] = True

    folders: tuple[str, ...]

    def answer(self, host: TreeHost) -> CniNames:
        rows: list[NamedKubeconfig] = []
        unseen: list[str] = []
        for path in self.paths(host):
            try:
                rows += (
                    NamedKubeconfig(name, path) for name in _named(host.read(path, limit=LIMIT))
                )
            except MissingError:
                continue
            except (HostError, ValueError) as exc:
                unseen.append(f"{path}: {exc.why if isinstance(exc, HostError) else exc}")
        return CniNames(tuple(rows), tuple(unseen))

    def paths(self, host: TreeHost) -> Iterator[str]:
        for folder in self.folders:
            try:
                names = host.names(folder)
            except HostError:
                continue  # whoever looks for kubeconfigs there is told
            yield from (f"{folder}/{name}" for name in names if name.endswith(ENDINGS))


def _named(raw: bytes) -> Iterator[str]:
    """ValueError in a few words where it is no JSON."""
    from nodeward.host.kubeconfig import load

    if b"kubeconfig" in raw:  # most name none, and need not be parsed
        todo = [load(raw)]
        while todo:
            one = todo.pop()
            if isinstance(one, dict):
                found = one.get("kubeconfig")
                if isinstance(found, str) and found.startswith("/"):
                    yield found
                todo += one.values()
            elif isinstance(one, list):
                todo += one
