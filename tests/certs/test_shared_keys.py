"""Every node names its keys by hash, whatever else is said, so that two nodes can be compared."""

from __future__ import annotations

from pathlib import Path

from certificate_maker import key, pem, traditional_pem, write
from nodeward.model import Finding
from pki_node import LEAFS, PkiNode


def hashes(found: Finding) -> set[str]:
    return {e.value for e in found.evidence if e.value.startswith("key sha256:")}


def judged(node: PkiNode) -> Finding:
    return node.findings(glob="cert.shared-key")["cert.shared-key"]


def test_a_cloned_key_has_one_hash_on_both_nodes(tmp_path: Path) -> None:
    """Made from one image; each node's authority issued a certificate of its own for it."""
    first, second = (PkiNode(tmp_path / name / "root").build() for name in ("a", "b"))
    assert judged(first).status == "pass"
    assert hashes(judged(first)) & hashes(judged(second))


def test_what_fails_or_cannot_be_read_hides_no_other_key(tmp_path: Path) -> None:
    node = PkiNode(tmp_path / "root").build()
    whole = hashes(judged(node))
    assert len(whole) > 10
    _, spec = LEAFS["apiserver"]
    write(node.pki / "etcd/peer.crt", pem(node.etcd.issue(spec, key("P-256", 1))))
    write(node.pki / "etcd/peer.key", traditional_pem(key("P-256", 1)))
    found = judged(node)
    assert found.status == "fail"
    assert len(hashes(found)) == len(whole) - 1
    assert not found.evidence[0].value.startswith("key ")
    (node.pki / "etcd/peer.crt").write_text("junk")
    found = judged(node)
    assert found.status == "unknown"
    assert len(hashes(found)) == len(whole) - 1
