"""Which ports are asked, and at which address of this machine."""

import pytest

from nodeward.facts.daemons import Daemons, sample
from nodeward.facts.listeners import Listener, Listeners
from nodeward.facts.node import Distribution, Node
from nodeward.facts.served import MOST_PORTS, Port, Served, ports
from nodeward.facts.webhooks import Webhooks
from nodeward.host import Replay
from nodeward.host.tls import TlsHandshakes
from nodeward.model import Absent, Seen
from nodeward.probes.registry import look
from nodeward.probes.served import SECONDS, read_served


def listener(address: str, port: int, program: str) -> Listener:
    return Listener(address, port, 1, 0, 7, program)


NONE = Daemons(())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (listener("::", 10250, "kubelet"), ("kubelet-server", "127.0.0.1", "::1")),
        (listener("0.0.0.0", 6443, "kube-apiserver"), ("apiserver", "127.0.0.1", "")),
        (listener("10.0.0.7", 2380, "etcd"), ("etcd-peer", "10.0.0.7", "")),
        (
            listener("::1", 10257, "kube-controller-manager"),
            ("controller-manager-server", "::1", ""),
        ),
        (listener("0.0.0.0", 10250, "kubelite"), ("kubelet-server", "127.0.0.1", "")),
    ],
)
def test_a_component_is_asked_where_it_listens(
    row: Listener, expected: tuple[str, str, str]
) -> None:
    (port,) = ports((row,), NONE)
    assert (port.component, port.address, port.other) == expected


SERVER = Daemons((sample("kube-apiserver", "", origin="k3s, k3s.service"),), supervisors=("k3s",))
INSIDE = [
    ("k3s", SERVER, {6443: "supervisor-server", 6444: "apiserver", 10250: "kubelet-server",
                     10257: "controller-manager-server", 10259: "scheduler-server",
                     2379: "etcd-server", 2380: "etcd-peer"}),
    # On an agent 6443 and 6444 lead to a server elsewhere, by k3s' own load balancer.
    ("k3s", Daemons((sample("kubelet", ""),), supervisors=("k3s",)), {10250: "kubelet-server"}),
    ("kubelite", NONE, {16443: "apiserver", 10250: "kubelet-server",
                        10257: "controller-manager-server", 10259: "scheduler-server"}),
    ("k8s-dqlite", NONE, {19001: "dqlite"}),
    ("rke2", NONE, {9345: "supervisor-server"}),
    ("k0s", NONE, {9443: "supervisor-server"}),
]  # fmt: skip
ALL = (2379, 2380, 6443, 6444, 9345, 9443, 10250, 10257, 10259, 16443, 19001)


@pytest.mark.parametrize(("program", "daemons", "expected"), INSIDE)
def test_what_a_program_serves_that_holds_others(
    program: str, daemons: Daemons, expected: dict[int, str]
) -> None:
    rows = tuple(listener("127.0.0.1", port, program) for port in ALL)
    assert {p.port: p.component for p in ports(rows, daemons)} == expected


@pytest.mark.parametrize("row", [listener("::", 22, "sshd"), listener("::", 6443, "nginx"),
                                 listener("127.0.0.1", 10248, "kubelet")])  # fmt: skip
def test_others_are_left_alone(row: Listener) -> None:
    assert ports((row,), NONE) == ()


def test_settings_tell_unusual_ports() -> None:
    daemons = Daemons(
        (
            sample("kube-apiserver", "--secure-port=7443"),
            sample("etcd", "--listen-client-urls=https://127.0.0.1:4001,http://127.0.0.1:4002"),
        )
    )
    rows = (
        listener("::", 7443, "kube-apiserver"),
        listener("127.0.0.1", 4001, "etcd"),
        listener("127.0.0.1", 4002, "etcd"),
    )
    assert {(p.component, p.port) for p in ports(rows, daemons)} == {
        ("apiserver", 7443),
        ("etcd-server", 4001),
    }


def test_a_port_is_asked_once_and_at_loopback_first() -> None:
    rows = (listener("10.0.0.7", 2379, "etcd"), listener("127.0.0.1", 2379, "etcd"))
    assert ports(rows, NONE) == (Port("etcd-server", "127.0.0.1", 2379, "etcd"),)


def test_a_port_whose_owner_may_not_be_read_is_the_running_daemons() -> None:
    """As another user than root: what runs there is asked, and never said not to be there."""
    row = Listener("::", 10250, 1, 0)
    assert ports((row,), NONE) == ()
    (port,) = ports((row,), Daemons((sample("kubelet", ""),)))
    assert (port.component, port.program) == ("kubelet-server", "kubelet")
    assert ports((Listener("::", 22, 2, 0),), Daemons((sample("kubelet", ""),))) == ()


def test_no_port_is_left_out_without_a_word() -> None:
    """Of more than are asked, the rest are named."""
    rows = tuple(listener("127.0.0.1", 10000 + n, "kube-apiserver") for n in range(MOST_PORTS + 3))
    flags = [sample("kube-apiserver", f"--secure-port={row.port}") for row in rows]
    places = tuple(("127.0.0.1", row.port) for row in rows[:MOST_PORTS])
    answers = [{"outcome": "timeout"}] * MOST_PORTS
    host = Replay({f"ask {TlsHandshakes(places, SECONDS).key()}": answers}, live=True)
    absent = Absent("the kubelet")
    node = Node((), Distribution.KUBEADM, True, ())
    given = [node, Daemons(tuple(flags)), Listeners(rows, ""), absent, Webhooks(())]
    reading = look(host, read_served, given)
    assert isinstance(reading, Seen)
    assert isinstance(reading.fact, Served)
    outcomes = [row.outcome for row in reading.fact.rows]
    assert outcomes == ["timeout"] * MOST_PORTS + ["not asked: too many ports"] * 3
