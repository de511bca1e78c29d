"""One certificate used twice is judged for each of its uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificate_maker import key, pem, traditional_pem, write
from pki_node import LEAFS, PkiNode

PKI = "/etc/kubernetes/pki"


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


def test_a_servers_certificate_is_no_good_as_a_clients(node: PkiNode) -> None:
    node.apiserver |= {
        "kubelet-client-certificate": f"{PKI}/apiserver.crt",
        "kubelet-client-key": f"{PKI}/apiserver.key",
    }
    node.start()
    found = node.findings(glob="cert.*")
    assert found["cert.chain"].status == "fail"
    assert "is not for clientAuth" in found["cert.chain"].because
    offender = found["cert.chain"].evidence[0]
    assert (offender.what, offender.source) == ("apiserver-kubelet-client", f"{PKI}/apiserver.crt")
    assert found["cert.shared-key"].status == "pass"  # one program has one identity


def test_one_certificate_of_two_programs_is_one_key_under_two_names(node: PkiNode) -> None:
    authority, spec = LEAFS["etcd/peer"]
    assert authority == "etcd"
    own = key("P-256", 6)
    for name in ("etcd/peer", "apiserver-etcd-client"):
        write(node.pki / f"{name}.crt", pem(node.etcd.issue(spec, own)), 0o644)
        write(node.pki / f"{name}.key", traditional_pem(own))
    found = node.findings(glob="cert.shared-key")["cert.shared-key"]
    assert found.status == "fail"
    assert "apiserver-etcd-client (CN=node1) and etcd-peer (CN=node1)" in found.because
