"""Certificates and keys for tests, made at run time, odd ones included.

The certificates are written byte by byte: what a library refuses to make (a negative serial, the
same extension twice, a year of four digits where two belong) is what a reader must survive.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

Key: TypeAlias = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
Name: TypeAlias = Sequence[tuple[str, str]]

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
WRITTEN = NOW - 30 * DAY
SERVER, CLIENT = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
_ATTRIBUTES = {"CN": "2.5.4.3", "O": "2.5.4.10", "OU": "2.5.4.11", "C": "2.5.4.6", "L": "2.5.4.7"}
_SIGNATURES = {
    ("EC", "SHA256"): "1.2.840.10045.4.3.2",
    ("EC", "SHA384"): "1.2.840.10045.4.3.3",
    ("EC", "SHA512"): "1.2.840.10045.4.3.4",
    ("EC", "SHA1"): "1.2.840.10045.4.1",
    ("RSA", "SHA256"): "1.2.840.113549.1.1.11",
    ("RSA", "SHA384"): "1.2.840.113549.1.1.12",
    ("RSA", "SHA512"): "1.2.840.113549.1.1.13",
    ("RSA", "SHA1"): "1.2.840.113549.1.1.5",
    ("RSA", "MD5"): "1.2.840.113549.1.1.4",
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA1": hashes.SHA1(),
    "MD5": hashes.MD5(),
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}


def tlv(tag: int, *contents: bytes) -> bytes:
    """One DER value."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def seq(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = b""
    for arc in (first * 40 + second, *rest):
        part = [arc & 0x7F]
        while arc := arc >> 7:
            part.append(arc & 0x7F | 0x80)
        out += bytes(reversed(part))
    return tlv(6, out)


def time(moment: datetime, *, general: bool | None = None) -> bytes:
    """UTCTime until 2049, GeneralizedTime after; `general` forces one."""
    if general if general is not None else not 1950 <= moment.year < 2050:
        return tlv(24, moment.strftime("%Y%m%d%H%M%SZ").rjust(15, "0").encode())
    return tlv(23, moment.strftime("%y%m%d%H%M%SZ").encode())


def name(pairs: Name, tag: int = 12) -> bytes:
    encoding = {30: "utf-16-be", 28: "utf-32-be", 20: "latin-1"}.get(tag, "utf-8")
    return seq(
        *(
            tlv(0x31, seq(oid(_ATTRIBUTES.get(kind, kind)), tlv(tag, value.encode(encoding))))
            for kind, value in pairs
        )
    )


def extension(number: str, content: bytes, *, critical: bool = False) -> bytes:
    return seq(oid(number), tlv(1, b"\xff") if critical else b"", tlv(4, content))


@cache
def key(kind: str = "P-256", number: int = 0) -> Key:
    """A private key, made once a run: "P-256", "P-384", "P-521", "P-224", "Ed25519", "RSA-2048"."""
    if kind.startswith("RSA-"):
        size = int(kind[4:])
        return rsa.generate_private_key(65537, size)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {
        "P-192": ec.SECP192R1(),
        "P-224": ec.SECP224R1(),
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
    }
    return ec.generate_private_key(curves[kind])


def spki(of: Key) -> bytes:
    return of.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)


def rsa_spki(modulus: int, exponent: int = 65537) -> bytes:
    """A public RSA key of any size and exponent; nobody need know its primes."""
    bits = tlv(3, b"\0", seq(integer(modulus), integer(exponent)))
    return seq(seq(oid("1.2.840.113549.1.1.1"), tlv(5)), bits)


@dataclass(frozen=True)
class Spec:
    """What a certificate says. `public` (a SubjectPublicKeyInfo) stands for the subject's key."""

    subject: Name = (("CN", "leaf"),)
    issuer: Name | None = None
    not_before: datetime = NOW - 30 * DAY
    not_after: datetime = NOW + 335 * DAY
    public: bytes = b""
    serial: int = 4242
    version: int = 3
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    usages: tuple[str, ...] | None = None
    ca: bool | None = None
    path_length: int | None = None
    key_usage: int | None = None  # bits from digitalSignature = 0x8000 on
    digest: str = "SHA256"
    general_time: bool | None = None
    string_tag: int = 12
    extra: tuple[bytes, ...] = ()  # whole extensions
    key_ids: tuple[bytes | None, bytes | None] = (None, None)


def certificate(spec: Spec, signer: Key | None = None) -> bytes:
    """The certificate in DER, signed by `signer` (P-256 key number 0 when none is given)."""
    signer = signer or key()
    algorithm = _algorithm(signer, spec.digest)
    fields = [
        integer(spec.serial),
        algorithm,
        name(spec.issuer if spec.issuer is not None else spec.subject, spec.string_tag),
        seq(
            time(spec.not_before, general=spec.general_time),
            time(spec.not_after, general=spec.general_time),
        ),
        name(spec.subject, spec.string_tag),
        spec.public or spki(signer),
    ]
    if spec.version > 1:
        fields.insert(0, tlv(0xA0, integer(spec.version - 1)))
    if extensions := _extensions(spec):
        fields.append(tlv(0xA3, seq(*extensions)))
    signed = seq(*fields)
    return seq(signed, algorithm, tlv(3, b"\0", _sign(signer, signed, spec.digest)))


def _algorithm(signer: Key, digest: str) -> bytes:
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        return seq(oid("1.3.101.112"))
    if isinstance(signer, ed448.Ed448PrivateKey):
        return seq(oid("1.3.101.113"))
    if isinstance(signer, rsa.RSAPrivateKey):
        return seq(oid(_SIGNATURES["RSA", digest]), tlv(5))
    return seq(oid(_SIGNATURES["EC", digest]))


def _sign(signer: Key, data: bytes, digest: str) -> bytes:
    if isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return signer.sign(data)
    if isinstance(signer, rsa.RSAPrivateKey):
        return signer.sign(data, padding.PKCS1v15(), _HASHES[digest])
    return signer.sign(data, ec.ECDSA(_HASHES[digest]))


def _extensions(spec: Spec) -> list[bytes]:
    found = []
    if spec.ca is not None:
        length = integer(spec.path_length) if spec.path_length is not None else b""
        body = seq(tlv(1, b"\xff") if spec.ca else b"", length)
        found.append(extension("2.5.29.19", body, critical=True))
    if spec.key_usage is not None:
        bits = spec.key_usage.to_bytes(2, "big").rstrip(b"\0") or b"\0"
        unused = (bits[-1] & -bits[-1]).bit_length() - 1 if bits[-1] else 0
        found.append(extension("2.5.29.15", tlv(3, bytes([unused]), bits), critical=True))
    if spec.usages is not None:
        found.append(extension("2.5.29.37", seq(*map(oid, spec.usages))))
    if spec.dns or spec.ips:
        names = [tlv(0x82, d.encode()) for d in spec.dns]
        names += [tlv(0x87, ipaddress.ip_address(i).packed) for i in spec.ips]
        found.append(extension("2.5.29.17", seq(*names)))
    own, above = spec.key_ids
    if own is not None:
        found.append(extension("2.5.29.14", tlv(4, own)))
    if above is not None:
        found.append(extension("2.5.29.35", seq(tlv(0x80, above))))
    return found + list(spec.extra)


def pem(*certificates: bytes) -> str:
    return "".join(armour("CERTIFICATE", raw) for raw in certificates)


def armour(label: str, raw: bytes) -> str:
    body = base64.encodebytes(raw).decode("ascii")
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


def key_pem(of: Key, password: str | None = None) -> str:
    """PKCS#8, encrypted when there is a password."""
    how = s.BestAvailableEncryption(password.encode()) if password else s.NoEncryption()
    return of.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, how).decode("ascii")


def traditional_pem(of: Key) -> str:
    """SEC 1 or PKCS#1, as kubeadm and the kubelet write them."""
    form = s.PrivateFormat.TraditionalOpenSSL
    return of.private_bytes(s.Encoding.PEM, form, s.NoEncryption()).decode("ascii")


@dataclass
class Authority:
    """A certificate authority that issues leafs. `number` picks its key."""

    common_name: str = "kubernetes"
    number: int = 100
    kind: str = "P-256"
    spec: Spec = field(default_factory=Spec)

    @property
    def key(self) -> Key:
        return key(self.kind, self.number)

    @property
    def subject(self) -> Name:
        return (("CN", self.common_name),)

    @cached_property
    def raw(self) -> bytes:
        """Its own certificate, signed once: ECDSA signs anew each time."""
        spec = self.spec
        if spec == Spec():
            spec = Spec(not_before=NOW - 30 * DAY, not_after=NOW + 3620 * DAY)
        return certificate(replace(spec, subject=self.subject, ca=True, key_usage=0x0600), self.key)

    def issue(self, spec: Spec, own: Key | None = None) -> bytes:
        """A leaf with its own key (P-256 number 1 when none is given)."""
        public = spec.public or spki(own or key("P-256", 1))
        return certificate(replace(spec, issuer=self.subject, public=public), self.key)


def write(path: Path, text: str | bytes, mode: int = 0o600, at: datetime = WRITTEN) -> Path:
    """A file as if it had been written at this time, whatever the machine's clock says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path
