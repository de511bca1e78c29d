"""The package's own tests, as Debian would run them on an installed node."""

import shutil
import subprocess
from pathlib import Path

import pytest

from node import ROOT, Node

pytestmark = [pytest.mark.root, pytest.mark.long]

SERVER = Path(__file__).parent / "autopkgtest-virt-node"


def test_the_installed_package_passes_its_own_tests(
    bare_node: Node, deb: Path, tmp_path: Path
) -> None:
    source = tmp_path / "nodeward"
    shutil.copytree(ROOT / "packaging/deb/debian", source / "debian")
    (source / "debian/files").touch()  # what a tree that was built has
    done = subprocess.run(
        ["/usr/bin/python3", "/usr/bin/autopkgtest", "--no-built-binaries",
         f"--output-dir={tmp_path / 'out'}", deb, source, "--",
         SERVER, str(bare_node.leader)],
        capture_output=True, text=True, check=False, timeout=250,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert not done.returncode, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    assert (tmp_path / "out/summary").read_text().split() == ["installed", "PASS"]
