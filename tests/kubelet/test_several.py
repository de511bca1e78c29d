"""Several kubelets on one host: each is asked at its own ports, and judged by what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kubelet_scenarios import TESTS, prepare, scan
from nodeward.checks.kubelet_exposure import exposure
from nodeward.facts.kubelet import example
from nodeward.facts.kubelet_answers import KubeletAnswers, KubeletPorts
from nodeward.facts.listeners import Listeners
from nodeward.host import TreeHost
from nodeward.model import Absent, Status
from nodeward.probes.kubelet_answers import read_kubelet_answers

ROWS = "LISTEN 0 64 {0}:10250 0.0.0.0:*\nLISTEN 0 64 {0}:10255 0.0.0.0:*\n"


def two(folder: Path, first: str, second: str, *, apart: bool) -> Path:
    """Two stand-ins on one host: in one network at two addresses, or each in its own."""
    place = prepare(first, folder)
    inner = prepare(second, place)
    (inner / "private.yaml").write_bytes((inner / "config.yaml").read_bytes())
    if apart:
        (inner / "private-network").touch()
        return place
    (place / "network.sh").write_text("ip addr add 10.9.9.9/32 dev lo\n")
    (place / "listen.txt").write_text("LISTEN 0 64 127.0.0.1:10250 0.0.0.0:*\n")
    (inner / "listen.txt").write_text(ROWS.format("10.9.9.9"))
    return place


@pytest.mark.root
@pytest.mark.parametrize("apart", [False, True], ids=["one network", "two networks"])
@pytest.mark.parametrize("order", [("kubeadm", "open"), ("open", "kubeadm")])
def test_the_open_one_is_found_wherever_it_is(
    order: tuple[str, str], apart: bool, tmp_path: Path
) -> None:
    found = scan(two(tmp_path, *order, apart=apart))
    for check in ("authn.anonymous", "authz.mode", "port.readonly"):
        assert found[f"kubelet.{check}"]["status"] == "fail", check
    anonymous = found["kubelet.authn.anonymous"]
    inside = ", in a network of its own" if apart and order[0] == "kubeadm" else ""
    assert f"{inside}): port 10250 answers 200" in anonymous["because"]
    other = [e for e in anonymous["evidence"] if e["what"] == "pass of another kubelet here"]
    assert len(other) == 1
    assert "a caller without credentials gets 401" in other[0]["value"]


@pytest.mark.root
def test_the_answer_of_a_kubelet_in_another_network_wins_over_its_file(tmp_path: Path) -> None:
    place = two(tmp_path, "kubeadm", "open", apart=True)
    (place / "open" / "private.yaml").write_bytes((place / "config.yaml").read_bytes())
    found = scan(place)["kubelet.authn.anonymous"]
    assert found["status"] == "fail"
    assert "port 10250 answers 200" in found["because"]
    assert "false by /var/lib/kubelet/config.yaml:4" in found["because"]


@pytest.mark.root
@pytest.mark.parametrize("apart", [False, True], ids=["one network", "two networks"])
def test_all_of_them_together_take_no_more_than_five_seconds(apart: bool, tmp_path: Path) -> None:
    place = two(tmp_path, "kubeadm", "open", apart=apart)
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child",
         sys.executable, str(TESTS / "kubelet_host.py"), str(place)],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "STANDIN_RUN": str(TESTS / "kubelet_clock.py"),
             "STANDIN_MODE": "silent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    budgets = [seconds for _, seconds, _ in found["asked"]]
    assert [port for port, _, _ in found["asked"]].count(10250) == 2
    assert sum(budgets) <= 5


@pytest.mark.root
def test_a_silent_one_is_unknown_by_its_name(tmp_path: Path) -> None:
    found = scan(two(tmp_path, "kubeadm", "open", apart=True), mode="silent")
    because = found["kubelet.authn.anonymous"]["because"]
    assert found["kubelet.authn.anonymous"]["status"] == "fail"  # by its file, which is open
    assert "in a network of its own" in because
    mute = found["kubelet.tls.min-version"]
    assert mute["status"] == "unknown"
    assert "gives no answer" in json.dumps(found["kubelet.authn.anonymous"]["evidence"])


@pytest.mark.root
def test_one_that_lives_in_another_network_alone_is_asked_there(tmp_path: Path) -> None:
    """As on a machine that runs kind: nothing of it is seen in the host's own network."""
    place = prepare("open", tmp_path)
    (place / "private.yaml").write_bytes((place / "config.yaml").read_bytes())
    (place / "private-network").touch()
    found = scan(place)
    assert "port 10250 answers 200" in found["kubelet.authn.anonymous"]["because"]
    assert "port 10255 shows all pods to anyone" in found["kubelet.port.readonly"]["because"]
    assert "takes TLS_ECDHE" in found["kubelet.tls.ciphers"]["because"]


def test_a_network_that_we_may_not_see_leaves_it_open_what_listens_there() -> None:
    seen = example("--config=/c", "{}")
    hidden = replace(seen, launch=replace(seen.launch, network=None))
    none = Absent("none")
    for kubelet, status in ((seen, Status.PASS), (hidden, Status.UNKNOWN)):
        found = read_kubelet_answers.read(
            TreeHost("/"), kubelet, Listeners((), ""), none, KubeletPorts()
        )
        assert isinstance(found, KubeletAnswers)
        answers = replace(found, probed=True)
        assert exposure(kubelet, answers, none, none).status is status
