"""Other builds of the package than this checkout's own, each made by its tree's own script/deb."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from node import ROOT

GIT = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
OLD_COMMENT = "# Settings of the nodeward agent, as the build before had them.\n"


def older(folder: Path) -> Path:
    """This checkout under an older version, and with other words in its conffile."""
    listed = subprocess.run(
        [*GIT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    _replace(folder / "pyproject.toml", 'version = "0.1.0"', 'version = "0.0.9"')
    _replace(folder / "packaging/deb/debian/changelog", "nodeward (0.1.0)", "nodeward (0.0.9)")
    conffile = folder / "packaging/deb/agent.yaml"
    conffile.write_text(OLD_COMMENT + conffile.read_text())
    return _built(folder)


def of_commit(commit: str, folder: Path) -> Path:
    """The package as that commit made it, under a version of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run([*GIT, "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    changelog = folder / "packaging/deb/debian/changelog"
    _replace(changelog, "nodeward (0.1.0)", "nodeward (0.1.0~before)")  # of the same release
    return _built(folder)


def some_time_ago() -> str | None:
    """The commit of the last tag, or one a hundred commits back; None in a shallow clone."""
    for argv in (["describe", "--tags", "--abbrev=0", "HEAD^"], ["rev-parse", "HEAD~100"]):
        done = subprocess.run([*GIT, *argv], capture_output=True, text=True, check=False)
        if not done.returncode:
            return done.stdout.strip()
    return None


def _built(folder: Path) -> Path:
    """script/deb takes what git lists."""
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    subprocess.run(["git", "-C", folder, "add", "--all"], check=True)
    done = subprocess.run(
        [folder / "script" / "deb"], capture_output=True, text=True, check=False,
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
    )  # fmt: skip
    assert not done.returncode, f"{done.stdout}\n{done.stderr}"
    return folder / done.stdout.split()[-1]


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} does not say {old}"
    path.write_text(text.replace(old, new, 1))
