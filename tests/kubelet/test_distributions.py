"""What is said of the kubelet of each distribution, line by line.

`script/test tests/kubelet/test_distributions.py --update-goldens` rewrites the files; the reviewer
sees verdicts in the diff.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import kubelet_hosts
import tls_keys
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Status

GOLDENS = Path(__file__).parent / "goldens"
CLIENT_CA = {
    "k3s-1.32": "/var/lib/rancher/k3s/agent/client-ca.crt",
    "k3s-1.30-agent": "/var/lib/rancher/k3s/agent/client-ca.crt",
    "rke2-1.32.2": "/var/lib/rancher/rke2/agent/client-ca.crt",
    "eks-al2023": "/etc/kubernetes/pki/ca.crt",
    "aks-flags": "/etc/kubernetes/certs/ca.crt",
    "aks-file": "/etc/kubernetes/certs/ca.crt",
    "gke": "/etc/srv/kubernetes/pki/ca-certificates.crt",
    "openshift": "/etc/kubernetes/kubelet-ca.crt",
    "microk8s": "/var/snap/microk8s/current/certs/ca.crt",
    "k0s": "/var/lib/k0s/pki/ca.crt",
    "talos": "/etc/kubernetes/pki/ca.crt",
    "minikube": "/etc/kubernetes/pki/ca.crt",
}
"""Files that a node of each has by the time its kubelet runs; kubeadm's image gets its at join."""


def verdicts(root: Path) -> str:
    """One line a finding."""
    at = datetime.fromisoformat(kubelet_hosts.JUDGED).timestamp()
    report = scan(TreeHost(root), select(["kubelet.*"]), at=at)
    lines = [f"{f.check:33} {f.status:15} {f.severity:9} {f.because}" for f in report.findings]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", kubelet_hosts.HOSTS)
def test_a_distribution_is_judged_as_before(
    name: str, tmp_path: Path, update_goldens: bool
) -> None:
    host = kubelet_hosts.HOSTS[name]()
    if name in CLIENT_CA:
        authority = tls_keys.make("kubernetes-ca", ca=True).pem.decode()
        host = replace(host, files={**host.files, CLIENT_CA[name]: authority})
    found = verdicts(kubelet_hosts.build(host, tmp_path / name))
    golden = GOLDENS / f"{name}.txt"
    if update_goldens:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("--read-only-port=0\n--read-only-port 10255\n", "args/kubelet:2"),
        ("--anonymous-auth=false --read-only-port='102'55\n", "args/kubelet:1"),
    ],
)
def test_a_line_of_microk8s_holds_several_words(lines: str, place: str, tmp_path: Path) -> None:
    host = kubelet_hosts.microk8s()
    path = "/var/snap/microk8s/current/args/kubelet"
    found = kubelet_hosts.findings(replace(host, files={**host.files, path: lines}), tmp_path)
    opened = found["kubelet.port.readonly"]
    assert opened.status is Status.FAIL
    assert place in opened.because


def test_microk8s_reads_the_file_that_it_was_told_to(tmp_path: Path) -> None:
    host = kubelet_hosts.microk8s()
    run = replace(host.runs[0], argv=("kubelite", "--kubelet-args-file", "/srv/args"))
    files = {**host.files, "/srv/args": "--anonymous-auth=true\n"}
    found = kubelet_hosts.findings(replace(host, files=files, runs=(run,)), tmp_path)
    assert "/srv/args:1" in found["kubelet.authn.anonymous"].because
