"""Node as it is read from a tree at rest and from this machine."""

import os
from pathlib import Path

from nodeward.agent.runner import Looker
from nodeward.facts.node import Distribution, Node, Role
from nodeward.host import LiveHost, TreeHost
from nodeward.model import Absent, Seen, Unreadable


def put(root: Path, path: str, text: str = "") -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_an_image_with_a_kubelet_unit_is_a_node_to_be(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib/systemd/system/kubelet.service", "[Unit]\n")
    put(tmp_path, "/etc/os-release", 'ID="bottlerocket"\nVARIANT_ID=aws-k8s-1.33\n')
    reading = Looker(TreeHost(tmp_path)).look(Node)
    assert isinstance(reading, Seen)
    assert isinstance(reading.fact, Node)
    assert reading.fact.distribution is Distribution.EKS
    assert reading.fact.roles == (Role.WORKER,)


def test_a_tree_without_kubernetes_is_no_node(tmp_path: Path) -> None:
    put(tmp_path, "/etc/os-release", "ID=debian\n")
    assert Looker(TreeHost(tmp_path)).look(Node) == Absent("Kubernetes")


def test_a_masked_unit_is_not_there(tmp_path: Path) -> None:
    put(tmp_path, "/dev/null")
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    os.mkfifo(tmp_path / "dev/nothing")
    (units / "kubelet.service").symlink_to("/dev/nothing")
    assert isinstance(Looker(TreeHost(tmp_path)).look(Node), Absent)


def test_a_kubelet_in_a_container_is_not_the_hosts(tmp_path: Path) -> None:
    """The host of a kind cluster shows the kubelet of its container in its process table."""
    for pid, net in ((1, "net:[1]"), (7, "net:[2]")):
        put(tmp_path, f"/proc/{pid}/stat", f"{pid} (kubelet) S 1 " + "0 " * 40)
        put(tmp_path, f"/proc/{pid}/cmdline", "/usr/bin/kubelet\0" if pid == 7 else "init\0")
        (tmp_path / f"proc/{pid}/ns").mkdir()
        (tmp_path / f"proc/{pid}/ns/net").symlink_to(net)
    assert isinstance(Looker(TreeHost(tmp_path)).look(Node), Absent)


def test_this_machine_gives_an_answer() -> None:
    assert isinstance(Looker(LiveHost()).look(Node), Seen | Absent | Unreadable)
