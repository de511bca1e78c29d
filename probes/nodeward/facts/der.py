"""Reading of DER, the distinguished encoding of ASN.1 (X.690, sections 8 and 10).

Only what certificates are made of: definite lengths and tags below 31. A certificate with one
odd field is read up to that field, where a strict library refuses the whole; an expired
certificate with a negative serial is then still known to be expired.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from nodeward.facts.errors import ParseError

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 1, 2, 3, 4, 5, 6
UTF8, PRINTABLE, TELETEX, IA5, UTC_TIME, GENERALIZED_TIME = 12, 19, 20, 22, 23, 24
UNIVERSAL, BMP = 28, 30
SEQUENCE, SET = 0x30, 0x31

_TIME_FIELDS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))
_ENCODINGS = {BMP: "utf-16-be", UNIVERSAL: "utf-32-be", TELETEX: "latin-1", UTF8: "utf-8"}


class DerError(ParseError):
    """These bytes are not the DER that their place demands."""

    def __init__(self, what: str) -> None:
        super().__init__(what, 0, "")


def context(number: int, *, constructed: bool = True) -> int:
    """The tag byte of a context-specific [number]."""
    return (0xA0 if constructed else 0x80) | number


class Value(NamedTuple):
    """One value: tag byte, content, and the whole encoding with its header. A tuple, since a
    certificate is made of fifty."""

    tag: int
    content: bytes
    whole: bytes

    def children(self) -> Iterator[Value]:
        """The values inside, one after the other."""
        at = 0
        while at < len(self.content):
            value = read(self.content, at)
            at += len(value.whole)
            yield value

    def expect(self, tag: int, what: str) -> Value:
        if self.tag != tag:
            raise DerError(f"{what}: tag {self.tag:#04x} where {tag:#04x} belongs")
        return self


def read(data: bytes, at: int = 0) -> Value:
    """The value that starts at this place."""
    try:
        tag, length, start = data[at], data[at + 1], at + 2
        if length == 0x80 or length > 0x84:
            raise DerError(f"length byte {length:#04x} at {at}")
        if length > 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[at + 2 : start], "big")
    except IndexError:
        raise DerError(f"cut off at {at}") from None
    if start + length > len(data):
        raise DerError(f"{length} bytes promised at {at}, {max(0, len(data) - start)} there")
    return Value(tag, data[start : start + length], data[at : start + length])


def only(data: bytes) -> Value:
    """The one value that these bytes are, without anything after it."""
    value = read(data)
    if len(value.whole) != len(data):
        raise DerError(f"{len(data) - len(value.whole)} bytes after the end")
    return value


def integer(value: Value) -> int:
    """A signed integer of any size."""
    if not value.content:
        raise DerError("an integer without bytes")
    return int.from_bytes(value.expect(INTEGER, "integer").content, "big", signed=True)


def oid(value: Value) -> str:
    """An object identifier in dots."""
    return _oid(value.expect(OID, "object identifier").content)


@lru_cache(512)
def _oid(content: bytes) -> str:
    arcs = [0]
    for byte in content:
        arcs[-1] = arcs[-1] << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(0)
    if len(arcs) < 2 or arcs.pop():
        raise DerError("object identifier cut off")
    top = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (top, arcs[0] - 40 * top, *arcs[1:]))


def bits(value: Value) -> bytes:
    """The bytes of a bit string that has whole bytes, or is padded with zeros."""
    if not value.expect(BIT_STRING, "bit string").content:
        raise DerError("a bit string without bytes")
    return value.content[1:]


def text(value: Value) -> str:
    """Any of the string types; what is not in its own encoding is shown as escapes."""
    encoding = _ENCODINGS.get(value.tag, "ascii")
    return value.content.decode(encoding, "backslashreplace")


def time(value: Value) -> int:
    """UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 writes it, in seconds since 1970."""
    digits = value.content.decode("ascii", "replace")
    if value.tag == UTC_TIME and len(digits) == 13:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    elif value.tag != GENERALIZED_TIME:
        raise DerError(f"tag {value.tag:#04x} where a time belongs")
    try:
        if len(digits) != 15 or not digits[:14].isascii() or not digits[:14].isdigit():
            raise ValueError
        year, month, day, hour, minute, second = (int(digits[a:b]) for a, b in _TIME_FIELDS)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        if digits[14] != "Z":
            raise ValueError
    except ValueError:
        raise DerError(f"no time of RFC 5280: {digits[:24]!r}") from None
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
