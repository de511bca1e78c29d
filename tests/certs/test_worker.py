"""A worker after its TLS bootstrap, from the recording of one."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from kubeadm_tree import BOOT, DATA, NO_KEY, NOW, add_process
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding

CURRENT = "kubelet-client-2026-11-22-03-52-20.pem"


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """Its kubeconfigs as recorded, its certificates those of the control plane's kubelet."""
    kubernetes, kubelet = tmp_path / "etc/kubernetes", tmp_path / "var/lib/kubelet/pki"
    (kubernetes / "pki").mkdir(parents=True)
    kubelet.mkdir(parents=True)
    for name in ("kubelet.conf", "bootstrap-kubelet.conf"):
        shutil.copy(DATA / "worker-tls-bootstrap" / name, kubernetes / name)
        (kubernetes / name).chmod(0o600)
    shutil.copy(DATA / "etc/kubernetes/pki/ca.crt", kubernetes / "pki/ca.crt")
    shutil.copy(DATA / "var/lib/kubelet/pki" / CURRENT, kubelet / CURRENT)
    (kubelet / CURRENT).chmod(0o600)
    with (kubelet / CURRENT).open("a") as file:
        file.write(NO_KEY)
    (kubelet / "kubelet-client-current.pem").symlink_to(f"/var/lib/kubelet/pki/{CURRENT}")
    (tmp_path / "etc/hostname").write_text("k8s-node1\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(f"btime {int(BOOT.timestamp())}\n")
    argv = [
        "kubelet",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--client-ca-file=/etc/kubernetes/pki/ca.crt",
        "--rotate-certificates=true",
    ]
    add_process(tmp_path, 7, argv, exe="/usr/bin/kubelet")
    return tmp_path


def findings(root: Path) -> dict[str, Finding]:
    at = datetime.fromisoformat(NOW).timestamp()
    return {f.check: f for f in scan(TreeHost(root), select(["cert.*"]), at=at).findings}


def test_its_open_point_is_the_bootstrap_token(worker: Path) -> None:
    found = findings(worker)
    assert {c for c, f in found.items() if f.status == "fail"} == {"cert.bootstrap-token"}
    assert "/etc/kubernetes/bootstrap-kubelet.conf" in found["cert.bootstrap-token"].because


def test_what_a_control_plane_has_is_not_asked_of_it(worker: Path) -> None:
    found = findings(worker)
    absent = {c.removeprefix("cert.") for c, f in found.items() if f.status == "not-applicable"}
    assert absent >= {"expiry.apiserver", "expiry.etcd-server", "front-proxy", "bootstrap-api",
                      "etcd-ca-shared", "sa-key-age", "webhook"}  # fmt: skip
    assert found["cert.ca-key-on-node"].status == "pass"
    assert found["cert.expiry.kubelet-client"].status == "pass"
    assert found["cert.chain"].status == "pass"
    assert "verifies against" in str(found["cert.chain"].evidence)


def test_without_its_bootstrap_kubeconfig_nothing_is_open(worker: Path) -> None:
    (worker / "etc/kubernetes/bootstrap-kubelet.conf").unlink()
    assert not [c for c, f in findings(worker).items() if f.status == "fail"]
