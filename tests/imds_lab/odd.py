"""Cases that go wrong while the probe is under way, each in a node of its own.

... python -m imds_lab.odd < {"case": NAME} > result
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from imds_lab.lab import Lab, build, ip, lab, look, matrix, run
from imds_lab.scenarios import nft_forward
from nodeward.facts.podnet import PodNetworks
from nodeward.host import LiveHost
from nodeward.host.base import HostError
from nodeward.host.exchange import Request
from nodeward.host.query import to_plain
from nodeward.host.vantage import AskFromHost, AskFromNetworks, Network

ASK = Request("169.254.169.254", 80, "GET", "/metadata/v1/id", shape=r"^[0-9]+\s*$")
TWO = {"pods": [{"name": "default/web"}, {"name": "prod/db"}]}


def networks() -> PodNetworks:
    from nodeward.agent.runner import Looker
    from nodeward.model import Seen

    match Looker(LiveHost("/")).look(PodNetworks):
        case Seen(PodNetworks() as found):
            return found
        case other:
            raise AssertionError(other)


def ask(*places: Network, timeout_s: float = 1.0) -> dict[str, Any]:
    begin = time.monotonic()
    query = AskFromNetworks(places, (ASK,), timeout_s, 64, 32, 15.0)
    answers = LiveHost("/").ask(query)
    return {"answers": [to_plain(a) for a in answers], "seconds": time.monotonic() - begin}


def places_of(found: PodNetworks) -> list[Network]:
    return [Network(n.inode, n.pids) for n in found.networks]


def gone(made: Lab) -> dict[str, Any]:
    """A pod ends between being found and being entered."""
    build(made, {**TWO, "services": [["reset", "169.254.169.254:80"]]})
    places = places_of(networks())
    pid = made.pods.pop("default/web")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return ask(*places)


def unplugged(made: Lab) -> dict[str, Any]:
    """A pod's wire is pulled while the answer is awaited."""
    build(made, {**TWO, "services": [["tarpit", "169.254.169.254:80"]]})
    places = places_of(networks())
    pull = threading.Timer(0.3, ip, [["link del veth1"]])
    pull.start()
    result = ask(*places)
    pull.join()
    return result


def mounted(made: Lab) -> dict[str, Any]:
    """In a DaemonSet the machine is seen at /host."""
    from nodeward.agent.runner import Looker
    from nodeward.facts.clock import Now
    from nodeward.facts.metadata import HostReach, Metadata, PodReach
    from nodeward.model import Seen

    build(made, {**TWO, "services": [["aws-v1", "169.254.169.254:80"]]})
    root = made.folder / "host"
    root.mkdir()
    run("mount", "--rbind", "/", str(root))
    given = {Metadata: Seen(Metadata(cloud="aws")), Now: Seen(Now(time.time()))}
    looker = Looker(LiveHost(root), dict(given))
    found: dict[str, Any] = {}
    match looker.look(HostReach), looker.look(PodReach):
        case Seen(HostReach() as host), Seen(PodReach() as pods):
            found["host"] = matrix(host.cells)
            found["pods"] = {str(place): matrix(place.cells) for place in pods.places}
        case other:
            found["problem"] = str(other)
    run("umount", "--recursive", "--lazy", str(root))
    return found


def at_home(made: Lab) -> dict[str, Any]:
    """A network that is the host's own is never talked from as a pod's."""
    build(made, {**TWO, "services": [["reset", "169.254.169.254:80"]]})
    own = os.stat("/proc/self/ns/net").st_ino
    return ask(Network(own, (1,)))


def another(made: Lab) -> dict[str, Any]:
    """The pid has become another process' by the time."""
    build(made, {**TWO, "services": [["reset", "169.254.169.254:80"]]})
    first, second = places_of(networks())
    return ask(Network(first.inode, second.pids))


def switched_off(made: Lab) -> dict[str, Any]:
    """The environment's word stops every query at the door."""
    build(made, {**TWO, "services": [["reset", "169.254.169.254:80"]]})
    places = places_of(networks())
    os.environ["NODEWARD_METADATA"] = "off"
    why = []
    here = LiveHost("/")
    pods = AskFromNetworks(tuple(places), (ASK,), 1.0, 64, 32, 9.0)
    asks: list[Callable[[], object]] = [
        lambda: here.ask(AskFromHost((ASK,), 1.0)),
        lambda: here.ask(pods),
    ]
    for asking in asks:
        try:
            asking()
        except HostError as exc:
            why.append(exc.why)
    return {"why": why}


def recorded(made: Lab) -> dict[str, Any]:
    """A recording answers as the node did, and sends nothing when it is replayed."""
    from nodeward.agent.scan import scan, select
    from nodeward.facts.metadata import Metadata
    from nodeward.host import Recorder, Replay
    from nodeward.host.record import dump
    from nodeward.model import Fact, Reading, Seen
    from nodeward.model.report import report_to_json

    build(made, {**TWO, "services": [["aws-v2-hop2", "169.254.169.254:80"]]})
    given: dict[type[Fact], Reading[Fact]] = {Metadata: Seen(Metadata(cloud="aws"))}
    recorder, at = Recorder(LiveHost("/")), time.time()
    live = scan(recorder, select(["meta.*"]), at=at, given=given)
    asked = len(made.requests())
    log = json.loads(dump(recorder, node="node", taken_at="2026-01-01T00:00:00Z"))["log"]
    again = scan(Replay(log, live=True), select(["meta.*"]), at=at, given=given)
    return {
        "live": report_to_json(live)["findings"],
        "again": report_to_json(again)["findings"],
        "asked": asked,
    }


def killed(made: Lab) -> dict[str, Any]:
    """When the one who asks ends, its children do too, and no process is left."""
    build(made, {**TWO, "services": [["tarpit", "169.254.169.254:80"]]})
    places = places_of(networks())
    before = processes()
    parent = os.fork()
    if parent == 0:
        ask(*places, timeout_s=2.0)
        os._exit(0)
    await_until(lambda: len(processes() - before) >= 3)  # the one who asks, and two children
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    begin = time.monotonic()
    await_until(lambda: not alive(processes() - before))
    return {"seconds": time.monotonic() - begin}


def ended(made: Lab) -> dict[str, Any]:
    """A pod's last process ends while the answer is awaited: its network goes when we leave it."""
    build(made, {**TWO, "services": [["tarpit", "169.254.169.254:80"]]})
    places = places_of(networks())
    pid = made.pods.pop("default/web")
    kill = threading.Timer(0.3, os.kill, [pid, signal.SIGKILL])
    kill.start()
    result = ask(*places)
    kill.join()
    os.waitpid(pid, 0)
    return result


def cut(made: Lab) -> dict[str, Any]:
    """More rules than are read; the one that counts comes after the cut."""
    from nodeward.host import firewall
    from nodeward.host.firewall import FirewallRules

    rules = ["ip daddr 169.254.169.254 tcp dport 80 drop"]
    rules += [f"ip daddr 192.0.2.{n} drop" for n in range(40)]
    rules += ["ip6 daddr fd00:ec2::254 drop", "ip daddr 169.254.170.2 drop"]
    scenario = {
        "pods": [{"name": "default/web"}],
        "services": [["aws-v1", "169.254.169.254:80"], ["aws-v1", "[fd00:ec2::254]:80"]],
        "closed": ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"],
        "rules": [nft_forward(*rules)],
    }
    build(made, scenario)
    whole = LiveHost("/").ask(FirewallRules())
    firewall.MOST_RULES = 20
    part = LiveHost("/").ask(FirewallRules())
    return {
        "whole": (len(whole.rules), whole.complete),
        "part": (len(part.rules), part.complete),
        "findings": look({"params": {"cloud": "aws"}})["findings"],
    }


def processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def alive(pids: set[int]) -> set[int]:
    """Those that are no zombies: orphans are ours to bury, and we do so at the end only."""
    found = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] != "Z":
                    found.add(pid)
        except OSError:
            continue
    return found


def await_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


CASES: dict[str, Callable[[Lab], dict[str, Any]]] = {
    f.__name__: f
    for f in (
        gone,
        unplugged,
        ended,
        at_home,
        another,
        switched_off,
        mounted,
        recorded,
        killed,
        cut,
    )
}


def play(scenario: dict[str, Any]) -> dict[str, Any]:
    with lab() as made:
        result = CASES[scenario["case"]](made)
        result["requests"] = made.requests()
    return result
