"""X.509 certificates, RFC 5280, as far as a verdict needs them.

An own reader on purpose. A strict library refuses a whole certificate for one odd extension,
differently in each of its versions, and Debian 12's cannot say times with a zone; what expires
must still be told. Signatures are verified by a library (nodeward.facts.signature).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import lru_cache

from nodeward.facts import der
from nodeward.facts.der import DerError, Value
from nodeward.lazy import dataclass

COMMON_NAME, ORGANIZATION = "2.5.4.3", "2.5.4.10"
ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
USAGES = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "2.5.29.37.0": "any",
}
SIGNATURES = {
    "1.2.840.113549.1.1.2": "RSA-MD2",
    "1.2.840.113549.1.1.4": "RSA-MD5",
    "1.2.840.113549.1.1.5": "RSA-SHA1",
    "1.3.14.3.2.29": "RSA-SHA1",
    "1.2.840.113549.1.1.10": "RSA-PSS",
    "1.2.840.113549.1.1.11": "RSA-SHA256",
    "1.2.840.113549.1.1.12": "RSA-SHA384",
    "1.2.840.113549.1.1.13": "RSA-SHA512",
    "1.2.840.113549.1.1.14": "RSA-SHA224",
    "1.2.840.10040.4.3": "DSA-SHA1",
    "2.16.840.1.101.3.4.3.2": "DSA-SHA256",
    "1.2.840.10045.4.1": "ECDSA-SHA1",
    "1.2.840.10045.4.3.1": "ECDSA-SHA224",
    "1.2.840.10045.4.3.2": "ECDSA-SHA256",
    "1.2.840.10045.4.3.3": "ECDSA-SHA384",
    "1.2.840.10045.4.3.4": "ECDSA-SHA512",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}
CURVES = {
    "1.2.840.10045.3.1.1": ("P-192", 192),
    "1.2.840.10045.3.1.7": ("P-256", 256),
    "1.3.132.0.33": ("P-224", 224),
    "1.3.132.0.34": ("P-384", 384),
    "1.3.132.0.35": ("P-521", 521),
    "1.3.132.0.10": ("secp256k1", 256),
    "1.3.36.3.3.2.8.1.1.7": ("brainpoolP256r1", 256),
}
EDWARDS = {"1.3.101.112": ("Ed25519", 256), "1.3.101.113": ("Ed448", 448)}
RSA, RSA_PSS, EC, DSA = (
    "1.2.840.113549.1.1.1",
    "1.2.840.113549.1.1.10",
    "1.2.840.10045.2.1",
    "1.2.840.10040.4.1",
)
GO_CURVES = frozenset(("P-224", "P-256", "P-384", "P-521"))
GO_EXTENSIONS = frozenset(f"2.5.29.{n}" for n in (14, 15, 17, 19, 30, 31, 32, 33, 35, 36, 37, 54))
"""What crypto/x509 reads; a critical one besides these it must refuse, RFC 5280 section 4.2."""
KEY_USAGES = (
    "digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment",
    "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`kind` is "RSA", "EC", "Ed25519", ... or an OID; `bits` is the modulus' or curve's size,
    None where it cannot be told; `spki_sha256` names the key, whatever certificate carries it."""

    kind: str
    bits: int | None
    spki_sha256: str
    curve: str = ""
    exponent: int | None = None

    def __str__(self) -> str:
        if self.curve:
            return f"{self.kind} {self.curve}"
        return (
            f"{self.kind} {self.bits}" if self.bits and self.kind in ("RSA", "DSA") else self.kind
        )


@dataclass(frozen=True, slots=True)
class NameLimits:
    """What an authority may issue for, RFC 5280 section 4.2.1.10: domains, and networks as
    "10.0.0.0/8". Where one of a kind is permitted, no other of that kind is."""

    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    not_dns: tuple[str, ...] = ()
    not_ips: tuple[str, ...] = ()

    def refused(self, names: Extensions) -> str:
        """The first name or address of a certificate that is not permitted; "" for none."""
        for name in names.dns:
            inside = [in_domain(name, d) for d in self.dns]
            if (inside and not any(inside)) or any(in_domain(name, d) for d in self.not_dns):
                return name
        for address in names.ips:
            inside = [in_network(address, n) for n in self.ips]
            if (inside and not any(inside)) or any(in_network(address, n) for n in self.not_ips):
                return address
        return ""


def in_domain(name: str, domain: str) -> bool:
    """Whether it is this domain or below it; with a leading dot below it only."""
    name, domain = name.lower(), domain.lower()
    return not domain or name == domain or name.endswith(f".{domain.removeprefix('.')}")


def in_network(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)


@dataclass(frozen=True, slots=True)
class Extensions:
    """What the extensions say. None: there is no such extension (or it could not be read, and
    then `problems` names it). `critical` are those that Go does not know."""

    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    usages: tuple[str, ...] | None = None
    key_usage: tuple[str, ...] | None = None
    ca: bool | None = None
    path_length: int | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    limits: NameLimits | None = None
    critical: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. Times are seconds since 1970; `not_after` itself is still valid.

    `subject` and `issuer` are names as RFC 4514 writes them. The raw parts serve the
    verification of signatures.
    """

    version: int
    serial: int
    signature: str
    issuer: str
    subject: str
    not_before: int
    not_after: int
    key: PublicKey
    extensions: Extensions
    sha256: str
    common_name: str = ""
    organizations: tuple[str, ...] = ()
    raw_issuer: bytes = field(default=b"", repr=False)
    raw_subject: bytes = field(default=b"", repr=False)
    raw_signed: bytes = field(default=b"", repr=False)
    raw_signature: bytes = field(default=b"", repr=False)
    raw_key: bytes = field(default=b"", repr=False)

    @property
    def foreign(self) -> str:
        """Why programs in Go refuse it, wherever it stands in a chain; "" where they do not."""
        if critical := self.extensions.critical:
            return f"has the critical extension {critical[0]}, which programs in Go do not know"
        known = self.key.kind in ("RSA", "Ed25519") or self.key.curve in GO_CURVES
        return "" if known else f"has a key ({self.key}) that programs in Go do not know"

    @property
    def lifetime_s(self) -> int:
        return self.not_after - self.not_before

    @property
    def self_issued(self) -> bool:
        return self.raw_issuer == self.raw_subject

    @property
    def is_ca(self) -> bool:
        """RFC 5280: cA in basicConstraints; a v1 certificate has none and counts by its issuer."""
        if self.extensions.ca is None:
            return self.version == 1 and self.self_issued
        return self.extensions.ca


def parse_certificate(raw: bytes) -> Certificate:
    """One certificate in DER. DerError when its frame, names, times or key cannot be read; a
    faulty extension is noted in `extensions.problems`."""
    outer = _list(der.only(raw), "certificate", 3)
    fields = _list(outer[0], "tbsCertificate", 6)
    version = 1
    if fields[0].tag == der.context(0):
        version = der.integer(_list(fields.pop(0), "version", 1, tag=der.context(0))[0]) + 1
    if len(fields) < 6:
        raise DerError("tbsCertificate has too few fields")
    serial, _, issuer, validity, subject, key = fields[:6]
    times = _list(validity, "validity", 2)
    names = [pair for group in _groups(subject) for pair in group]
    return Certificate(
        version=version,
        serial=der.integer(serial),
        signature=_algorithm(outer[1]),
        issuer=_name(issuer),
        subject=_name(subject),
        not_before=der.time(times[0]),
        not_after=der.time(times[1]),
        key=parse_public_key(key.whole),
        extensions=_extensions(fields[6:]),
        sha256=hashlib.sha256(raw).hexdigest(),
        common_name=next((der.text(v) for k, v in reversed(names) if k == COMMON_NAME), ""),
        organizations=tuple(der.text(v) for k, v in names if k == ORGANIZATION),
        raw_issuer=issuer.whole,
        raw_subject=subject.whole,
        raw_signed=outer[0].whole,
        raw_signature=der.bits(outer[2]),
        raw_key=key.whole,
    )


def _list(value: Value, what: str, least: int, *, tag: int = der.SEQUENCE) -> list[Value]:
    found = list(value.expect(tag, what).children())
    if len(found) < least:
        raise DerError(f"{what} has {len(found)} fields")
    return found


def _algorithm(value: Value) -> str:
    """The name of a signature algorithm; of RSA-PSS with the hash that its parameters name."""
    fields = _list(value, "algorithm", 1)
    number = der.oid(fields[0])
    name = SIGNATURES.get(number, number)
    return f"{name}-{_pss_hash(fields)}" if name == "RSA-PSS" else name


def _pss_hash(fields: Sequence[Value]) -> str:
    """RFC 4055 section 3.1: [0] hashAlgorithm, SHA-1 where it is left out."""
    hashes = {
        "1.3.14.3.2.26": "SHA1",
        "2.16.840.1.101.3.4.2.1": "SHA256",
        "2.16.840.1.101.3.4.2.2": "SHA384",
        "2.16.840.1.101.3.4.2.3": "SHA512",
        "2.16.840.1.101.3.4.2.4": "SHA224",
    }
    for value in fields[1].children() if len(fields) > 1 and fields[1].tag == der.SEQUENCE else ():
        if value.tag == der.context(0):
            number = der.oid(_list(der.read(value.content), "hash", 1)[0])
            return hashes.get(number, number)
    return "SHA1"


def parse_name(raw: bytes) -> str:
    """A Name in DER that stands alone (a TLS server's list of client CAs), as RFC 4514 text."""
    return _name(der.only(raw))


def _groups(value: Value) -> Iterator[list[tuple[str, Value]]]:
    """Each relative name with its attributes and values, in the order of the certificate."""
    for group in value.expect(der.SEQUENCE, "name").children():
        pairs = [_list(pair, "name", 2) for pair in group.expect(der.SET, "name").children()]
        yield [(der.oid(kind), text) for kind, text, *_ in pairs]


@lru_cache(512)
def _name(value: Value) -> str:
    """RFC 4514: the last comes first, separators and edges escaped, unknown kinds in hex."""
    groups = [
        "+".join(
            f"{ATTRIBUTES[kind]}={_escaped(der.text(text))}"
            if kind in ATTRIBUTES
            else f"{kind}=#{text.whole.hex().upper()}"
            for kind, text in reversed(group)
        )
        for group in _groups(value)
    ]
    return ",".join(reversed(groups))


def _escaped(value: str) -> str:
    out = "".join(
        f"\\{c}" if c in ',+"\\<>;' else f"\\{ord(c):02X}" if c < " " or c == "\x7f" else c
        for c in value
    )
    if out[:1] in ("#", " "):
        out = f"\\{out}"
    return f"{out[:-1]}\\ " if len(value) > 1 and value.endswith(" ") else out


def parse_public_key(raw: bytes) -> PublicKey:
    """A SubjectPublicKeyInfo in DER, RFC 5280 section 4.1.2.7."""
    algorithm, key = _list(der.only(raw), "public key", 2)[:2]
    fields = _list(algorithm, "key algorithm", 1)
    number, name = der.oid(fields[0]), hashlib.sha256(raw).hexdigest()
    if number in (RSA, RSA_PSS):
        modulus, exponent = _list(der.read(der.bits(key)), "RSA key", 2)[:2]
        return PublicKey(
            "RSA", der.integer(modulus).bit_length(), name, exponent=der.integer(exponent)
        )
    if number == EC:
        curve = der.oid(fields[1]) if len(fields) > 1 and fields[1].tag == der.OID else "explicit"
        title, size = CURVES.get(curve, (curve, None))
        return PublicKey("EC", size, name, curve=title)
    if number == DSA:
        prime = _list(fields[1], "DSA key", 1)[0] if len(fields) > 1 else None
        return PublicKey("DSA", der.integer(prime).bit_length() if prime else None, name)
    kind, width = EDWARDS.get(number, (number, None))
    return PublicKey(kind, width, name)


def _extensions(fields: Sequence[Value]) -> Extensions:
    for value in fields:
        if value.tag == der.context(3):
            return _read_extensions(value)
    return Extensions()


def _read_extensions(value: Value) -> Extensions:
    found: dict[str, object] = {}
    problems: list[str] = []
    critical: list[str] = []
    seen: set[str] = set()
    try:
        for one in _list(value, "extensions", 1, tag=der.context(3))[0].children():
            parts = _list(one, "extension", 2)
            number = der.oid(parts[0])
            if number in seen:
                problems.append(f"extension {number} stands there twice")
                continue
            seen.add(number)
            if (
                number not in GO_EXTENSIONS
                and parts[1].tag == der.BOOLEAN
                and any(parts[1].content)
            ):
                critical.append(number)
            if reader := _READERS.get(number):
                try:
                    content = parts[-1].expect(der.OCTET_STRING, "extension").content
                    found |= reader(der.only(content))
                except DerError as exc:
                    problems.append(f"extension {number}: {exc.what}")
    except DerError as exc:
        problems.append(exc.what)
    return Extensions(**found, critical=tuple(critical), problems=tuple(problems))  # type: ignore[arg-type]  # readers' names


def _alternative_names(value: Value) -> dict[str, object]:
    dns, ips, uris = [], [], []
    for name in value.expect(der.SEQUENCE, "subjectAltName").children():
        match name.tag:
            case 0x82:
                dns.append(name.content.decode("ascii", "backslashreplace"))
            case 0x86:
                uris.append(name.content.decode("ascii", "backslashreplace"))
            case 0x87:
                ips.append(_ip(name.content))
            case _:
                pass
    return {"dns": tuple(dns), "ips": tuple(ips), "uris": tuple(uris)}


def _ip(packed: bytes) -> str:
    if len(packed) not in (4, 16):
        raise DerError(f"an address of {len(packed)} bytes")
    return str(ipaddress.ip_address(packed))


def _usages(value: Value) -> dict[str, object]:
    numbers = [der.oid(v) for v in value.expect(der.SEQUENCE, "extKeyUsage").children()]
    return {"usages": tuple(USAGES.get(n, n) for n in numbers)}


def _key_usage(value: Value) -> dict[str, object]:
    flags = int.from_bytes(der.bits(value)[:2].ljust(2, b"\0"), "big")
    return {"key_usage": tuple(n for i, n in enumerate(KEY_USAGES) if flags & (0x8000 >> i))}


def _constraints(value: Value) -> dict[str, object]:
    ca, length = False, None
    for part in value.expect(der.SEQUENCE, "basicConstraints").children():
        if part.tag == der.BOOLEAN:
            ca = part.content != b"\0"
        elif part.tag == der.INTEGER:
            length = der.integer(part)
    return {"ca": ca, "path_length": length}


def _name_limits(value: Value) -> dict[str, object]:
    """[0] permitted, [1] excluded. Kinds of names that no component has are left out."""
    found: dict[str, list[str]] = {"dns": [], "ips": [], "not_dns": [], "not_ips": []}
    for part in value.expect(der.SEQUENCE, "nameConstraints").children():
        prefix = "" if part.tag == der.context(0) else "not_"
        for tree in part.children():
            name = _list(tree, "subtree", 1)[0]
            if name.tag == 0x82:
                found[f"{prefix}dns"].append(name.content.decode("ascii", "backslashreplace"))
            elif name.tag == 0x87:
                found[f"{prefix}ips"].append(_network(name.content))
    return {"limits": NameLimits(**{kind: tuple(names) for kind, names in found.items()})}


def _network(packed: bytes) -> str:
    """An address and its mask of the same size, as "10.0.0.0/8"."""
    half = len(packed) // 2
    return f"{_ip(packed[:half])}/{int.from_bytes(packed[half:]).bit_count()}"


def _subject_key_id(value: Value) -> dict[str, object]:
    return {"subject_key_id": value.expect(der.OCTET_STRING, "subjectKeyIdentifier").content}


def _authority_key_id(value: Value) -> dict[str, object]:
    for part in value.expect(der.SEQUENCE, "authorityKeyIdentifier").children():
        if part.tag == der.context(0, constructed=False):
            return {"authority_key_id": part.content}
    return {}


_READERS: dict[str, Callable[[Value], dict[str, object]]] = {
    "2.5.29.14": _subject_key_id,
    "2.5.29.15": _key_usage,
    "2.5.29.17": _alternative_names,
    "2.5.29.19": _constraints,
    "2.5.29.30": _name_limits,
    "2.5.29.35": _authority_key_id,
    "2.5.29.37": _usages,
}
