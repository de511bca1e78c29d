"""Whether one certificate signed another. The mathematics is a library's, imported when asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from nodeward.facts import der
from nodeward.facts.x509 import RSA, Certificate
from nodeward.lazy import dataclass

MOST_STEPS = 8  # certificates between a leaf and its anchor


@dataclass(frozen=True, slots=True)
class Chain:
    """`verifies` is None where it could not be told (an algorithm that the library lacks).
    `path` are the issuers, from the leaf's own up to the anchor."""

    verifies: bool | None
    why: str
    anchor: Certificate | None = None
    path: tuple[Certificate, ...] = ()


def chain(
    leaf: Certificate, between: Iterable[Certificate], anchors: Sequence[Certificate]
) -> Chain:
    """Follow the signatures from a leaf through what stands behind it in its file to one of the
    anchors. Validity in time is judged apart."""
    known = {a.sha256 for a in anchors}
    links = [c for c in between if c.sha256 not in known]
    current, path = leaf, list[Certificate]()
    while len(path) < MOST_STEPS:
        if current.sha256 in known:
            return Chain(True, "is itself trusted", current, tuple(path))
        # While an authority is replaced, old and new have one name: the longer one counts.
        candidates = sorted((*anchors, *links), key=lambda c: c.not_after, reverse=True)
        found = _issuer(current, candidates, len(path))
        if isinstance(found, Chain):
            return found
        path.append(found)
        if found.sha256 in known:
            return Chain(True, f"is signed by {found.subject}", found, tuple(path))
        current = found
    return Chain(False, f"more than {MOST_STEPS} certificates to its anchor")


def _issuer(
    child: Certificate, candidates: Sequence[Certificate], below: int
) -> Certificate | Chain:
    """Who issued it, of those with the name; or why it was none of them. `below` is how many
    authorities already stand between the leaf and the issuer."""
    named = [c for c in candidates if c.raw_subject == child.raw_issuer]
    if not named:
        return Chain(False, f"no trusted certificate is named {child.issuer}")
    refusals = [why for one in named if (why := _may_not_issue(one, below))]
    if len(refusals) == len(named):
        return Chain(False, f"{child.issuer} {refusals[0]}")
    results = [(signed_by(child, one), one) for one in named if not _may_not_issue(one, below)]
    good = next((one for result, one in results if result), None)
    if good is not None:
        return good
    if any(result is None for result, _ in results):
        return Chain(None, f"a signature of kind {child.signature} cannot be verified here")
    return Chain(False, f"it is not signed by the trusted key of {child.issuer}")


def _may_not_issue(one: Certificate, below: int) -> str:
    """RFC 5280, 6.1.4 (k) to (n), as Go's crypto/x509 demands it of anchors too."""
    limit, usage = one.extensions.path_length, one.extensions.key_usage
    if not one.is_ca:
        return "is no authority"
    if one.foreign:
        return one.foreign
    if usage is not None and "keyCertSign" not in usage:
        return "has no right to sign certificates (keyCertSign)"
    if limit is not None and below > limit:
        return f"may have {limit} authorities below it, not {below}"
    return ""


def signed_by(child: Certificate, issuer: Certificate) -> bool | None:
    """Whether the signature is that of the issuer's key; None when it cannot be told."""
    if (told := _by_plain_rsa(child, issuer)) is not None:
        return told
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(issuer.raw_key)
        _verify(key, child)
    except InvalidSignature:
        return False
    except (ValueError, UnsupportedAlgorithm, TypeError):
        return None
    return True


_DIGEST_INFO = {
    "SHA256": "3031300d060960864801650304020105000420",
    "SHA384": "3041300d060960864801650304020205000430",
    "SHA512": "3051300d060960864801650304020305000440",
}


def _by_plain_rsa(child: Certificate, issuer: Certificate) -> bool | None:
    """RFC 8017 section 8.2.2, one power and one comparison, for what nearly every cluster has:
    loading the library takes longer than all else that is judged of a kubelet. None for others."""
    family, _, digest = child.signature.rpartition("-")
    usual = issuer.key.kind == "RSA" and issuer.key.exponent == 65537
    if family != "RSA" or digest not in _DIGEST_INFO or not usual:
        return None
    try:
        algorithm, key = der.only(issuer.raw_key).children()
        if der.oid(next(algorithm.children())) != RSA:
            return None
        modulus = der.integer(next(der.read(der.bits(key)).children()))
    except (der.DerError, ValueError, StopIteration):
        return None
    size, number = (modulus.bit_length() + 7) // 8, int.from_bytes(child.raw_signature, "big")
    if not 2048 <= modulus.bit_length() <= 8192:
        return None
    if len(child.raw_signature) != size or number >= modulus:
        return False
    told = bytes.fromhex(_DIGEST_INFO[digest]) + hashlib.new(digest, child.raw_signed).digest()
    wanted = b"\0\1" + b"\xff" * (size - 3 - len(told)) + b"\0" + told
    return pow(number, 65537, modulus).to_bytes(size, "big") == wanted


def _verify(key: object, child: Certificate) -> None:
    """Raises InvalidSignature; UnsupportedAlgorithm for kinds that this does not know."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

    family, _, digest = child.signature.rpartition("-")
    known: dict[str, Callable[[], hashes.HashAlgorithm]] = {
        "SHA1": hashes.SHA1,
        "SHA224": hashes.SHA224,
        "SHA256": hashes.SHA256,
        "SHA384": hashes.SHA384,
        "SHA512": hashes.SHA512,
        "MD5": hashes.MD5,
    }
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(child.raw_signature, child.raw_signed)
        return
    if digest not in known:
        raise UnsupportedAlgorithm(child.signature)
    algorithm = known[digest]()
    if isinstance(key, ec.EllipticCurvePublicKey) and family == "ECDSA":
        key.verify(child.raw_signature, child.raw_signed, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey) and family == "RSA":
        key.verify(child.raw_signature, child.raw_signed, padding.PKCS1v15(), algorithm)
    elif isinstance(key, rsa.RSAPublicKey) and family == "RSA-PSS":
        how = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
        key.verify(child.raw_signature, child.raw_signed, how, algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise InvalidSignature  # another kind of key than the signature's
    else:
        raise UnsupportedAlgorithm(child.signature)
