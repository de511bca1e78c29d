"""The recordings of tests/data/kubelet, ready to be played."""

from __future__ import annotations

import shutil
from pathlib import Path

import kubelet_standin
import tls_keys

DATA = Path(__file__).parent / "data" / "kubelet"
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
