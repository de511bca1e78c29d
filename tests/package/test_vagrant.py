"""The Vagrantfile is one that vagrant takes. Only the long tier, where vagrant is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from node import ROOT

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.long
@pytest.mark.parametrize("fault", ["", "libvirt.memory"])
def test_vagrant_takes_the_file_and_refuses_a_wrong_setting(tmp_path: Path, fault: str) -> None:
    if shutil.which("vagrant", path=PATH) is None:
        pytest.skip("vagrant is not installed (apt-get install vagrant vagrant-libvirt)")
    text = (ROOT / "vagrant" / "Vagrantfile").read_text()
    assert fault in text
    shutil.copytree(ROOT / "vagrant", tmp_path / "vagrant")
    (tmp_path / "dist").mkdir()
    broken = text.replace(fault, fault + "x") if fault else text
    (tmp_path / "vagrant" / "Vagrantfile").write_text(broken)
    done = subprocess.run(
        ["vagrant", "validate"], cwd=tmp_path / "vagrant", check=False, capture_output=True,
        env={"PATH": PATH, "HOME": str(tmp_path), "VAGRANT_HOME": str(tmp_path / "home"),
             "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_DEFAULT_PROVIDER": "libvirt",
             "LANG": os.environ.get("LANG", "C.UTF-8")},
    )  # fmt: skip
    assert (b"memoryx" in done.stderr + done.stdout) is bool(fault)
    assert (done.returncode == 0) is (not fault), (done.stdout + done.stderr).decode()
