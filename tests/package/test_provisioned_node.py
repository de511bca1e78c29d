"""The provisioning scripts of vagrant/ on a node that has booted, and what is said of it then."""

import subprocess
from pathlib import Path

import pytest

from node import ROOT, Node, boot

pytestmark = pytest.mark.root

VAGRANT = ROOT / "vagrant"
KEPT = "find /etc/kubernetes /var/lib/kubelet /etc/systemd/system /usr/bin/kubelet -type f | sort"


@pytest.fixture(scope="session")
def provision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, and beside them what they would compile on a machine with a network."""
    folder = tmp_path_factory.mktemp("provision")
    for path in (VAGRANT / "provision").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    subprocess.run(
        ["gcc", "-O1", "-static", "-o", folder / "kubelet", folder / "kubelet.c"], check=True
    )
    return folder


@pytest.mark.parametrize("profile", ["hardened", "mis-hardened"])
def test_a_provisioned_node_is_judged_as_expected(
    profile: str, deb: Path, provision: Path, tmp_path: Path
) -> None:
    binds = {deb.parent: "/mnt", provision: "/opt", VAGRANT / "expected": "/srv"}
    with boot(tmp_path, binds=binds) as node:
        _provision(node, profile)
        before = node.sh(f"{KEPT} | xargs sha256sum")
        _provision(node, profile)
        assert node.sh(f"{KEPT} | xargs sha256sum") == before, "a second run changed something"
        done = node.run("sh", "/opt/expect.sh", f"/srv/{profile}.txt", check=False)
        assert not done.returncode, done.stdout + done.stderr


def _provision(node: Node, profile: str) -> None:
    node.run("sh", "/opt/package.sh", "/mnt")
    node.run("sh", "/opt/kubelet.sh", "/opt")
    node.run("sh", f"/opt/{profile}.sh")


def test_an_expectation_that_is_not_met_is_noticed(node: Node, tmp_path: Path) -> None:
    script = (VAGRANT / "provision" / "expect.sh").read_text()
    node.write("/root/expect.sh", script)
    node.write("/root/wrong.txt", "fail cert.expiry.apiserver\n")
    done = node.run("sh", "/root/expect.sh", "/root/wrong.txt", check=False)
    assert done.returncode == 1
    assert "wanted fail, found not-applicable" in done.stdout
