"""A node, its pods and a cloud in namespaces of their own.

The process is pid 1 of its node (see imds_lab.nodes), so the node's network is the one it was
started in. Nothing that it makes outlives it. Real link-local addresses are used, inside
namespaces that it made only.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imds_lab.imitators import Listener

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

PATIENCE_S = 2.0
"""A busy machine must not make a time-out of an answer."""

NODE4, NODE6 = "172.31.0.10", "fd00:31::10"
CLOUD4, CLOUD6 = "172.31.0.1", "fd00:31::1"


def run(*argv: str, text: str | None = None) -> None:
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stderr}")


def ip(batch: Sequence[str], pid: int | None = None) -> None:
    """Lines of ip(8), in the node or in the network of a process."""
    inside = ("nsenter", "-t", str(pid), "-n") if pid else ()
    run(*inside, "ip", "-batch", "-", text="\n".join(batch) + "\n")


def at_once() -> None:
    """IPv6 addresses of this network are usable when they are set: nobody else can have them."""
    for name in ("all", "default"):
        for knob in ("accept_dad", "dad_transmits"):
            Path(f"/proc/sys/net/ipv6/conf/{name}/{knob}").write_text("0")


def apart(begin: Any = None) -> int:
    """A process that does nothing but have a network of its own."""
    inside, outside = os.pipe()
    pid = os.fork()
    if pid == 0:
        if _libc.unshare(CLONE_NEWNET):
            os._exit(1)
        at_once()
        if begin is not None:
            begin()
        os.write(outside, b"x")
        while True:
            signal.pause()
    os.close(outside)
    assert os.read(inside, 1) == b"x"
    os.close(inside)
    return pid


def settle(pid: int, addresses: Sequence[str]) -> None:
    """Wait until the way there is up (links and neighbours take their time): a closed port says
    so by refusing."""
    child = os.fork()
    if child == 0:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        assert _libc.setns(fd, CLONE_NEWNET) == 0
        for address in addresses:
            while not refused(address):
                time.sleep(0.02)
        os._exit(0)
    os.waitpid(child, 0)


def refused(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(0.2)
        return sock.connect_ex((address, 9)) == errno.ECONNREFUSED


def idle() -> int:
    """A process in the node's own network."""
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    return pid


def on_link(address: str) -> str:
    """An address for ip(8): with a zone on that interface's link, else on loopback."""
    plain, _, zone = address.partition("%")
    size = 64 if zone else 128 if ":" in plain else 32
    return f"{plain}/{size} dev {zone or 'lo'}"


@dataclass
class Groups:
    """Control groups as a kubelet with the systemd driver makes them, below one of the lab's."""

    top: Path
    made: list[Path] = field(default_factory=list)

    @classmethod
    def mount(cls, at: Path) -> Groups:
        at.mkdir()
        run("mount", "-t", "cgroup2", "none", str(at))
        inner = at / f"lab-{os.urandom(4).hex()}"
        inner.mkdir()
        return cls(inner, [inner])

    def put(self, pid: int, uid: str) -> None:
        path = self.top
        for part in (
            "kubepods.slice",
            "kubepods-besteffort.slice",
            f"kubepods-besteffort-pod{uid.replace('-', '_')}.slice",
            f"cri-containerd-{os.urandom(32).hex()}.scope",
        ):
            path = path / part
            if not path.exists():
                path.mkdir()
                self.made.append(path)
        (path / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        for path in reversed(self.made):
            end = time.monotonic() + 5
            while path.exists() and time.monotonic() < end:
                try:
                    path.rmdir()
                except OSError:  # the last of its processes is still being buried
                    os.sched_yield()


@dataclass
class Lab:
    """What a scenario asked for, while it stands."""

    folder: Path
    groups: Groups
    pods: dict[str, int] = field(default_factory=dict)
    others: list[int] = field(default_factory=list)
    uids: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "requests"

    def requests(self) -> list[dict[str, str]]:
        """What the imitators were asked so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def pod(self, name: str, *, on_host: bool = False, begin: Any = None) -> int:
        """A process that looks like a pod's: by its cgroup, its log folder and its network."""
        pid = idle() if on_host else apart(begin)
        self.pods[name] = pid
        self.uids += 1
        uid = f"0a1b2c3d-0000-4000-8000-{self.uids:012x}"
        self.groups.put(pid, uid)
        namespace, _, short = name.partition("/")
        Path(f"/var/log/pods/{namespace}_{short}_{uid}").mkdir(parents=True)
        return pid

    def wire(self, name: str, number: int, *, ipv6: bool) -> None:
        """A veth from the pod to the node: 10.244.N.2 behind 10.244.N.1."""
        pid, end = self.pods[name], f"veth{number}"
        ip(
            [
                f"link add {end} type veth peer name eth0 netns {pid}",
                f"addr add 10.244.{number}.1/24 dev {end}",
                f"addr add fd00:10:{number}::1/64 dev {end} nodad",
                f"link set {end} up",
            ]
        )
        lines = [
            "link set lo up",
            f"addr add 10.244.{number}.2/24 dev eth0",
            "link set eth0 up",
            f"route add default via 10.244.{number}.1",
        ]
        if ipv6:
            lines.insert(2, f"addr add fd00:10:{number}::2/64 dev eth0 nodad")
            lines.append(f"route add default via fd00:10:{number}::1")
        ip(lines, pid)

    def cloud(self, services: Sequence[Sequence[str]], closed: Sequence[str]) -> None:
        """The other end of the node's uplink: it owns every address that a service has, and some
        where nothing listens. A packet to any other is lost without a word."""
        pid = apart()
        self.others.append(pid)
        ip(
            [
                f"link add ens5 type veth peer name eth0 netns {pid}",
                f"addr add {NODE4}/20 dev ens5",
                f"addr add {NODE6}/64 dev ens5 nodad",
                "link set lo up",
                "link set ens5 up",
                f"route add default via {CLOUD4}",
                f"route add default via {CLOUD6}",
            ]
        )
        served = [where.rpartition(":")[0].strip("[]") for _, where in services]
        addresses = dict.fromkeys([*served, *closed])
        ip(
            [
                "link set lo up",
                f"addr add {CLOUD4}/20 dev eth0",
                f"addr add {CLOUD6}/64 dev eth0 nodad",
                *(f"addr add {on_link(a)} nodad" for a in addresses),
                "link set eth0 up",
                f"route add 10.244.0.0/16 via {NODE4}",
                f"route add fd00:10::/32 via {NODE6}",
            ],
            pid,
        )
        self.others.append(self.serve(pid, services))

    def serve(self, inside: int, services: Sequence[Sequence[str]]) -> int:
        ready, done = os.pipe()
        """Imitators in the network of a process."""
        pid = os.fork()
        if pid == 0:
            fd = os.open(f"/proc/{inside}/ns/net", os.O_RDONLY)
            assert _libc.setns(fd, CLONE_NEWNET) == 0
            listeners = [Listener(name, where, self.log) for name, where in services]
            for listener in listeners:
                threading.Thread(target=listener.serve, daemon=True).start()
            os.write(done, b"x")
            while True:
                signal.pause()
        os.close(done)
        assert os.read(ready, 1) == b"x", "an imitator did not start"
        os.close(ready)
        return pid

    def end(self) -> None:
        for pid in [*self.pods.values(), *self.others]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.groups.remove()


@contextmanager
def lab() -> Iterator[Lab]:
    """An empty node. Whatever is mounted is seen by this process and its children alone."""
    assert os.getpid() == 1, "run me as pid 1 of a namespace of my own"
    for place in ("/var/log", "/run"):
        run("mount", "-t", "tmpfs", "none", place)
    if Path("/sys/class/dmi/id").exists():
        run("mount", "-t", "tmpfs", "none", "/sys/class/dmi/id")
    folder = Path(tempfile.mkdtemp(prefix="lab"))
    made = Lab(folder, Groups.mount(folder / "cgroup"))
    made.log.touch()
    at_once()
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path(f"/proc/sys/net/{name}").write_text("1")
    try:
        yield made
    finally:
        made.end()
        run("umount", str(folder / "cgroup"))
        shutil.rmtree(folder)


def crowd(made: Lab, count: int, kind: str) -> None:
    """Many pods without a wire: their network has no route, refuses, or loses every packet."""
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared
    begin = {"no route": None, "refused": _refusing, "silent": _silent}[kind]
    for number in range(count):
        made.pod(f"crowd/pod-{number:03}", begin=begin)


def _refusing() -> None:
    """The pod itself owns the addresses, and nothing listens."""
    addresses = ("169.254.169.254", "169.254.170.23", "169.254.170.2")
    ip(["link set lo up", *(f"addr add {a}/32 dev lo" for a in addresses)])


def _silent() -> None:
    """A bridge without ports: what is sent there is gone."""
    ip(
        [
            "link set lo up",
            "link add b0 type bridge",
            "link set b0 arp off",
            "addr add 10.9.0.1/24 dev b0",
            "link set b0 up",
            "route add default via 10.9.0.2",
        ]
    )


def build(made: Lab, scenario: dict[str, Any]) -> None:
    made.cloud(scenario.get("services", []), scenario.get("closed", []))
    for number, pod in enumerate(scenario.get("pods", []), 1):
        made.pod(pod["name"])
        made.wire(pod["name"], number, ipv6=pod.get("ipv6", True))
        ways = [CLOUD4, CLOUD6] if pod.get("ipv6", True) else [CLOUD4]
        settle(made.pods[pod["name"]], ways)
    settle(os.getpid(), [CLOUD4, CLOUD6])
    if "node_services" in scenario:
        made.others.append(made.serve(os.getpid(), scenario["node_services"]))
    for name in scenario.get("on_host", []):
        made.pod(name, on_host=True)
    if "crowd" in scenario:
        crowd(made, *scenario["crowd"])
    for path, text in scenario.get("files", {}).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    for name, text in scenario.get("pod_rules", {}).items():
        run("nsenter", "-t", str(made.pods[name]), "-n", "nft", "-f", "-", text=text)
    for argv in scenario.get("rules", []):
        run(*argv[:-1], text=argv[-1]) if argv[0] == "nft" else run(*argv)


def matrix(place_cells: Sequence[Any]) -> dict[str, str]:
    return {f"{c.endpoint} {c.address}": str(c.outcome) for c in place_cells}


def look(scenario: dict[str, Any]) -> dict[str, Any]:
    """Scan the node as the program does, and tell what it says."""
    from nodeward.agent.runner import Looker, examine
    from nodeward.agent.scan import select
    from nodeward.facts.clock import Now
    from nodeward.facts.cloud import Cloud
    from nodeward.facts.metadata import HostReach, Metadata, PodReach
    from nodeward.host import LiveHost
    from nodeward.model import Seen
    from nodeward.model.report import finding_to_json

    given: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in {"timeout_s": PATIENCE_S, **scenario["params"]}.items()
    }
    begin = time.monotonic()
    looker = Looker(LiveHost("/"), {Now: Seen(Now(time.time())), Metadata: Seen(Metadata(**given))})
    findings = examine(looker, select(["meta.*"]))
    seconds = time.monotonic() - begin
    host, pods, cloud = (looker.readings.get(kind) for kind in (HostReach, PodReach, Cloud))
    out: dict[str, Any] = {
        "seconds": seconds,
        "rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "findings": {f.check: finding_to_json(f) for f in findings},
        "host": {},
        "pods": {},
        "problems": {},
        "cloud": cloud.fact.name
        if isinstance(cloud, Seen) and isinstance(cloud.fact, Cloud)
        else None,
    }
    if isinstance(host, Seen) and isinstance(host.fact, HostReach):
        out["host"] = matrix(host.fact.cells)
    if isinstance(pods, Seen) and isinstance(pods.fact, PodReach):
        out["pods"] = {str(p): matrix(p.cells) for p in pods.fact.places}
        out["problems"] = {str(p): p.problem for p in pods.fact.places if p.problem}
    return out


def look_as(scenario: dict[str, Any]) -> dict[str, Any]:
    """The same as another user, or with fewer rights: `as` is a command that takes a command."""
    argv = [*scenario["as"], sys.executable, "-m", "imds_lab.lab"]
    done = subprocess.run(
        argv, input=json.dumps(scenario), text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def play(scenario: dict[str, Any]) -> dict[str, Any]:
    with lab() as made:
        build(made, scenario)
        result = look_as(scenario) if "as" in scenario else look(scenario)
        result["requests"] = made.requests()
    return result


if __name__ == "__main__":  # the look alone, as another user in a node that stands
    json.dump(look(json.load(sys.stdin)), sys.stdout)
