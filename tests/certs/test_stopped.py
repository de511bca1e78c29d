"""What is in use: what a daemon that is down will need, and what its settings have it use."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Spec, key, pem, write
from nodeward.model import Finding
from pki_node import CURRENT, NAME, PkiNode, server

KUBELET_UNIT = """\
[Service]
ExecStart=/usr/bin/kubelet --kubeconfig=/etc/kubernetes/kubelet.conf \
 --config=/var/lib/kubelet/config.yaml
Restart=always
"""
LATE = NOW + 400 * DAY


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    node = PkiNode(tmp_path / "root").build()
    write(node.root / "usr/lib/systemd/system/kubelet.service", KUBELET_UNIT)
    return node


def expiry(node: PkiNode, component: str, at: datetime = LATE) -> Finding:
    check = f"cert.expiry.{component}"
    return node.findings(at, check)[check]


def test_a_kubelet_that_is_down_cannot_come_back_with_an_expired_certificate(
    node: PkiNode,
) -> None:
    node.stop(10)
    found = expiry(node, "kubelet-client")
    assert (found.status, found.severity) == ("fail", "critical")
    assert f"/{CURRENT}" in found.because
    assert "cannot come back" in found.because


def test_nor_can_a_worker_on_which_nothing_runs(node: PkiNode) -> None:
    node.stop(10, 11, 12, 13, 14)
    shutil.rmtree(node.pki)
    assert expiry(node, "kubelet-client").severity == "critical"


def test_its_rotation_is_judged_while_it_is_down(node: PkiNode) -> None:
    node.stop(10)
    assert node.findings(LATE, "cert.rotation-stalled")["cert.rotation-stalled"].status == "fail"


def test_its_settings_name_its_files_while_it_is_down(node: PkiNode) -> None:
    """tlsCertFile of its configuration, and not what lies at the usual place."""
    spec = server(NAME, not_before=NOW, not_after=NOW + 10 * DAY)
    write(node.root / "srv/own.crt", pem(node.cluster.issue(spec, key("P-256", 44))))
    config = node.root / "var/lib/kubelet/config.yaml"
    config.write_text(config.read_text() + "tlsCertFile: /srv/own.crt\n")
    node.stop(10)
    found = expiry(node, "kubelet-server")
    assert found.severity == "critical"
    assert "/srv/own.crt" in found.because


def test_what_nothing_starts_is_left_over(node: PkiNode) -> None:
    """The kubelet was removed; its folder was not."""
    node.stop(10)
    (node.root / "usr/lib/systemd/system/kubelet.service").unlink()
    found = expiry(node, "kubelet-client")
    assert (found.status, found.severity) == ("fail", "low")


def test_a_control_plane_of_units_counts_while_it_is_down(node: PkiNode) -> None:
    """Without static pods: its enabled unit names the files."""
    flags = " ".join(f"--{name}={value}" for name, value in node.apiserver.items())
    unit = f"[Service]\nExecStart=/usr/local/bin/kube-apiserver {flags}\n"
    spec = server("api", not_before=NOW, not_after=NOW + 10 * DAY)
    write(node.root / "srv/api.crt", pem(node.cluster.issue(spec, key("P-256", 45))))
    unit = unit.replace("/etc/kubernetes/pki/apiserver.crt", "/srv/api.crt")
    path = write(node.root / "etc/systemd/system/kube-apiserver.service", unit)
    node.stop(11)
    assert "/srv/api.crt" not in expiry(node, "apiserver").because
    wants = node.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / path.name).symlink_to(f"/etc/systemd/system/{path.name}")
    found = expiry(node, "apiserver")
    assert found.severity == "critical"
    assert "/srv/api.crt" in found.because


def test_k3s_renews_at_its_start_what_has_ended_while_it_was_down(tmp_path: Path) -> None:
    from kubeadm_tree import add_process
    from nodeward.agent.scan import scan, select
    from nodeward.host import TreeHost

    node = PkiNode(tmp_path)
    write(tmp_path / "proc/stat", f"btime {int(NOW.timestamp())}\n")
    add_process(tmp_path, 1, ["init"], exe="/sbin/init")
    write(tmp_path / "etc/systemd/system/k3s.service",
          "[Service]\nExecStart=/usr/local/bin/k3s server\n")  # fmt: skip
    spec = Spec(not_after=NOW - DAY)
    path = "var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt"
    write(tmp_path / path, pem(node.cluster.issue(spec, key("P-256", 46))))
    check = "cert.expiry.apiserver"
    (found,) = scan(TreeHost(tmp_path), select([check]), at=NOW.timestamp()).findings
    assert (found.status, found.severity) == ("fail", "low")
    assert "k3s, which does not run, renews it at its start" in found.because


def test_the_kubelet_client_is_no_matter_of_a_host_without_one(node: PkiNode) -> None:
    """A pure control plane: nothing of a kubelet is there."""
    node.stop(10)
    (node.root / "usr/lib/systemd/system/kubelet.service").unlink()
    shutil.rmtree(node.root / "var/lib/kubelet")
    (node.root / "etc/kubernetes/kubelet.conf").unlink()
    assert expiry(node, "kubelet-client").status == "not-applicable"


OFF = "serverTLSBootstrap: true", "serverTLSBootstrap: false"


def serving(node: PkiNode, **lives: datetime) -> None:
    """The pair that the kubelet makes for itself, beside the one that it once asked for."""
    issued = node.cluster.issue(server(NAME, **lives), key("P-256", 47))
    write(node.root / "var/lib/kubelet/pki/kubelet.crt", pem(issued))


def test_a_kubelet_that_asks_the_cluster_no_more_uses_its_own_pair(node: PkiNode) -> None:
    serving(node, not_before=NOW - 400 * DAY, not_after=NOW - DAY)
    assert expiry(node, "kubelet-server", NOW).status == "fail"
    assert expiry(node, "kubelet-server", NOW).severity == "low"  # it asks: the pair is left over
    config = node.root / "var/lib/kubelet/config.yaml"
    config.write_text(config.read_text().replace(*OFF))
    found = expiry(node, "kubelet-server", NOW)
    assert found.severity == "critical"
    assert "/var/lib/kubelet/pki/kubelet.crt" in found.because


def test_a_kubelet_with_a_folder_of_its_own_uses_no_other(node: PkiNode) -> None:
    """What lies at the usual place is of a kubelet before it."""
    config = node.root / "var/lib/kubelet/config.yaml"
    config.write_text(config.read_text().replace(*OFF))
    serving(node, not_before=NOW - 400 * DAY, not_after=NOW - DAY)
    node.stop(10)
    node.process(10, "kubelet", {"config": "/var/lib/kubelet/config.yaml",
                                 "kubeconfig": "/etc/kubernetes/kubelet.conf",
                                 "cert-dir": "/var/lib/own/"})  # fmt: skip
    issued = node.cluster.issue(server(NAME), key("P-256", 48))
    write(node.root / "var/lib/own/kubelet.crt", pem(issued))
    found = expiry(node, "kubelet-server", NOW)
    assert (found.status, found.severity) == ("fail", "low")
    assert "/var/lib/kubelet/pki/kubelet.crt" in found.because
