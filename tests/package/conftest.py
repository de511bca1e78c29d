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


@pytest.fixture
def bare_node(deb: Path, tmp_path: Path) -> Iterator[Node]:
    """A booted node with the package in /mnt, not installed."""
    if not TREE.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("script/node-tree makes the node")
    with boot(tmp_path, binds={deb.parent: "/mnt"}) as node:
        yield node


@pytest.fixture
def node(bare_node: Node, deb: Path) -> Node:
    """A booted node on which the package is installed and nothing is configured."""
    bare_node.sh(f"dpkg -i /mnt/{deb.name}")
    return bare_node
