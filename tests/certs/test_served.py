"""What is presented on the ports of real TLS servers, against what their files hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from certificate_maker import DAY, NOW, key, pem, traditional_pem, write
from pki_node import ETCD, LEAFS, NAME, PkiNode, client, kubeconfig, server

HOST = Path(__file__).parents[1] / "served_host.py"
PKI = "/etc/kubernetes/pki"
SERVING = "/var/lib/kubelet/pki/kubelet.crt"
API = ["kube-apiserver", "-accept", "127.0.0.1:6443",
       "-cert", f"{PKI}/apiserver.crt", "-key", f"{PKI}/apiserver.key"]  # fmt: skip
KUBELET = ["kubelet", "-accept", "127.0.0.1:10250"]  # no settings: it makes its own pair
WAITING = ["kubelet", "-alert", "80", "10250"]
ETCD_HERE = {
    **ETCD,
    "client-cert-auth": "true",
    "peer-client-cert-auth": "true",
    "listen-client-urls": "https://127.0.0.1:2379",
    "listen-peer-urls": "https://127.0.0.1:2380",
    "advertise-client-urls": "https://127.0.0.1:2379",
    "initial-advertise-peer-urls": "https://127.0.0.1:2380",
    "initial-cluster": "default=https://127.0.0.1:2380",
}

pytestmark = pytest.mark.root


def look(node: PkiNode, **scenario: Any) -> dict[str, dict[str, Any]]:
    """The findings of a scan beside these servers."""
    (node.root / "proc").rename(node.root / "unused")  # the real one is looked at
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*command, sys.executable, str(HOST), str(node.root.parent)],
        input=json.dumps({"at": NOW.isoformat(), **scenario}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {f["check"]: f for f in json.loads(done.stdout)["findings"]}


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    node = PkiNode(tmp_path / "root").build()
    own = key("P-256", 49)
    text = pem(node.cluster.issue(server(f"system:node:{NAME}"), own)) + traditional_pem(own)
    write(node.root / SERVING.lstrip("/"), text)
    return node


def test_servers_that_present_what_their_files_hold(node: PkiNode) -> None:
    etcd = ["etcd", "--data-dir=data", *(f"--{flag}={value}" for flag, value in ETCD_HERE.items())]
    kubelet = [*KUBELET, "-cert", SERVING, "-key", SERVING, "-tls1_3"]
    found = look(node, servers=[API, kubelet, etcd], ports=[6443, 10250, 2379, 2380])
    finding = found["cert.inuse-mismatch"]
    assert finding["status"] == "pass", finding["because"]
    said = {e["what"]: e["value"] for e in finding["evidence"]}
    assert said == {
        "apiserver": f"presents what {PKI}/apiserver.crt holds",
        "kubelet-server": f"presents what {SERVING} holds",
        "etcd-server": f"presents what {PKI}/etcd/server.crt holds",
        "etcd-peer": f"presents what {PKI}/etcd/peer.crt holds",
    }
    assert found["cert.expiry.etcd-peer"]["status"] == "pass"


def test_renewed_but_not_loaded_and_a_request_that_waits(node: PkiNode) -> None:
    _, spec = LEAFS["apiserver"]
    renewed = server("kube-apiserver", not_before=NOW - DAY, not_after=NOW + 364 * DAY)
    assert spec.not_before < renewed.not_before
    text = pem(node.cluster.issue(renewed, key("P-256", 1)))
    found = look(
        node,
        servers=[API, [*WAITING, "--config=/var/lib/kubelet/config.yaml"]],
        ports=[6443, 10250],
        replace={f"{PKI}/apiserver.crt": text},
    )["cert.inuse-mismatch"]
    assert found["status"] == "fail"
    said = {e["what"]: e["value"] for e in found["evidence"]}
    assert "was renewed" in said["apiserver"]
    assert "not loaded" in said["apiserver"]
    assert "waits for approval" in said["kubelet-server"]
    assert found["remedy"]["steps"]


def test_a_kubelet_that_does_not_ask_the_cluster_waits_for_no_approval(node: PkiNode) -> None:
    """serverTLSBootstrap is off."""
    found = look(node, servers=[WAITING], ports=[10250])["cert.inuse-mismatch"]
    assert (found["status"], found["severity"]) == ("fail", "medium")
    assert "no certificate to show" in found["because"]
    assert "approval" not in json.dumps(found)


def test_another_alert_says_nothing_of_a_request(node: PkiNode) -> None:
    """handshake_failure: what OpenSSL sends without a certificate, and Go for a hello alone."""
    found = look(node, servers=[[*KUBELET, "-nocert"]], ports=[10250])
    finding = found["cert.inuse-mismatch"]
    assert finding["status"] == "unknown"
    assert "TLS alert 40 (handshake_failure)" in finding["because"]
    assert "approval" not in json.dumps(finding)


def test_a_server_that_takes_its_certificate_from_elsewhere_and_one_that_hangs(
    node: PkiNode,
) -> None:
    newer = server(f"system:node:{NAME}", not_before=NOW - DAY, not_after=NOW + 300 * DAY)
    own = key("P-256", 40)
    text = pem(node.cluster.issue(newer, own)) + traditional_pem(own)
    other = "/var/lib/kubelet/other.pem"
    write(node.root / other.lstrip("/"), text)
    kubelet = [*KUBELET, "-cert", other, "-key", other]
    found = look(node, servers=[API, kubelet], ports=[6443, 10250], stop=["kube-apiserver"])
    finding = found["cert.inuse-mismatch"]
    assert finding["status"] == "fail"
    said = [(e["what"], e["value"]) for e in finding["evidence"]]
    assert said[0][0] == "kubelet-server"
    assert "points elsewhere" in said[0][1]
    assert ("not read", "the certificate of apiserver at 127.0.0.1:6443: timeout") in said


def test_a_containers_files_are_read_in_its_own_root(node: PkiNode) -> None:
    """No manifest tells its mounts: what its arguments name is looked up where it looks."""
    image = node.root.parent / "image"
    for name in ("server.crt", "server.key", "ca.crt"):
        write(image / "certs" / name, (node.pki / "etcd" / name).read_text())
    (image / "data").mkdir(mode=0o700)
    etcd = [
        "etcd",
        "--data-dir=/data",
        "--cert-file=/certs/server.crt",
        "--key-file=/certs/server.key",
        "--trusted-ca-file=/certs/ca.crt",
        "--listen-client-urls=https://127.0.0.1:2379",
        "--advertise-client-urls=https://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",  # no name to look up: it has no /etc/hosts
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
    ]
    kubelet = [*KUBELET, "-cert", SERVING, "-key", SERVING]
    found = look(node, servers=[etcd, kubelet], ports=[2379, 10250])
    said = {e["what"]: e["value"] for e in found["cert.inuse-mismatch"]["evidence"]}
    assert said["etcd-server"].startswith("presents what /proc/")
    assert said["etcd-server"].endswith("/root/certs/server.crt holds")
    assert found["cert.expiry.etcd-server"]["status"] == "pass"
    assert "/root/certs/server.crt" in found["cert.expiry.etcd-server"]["because"]


HOOK = f"{PKI}/hook.pem"


def hook_file(node: PkiNode, **lives: Any) -> str:
    own = key("P-256", 41)
    return pem(node.cluster.issue(server("hook", **lives), own)) + traditional_pem(own)


def test_a_server_of_webhooks_whose_new_certificate_is_not_loaded(node: PkiNode) -> None:
    """By its name; it listens in the machine's own network."""
    write(node.root / HOOK.lstrip("/"), hook_file(node, not_after=NOW - DAY))
    newer = hook_file(node, not_before=NOW - DAY, not_after=NOW + 300 * DAY)
    hook = ["pod-webhook", "-accept", "127.0.0.1:9443", "-cert", HOOK, "-key", HOOK]
    found = look(node, servers=[hook], ports=[9443], replace={HOOK: newer})
    inuse = {e["what"]: e["value"] for e in found["cert.inuse-mismatch"]["evidence"]}
    assert "was renewed" in inuse["webhook-server"]
    finding = found["cert.webhook"]
    assert (finding["status"], finding["severity"]) == ("fail", "medium")
    assert finding["because"].startswith("webhook-server CN=hook: expired on 2026-11-21")
    assert finding["evidence"][0]["source"] == "127.0.0.1:9443"


def test_the_server_that_the_api_servers_own_webhook_asks(node: PkiNode) -> None:
    """By the address in a kubeconfig; what listens there is no program that we know."""
    config = "/etc/kubernetes/authn-webhook.conf"
    text = kubeconfig({}, {}, server="https://localhost:21362/authenticate")
    write(node.root / config.lstrip("/"), text)
    argv = ["kube-apiserver", f"--authentication-token-webhook-config-file={config}"]
    volume = {"name": "k8s", "hostPath": {"path": "/etc/kubernetes"}}
    mount = {"name": "k8s", "mountPath": "/etc/kubernetes"}
    container = {"name": "a", "image": "a", "command": argv, "volumeMounts": [mount]}
    pod = {"kind": "Pod", "spec": {"containers": [container], "volumes": [volume]}}
    write(node.root / "etc/kubernetes/manifests/api.yaml", json.dumps(pod))
    write(node.root / HOOK.lstrip("/"), hook_file(node, not_after=NOW + 3 * DAY))
    server_words = ["authenticator", "-accept", "127.0.0.1:21362", "-cert", HOOK, "-key", HOOK]
    found = look(node, servers=[server_words], ports=[21362])
    assert found["cert.inuse-mismatch"]["because"].startswith("webhook-server presents what")
    assert found["cert.webhook"]["status"] == "fail"
    assert "ends on 2026-11-25" in found["cert.webhook"]["because"]


def test_an_expired_certificate_that_is_still_presented_counts(node: PkiNode) -> None:
    """Its file was renewed; that is not what clients see."""
    old = server("kube-apiserver", not_before=NOW - 366 * DAY, not_after=NOW - DAY)
    own = key("P-256", 1)
    newer = (node.pki / "apiserver.crt").read_text()
    write(node.pki / "apiserver.crt", pem(node.cluster.issue(old, own)))
    found = look(node, servers=[API], ports=[6443], replace={f"{PKI}/apiserver.crt": newer})
    finding = found["cert.expiry.apiserver"]
    assert (finding["status"], finding["severity"]) == ("fail", "critical")
    assert "no file that was read holds it (127.0.0.1:6443)" in finding["because"]
    assert finding["remedy"]["text"].startswith("Restart the daemon")


def test_what_k3s_itself_presents_is_judged(node: PkiNode) -> None:
    """Its supervisor's certificate at 6443, which is in no file of certificates."""
    tls = "var/lib/rancher/k3s/server/tls"
    own = key("P-256", 50)
    good = pem(node.cluster.issue(server("kube-apiserver"), own)) + traditional_pem(own)
    ended = server("k3s", not_before=NOW - 366 * DAY, not_after=NOW - DAY)
    old = pem(node.cluster.issue(ended, own)) + traditional_pem(own)
    write(node.root / tls / "serving-kube-apiserver.crt", good)
    write(node.root / "etc/rancher/dynamic.pem", old)
    dynamic = "/etc/rancher/dynamic.pem"
    k3s = ["k3s", "-accept", "127.0.0.1:6443", "-cert", dynamic, "-key", dynamic]
    found = look(node, servers=[k3s], ports=[6443])["cert.expiry.other"]
    assert (found["status"], found["severity"]) == ("fail", "critical")
    assert "supervisor-server expired on 2026-11-21 04:00:00 UTC" in found["because"]
    assert "127.0.0.1:6443" in found["because"]


def test_a_kubelet_that_is_down_is_judged_on_a_running_host(node: PkiNode) -> None:
    ended = {"not_before": NOW - 366 * DAY, "not_after": NOW - DAY}
    for good in (node.root / "var/lib/kubelet/pki").glob("kubelet-client-*"):
        good.unlink()
    node.kubelet(client(NAME, "system:nodes", **ended), server(NAME))
    start = "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml"
    flags = "--kubeconfig=/etc/kubernetes/kubelet.conf"
    unit = f"[Service]\nExecStart={start} {flags}\n"
    write(node.root / "etc/systemd/system/kubelet.service", unit)
    found = look(node, servers=[API], ports=[6443])["cert.expiry.kubelet-client"]
    assert (found["status"], found["severity"]) == ("fail", "critical")
    assert "kubelet, which does not run, cannot come back with it" in found["because"]
    assert any("kubeadm kubeconfig user" in step for step in found["remedy"]["steps"])
