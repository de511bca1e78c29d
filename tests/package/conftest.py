"""What the tests of the Debian package start from."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import ROOT, TREE, Node, boot


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package, built from this checkout by the one command that builds it."""
    done = subprocess.run(
        [ROOT / "script" / "deb", "--lint"], capture_output=True, text=True, check=False
    )
    assert not done.returncode, f"{done.stdout}\n{done.stderr}"
    return ROOT / done.stdout.split()[-1]


@pytest.fixture(scope="session")
def provision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, and beside them what they would compile on a machine with a network."""
    folder = tmp_path_factory.mktemp("provision")
    for path in (ROOT / "vagrant" / "provision").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / path.name).chmod(0o755)
    subprocess.run(
        ["gcc", "-O1", "-static", "-o", folder / "kubelet", folder / "kubelet.c"], check=True
    )
    return folder


@pytest.fixture
def bare_node(deb: Path, provision: Path, tmp_path: Path) -> Iterator[Node]:
    """A booted node with the package in /mnt, not installed; in /opt the provisioning scripts."""
    if not TREE.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("script/node-tree makes the node")
    with boot(tmp_path, binds={deb.parent: "/mnt", provision: "/opt"}) as node:
        yield node


@pytest.fixture
def node(bare_node: Node, deb: Path) -> Node:
    """A booted node on which the package is installed and nothing is configured."""
    bare_node.sh(f"dpkg -i /mnt/{deb.name}")
    return bare_node
