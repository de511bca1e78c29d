"""The same questions to a port of a kubelet that lives in another network: that of a container."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from nodeward.host import rights, tls13
from nodeward.host.base import HostError, OfflineError
from nodeward.host.http import HttpAnswer
from nodeward.host.kubelet_port import KubeletPort, PortRow
from nodeward.host.live import LiveHost
from nodeward.host.query import Query
from nodeward.host.tls import TlsAnswer
from nodeward.host.vantage import TOO_SLOW, Network, enter, others_may_be_entered, run_apart
from nodeward.host.wire import Outcome, must_be_own
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

CHILDS_PART = 2 / 3
"""Of the time for the port; the rest is for beginning and ending the child."""


def load() -> None:
    """What asking a port imports at its first use: a child without rights may be able to read no
    file, and has little time."""
    import ssl  # noqa: F401

    "name".encode("idna")
    with suppress(ImportError):  # then a port that speaks TLS 1.3 alone says less
        tls13.load()


@dataclass(frozen=True, slots=True)
class _Told:
    row: PortRow | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class KubeletPortInside(Query[PortRow]):
    """`port` is asked by a child of ours in that network, without any right to anything else, and
    only at an address of that network's own."""

    answer_type: ClassVar[object] = PortRow

    network: Network
    port: KubeletPort

    def answer(self, host: TreeHost) -> PortRow:
        if not isinstance(host, LiveHost):
            raise OfflineError("the kubelet's network", "a tree at rest")
        ours = others_may_be_entered(host)
        load()

        port, whole = self.port, self.port.seconds

        def work() -> _Told:
            enter(host.root, self.network, ours)
            rights.drop_all()
            must_be_own(port.address)
            return _Told(replace(port, seconds=whole * CHILDS_PART).ask())

        (told,) = run_apart(_Told, [work], 1, whole, whole)
        if told.row is not None:
            return told.row
        if told.problem == TOO_SLOW:
            return _unanswered(port)
        raise HostError(f"port {port.port}", told.problem)


def _unanswered(port: KubeletPort) -> PortRow:
    tls = TlsAnswer(Outcome.TIMEOUT) if port.tls else None
    return PortRow(tls, None, None, {port.paths[0]: HttpAnswer(Outcome.TIMEOUT)})
