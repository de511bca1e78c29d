"""The provisioning scripts of vagrant/ on a node that has booted, and what is said of it then."""

import pytest

from node import ROOT, Node

pytestmark = pytest.mark.root

VAGRANT = ROOT / "vagrant"
KEPT = "find /etc/kubernetes /var/lib/kubelet /etc/systemd/system /usr/bin/kubelet -type f | sort"


@pytest.mark.parametrize("profile", ["hardened", "mis-hardened"])
def test_a_provisioned_node_is_judged_as_expected(profile: str, bare_node: Node) -> None:
    _provision(bare_node, profile)
    before = bare_node.sh(f"{KEPT} | xargs sha256sum")
    _provision(bare_node, profile)
    assert bare_node.sh(f"{KEPT} | xargs sha256sum") == before, "a second run changed something"
    bare_node.write("/root/expected.txt", (VAGRANT / "expected" / f"{profile}.txt").read_text())
    done = bare_node.run("sh", "/opt/expect.sh", "/root/expected.txt", check=False)
    assert not done.returncode, done.stdout + done.stderr


def _provision(node: Node, profile: str) -> None:
    node.run("sh", "/opt/package.sh", "/mnt")
    node.run("sh", "/opt/kubelet.sh", "/opt")
    node.run("sh", f"/opt/{profile}.sh")


def test_an_expectation_that_is_not_met_is_noticed(node: Node) -> None:
    node.write("/root/wrong.txt", "fail cert.expiry.apiserver\n")
    done = node.run("sh", "/opt/expect.sh", "/root/wrong.txt", check=False)
    assert done.returncode == 1
    assert "wanted fail, found not-applicable" in done.stdout
