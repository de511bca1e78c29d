"""The recipe of the image."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from node import ROOT

CONTAINER = ROOT / "packaging" / "container"


def test_hadolint_has_nothing_to_say() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, CONTAINER / "Containerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_python_package_of_the_image_is_pinned() -> None:
    """`script/lock` pins them: what pyproject.toml asks for must be among them, with hashes."""
    text = (CONTAINER / "requirements.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+) \\\n    --hash=sha256:", text, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [
        one for extra in ("agent", "collector", "postgres") for one in extras[extra]
    ]
    names = {re.split(r"[^A-Za-z0-9.-]", one)[0].lower() for one in wanted}
    assert names - set(pinned) == set()
