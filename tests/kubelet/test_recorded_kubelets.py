"""Five recorded kubelets, each played by a process of that name, and scanned as any host is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kubelet_standin
import tls_keys

TESTS = Path(__file__).parents[1]
DATA = TESTS / "data" / "kubelet"
SCENARIOS = ("open", "noconfig", "flags-open", "kubeadm", "anon-webhook")

pytestmark = pytest.mark.root


def scan(folder: Path, *arguments: str) -> dict[str, Any]:
    """Findings by check of the host that the folder describes."""
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child",
         sys.executable, str(TESTS / "kubelet_host.py"), str(folder), "-o", "json",
         "--check", "kubelet.*", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {f["check"]: f for f in json.loads(done.stdout)["findings"]}


def prepare(scenario: str, folder: Path) -> Path:
    """A copy of the recording, with keys of its own."""
    place = folder / scenario
    shutil.copytree(DATA / scenario, place)
    authority = tls_keys.make("k8s-node1-ca@1795318021", ca=True)
    tls_keys.make("k8s-node1@1795318021", authority).write(place, "server")
    if kubelet_standin.names_a_client_ca(place):
        (place / "ca.crt").write_bytes(tls_keys.make("kubernetes", ca=True).pem)
    return place


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("recorded")
    return {name: scan(prepare(name, folder)) for name in SCENARIOS}


TRUTH = {
    # scenario: anonymous, authorization mode, read-only port
    "open": ("fail", "fail", "fail"),
    "noconfig": ("fail", "fail", "fail"),
    "flags-open": ("fail", "fail", "fail"),
    "kubeadm": ("pass", "pass", "pass"),
    "anon-webhook": ("fail", "pass", "pass"),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_recorded_kubelet_is_judged_by_what_is_in_force(
    findings: dict[str, dict[str, Any]], scenario: str
) -> None:
    found = findings[scenario]
    ids = ("kubelet.authn.anonymous", "kubelet.authz.mode", "kubelet.port.readonly")
    assert tuple(found[i]["status"] for i in ids) == TRUTH[scenario]
