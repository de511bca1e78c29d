"""What the tests of chart and image start from."""

import subprocess
from pathlib import Path

import pytest

from node import ROOT

IMAGE = ROOT / ".cache/nodeward.oci"  # script/image makes it


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's file system."""
    assert IMAGE.is_file(), "script/image makes it"
    at = tmp_path_factory.mktemp("image")
    layout = f"{at / 'oci'}:nodeward"
    (at / "oci").mkdir()
    subprocess.run(["tar", "xf", IMAGE, "-C", at / "oci"], check=True)
    subprocess.run(["umoci", "unpack", "--image", layout, at / "bundle"], check=True)
    return at / "bundle/rootfs"
