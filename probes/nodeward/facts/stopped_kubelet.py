"""The kubelet of a node on which none runs: as its unit would start it."""

from __future__ import annotations

from typing import ClassVar

from nodeward.facts.kubelet import Kubelet
from nodeward.lazy import dataclass
from nodeward.model import Absent, Fact, Unreadable


@dataclass(frozen=True, slots=True)
class StoppedKubelet(Fact):
    """Its settings, if something here would start one. Absent while one runs."""

    events: ClassVar[tuple[str, ...]] = ("process",)

    kubelet: Kubelet


def whichever(
    kubelet: Kubelet | Absent | Unreadable, stopped: StoppedKubelet | Absent | Unreadable
) -> Kubelet | Absent | Unreadable:
    """The kubelet that runs, or that would."""
    if isinstance(kubelet, Absent) and isinstance(stopped, StoppedKubelet):
        return stopped.kubelet
    return kubelet
