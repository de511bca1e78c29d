"""The image, really run: with the DaemonSet's rights, against a host mounted at /host."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import helm_chart

pytestmark = [pytest.mark.root, pytest.mark.long]


def container(rootfs: Path, tmp: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command as the chart's DaemonSet would, the machine's own "/" as the node."""
    pod = helm_chart.one(helm_chart.render(), "DaemonSet", "agent")["spec"]["template"]["spec"]
    context = pod["containers"][0]["securityContext"]
    rights = [f"CAP_{name}" for name in context["capabilities"]["add"]]
    state = tmp / "state"
    state.mkdir(exist_ok=True)
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": context["runAsUser"], "gid": context["runAsGroup"]},
            "args": ["/opt/nodeward/bin/nodeward", *arguments],
            "env": ["NODEWARD_HOST_ROOT=/host", "NODEWARD_METADATA=off", "PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), rights),
            "noNewPrivileges": not context["allowPrivilegeEscalation"],
        },
        "root": {"path": str(rootfs), "readonly": context["readOnlyRootFilesystem"]},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            bind("/", "/host", "rbind", "ro", "rslave"),
            bind(str(state), "/var/lib/nodeward", "bind", "rw"),
        ],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    }
    (tmp / "config.json").write_text(json.dumps(spec))
    return subprocess.run(
        ["runc", "--root", tmp / "runc", "run", "--bundle", tmp, f"nodeward-{tmp.name}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def bind(source: str, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": source, "options": options}


def test_it_judges_the_host_and_not_itself(rootfs: Path, tmp_path: Path) -> None:
    done = container(rootfs, tmp_path, "scan", "-o", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["root"] == "/host"
    assert report["live"] is True
    assert report["inventory"]["kernel"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert report["summary"]["error"] == 0, report["findings"]
    assert len(report["findings"]) > 100


def test_the_collector_is_in_it_too(rootfs: Path, tmp_path: Path) -> None:
    done = container(rootfs, tmp_path, "collector", "--help")
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
