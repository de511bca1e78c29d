"""How long a crowd of pods takes to ask, in a node of its own."""

from __future__ import annotations

import os
import time
from typing import Any

from imds_lab.lab import crowd, lab
from nodeward.agent.runner import Looker
from nodeward.facts.clock import Now
from nodeward.facts.cloud import Cloud
from nodeward.facts.metadata import HostReach, Metadata, PodReach
from nodeward.facts.podnet import PodNetworks
from nodeward.host import LiveHost
from nodeward.model import Fact, Seen


def timed(looker: Looker, fact: type[Fact]) -> float:
    begin = time.perf_counter()
    reading = looker.look(fact)
    assert isinstance(reading, Seen), reading
    return time.perf_counter() - begin


def cpu() -> float:
    """Seconds of CPU of this process and of the children that ended."""
    return sum(os.times()[:4])


def once(cloud: str) -> dict[str, Any]:
    """Finding the pods, and asking from them, apart."""
    looker = Looker(
        LiveHost("/"), {Now: Seen(Now(time.time())), Metadata: Seen(Metadata(cloud=cloud))}
    )
    looker.look(Cloud)
    found = timed(looker, PodNetworks)
    before = cpu()
    asked = timed(looker, PodReach)
    spent = cpu() - before
    reading = looker.look(PodReach)
    assert isinstance(reading, Seen)
    assert isinstance(reading.fact, PodReach)
    outcomes: dict[str, int] = {}
    for place in reading.fact.places:
        assert not place.problem, place
        for cell in place.cells:
            outcomes[cell.outcome] = outcomes.get(cell.outcome, 0) + 1
    host = timed(looker, HostReach)
    return {"find": found, "ask": asked, "cpu": spent, "host": host, "outcomes": outcomes}


def play(scenario: dict[str, Any]) -> dict[str, Any]:
    with lab() as made:
        made.cloud([], ["169.254.169.254", "169.254.170.23", "169.254.170.2"])
        crowd(made, *scenario["crowd"])
        return {"runs": [once(scenario["cloud"]) for _ in range(scenario["runs"])]}
