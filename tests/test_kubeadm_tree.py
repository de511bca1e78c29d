"""The kubeadm node that other tests judge is the one that was recorded."""

from datetime import datetime
from pathlib import Path

from kubeadm_tree import DATA, NOW, STARTED
from nodeward.facts.processes import Processes
from nodeward.host import TreeHost
from nodeward.probes.processes import read_processes


def test_modes_are_those_of_the_node(kubeadm_root: Path) -> None:
    for line in (DATA / "STAT.txt").read_text().splitlines():
        _, mode, _, _, path = line.split(" ", 4)
        assert f"{(kubeadm_root / path).lstat().st_mode & 0o777:o}" == mode, path


def test_processes_are_those_of_the_node(kubeadm_root: Path) -> None:
    found = read_processes.read(TreeHost(kubeadm_root))
    assert isinstance(found, Processes)
    started = {p.program: p for p in found.rows}
    assert set(started) == {
        "systemd",
        "kubelet",
        "kube-apiserver",
        "etcd",
        "kube-controller-manager",
        "kube-scheduler",
        "containerd",
    }
    kubelet = started["kubelet"]
    assert kubelet.argv is not None
    assert "--config=/var/lib/kubelet/config.yaml" in kubelet.argv
    assert kubelet.started_at == STARTED.timestamp() < datetime.fromisoformat(NOW).timestamp()


def test_the_client_certificate_is_reached_through_its_link(kubeadm_root: Path) -> None:
    current = TreeHost(kubeadm_root).read("/var/lib/kubelet/pki/kubelet-client-current.pem")
    assert b"BEGIN CERTIFICATE" in current
