"""What the tests of the Debian package start from."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import ROOT, TREE, Node, boot
from package import builds


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


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every node sees as /media."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(scope="session")
def older_deb(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a build before this one, in /media."""
    return Path(shutil.copy(builds.older(tmp_path_factory.mktemp("older")), shelf))


@pytest.fixture
def bare_node(deb: Path, shelf: Path, provision: Path, tmp_path: Path) -> Iterator[Node]:
    """A booted node with the package in /mnt, not installed; in /opt the provisioning scripts."""
    if not TREE.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("script/node-tree makes the node")
    binds = {deb.parent: "/mnt", shelf: "/media", provision: "/opt"}
    with boot(tmp_path, binds=binds) as node:
        yield node


@pytest.fixture
def node(bare_node: Node, deb: Path) -> Node:
    """A booted node on which the package is installed and nothing is configured."""
    bare_node.sh(f"dpkg -i /mnt/{deb.name}")
    return bare_node
