"""Who signed what, for every kind of key, and against OpenSSL's own verification."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Authority, Spec, certificate, key, key_pem, pem, spki, write
from nodeward.facts.pki import parse_public
from nodeward.facts.signature import _by_plain_rsa, chain, signed_by
from nodeward.facts.x509 import Certificate, parse_certificate

KINDS = ["P-224", "P-256", "P-384", "P-521", "RSA-2048", "Ed25519", "Ed448"]


def read(raw: bytes) -> Certificate:
    return parse_certificate(raw)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512", "SHA1"])
def test_the_signer_is_recognised(kind: str, digest: str) -> None:
    ca = Authority("ca", 300, kind)
    leaf = read(ca.issue(Spec(digest=digest)))
    assert signed_by(leaf, read(ca.raw)) is True
    stranger = read(Authority("ca", 301, kind if kind != "RSA-2048" else "P-256").raw)
    assert signed_by(leaf, stranger) is False


def test_a_changed_certificate_is_not_signed() -> None:
    ca = Authority("ca", 300)
    leaf = read(ca.issue(Spec()))
    forged = replace(leaf, raw_signed=leaf.raw_signed[:-1] + b"\0")
    assert signed_by(forged, read(ca.raw)) is False


@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512"])
def test_the_usual_rsa_is_told_as_the_library_tells_it(
    digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = Authority("ca", 300, "RSA-2048")
    leaf = read(ca.issue(Spec(digest=digest)))
    tried = [leaf, replace(leaf, raw_signed=leaf.raw_signed + b"\0")]
    tried += [
        replace(leaf, raw_signature=raw)
        for raw in (
            leaf.raw_signature[:-1] + bytes([leaf.raw_signature[-1] ^ 1]),
            leaf.raw_signature[1:], b"\0" + leaf.raw_signature, b"\xff" * 256, b"", b"\0" * 256,
        )
    ]  # fmt: skip
    plain = [_by_plain_rsa(one, read(ca.raw)) for one in tried]
    monkeypatch.setattr("nodeward.facts.signature._by_plain_rsa", lambda *_: None)
    assert plain == [signed_by(one, read(ca.raw)) for one in tried] == [True] + [False] * 7


def test_an_algorithm_that_nobody_knows_is_open() -> None:
    ca = Authority("ca", 300)
    leaf = replace(read(ca.issue(Spec())), signature="1.2.3.4")
    assert signed_by(leaf, read(ca.raw)) is None
    assert chain(leaf, (), (read(ca.raw),)).verifies is None


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_rsa_pss_of_openssl_verifies(tmp_path: Path, digest: str) -> None:
    write(tmp_path / "k.pem", key_pem(key("RSA-2048", 52)))
    openssl(tmp_path, "req", "-x509", "-key", "k.pem", "-out", "c.pem", "-subj", "/CN=pss",
            "-sigopt", "rsa_padding_mode:pss", f"-{digest}")  # fmt: skip
    (found,) = parse_public((tmp_path / "c.pem").read_bytes()).certificates
    assert found.signature == f"RSA-PSS-{digest.upper()}"
    assert signed_by(found, found) is True


def links(count: int) -> list[bytes]:
    """An authority and its sub-authorities; each issues the next, the last one a leaf."""
    above = Authority("a0", 400)
    made = [above.raw]
    for number in range(1, count):
        below = Authority(f"a{number}", 400 + number)
        spec = Spec(subject=below.subject, ca=True, key_usage=0x0600)
        made.append(above.issue(spec, below.key))
        above = below
    return [*made, above.issue(Spec(), key("P-256", 1))]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_chain_is_followed_to_its_anchor(tmp_path: Path, count: int) -> None:
    root, *between, leaf = map(read, links(count))
    assert chain(leaf, reversed(between), (root,)).verifies is True
    if between:
        assert chain(leaf, between[:-1], (root,)).verifies is False
        assert chain(leaf, between, (between[0],)).verifies is True  # any link may be trusted


def test_a_chain_that_is_too_long_is_given_up() -> None:
    root, *between, leaf = map(read, links(10))
    assert chain(leaf, between, (root,)).verifies is False


def test_a_leaf_cannot_issue() -> None:
    ca, own = Authority("ca", 300), key("P-256", 9)
    middle = ca.issue(Spec(subject=(("CN", "middle"),)), own)
    leaf = certificate(Spec(issuer=(("CN", "middle"),), public=spki(key("P-256", 8))), own)
    assert chain(read(leaf), (read(middle),), (read(ca.raw),)).verifies is False


def test_openssl_finds_the_same_of_every_pair(tmp_path: Path) -> None:
    """Three authorities of two names, each with a leaf."""
    authorities = [Authority("one", 300), Authority("one", 301), Authority("two", 302)]
    lives = {"not_before": NOW - 30 * DAY, "not_after": NOW + 30 * DAY}
    leafs = [ca.issue(Spec(subject=(("CN", "leaf"),), **lives)) for ca in authorities]  # type: ignore[arg-type]
    for number, (ca, leaf) in enumerate(zip(authorities, leafs, strict=True)):
        write(tmp_path / f"ca{number}", pem(ca.raw))
        write(tmp_path / f"leaf{number}", pem(leaf))
    for i, leaf in enumerate(leafs):
        for j, ca in enumerate(authorities):
            done = subprocess.run(
                ["openssl", "verify", "-attime", str(int(NOW.timestamp())),
                 "-CAfile", f"ca{j}", f"leaf{i}"],
                cwd=tmp_path, check=False, capture_output=True,
            )  # fmt: skip
            assert chain(read(leaf), (), (read(ca.raw),)).verifies is (done.returncode == 0)
