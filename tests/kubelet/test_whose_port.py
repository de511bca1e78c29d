"""Whose a port is: by the owner of each socket, and at the address where that owner is met."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelet_scenarios import prepare, scan
from nodeward.checks import catalog
from nodeward.checks.kubelet_exposure import exposure
from nodeward.checks.kubelet_ports import read_only
from nodeward.checks.kubelet_samples import listener
from nodeward.facts.kubelet import Kubelet, example
from nodeward.facts.kubelet_answers import HEALTHZ, SECURE, KubeletAnswers, KubeletPorts, Port
from nodeward.facts.listeners import Listener, Listeners
from nodeward.host import TreeHost
from nodeward.model import Absent, CheckId, Example, Status, decide
from nodeward.probes.kubelet_answers import read_kubelet_answers

HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
FILE = "--config=/var/lib/kubelet/config.yaml"
NONE = Absent("processes")
LATER = 5000.0  # the kubelet of an example started at 1000


def seen(kubelet: Kubelet, *rows: Listener) -> KubeletAnswers:
    """What the sockets alone tell: a tree at rest answers no port."""
    tree, listeners = TreeHost("/"), Listeners(rows, "sock_diag")
    answers = read_kubelet_answers.read(tree, kubelet, listeners, NONE, KubeletPorts())
    assert isinstance(answers, KubeletAnswers)
    return answers


@pytest.mark.root
def test_a_stranger_on_loopback_does_not_answer_for_the_kubelet(tmp_path: Path) -> None:
    place = prepare("open", tmp_path)
    (place / "network.sh").write_text("ip addr add 10.9.9.9/32 dev lo\n")
    (place / "listen.txt").write_text("LISTEN 0 4096 10.9.9.9:10250 0.0.0.0:*\n")
    (place / "stranger").write_text("10250")
    found = scan(place)
    assert "port 10250 answers 200" in found["kubelet.authn.anonymous"]["because"]
    assert found["kubelet.authz.mode"]["status"] == "fail"
    assert found["kubelet.port.exposure"]["because"] == "the kubelet listens on 10.9.9.9 only"


@pytest.mark.root
def test_a_port_that_lets_anyone_in_and_never_shows_who_decides_is_unknown(tmp_path: Path) -> None:
    """/pods names system:anonymous, and the path without a handler gets no answer in time."""
    found = scan(prepare("anon-webhook", tmp_path), mode="silent-unhandled")
    assert found["kubelet.authz.mode"]["status"] == "unknown"
    assert scan(prepare("anon-webhook", tmp_path / "x"))["kubelet.authz.mode"]["status"] == "pass"


@pytest.mark.parametrize(
    "check", ["authn.anonymous", "authz.mode", "tls.min-version", "tls.ciphers"]
)
def test_a_port_that_no_address_leads_to_is_unknown_and_not_as_its_file_says(check: str) -> None:
    kubelet = example(FILE, "tlsCipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]")
    why = "another program takes what comes for it"
    secure = Port(10250, (listener(10250),), True, error=why)
    rule = catalog()[CheckId(f"kubelet.{check}")]
    given = Example(Status.UNKNOWN, (kubelet, KubeletAnswers({SECURE: secure})))
    verdict = decide(rule, given.readings(rule.needs))
    assert verdict.status is Status.UNKNOWN
    assert why in verdict.because


@pytest.mark.root
def test_a_kubelet_that_takes_ipv6_alone_is_asked_there(tmp_path: Path) -> None:
    place = prepare("open", tmp_path)
    (place / "listen.txt").write_text("LISTEN 0 4096 [::]:10250 [::]:*\n")
    found = scan(place)["kubelet.authn.anonymous"]
    assert "port 10250 answers 200" in found["because"]


@pytest.mark.root
def test_a_strangers_health_port_is_not_the_kubelets(tmp_path: Path) -> None:
    place = prepare("kubeadm", tmp_path)
    (place / "network.sh").write_text("ip addr add 10.9.9.9/32 dev lo\n")
    (place / "stranger").write_text("10.9.9.9:10248")
    found = scan(place, check="kubelet.port.healthz-bind")["kubelet.port.healthz-bind"]
    assert found["status"] == "pass"


@pytest.mark.root
def test_a_port_in_a_file_changed_since_does_not_hide_the_open_one(tmp_path: Path) -> None:
    place = prepare("open", tmp_path)
    (place / "network.sh").write_text("ip addr add 8.8.4.4/32 dev lo\n")
    closed = "port: 10260\nreadOnlyPort: 0\nhealthzPort: 10261\n"
    (place / "later.yaml").write_text(HEAD + closed)
    found = scan(place)
    for check in ("authn.anonymous", "authz.mode", "port.readonly", "port.exposure"):
        assert found[f"kubelet.{check}"]["status"] == "fail", check
    assert "port 10250 answers 200" in found["kubelet.authn.anonymous"]["because"]


def test_the_usual_ports_are_the_kubelets_where_it_holds_them_and_not_those_of_its_file() -> None:
    kubelet = example(FILE, "port: 10260\nhealthzPort: 10261\n", changed_at=LATER)
    answers = seen(kubelet, listener(10250), listener(10248), listener(10260, pid=7))
    for role, number in ((SECURE, 10250), (HEALTHZ, 10248)):
        port = answers.port(role)
        assert port is not None
        assert (port.number, port.owned) == (number, True)


def test_an_unusual_port_that_it_holds_is_asked_where_its_file_names_another_by_now() -> None:
    kubelet = example(FILE, "port: 10260\n", changed_at=LATER)
    port = seen(kubelet, listener(10270)).port(SECURE)
    assert port is not None
    assert (port.number, port.owned) == (10270, True)


@pytest.mark.parametrize("text", ["a: [", "readOnlyPort: 0"])
def test_sockets_whose_owners_are_not_seen_leave_it_open_which_ports_are_the_kubelets(
    text: str,
) -> None:
    kubelet = example(FILE, text, changed_at=LATER)
    unseen = [listener(n, pid=None, program="") for n in (10250, 10350)]
    verdict = read_only(kubelet, seen(kubelet, *unseen))
    assert verdict.status is Status.UNKNOWN
    whole = seen(kubelet, listener(10250), listener(10350, pid=None))
    assert read_only(kubelet, whole).status is Status.PASS


def test_nor_whether_the_internet_reaches_it() -> None:
    kubelet = example(FILE, "port: 10260")
    answers = seen(kubelet, listener(10270, pid=None))
    answers = KubeletAnswers(answers.ports, answers.extra, whole=answers.whole)
    none = Absent("addresses")
    assert exposure(kubelet, answers, none, none).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("address", "rows", "taken"),
    [
        ("127.0.0.1", ("0.0.0.0", "::"), "0.0.0.0"),
        ("127.0.0.1", ("127.0.0.1", "::"), "127.0.0.1"),
        ("127.0.0.1", ("::ffff:127.0.0.1", "0.0.0.0"), "::ffff:127.0.0.1"),
        ("127.0.0.1", ("10.0.0.5", "::"), "::"),
        ("::1", ("0.0.0.0", "::"), "::"),
        ("::1", ("0.0.0.0", "10.0.0.5"), ""),
    ],
)
def test_a_connection_goes_to_the_socket_that_is_bound_closest(
    address: str, rows: tuple[str, ...], taken: str
) -> None:
    found = Listeners(tuple(listener(1, row) for row in rows), "").taking(address, 1)
    assert [row.address for row in found] == [taken] * bool(taken)
