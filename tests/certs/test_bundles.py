"""A file of certificates as a whole: as Go's tls.LoadX509KeyPair takes it, and as peers do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certificate_maker import (
    CLIENT,
    DAY,
    NOW,
    SERVER,
    Authority,
    Key,
    Spec,
    armour,
    certificate,
    key,
    key_pem,
    pem,
    rsa_spki,
    spki,
    traditional_pem,
    write,
)
from nodeward.facts.pki import parse_public
from nodeward.host.pem import contents
from nodeward.model import Finding
from pki_node import CURRENT, LEAFS, PkiNode, client, encoded, kubeconfig, server

API = "etc/kubernetes/pki/apiserver.crt"
JUNK = armour("CERTIFICATE", b"\x30\x03abc")
NO_BASE64 = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"
CUT = "-----BEGIN CERTIFICATE-----\nMIIB\n"


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


def own() -> Key:
    return key("P-256", 1)


def issued(node: PkiNode, **changes: Any) -> bytes:
    return node.cluster.issue(replace(LEAFS["apiserver"][1], **changes), own())


def judged(node: PkiNode, text: str | bytes) -> dict[str, Finding]:
    write(node.root / API, text, 0o644)
    found = node.findings()
    return {c.removeprefix("cert."): f for c, f in found.items()}


def test_of_a_file_whose_first_entry_is_broken_no_other_is_taken(node: PkiNode) -> None:
    """X509KeyPair parses the first, and fails: what stands behind it never serves."""
    found = judged(node, JUNK + pem(issued(node)))
    assert found["expiry.apiserver"].status == "unknown"
    assert "block 1 (CERTIFICATE): " in found["expiry.apiserver"].because
    assert f"/{API}" in found["expiry.apiserver"].because
    chain = found["chain"]
    assert (chain.status, chain.severity) == ("fail", "high")
    assert "block 1, the first, is no certificate" in chain.because
    assert f"/{API}" in chain.because


@pytest.mark.parametrize("bad", [NO_BASE64, CUT], ids=["no base64", "cut off"])
def test_what_is_no_block_to_go_is_passed_over(node: PkiNode, bad: str) -> None:
    """encoding/pem goes on to the next: the file loads, and serves its second entry."""
    found = judged(node, bad + pem(issued(node, not_after=NOW - DAY)))
    assert found["expiry.apiserver"].severity == "critical"
    found = judged(node, bad + pem(issued(node)))
    assert found["expiry.apiserver"].status == "pass"
    assert found["chain"].status == "unknown"
    assert "block 1 (CERTIFICATE): " in found["chain"].because


def test_a_key_that_stands_before_is_counted_among_the_blocks(node: PkiNode) -> None:
    path = node.root / CURRENT
    text = traditional_pem(key("P-256", 30)) + JUNK
    write(node.root / path.readlink().relative_to("/"), text)
    found = node.findings()
    assert "block 2 (CERTIFICATE)" in found["cert.expiry.kubelet-client"].because
    assert "block 2, the first, is no certificate" in found["cert.chain"].because


def test_a_broken_entry_behind_the_first_is_sent_along(node: PkiNode) -> None:
    found = judged(node, pem(issued(node)) + JUNK)
    assert found["expiry.apiserver"].status == "pass"
    assert found["chain"].severity == "high"
    assert "peers refuse what is sent: block 2" in found["chain"].because


def test_what_go_takes_no_certificate_from_is_told(node: PkiNode) -> None:
    for text, words in (
        (issued(node), "it is DER, not PEM"),
        (armour("TRUSTED CERTIFICATE", issued(node) + b"\x30\x00"), "TRUSTED CERTIFICATE"),
        (armour("X509 CERTIFICATE", issued(node)), "X509 CERTIFICATE"),
    ):
        found = judged(node, text)
        assert found["expiry.apiserver"].status == "pass"  # when it ends can still be told
        assert found["chain"].severity == "high"
        assert words in found["chain"].because


@pytest.mark.parametrize(
    "text",
    [
        lambda raw: raw,
        lambda raw: armour("TRUSTED CERTIFICATE", raw),
        lambda raw: JUNK + pem(raw),
    ],
)
def test_a_bundle_of_authorities_that_go_takes_none_from(
    node: PkiNode, text: Callable[[bytes], str | bytes]
) -> None:
    write(node.pki / "ca.crt", text(node.cluster.raw), 0o644)
    chain = node.findings()["cert.chain"]
    assert (chain.status, chain.severity) == ("fail", "high")
    assert "/etc/kubernetes/pki/ca.crt" in chain.because


@pytest.mark.parametrize("name", ["apiserver", "front-proxy-client", "etcd/server"])
def test_a_key_of_another_certificate_is_refused(node: PkiNode, name: str) -> None:
    write(node.pki / f"{name}.key", traditional_pem(key("P-256", 77)))
    chain = node.findings(glob="cert.chain")["cert.chain"]
    assert (chain.status, chain.severity) == ("fail", "high")
    assert f"/etc/kubernetes/pki/{name}.key) belongs to another certificate" in chain.because


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("", "fail", "holds no key"),
        (key_pem(key(), "hunter2"), "fail", "has a password"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n", "fail", "is cut off"),
        (armour("EC PRIVATE KEY", b"\x30\x00"), "unknown", "not a private key we can read"),
    ],
)
def test_a_key_that_cannot_be_loaded_is_told(
    node: PkiNode, text: str, status: str, words: str
) -> None:
    write(node.pki / "apiserver.key", text)
    chain = node.findings(glob="cert.chain")["cert.chain"]
    assert chain.status == status
    assert words in chain.because
    assert "/etc/kubernetes/pki/apiserver.key" in chain.because


def test_a_key_that_is_named_and_missing_leaves_it_open(node: PkiNode) -> None:
    (node.pki / "apiserver.key").unlink()
    chain = node.findings(glob="cert.chain")["cert.chain"]
    assert chain.status == "unknown"
    assert "/etc/kubernetes/pki/apiserver.key: not there" in chain.because


def test_a_kubeconfigs_key_is_that_of_its_certificate(node: PkiNode) -> None:
    raw = node.cluster.issue(client("system:kube-scheduler"), key("P-256", 22))
    user = {"client-certificate-data": encoded(pem(raw))}
    for number, status in ((22, "pass"), (23, "fail")):
        data = {"client-key-data": encoded(key_pem(key("P-256", number)))}
        text = kubeconfig({**user, **data}, {"certificate-authority": "pki/ca.crt"})
        write(node.root / "etc/kubernetes/scheduler.conf", text)
        chain = node.findings(glob="cert.chain")["cert.chain"]
        assert chain.status == status, chain.because
        assert status == "pass" or "scheduler.conf" in chain.because


def test_a_kubeconfigs_certificate_without_a_key_is_refused(node: PkiNode) -> None:
    raw = node.cluster.issue(client("system:kube-scheduler"), key("P-256", 22))
    text = kubeconfig({"client-certificate-data": encoded(pem(raw))}, {})
    write(node.root / "etc/kubernetes/scheduler.conf", text)
    chain = node.findings(glob="cert.chain")["cert.chain"]
    assert chain.status == "fail"
    assert "no key stands with it" in chain.because


def test_the_signers_public_half_may_be_given_as_its_private_key(node: PkiNode) -> None:
    """k3s gives kube-apiserver --service-account-key-file=service.key."""
    (node.pki / "sa.pub").write_text((node.pki / "sa.key").read_text())
    assert node.findings()["cert.weak-crypto"].status == "pass"
    write(node.pki / "sa.pub", key_pem(key("P-224", 60)))
    found = node.findings()["cert.weak-crypto"]
    assert (found.status, found.severity) == ("fail", "high")


def between(node: PkiNode, number: int = 203, **fields: Any) -> tuple[Authority, bytes]:
    """An authority below the cluster's, and its certificate."""
    authority = Authority(f"between-{number}", number)
    spec = Spec(subject=authority.subject, ca=True, key_usage=0x0600)
    spec = replace(spec, **{"public": spki(authority.key), **fields})
    return authority, node.cluster.issue(spec)


def through(node: PkiNode, **fields: Any) -> dict[str, Finding]:
    """What is said when the API server's certificate comes through such an authority."""
    authority, above = between(node, **fields)
    leaf = authority.issue(LEAFS["apiserver"][1], own())
    return judged(node, pem(leaf, above))


def test_a_sound_intermediate_is_sound(node: PkiNode) -> None:
    found = through(node)
    assert {c for c, f in found.items() if f.status not in ("pass", "not-applicable")} == set()


@pytest.mark.parametrize(
    ("left", "severity"), [(-1, "critical"), (5, "high"), (45, "low"), (200, None)]
)
def test_an_intermediate_that_ends_ends_the_leaf(
    node: PkiNode, left: float, severity: str | None
) -> None:
    found = through(node, not_before=NOW - 700 * DAY, not_after=NOW + left * DAY)
    expiry = found["expiry.apiserver"]
    if severity is None:
        assert expiry.status == "pass"
        return
    assert (expiry.status, expiry.severity) == ("fail", severity)
    assert "the intermediate CN=between-203" in expiry.because
    assert f"/{API}" in expiry.because


def test_an_intermediate_that_is_not_valid_yet_is_told(node: PkiNode) -> None:
    expiry = through(node, not_before=NOW + DAY)["expiry.apiserver"]
    assert expiry.severity == "critical"
    assert "is not valid before" in expiry.because


def test_an_intermediate_is_judged_as_an_authority(node: PkiNode) -> None:
    weak = through(node, public=rsa_spki((1 << 1023) + 1))["weak-crypto"]
    assert "CN=between-203" in weak.because
    assert "1024" in weak.because
    assert "ECDSA-SHA1" in through(node, digest="SHA1")["weak-crypto"].because
    long = through(node, not_after=NOW + 4000 * DAY)["lifetime-policy"]
    assert (long.status, long.severity) == ("fail", "low")
    assert "CN=between-203" in long.because


def test_what_peers_trust_by_itself_needs_not_be_sent(node: PkiNode) -> None:
    """The intermediate in the file has ended, and its successor with the same key is trusted."""
    authority, old = between(node, not_before=NOW - 700 * DAY, not_after=NOW - DAY)
    _, new = between(node)
    write(node.pki / "ca.crt", pem(node.cluster.raw, new), 0o644)
    found = judged(node, pem(authority.issue(LEAFS["apiserver"][1], own()), old))
    assert found["expiry.apiserver"].status == "pass"
    assert found["chain"].status == "pass"


def test_a_root_in_the_file_is_no_intermediate(node: PkiNode) -> None:
    old = Authority("kubernetes", 100, spec=Spec(not_after=NOW - DAY, not_before=NOW - 900 * DAY))
    assert judged(node, pem(issued(node), old.raw))["expiry.apiserver"].status == "pass"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ca": False}, "is no authority"),
        ({"ca": None}, "is no authority"),
        ({"key_usage": 0x8000}, "keyCertSign"),
        ({"usages": (CLIENT,)}, "its issuer CN=between-203 is not for serverAuth"),
    ],
)
def test_an_intermediate_without_the_right_to_issue(
    node: PkiNode, fields: dict[str, Any], words: str
) -> None:
    chain = through(node, **fields)["chain"]
    assert chain.status == "fail"
    assert words in chain.because


def test_an_intermediate_for_servers_is_good_for_one(node: PkiNode) -> None:
    assert through(node, usages=(SERVER,))["chain"].status == "pass"


@pytest.mark.parametrize(("length", "status"), [(0, "fail"), (1, "pass"), (None, "pass")])
def test_a_path_longer_than_its_authority_allows(
    node: PkiNode, length: int | None, status: str
) -> None:
    first, above_first = between(node, 203, path_length=length)
    second = Authority("lower", 204)
    spec = Spec(subject=second.subject, ca=True, key_usage=0x0600, public=spki(second.key))
    leaf = second.issue(LEAFS["apiserver"][1], own())
    chain = judged(node, pem(leaf, first.issue(spec), above_first))["chain"]
    assert chain.status == status, chain.because
    assert status == "pass" or "may have 0 authorities below it, not 1" in chain.because


def test_an_order_that_is_not_the_chains_is_low(node: PkiNode) -> None:
    first, above_first = between(node, 203)
    second = Authority("lower", 204)
    spec = Spec(subject=second.subject, ca=True, key_usage=0x0600, public=spki(second.key))
    leaf, low = second.issue(LEAFS["apiserver"][1], own()), first.issue(spec)
    assert judged(node, pem(leaf, low, above_first, node.cluster.raw))["chain"].status == "pass"
    for rest in ((above_first, low), (node.cluster.raw, low, above_first)):
        chain = judged(node, pem(leaf, *rest))["chain"]
        assert (chain.status, chain.severity) == ("fail", "low")
        assert "CN=lower, CN=between-203" in chain.because


def test_an_authority_before_its_leaf_is_what_is_shown(node: PkiNode) -> None:
    authority, above = between(node)
    chain = judged(node, pem(above, authority.issue(LEAFS["apiserver"][1], own())))["chain"]
    assert (chain.status, chain.severity) == ("fail", "high")
    assert any("stands first, and is an authority" in e.value for e in chain.evidence)


def test_a_bundle_of_another_component_is_judged_too(node: PkiNode) -> None:
    """A kubelet that was given its certificate by hand."""
    authority, above = between(node, not_before=NOW - 700 * DAY, not_after=NOW - DAY)
    leaf = authority.issue(server("system:node:node1"), key("P-256", 31))
    text = pem(leaf, above) + traditional_pem(key("P-256", 31))
    link = node.root / "var/lib/kubelet/pki/kubelet-server-current.pem"
    write(node.root / link.readlink().relative_to("/"), text)
    assert node.findings()["cert.expiry.kubelet-server"].severity == "critical"


@pytest.mark.parametrize(
    ("text", "headless", "refused"),
    [
        (pem(certificate(Spec())), False, ""),
        (JUNK, True, "block 1, the first"),
        (NO_BASE64 + JUNK, True, "block 2, the first"),
        (JUNK.replace("CERTIFICATE", "X509 CERTIFICATE") + pem(certificate(Spec())), False, ""),
        (armour("PUBLIC KEY", spki(key())) + JUNK, True, "block 2, the first"),
        (key_pem(key()) + pem(certificate(Spec())) + JUNK, False, "block 3 is no certificate"),
        ("", False, ""),
    ],
)
def test_what_go_loads_of_a_text(text: str, headless: bool, refused: str) -> None:
    found = parse_public(contents(text.encode()).public.encode())
    assert found.headless == headless
    assert refused in found.refused
    assert bool(refused) == bool(found.refused)
