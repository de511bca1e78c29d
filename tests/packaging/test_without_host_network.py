"""The chart's page says what is not known without hostNetwork: a node is looked at both ways."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from kubelet_scenarios import prepare
from node import ROOT

pytestmark = pytest.mark.root

TWICE = """\
import os, subprocess, sys
scan = [sys.executable, "-m", "nodeward.cli", "scan", "-o", "json", "--check"]
host = os.environ | {"NODEWARD_HOST_ROOT": "/"}
for way in ([], ["unshare", "--net"]):
    for part in ("kubelet.*", "cert.*"):
        subprocess.run([*way, *scan, part], env=host, check=True)
"""


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Findings in the host's own network, and in another."""
    place = prepare("kubeadm", tmp_path_factory.mktemp("kubeadm"))
    program = tmp_path_factory.mktemp("twice") / "twice.py"
    program.write_text(TWICE)
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child",
         sys.executable, ROOT / "tests/kubelet_host.py", place],
        env=os.environ | {"STANDIN_RUN": str(program)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    found, at, reports = json.JSONDecoder(), 0, []
    while at < len(done.stdout.rstrip()):
        report, at = found.raw_decode(done.stdout, at)
        at += len(done.stdout[at:]) - len(done.stdout[at:].lstrip())
        reports.append({f["check"]: f for f in report["findings"]})
    return reports[0] | reports[1], reports[2] | reports[3]


def test_no_verdict_gets_better_and_what_changes_is_in_the_table(
    ways: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    own, other = ways
    changed = {check for check, f in own.items() if f["status"] != other[check]["status"]}
    assert changed == {"cert.inuse-mismatch", "cert.expiry.kubelet-server"}
    assert not [c for c in changed if other[c]["status"] == "pass"]
    assert {other[c]["status"] for c in changed} == {"unknown"}


def test_what_is_judged_from_configuration_says_so(
    ways: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    for check in ("authn.anonymous", "authz.mode", "port.readonly", "tls.min-version"):
        assert ways[1][f"kubelet.{check}"]["because"].endswith("from configuration, not probed")
