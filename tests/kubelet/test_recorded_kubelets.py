"""Five recorded kubelets, each played by a process of that name, and scanned as any host is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubelet_scenarios import DATA, SCENARIOS, prepare, scan

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("recorded")
    return {name: scan(prepare(name, folder)) for name in SCENARIOS}


TRUTH = {
    # scenario: anonymous, authorization mode, read-only port
    "open": ("fail", "fail", "fail"),
    "noconfig": ("fail", "fail", "fail"),
    "flags-open": ("fail", "fail", "fail"),
    "kubeadm": ("pass", "pass", "pass"),
    "anon-webhook": ("fail", "pass", "pass"),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_recorded_kubelet_is_judged_by_what_is_in_force(
    findings: dict[str, dict[str, Any]], scenario: str
) -> None:
    found = findings[scenario]
    ids = ("kubelet.authn.anonymous", "kubelet.authz.mode", "kubelet.port.readonly")
    assert tuple(found[i]["status"] for i in ids) == TRUTH[scenario]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_recorded_kubelet_is_judged_line_by_line(
    findings: dict[str, dict[str, Any]], scenario: str, update_goldens: bool
) -> None:
    lines = [
        f"{f['check']:33} {f['status']:15} {f['severity']:9} {plain(f['because'])}\n"
        for f in findings[scenario].values()
        if f["check"] not in OF_THIS_MACHINE
    ]
    golden = Path(__file__).parent / "goldens" / f"recorded-{scenario}.txt"
    if update_goldens:
        golden.write_text("".join(lines))
    assert "".join(lines) == golden.read_text()


# /proc/swaps and cgroups (and the service that these name) are not played.
OF_THIS_MACHINE = (
    "kubelet.swap",
    "kubelet.pod-pids",
    "kubelet.seccomp-default",
    "kubelet.file.service-perms",
)


def plain(because: str) -> str:
    """Without what differs from run to run."""
    because = re.sub(r"/\S*/binaries/", "/.../binaries/", because)
    return re.sub(r"\bpid \d+", "pid N", because)


def test_the_remedy_names_what_wins_on_this_node(findings: dict[str, dict[str, Any]]) -> None:
    flag = findings["flags-open"]["kubelet.authn.anonymous"]["remedy"]["text"]
    file = findings["open"]["kubelet.authn.anonymous"]["remedy"]["text"]
    bare = findings["noconfig"]["kubelet.port.readonly"]["remedy"]["text"]
    assert "--anonymous-auth (argument 3 of pid" in flag
    assert "/var/lib/kubelet/config.yaml:10" in file
    assert "--read-only-port=0" in bare


def test_a_changed_file_does_not_hide_an_open_port(tmp_path: Path) -> None:
    """The file is closed under an open kubelet: both are shown, and what answers wins."""
    place = prepare("open", tmp_path)
    (place / "later.yaml").write_text(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nreadOnlyPort: 0\n"
    )
    found = scan(place)
    anonymous, drift = found["kubelet.authn.anonymous"], found["kubelet.config.drift"]
    assert (anonymous["status"], drift["status"]) == ("fail", "fail")
    assert "answers 200" in anonymous["because"]
    assert "authentication.anonymous.enabled is false" in anonymous["because"]
    assert found["kubelet.port.readonly"]["status"] == "fail"
    assert {"/var/lib/kubelet/config.yaml", "GET /configz"} <= {
        e["source"] for e in drift["evidence"]
    }


def test_an_opened_file_is_told_while_the_port_is_closed(tmp_path: Path) -> None:
    place = prepare("kubeadm", tmp_path)
    (place / "later.yaml").write_bytes((DATA / "open" / "config.yaml").read_bytes())
    found = scan(place)
    assert found["kubelet.authn.anonymous"]["status"] == "pass"
    assert "from its next restart" in found["kubelet.authn.anonymous"]["because"]
    assert found["kubelet.port.readonly"]["status"] == "pass"
    assert found["kubelet.config.drift"]["status"] == "fail"


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_the_client_ca_of_a_kubelet_that_speaks_tls_1_3_only_is_seen(
    status: str, tmp_path: Path
) -> None:
    """Its request for a certificate is sealed; a file alone would be no proof of it."""
    place = prepare("kubeadm", tmp_path)
    with (place / "config.yaml").open("a") as config:
        config.write("tlsMinVersion: VersionTLS13\n")
    if status == "fail":
        (place / "ca.crt").unlink()
    found = scan(place)
    assert found["kubelet.authn.x509"]["status"] == status
    sentence = "takes certificates of CN=kubernetes" if status == "pass" else "no client certific"
    assert sentence in found["kubelet.authn.x509"]["because"]
    assert found["kubelet.tls.min-version"]["status"] == "pass"
    assert found["kubelet.tls.ciphers"]["status"] == "pass"


INPUT = """\
{0} -A INPUT -m {1} RELATED,ESTABLISHED -j ACCEPT
{0} -A INPUT -i lo -j ACCEPT
{0} -A INPUT -p tcp -s 10.0.0.0/8 --dport 10250 -j ACCEPT
{0} -P INPUT DROP
"""
NFT = """\
nft -f - <<END
table inet f {{
chain input {{
    type filter hook input priority 0; policy drop;
    ct state established,related accept; iif lo accept
    ip saddr 10.0.0.0/8 tcp dport {{ 10250, 10255 }} accept{0}
}}
}}
END
"""
WALLS = {
    "none": ("", "fail", "no rule of this node drops"),
    "nft": (NFT.format(""), "pass", "saddr 10.0.0.0/8"),
    "nft, open": (NFT.format("; tcp dport 10000-11000 iifname eth0 accept"), "fail", "iifname eth"),
    "nft, mapped": (NFT.format("; meta mark vmap { 1 : accept }"), "fail", "in map"),
    "iptables": (INPUT.format("iptables-nft", "conntrack --ctstate"), "pass", "ct state"),
    "older iptables": (INPUT.format("iptables-legacy", "state --state"), "pass", "(legacy)"),
}


@pytest.mark.parametrize("wall", WALLS)
def test_a_packet_filter_before_a_public_address_is_weighed(wall: str, tmp_path: Path) -> None:
    script, status, sentence = WALLS[wall]
    place = prepare("kubeadm", tmp_path)
    (place / "network.sh").write_text(f"ip address add 8.8.4.4/32 dev lo\n{script}")
    found = scan(place, check="kubelet.port.exposure")["kubelet.port.exposure"]
    assert (found["status"], found["severity"]) == (status, "high")
    assert sentence in found["because"]


def test_a_port_of_another_program_is_not_the_kubelets(tmp_path: Path) -> None:
    place = prepare("kubeadm", tmp_path)
    (place / "stranger").touch()
    assert scan(place)["kubelet.port.readonly"]["status"] == "pass"


def test_a_stranger_on_the_secure_port_is_named_and_proves_nothing(tmp_path: Path) -> None:
    place = prepare("kubeadm", tmp_path)
    (place / "stranger").write_text("10250")
    rows = (place / "listen.txt").read_text().splitlines(keepends=True)
    (place / "listen.txt").write_text("".join(row for row in rows if ":10250 " not in row))
    found = scan(place)
    for check in ("kubelet.authn.anonymous", "kubelet.authn.x509", "kubelet.tls.min-version"):
        assert "port 10250 was not asked: it is held by 127.0.0.1:10250" in found[check]["because"]
    assert "does not hold port 10250 open" in found["kubelet.port.exposure"]["because"]


def test_nothing_is_asked_where_asking_is_switched_off(tmp_path: Path) -> None:
    found = scan(prepare("kubeadm", tmp_path), NODEWARD_KUBELET="off")
    assert found["kubelet.authn.anonymous"]["status"] == "pass"
    assert "not probed" in found["kubelet.authn.anonymous"]["because"]
    assert found["kubelet.port.healthz-bind"]["because"].startswith("the health port listens on")


def test_a_kubelet_in_another_mount_namespace_is_judged_by_its_own_file(tmp_path: Path) -> None:
    place = prepare("kubeadm", tmp_path)
    text = (place / "config.yaml").read_text()
    (place / "private.yaml").write_text(text + "protectKernelDefaults: false\n")
    (place / "config.yaml").write_text(text + "protectKernelDefaults: true\n")
    assert scan(place)["kubelet.protect-kernel-defaults"]["status"] == "fail"
    (place / "private.yaml").unlink()
    for left in ("etc", "lib", "binaries"):
        shutil.rmtree(place / left)
    assert scan(place)["kubelet.protect-kernel-defaults"]["status"] == "pass"


@pytest.mark.parametrize("mode", ["silent", "garbage", "endless", "alert"])
def test_a_port_that_misbehaves_is_unknown(mode: str, tmp_path: Path) -> None:
    found = scan(prepare("kubeadm", tmp_path), mode=mode)
    for check in ("kubelet.authn.anonymous", "kubelet.authz.mode"):
        assert found[check]["status"] == "unknown"
        assert "gives no answer" in found[check]["because"]
    for check in ("kubelet.authn.x509", "kubelet.tls.min-version"):
        assert found[check]["status"] == "unknown"
        assert "tells nothing of its TLS" in found[check]["because"]
    wanted = "unknown" if mode == "alert" else "fail"
    assert found["kubelet.tls.server-bootstrap"]["status"] == wanted


STRANGE = (4194, 10249, 10256, *range(11000, 11012))


@pytest.mark.parametrize("mode", ["drip", "silent"])
def test_all_ports_together_take_no_more_than_five_seconds(mode: str, tmp_path: Path) -> None:
    """At the budgets that ship: a body without end on every port, and no answer on any."""
    place = prepare("kubeadm", tmp_path)
    rows = [f"LISTEN 0 64 0.0.0.0:{p} 0.0.0.0:*\n" for p in (10250, 10255, 10248, *STRANGE)]
    (place / "listen.txt").write_text("".join(rows))
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child",
         sys.executable, str(TESTS / "kubelet_host.py"), str(place)],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "STANDIN_RUN": str(TESTS / "kubelet_clock.py"), "STANDIN_MODE": mode},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    budgets = [seconds for _, seconds, _ in found["asked"]]
    assert {10250, 10255, 10248, 4194, 10249, 10256} <= {port for port, _, _ in found["asked"]}
    assert max(budgets) <= 2
    assert sum(budgets) <= 5
    assert found["whole"] < 5 + 4  # a busy machine; without a bound on strange ports it is 16


def test_a_recording_says_the_same_and_holds_no_secret(tmp_path: Path) -> None:
    place = prepare("open", tmp_path)
    body = place / "anonymous" / "configz.body"
    configz = json.loads(body.read_text())
    configz["kubeletconfig"]["staticPodURLHeader"] = {"X-Key": ["hunter2"]}
    body.write_text(json.dumps(configz))
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child",
         sys.executable, str(TESTS / "kubelet_host.py"), str(place)],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "STANDIN_RUN": str(TESTS / "kubelet_replay.py")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"differing": [], "secret": False}
