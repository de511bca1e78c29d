"""A pod that is given some folders of the host, and not its "/"."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kubeadm_tree import build

# Mounts of a namespace that ends with the program.
MOUNTING = """
set -e
for folder in $FOLDERS; do
  mkdir -p "$TREE$folder" "$HOST$folder"
  mount --rbind "$TREE$folder" "$HOST$folder"
done
exec "$@"
"""


def findings(tmp_path: Path, *folders: str) -> dict[str, dict[str, str]]:
    """What a scan says of a kubeadm node of which these folders are mounted."""
    tree, host = build(tmp_path / "tree"), tmp_path / "host"
    host.mkdir()
    scan = [sys.executable, "-m", "nodeward.cli", "scan", "-o", "json"]
    names = {"HOST": str(host), "TREE": str(tree), "FOLDERS": " ".join(folders)}
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": ":".join(sys.path)}
    environment |= {**names, "NODEWARD_HOST_ROOT": str(host), "NODEWARD_METADATA": "off"}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNTING, "sh", *scan],
        env=environment, capture_output=True, check=False,
    )  # fmt: skip
    return {f["check"]: f for f in json.loads(done.stdout)["findings"]}


@pytest.mark.root
def test_what_lies_under_no_mount_is_unknown_and_never_taken_for_missing(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "part").mkdir()
    whole = findings(
        tmp_path / "all",
        "/proc",
        "/sys",
        "/etc",
        "/var",
        "/usr",
        "/root",
        "/home",
        "/run",
        "/opt",
        "/boot",
        "/lib",
    )
    part = findings(tmp_path / "part", "/proc")
    assert whole["cert.superadmin"]["status"] == "fail"
    assert part["cert.superadmin"]["status"] == "unknown"
    better = [c for c, f in part.items() if f["status"] == "pass" != whole[c]["status"]]
    assert not better
    assert "not mounted" in json.dumps(part)


@pytest.mark.root
def test_a_folder_above_a_mount_is_not_the_hosts(tmp_path: Path) -> None:
    """Its entries are those of the mounts alone, and its mode is the container's."""
    (tmp_path / "part").mkdir()
    told = findings(tmp_path / "part", "/proc", "/etc/kubernetes/pki")
    assert told["cert.superadmin"]["status"] == "unknown"
