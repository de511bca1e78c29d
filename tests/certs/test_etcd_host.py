"""A host of etcd alone: no kubelet, no API server, and the keys to everything in the cluster."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, key, pem, traditional_pem, write
from pki_node import LEAFS, PkiNode


@pytest.fixture
def host(tmp_path: Path) -> PkiNode:
    node = PkiNode(tmp_path / "root").build()
    node.stop(10, 11, 13, 14)
    shutil.rmtree(node.root / "var/lib/kubelet")
    for path in (*node.pki.iterdir(), *node.pki.parent.glob("*.conf")):
        if path.is_file():
            path.unlink()
    return node


def test_its_certificates_are_judged(host: PkiNode) -> None:
    spec = replace(LEAFS["etcd/server"][1], not_before=NOW - 400 * DAY, not_after=NOW - 3 * DAY)
    host.leaf("etcd/server", spec, host.etcd, key("P-256", 5))
    found = host.findings()
    assert found["cert.expiry.etcd-server"].severity == "critical"
    assert found["cert.expiry.etcd-peer"].status == "pass"
    assert found["cert.expiry.apiserver"].status == "not-applicable"


def test_etcds_own_authority_may_lie_there_and_the_clusters_may_not(host: PkiNode) -> None:
    assert host.findings()["cert.ca-key-on-node"].status == "pass"
    write(host.pki / "ca.crt", pem(host.cluster.raw), 0o644)
    write(host.pki / "ca.key", traditional_pem(host.cluster.key))
    found = host.findings()["cert.ca-key-on-node"]
    assert (found.status, found.severity) == ("fail", "critical")
    assert "/etc/kubernetes/pki/ca.key" in found.because
