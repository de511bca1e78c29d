"""One certificate used twice is judged for each of its uses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Authority, Spec, key, pem, traditional_pem, write
from pki_node import LEAFS, PkiNode, encoded

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


def test_a_bundle_without_the_successor_is_late_beside_one_that_has_it(node: PkiNode) -> None:
    """The authority's successor was put into ca.crt, and not into a kubeconfig."""
    made = Spec((("CN", "kubernetes"),), ca=True, key_usage=0x0600)
    old = replace(made, not_before=NOW - 3600 * DAY, not_after=NOW + 50 * DAY)
    new = replace(made, not_before=NOW - DAY, not_after=NOW + 3600 * DAY)
    first = Authority("kubernetes", 100, spec=old)
    bundle = pem(first.raw, Authority("kubernetes", 103, spec=new).raw)
    write(node.pki / "ca.crt", bundle, 0o644)
    cluster = {"certificate-authority-data": encoded(bundle)}
    for name in ("admin", "controller-manager", "kubelet"):
        path = node.root / f"etc/kubernetes/{name}.conf"
        text = json.loads(path.read_text())
        text["clusters"][0]["cluster"] |= cluster
        write(path, json.dumps(text))
    scheduler = node.root / "etc/kubernetes/scheduler.conf"
    text = json.loads(scheduler.read_text())
    text["clusters"][0]["cluster"]["certificate-authority-data"] = encoded(pem(first.raw))
    write(scheduler, json.dumps(text))
    found = node.findings(glob="cert.ca-expiry")["cert.ca-expiry"]
    assert (found.status, found.severity) == ("fail", "high")
    assert "/etc/kubernetes/scheduler.conf" in found.because
    assert "more" not in found.because
