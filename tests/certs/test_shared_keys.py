"""Every node names its keys by hash, whatever else is said, so that two nodes can be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificate_maker import key, pem, traditional_pem, write
from nodeward.checks import catalog
from nodeward.checks.cert_samples import EC, certificate, place, together
from nodeward.facts.named_keys import NamedKey, Sort, read_key
from nodeward.facts.pki import Kind, Pem, Pki, PrivateKey, Use
from nodeward.model import CheckId, Finding, Seen, decide, finding
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


def crowded(offences: int, *, named: int) -> Pki:
    """Many keys that serve two components each, and many more that other nodes may hold."""

    def one(component: str, name: str, number: int, **more: Any) -> tuple[Use, Pem]:
        own = replace(EC, spki_sha256=f"{number:064x}")
        made = certificate(name=name, key=own)
        return place(component, f"/srv/{component}-{name}.crt", made, **more)

    places = [
        one(component, f"n{number}", number)
        for number in range(offences)
        for component in ("apiserver", "etcd-server")
    ]
    places += [one("cluster-ca", f"ca{n}", 1000 + n, kind=Kind.TRUST) for n in range(named)]
    keys = (PrivateKey("EC", 256, f"{5000:064x}"),)
    places.append(one("kubelet-client", "node", 4000))
    places.append(place("admin", "/srv/admin.key", kind=Kind.KEY, keys=keys))
    return together(*places)


@pytest.mark.parametrize(("offences", "named"), [(0, 80), (30, 30), (70, 80), (49, 0)])
def test_the_limit_hides_neither_the_worst_fault_nor_the_keys_that_matter(
    offences: int, named: int
) -> None:
    rule = catalog()[CheckId("cert.shared-key")]
    found = finding(rule, decide(rule, {Pki: Seen(crowded(offences, named=named))}))
    assert len(found.evidence) <= 50
    faults = [e for e in found.evidence if e.value.startswith("one key")]
    assert len(faults) >= min(offences, 24)
    keys = [e for e in found.evidence if e.value.startswith("key ")]
    assert {keys[0].what, *(e.what for e in keys[:2])} == {"kubelet-client", "admin"}
    total = [e.value for e in found.evidence if e.what == "in all"]
    assert bool(total) == (offences + max(offences, 0) + named + 2 > 50)


def keys_of(found: Finding) -> dict[str, NamedKey]:
    pieces = ({"what": e.what, "value": e.value, "source": e.source} for e in found.evidence)
    return {k.component: k for k in map(read_key, pieces) if k}


def test_a_key_says_whose_it_is_and_whether_its_private_half_lies_here(tmp_path: Path) -> None:
    node = PkiNode(tmp_path / "root").build()
    found = keys_of(judged(node))
    assert found["kubelet-client"].private
    assert found["kubelet-client"].sort is Sort.NODE
    assert found["cluster-ca"].sort is Sort.SIGNER
    (node.pki / "ca.key").unlink()
    assert not keys_of(judged(node))["cluster-ca"].private


def test_a_private_key_without_any_certificate_is_named_too(tmp_path: Path) -> None:
    node = PkiNode(tmp_path / "root").build()
    write(node.pki / "sa.key", traditional_pem(key("P-256", 77)))
    (node.pki / "sa.pub").unlink(missing_ok=True)
    found = keys_of(judged(node))["service-account"]
    assert found.private
    assert found.place == "/etc/kubernetes/pki/sa.key"


@given(
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    st.sampled_from(["kubelet-client", "cluster-ca", "oidc-ca", "admin", "service-account"]),
    st.text(min_size=1),
    st.booleans(),
)
def test_evidence_of_a_key_is_read_back(sha: str, whose: str, place: str, private: bool) -> None:
    named = NamedKey(sha, whose, place, private)
    said = named.evidence()
    assert read_key({"what": said.what, "value": said.value, "source": said.source}) == named


@given(st.dictionaries(st.sampled_from(["what", "value", "source"]), st.none() | st.text()))
def test_other_evidence_is_no_key(piece: dict[str, str | None]) -> None:
    assert read_key(piece) is None
