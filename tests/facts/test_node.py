"""What makes a host a Kubernetes node, of which distribution and in which role."""

import pytest

from nodeward.facts.node import PATHS, Distribution, Node, Role, recognise
from nodeward.facts.processes import Process


def process(exe: str, *argv: str, pid: int = 7) -> Process:
    return Process(pid, 1, exe.rpartition("/")[2][:15], exe, argv or (exe,), 0.0, 0)


def of(*processes: Process, files: tuple[str, ...] = (), os_id: str = "debian") -> Node:
    node = recognise(processes, set(files), os_id)
    assert node is not None
    return node


# distribution: (processes, files, os id) -> roles
REAL = {
    "kubeadm worker": (
        [process("/usr/bin/kubelet", "/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml")],
        ["/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env"],
        "debian", Distribution.KUBEADM, (Role.WORKER,),
    ),
    "kubeadm control plane": (
        [process("/usr/bin/kubelet"), process("/usr/local/bin/kube-apiserver"), process("/etcd")],
        ["/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"],
        "ubuntu", Distribution.KUBEADM, (Role.CONTROL_PLANE, Role.ETCD),
    ),
    "k3s server": (
        [process("/var/lib/rancher/k3s/data/abc/bin/k3s", "/usr/local/bin/k3s server")],
        ["/var/lib/rancher/k3s"], "sles", Distribution.K3S, (Role.CONTROL_PLANE,),
    ),
    "k3s agent": (
        [process("/var/lib/rancher/k3s/data/abc/bin/k3s", "/usr/local/bin/k3s", "agent")],
        [], "sles", Distribution.K3S, (Role.WORKER,),
    ),
    "rke2 server": (
        [
            process("/usr/local/bin/rke2", "/usr/local/bin/rke2 server"),
            process("/var/lib/rancher/rke2/data/v1/bin/kubelet"),
        ],
        [], "rhel", Distribution.RKE2, (Role.CONTROL_PLANE,),
    ),
    "k0s controller alone": (
        [process("/usr/local/bin/k0s", "/usr/local/bin/k0s", "controller")],
        [], "debian", Distribution.K0S, (Role.CONTROL_PLANE,),
    ),
    "microk8s": (
        [process("/snap/microk8s/1/kubelite")],
        ["/var/snap/microk8s/current"], "ubuntu", Distribution.MICROK8S, (Role.CONTROL_PLANE,),
    ),
    "microk8s that joined as a worker": (
        [process("/snap/microk8s/1/kubelite")],
        ["/var/snap/microk8s/current/var/lock/clustered.lock"],
        "ubuntu", Distribution.MICROK8S, (Role.WORKER,),
    ),
    "eks": (
        [process("/usr/bin/kubelet")], ["/etc/eks"], "amzn", Distribution.EKS, (Role.WORKER,),
    ),
    "aks": (
        [process("/opt/bin/kubelet")],
        ["/opt/azure/containers"], "ubuntu", Distribution.AKS, (Role.WORKER,),
    ),
    "gke": (
        [process("/home/kubernetes/bin/kubelet")],
        ["/home/kubernetes/bin"], "cos", Distribution.GKE, (Role.WORKER,),
    ),
    "openshift": (
        [process("/usr/bin/kubelet")],
        ["/etc/openshift"], "rhcos", Distribution.OPENSHIFT, (Role.WORKER,),
    ),
    "talos": (
        [process("/usr/local/bin/kubelet")], [], "talos", Distribution.TALOS, (Role.WORKER,),
    ),
    "by hand": (
        [process("/opt/kubelet")], [], "arch", Distribution.UNKNOWN, (Role.WORKER,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_a_running_node_is_recognised_by_its_processes_and_marks(name: str) -> None:
    processes, files, os_id, distribution, roles = REAL[name]
    node = of(*processes, files=tuple(files), os_id=os_id)
    assert (node.distribution, node.roles, node.running) == (distribution, roles, True)


def test_an_image_is_recognised_by_its_units() -> None:
    node = of(files=("/etc/systemd/system/k3s-agent.service",))
    assert (node.distribution, node.roles, node.running) == (
        Distribution.K3S, (Role.WORKER,), False,
    )  # fmt: skip


def test_a_control_plane_at_rest_is_told_by_its_manifests() -> None:
    node = of(
        files=("/etc/kubernetes/kubelet.conf", "/etc/kubernetes/manifests/kube-apiserver.yaml")
    )
    assert node.control_plane
    assert not node.running


def test_what_runs_outweighs_files_left_behind() -> None:
    node = of(process("/usr/bin/kubelet"), files=("/etc/kubernetes/manifests/kube-apiserver.yaml",))
    assert node.roles == (Role.WORKER,)


@pytest.mark.parametrize(
    ("processes", "files"),
    [
        ([], []),
        ([process("/usr/bin/sshd")], []),
        ([process("/usr/bin/etcd")], []),  # etcd serves others too
        ([], ["/etc/rancher/k3s"]),  # left behind
        ([process("/usr/local/bin/k3s", "k3s", "kubectl", "get", "nodes")], []),
    ],
)
def test_no_node_is_made_of_less(processes: list[Process], files: list[str]) -> None:
    assert recognise(processes, set(files)) is None


@pytest.mark.parametrize("processes", [[], [process("/usr/bin/etcd")]])
def test_a_host_of_kubernetes_etcd_alone_is_one_of_its_hosts(processes: list[Process]) -> None:
    node = of(*processes, files=("/etc/kubernetes/pki/etcd/server.crt",))
    assert node.roles == (Role.ETCD,)
    assert node.running is bool(processes)


def test_etcd_alone_does_not_outweigh_what_is_installed() -> None:
    files = ("/etc/kubernetes/pki/etcd/server.crt", "/etc/kubernetes/manifests/kube-apiserver.yaml")
    node = of(process("/usr/bin/etcd"), files=files)
    assert node.control_plane
    assert not node.running


def test_each_sign_says_where_it_was_seen() -> None:
    node = of(process("/usr/bin/kubelet", pid=812), files=("/lib/systemd/system/kubelet.service",))
    assert [(s.what, s.source) for s in node.signs] == [
        ("process kubelet", "pid 812"),
        ("unit", "/lib/systemd/system/kubelet.service"),
    ]


def test_a_merged_usr_names_a_unit_once() -> None:
    node = of(
        files=("/lib/systemd/system/kubelet.service", "/usr/lib/systemd/system/kubelet.service")
    )
    assert [s.source for s in node.signs] == ["/usr/lib/systemd/system/kubelet.service"]


def test_paths_are_named_once() -> None:
    assert len(set(PATHS)) == len(PATHS)
