"""What a file of certificates and keys holds. The keys themselves never leave this module."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.masks import behind
from nodeward.host.query import Query
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

PEM_LIMIT = 2 << 20  # the largest bundle of a distribution has a tenth of it

_BLOCK = pattern(
    rb"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)"
    rb"(?P<end>-----END (?P=label)-----|(?=-----BEGIN )|\Z)",
    re.DOTALL,
)
_PUBLIC = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PUBLIC KEY")
_MARK = b"-----BEGIN "
MARK_ENCODED = b"LS0tLS1CRUdJTi"
_ENCODED = pattern(rb"LS0tLS1CRUdJTi[A-Za-z0-9+/=\s]+")  # "-----BEGIN" in base64
_TWICE = tuple(
    base64.b64encode(bytes(before) + MARK_ENCODED)[start : (before + len(MARK_ENCODED)) * 8 // 6]
    for before, start in ((0, 0), (1, 2), (2, 3))
)
"""The same in base64 once more, wherever in a group of three bytes it begins: a kubeconfig in a
Secret."""
_RUN = pattern(rb"[A-Za-z0-9+/]{64,}")
_NOT_BASE64 = bytes(set(range(256)) - {*b"+/", *range(48, 58), *range(65, 91), *range(97, 123)})
_PRIVATE = pattern(rb"-----BEGIN (?!OPENSSH)[A-Z0-9 ]*PRIVATE KEY-----")
_KEPT = "-----BEGIN KEY-----\n-----END KEY-----"
ENCRYPTED, CUT_OFF, TAKEN_OUT = "encrypted", "cut off", "taken out of this recording"
_TAKEN_OUT = pattern(rb"-----\s*REDACTED\s*-----END ")  # as nodeward.host.redact leaves it


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One private key by its outside: `kind` ("RSA", "EC", "Ed25519"), `bits`, and the sha256 of
    its public half; None where they cannot be told (`error` says why: ENCRYPTED, TAKEN_OUT)."""

    kind: str | None = None
    bits: int | None = None
    spki_sha256: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class PemContents:
    """`public` is the file's text with nothing left in it but certificates and public keys (each
    in its PEM block, whole or as broken as it is) and an empty block for each private key, so that
    their numbers are those of the file; `form` is "pem", "der", or "" for neither."""

    public: str
    keys: tuple[KeyRow, ...]
    form: str


@dataclass(frozen=True, slots=True)
class PemFile(Query[PemContents]):
    """The certificates of a file, and what can be said of its private keys."""

    answer_type: ClassVar[object] = PemContents
    at_rest: ClassVar[bool] = True

    path: str
    keys: bool = True
    """False: private keys are only counted."""

    def answer(self, host: TreeHost) -> PemContents:
        return contents(host.read(self.path, limit=PEM_LIMIT), keys=self.keys)


@dataclass(frozen=True, slots=True)
class LoosePem(Query[PemContents]):
    """The same of a file that nothing names: a manifest or a backup may hold certificates and
    keys in base64 once more, or as a text of JSON."""

    answer_type: ClassVar[object] = PemContents
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> PemContents:
        place = behind(self.path) if host.live else self.path
        raw = host.read(place, limit=PEM_LIMIT)
        texts = list(plain_texts(raw))
        return contents(b"\n".join(texts)) if _MARK in b"".join(texts) else contents(raw)


def plain_texts(raw: bytes) -> Iterator[bytes]:
    """A text as it stands, with the line ends that JSON writes as two letters, and each part of it
    that is PEM in base64, once or more often."""
    yield raw.replace(b"\\n", b"\n") if b"\\n" in raw else raw
    if MARK_ENCODED in raw:
        yield from (decoded(run[0]) for run in _ENCODED.finditer(raw))
    if any(mark in raw for mark in _TWICE):
        for run in _RUN.finditer(raw):
            if any(mark in run[0] for mark in _TWICE):
                yield from plain_texts(decoded(run[0]))


def encoded(raw: bytes) -> bool:
    """Whether PEM stands in it in base64."""
    return any(mark in raw for mark in (MARK_ENCODED, *_TWICE))


def decoded(text: bytes) -> bytes:
    """All that is base64 in it, up to its padding."""
    kept = text.partition(b"=")[0].translate(None, _NOT_BASE64)
    kept = kept[:-1] if len(kept) % 4 == 1 else kept
    return base64.b64decode(kept + b"=" * (-len(kept) % 4))


def holds_key(raw: bytes) -> bool:
    """Whether a private key stands in it, in any of these forms; OpenSSH's own are none here."""
    if raw[:1] == b"\x30":
        return _private(raw)
    if b"PRIVATE KEY-----" not in raw and not encoded(raw):
        return False
    return any(_PRIVATE.search(text) for text in plain_texts(raw))


def contents(raw: bytes, *, keys: bool = True) -> PemContents:
    """The same of bytes that stand elsewhere (inside a kubeconfig)."""
    if _MARK in raw:
        return _pem(raw, keys)
    return _der(raw, keys) if raw[:1] == b"\x30" else PemContents("", (), "")


def _pem(raw: bytes, describe: bool) -> PemContents:
    public, keys = [], []
    for match in _BLOCK.finditer(raw):
        label = match["label"].decode("ascii")
        if label in _PUBLIC:
            public.append(_shown(match, label))
        elif label.endswith("PRIVATE KEY"):
            keys.append(_describe(match[0], match["end"] != b"") if describe else KeyRow())
            public.append(_KEPT)
    shown = "\n".join(public) if len(public) > len(keys) else ""
    return PemContents(shown, tuple(keys), "pem")


def _shown(match: re.Match[bytes], label: str) -> str:
    """The block, if its body is what its label says and no key under a false name. A block that
    is broken stays broken: without its end, "?" for what is no base64, "?!" for other things."""
    end = f"\n-----END {label}-----" if match["end"] else ""
    try:
        raw = base64.b64decode(b"".join(match["body"].split()), validate=True)
        body = "?!"
    except ValueError:
        raw, body = b"", "?"
    if raw[:1] == b"\x30" and not _private(raw):
        body = base64.encodebytes(raw).decode("ascii")
    return f"-----BEGIN {label}-----\n{body}{end}"


def _private(raw: bytes) -> bool:
    """A private key of any form starts with its version; one with a password is an algorithm and
    an OCTET STRING, where a public key has a BIT STRING and a certificate another SEQUENCE."""
    inner = raw[_header(raw) :]
    if inner[:1] != b"\x30":
        return inner[:1] == b"\x02"
    start, length = _header(inner), inner[1] if len(inner) > 1 else 0
    size = int.from_bytes(inner[2:start], "big") if length & 0x80 else length
    return inner[start : start + 1] == b"\x06" and inner[start + size :][:1] == b"\x04"


def _der(raw: bytes, describe: bool) -> PemContents:
    """A certificate starts SEQUENCE, SEQUENCE, then [0] or INTEGER; a key does not."""
    inner = raw[_header(raw) :]
    if inner[:1] == b"\x30" and inner[_header(inner) :][:1] in (b"\xa0", b"\x02"):
        body = base64.encodebytes(raw).decode("ascii")
        return PemContents(
            f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----", (), "der"
        )
    key = _load(raw, der=True)
    if key.error and key.error != ENCRYPTED:  # "0" is 0x30 too: any text may start with it
        return PemContents("", (), "")
    return PemContents("", (key if describe else KeyRow(),), "der")


def _header(raw: bytes) -> int:
    """The bytes of a DER header: tag, length, and the length's own bytes."""
    return 2 + (raw[1] & 0x7F if len(raw) > 1 and raw[1] & 0x80 else 0)


def _describe(block: bytes, complete: bool) -> KeyRow:
    if not complete:
        return KeyRow(error=CUT_OFF)
    if _TAKEN_OUT.search(block):
        return KeyRow(error=TAKEN_OUT)
    if b"BEGIN ENCRYPTED" in block or b"Proc-Type: 4,ENCRYPTED" in block:
        return KeyRow(error=ENCRYPTED)
    if b"BEGIN OPENSSH" in block:
        return KeyRow("OpenSSH")
    return _load(block, der=False)


def _load(raw: bytes, *, der: bool) -> KeyRow:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as s

    load = s.load_der_private_key if der else s.load_pem_private_key
    try:
        try:  # whether its primes are prime is not our question, and costs 30 ms
            key = load(raw, None, unsafe_skip_rsa_key_validation=True)
        except TypeError:  # before cryptography 39 there is no such choice
            key = load(raw, None)
        public = key.public_key()
        spki = public.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        encrypted = isinstance(exc, TypeError)  # "password was not given but is encrypted"
        return KeyRow(error=ENCRYPTED if encrypted else "not a private key we can read")
    kind = type(public).__name__.strip("_").removesuffix("PublicKey")
    kind = {"EllipticCurve": "EC"}.get(kind, kind)
    bits = getattr(public, "key_size", None)
    return KeyRow(kind, bits, hashlib.sha256(spki).hexdigest())
