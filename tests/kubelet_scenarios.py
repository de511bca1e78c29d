"""The recordings of tests/data/kubelet, ready to be played, and scanned as any host is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubelet_standin
import tls_keys

TESTS = Path(__file__).parent
DATA = TESTS / "data" / "kubelet"
PATIENT = str(TESTS / "kubelet_patient.py")
SCENARIOS = ("open", "noconfig", "flags-open", "kubeadm", "anon-webhook")


def prepare(scenario: str, folder: Path) -> Path:
    """A copy of the recording, with keys of its own."""
    place = folder / scenario
    shutil.copytree(DATA / scenario, place)
    authority = tls_keys.make("k8s-node1-ca@1795318021", ca=True)
    tls_keys.make("k8s-node1@1795318021", authority).write(place, "server")
    if kubelet_standin.names_a_client_ca(place):
        (place / "ca.crt").write_bytes(tls_keys.make("kubernetes", ca=True).pem)
    return place


def scan(
    folder: Path, *arguments: str, mode: str = "", check: str = "kubelet.*", **environment: str
) -> dict[str, Any]:
    """Findings by check of the host that the folder describes; see kubelet_host.py."""
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child",
         sys.executable, str(TESTS / "kubelet_host.py"), str(folder), "-o", "json",
         "--check", check, *arguments],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "STANDIN_MODE": mode, "STANDIN_RUN": "" if mode else PATIENT,
             **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout  # a password in a pod that /pods shows
    return {f["check"]: f for f in json.loads(done.stdout)["findings"]}
