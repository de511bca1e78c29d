"""A file of certificates taken as a whole: its key, and what stands between its first certificate
and those that its peers trust."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodeward.facts.pki import Held, Kind, Pki, PrivateKey
from nodeward.facts.signature import MOST_STEPS
from nodeward.facts.x509 import Certificate
from nodeward.lazy import dataclass

_NO_KEY = "holds no key"
_REFUSED = {
    "encrypted": "has a password, which no component can give",
    "cut off": "is cut off",
    _NO_KEY: _NO_KEY,
}
_TAKEN_OUT = "taken out of this recording"
"""Errors of a key are worded in nodeward.host.pem."""


def steps(leaf: Certificate, rest: Sequence[Certificate]) -> list[Certificate]:
    """The way from a certificate upwards by the names of issuers, among what stands in its file.
    Of two with one name (one renews the other) the longer one counts. A root is no step: whoever
    does not trust it already will not for having been sent it."""
    found: list[Certificate] = []
    current = leaf
    while not current.self_issued and len(found) < MOST_STEPS:
        above = [c for c in rest if c.raw_subject == current.raw_issuer and c not in found]
        if not above:
            break
        current = max(above, key=lambda c: c.not_after)
        found.append(current)
    return [c for c in found if not c.self_issued]


def intermediates(held: Held, facts: Pki) -> list[Certificate]:
    """Those of a file that its peers need: without what some component here trusts by itself, as
    the same certificate or another of its name and key."""
    if held.leaf is None or len(held.pem.certificates) == 1:
        return []
    trusted = {(c.raw_subject, c.key.spki_sha256) for c in _trusted(facts)}
    needed = []
    for one in steps(held.leaf, held.pem.certificates[1:]):
        if (one.raw_subject, one.key.spki_sha256) in trusted:
            break
        needed.append(one)
    return needed


def _trusted(facts: Pki) -> Iterator[Certificate]:
    for held in facts.held(kind=Kind.TRUST):
        if held.use.in_use:
            yield from held.pem.certificates


@dataclass(frozen=True, slots=True)
class Pairing:
    """Whether a certificate has its key. `fits` is None where that could not be told: `why`."""

    fits: bool | None
    why: str = ""


def pairing(held: Held, facts: Pki) -> Pairing:
    """Go's X509KeyPair takes a certificate and its key, or neither: a key of another one, or with
    a password, is an error. The key stands in the same place, or in a file that its component
    names as one."""
    leaf = held.leaf
    if leaf is None:
        return Pairing(True)
    keys = [(held.pem.where, key) for key in held.pem.keys] or list(_keys_of(held, facts))
    if held.use.part and not keys:
        return Pairing(False, "no key stands with it, and none is named")
    known = [(where, key) for where, key in keys if key.spki_sha256]
    if any(key.spki_sha256 == leaf.key.spki_sha256 for _, key in known):
        return Pairing(True)
    for where, key in keys:
        if key.error in _REFUSED:
            return Pairing(False, f"its key ({where}) {_REFUSED[key.error]}")
    if known and len(known) == len(keys):
        where = ", ".join(dict.fromkeys(where for where, _ in known))
        return Pairing(False, f"its key ({where}) belongs to another certificate")
    unread = [f"{w}: {k.error}" for w, k in keys if k.error and k.error != _TAKEN_OUT]
    return Pairing(None, unread[0]) if unread else Pairing(True)


def _keys_of(held: Held, facts: Pki) -> Iterator[tuple[str, PrivateKey]]:
    for key in facts.held(held.use.component, kind=Kind.KEY):
        if not key.use.in_use:
            continue
        for one in key.pem.keys:
            yield key.pem.where, one
        if not key.pem.keys:
            why = "not there" if key.pem.absent else key.pem.error or _NO_KEY
            yield key.pem.where, PrivateKey(None, None, None, why)
