"""Our reading of certificates against OpenSSL's, on 500 of every kind."""

import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from certificate_maker import (
    CLIENT,
    SERVER,
    Spec,
    certificate,
    extension,
    key,
    rsa_spki,
    seq,
    spki,
    tlv,
)
from nodeward.facts.x509 import Certificate, parse_certificate

HOW_MANY = 500
KEY_USAGES = {
    "Digital Signature": "digitalSignature",
    "Key Encipherment": "keyEncipherment",
    "Certificate Sign": "keyCertSign",
    "CRL Sign": "cRLSign",
}
ASK = (
    "openssl x509 -inform DER -noout -text -serial -subject -issuer -startdate -enddate"
    " -fingerprint -sha256 -dateopt iso_8601 -nameopt RFC2253,-esc_msb"
)
WORDS = ["node", "système", "a,b", "x+y", ' "q" ', "#1", "<>;", "back\\slash", "日本", "", "k8s:n"]
KEYS = ["P-256", "P-384", "P-521", "P-224", "Ed25519", "Ed448", "RSA-2048"]


def odd(rng: random.Random) -> Spec:
    """Any certificate: the odder, the better."""
    start = datetime(1951, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(90 * 365 * 86400))
    end = start + timedelta(seconds=rng.choice([1, 3600, 31536000, 315360000, 8 * 10**9]))
    subject = [
        (rng.choice(["CN", "O", "OU", "L"]), rng.choice(WORDS)) for _ in range(rng.randrange(5))
    ]
    return Spec(
        subject=subject,
        issuer=rng.choice([None, (("CN", "issuer"),), ()]),
        not_before=start,
        not_after=end,
        public=_public(rng),
        serial=rng.choice([0, 1, -1, -(2**70), 2**63, 2**64, rng.randrange(2**159)]),
        dns=tuple(rng.choice(["a.b", "*.svc", "localhost"]) for _ in range(rng.randrange(4))),
        ips=tuple(rng.choice(["10.0.0.1", "::1", "fd00::7"]) for _ in range(rng.randrange(3))),
        usages=rng.choice([None, (SERVER,), (CLIENT,), (SERVER, CLIENT), ("1.2.3.4",)]),
        ca=rng.choice([None, True, False]),
        path_length=None,
        key_usage=rng.choice([None, 0x8000, 0xA000, 0x0600]),
        version=rng.choice([3, 3, 3, 1]),
        general_time=True if start.year >= 2050 or rng.random() < 0.1 else None,
        extra=_extra(rng),
    )


def _public(rng: random.Random) -> bytes:
    kind = rng.choice([*KEYS, "16k", "1024", "exponent 3"])
    if kind == "16k":
        return rsa_spki(rng.getrandbits(16384) | 1 << 16383 | 1)
    if kind in ("1024", "exponent 3"):
        return rsa_spki(rng.getrandbits(1024) | 1 << 1023 | 1, 3 if kind != "1024" else 65537)
    return spki(key(kind))


def _extra(rng: random.Random) -> tuple[bytes, ...]:
    private = extension("1.2.3.4.5", tlv(4, b"private"))
    twice = extension("2.5.29.37", seq())
    return rng.choice([(), (), (private,), (private, private), (twice, twice)])


def openssl(raw: bytes) -> str:
    """What `openssl x509` prints of it."""
    done = subprocess.run(ASK.split(), input=raw, capture_output=True, check=True)
    return done.stdout.decode("utf-8")


def field(text: str, label: str) -> str:
    found = re.search(rf"^{label} ?=(.*)$", text, re.MULTILINE)
    assert found, label
    return found[1].strip(" ") if label not in ("subject", "issuer") else found[1]


def seconds(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def compare(raw: bytes) -> None:
    ours, theirs = parse_certificate(raw), openssl(raw)
    assert ours.serial == int(field(theirs, "serial"), 16)
    assert ours.subject == field(theirs, "subject")
    assert ours.issuer == field(theirs, "issuer")
    assert ours.not_before == seconds(field(theirs, "notBefore"))
    assert ours.not_after == seconds(field(theirs, "notAfter"))
    assert ours.sha256.upper() == field(theirs, "sha256 Fingerprint").replace(":", "")
    assert f"Version: {ours.version} " in theirs
    _compare_key(ours, theirs)
    _compare_extensions(ours, theirs)


def _compare_key(ours: Certificate, theirs: str) -> None:
    bits = re.search(r"Public-Key: \((\d+) bit\)", theirs)
    if bits:
        assert ours.key.bits == int(bits[1])
    else:
        assert ours.key.kind.upper() in theirs
    exponent = re.search(r"Exponent: (\d+) ", theirs)
    assert ours.key.exponent == (int(exponent[1]) if exponent else None)


def _compare_extensions(ours: Certificate, theirs: str) -> None:
    found = ours.extensions
    alternative = re.search(r"Subject Alternative Name: ?\n +(.*)\n", theirs)
    names = alternative[1].split(", ") if alternative else []
    assert list(found.dns) == [n[4:] for n in names if n.startswith("DNS:")]
    assert len(found.ips) == len([n for n in names if n.startswith("IP Address:")])
    constraints = re.search(r"Basic Constraints: (?:critical)?\n +CA:(TRUE|FALSE)", theirs)
    assert found.ca == (constraints[1] == "TRUE" if constraints else None)
    usage = re.search(r"Extended Key Usage: ?\n +(.*)\n", theirs)
    assert ("serverAuth" in (found.usages or ())) == (
        usage is not None and "TLS Web Server Authentication" in usage[1]
    )
    assert ("clientAuth" in (found.usages or ())) == (
        usage is not None and "TLS Web Client Authentication" in usage[1]
    )
    key_usage = re.search(r"X509v3 Key Usage: (?:critical)?\n +(.*)\n", theirs)
    assert list(found.key_usage or ()) == [
        KEY_USAGES[n] for n in (key_usage[1].split(", ") if key_usage else [])
    ]


def test_openssl_reads_the_same() -> None:
    rng = random.Random(5)  # the same 500 each time
    made = [certificate(odd(rng)) for _ in range(HOW_MANY)]
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(compare, made):
            pass


@pytest.mark.parametrize("digest", ["SHA1", "SHA384", "SHA512"])
def test_the_signature_algorithm_is_named(digest: str) -> None:
    assert parse_certificate(certificate(Spec(digest=digest))).signature == f"ECDSA-{digest}"
