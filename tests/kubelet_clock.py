"""How long one look at the kubelet's ports takes on this host. Run by kubelet_host.py."""

from __future__ import annotations

import json
import time
from typing import TypeVar

from nodeward.agent.runner import Looker
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.kubelet_answers import KubeletAnswers
from nodeward.facts.listeners import Listeners
from nodeward.host import LiveHost
from nodeward.host.kubelet_inside import KubeletPortInside
from nodeward.host.kubelet_port import KubeletPort
from nodeward.host.query import Query
from nodeward.model import Seen

A = TypeVar("A")


class Clocked(LiveHost):
    """Notes which port was asked, with which budget, and how long that took."""

    def __init__(self) -> None:
        super().__init__("/")
        self.asked: list[tuple[int, float, float]] = []

    def ask(self, query: Query[A]) -> A:
        start = time.monotonic()
        try:
            return super().ask(query)
        finally:
            port = query.port if isinstance(query, KubeletPortInside) else query
            if isinstance(port, KubeletPort):
                took = time.monotonic() - start
                self.asked.append((port.port, port.seconds, took))


def main() -> None:
    host = Clocked()
    looker = Looker(host)
    looker.look(Kubelet)
    looker.look(Listeners)
    start = time.monotonic()
    reading = looker.look(KubeletAnswers)
    whole = time.monotonic() - start
    assert isinstance(reading, Seen), reading
    print(json.dumps({"whole": whole, "asked": host.asked}))


if __name__ == "__main__":
    main()
