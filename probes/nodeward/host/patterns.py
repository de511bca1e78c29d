"""How often patterns fit a file. Its content stays here: no fact and no recording holds it."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.query import Query
from nodeward.lazy import dataclass, pattern

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

MOST_UNPACKED = 4 << 20
_GZIP = b"\x1f\x8b"
_BASE64 = pattern(rb"[A-Za-z0-9+/=\s]{64,}\Z")


@dataclass(frozen=True, slots=True)
class CountPatterns(Query[tuple[tuple[str, int], ...]]):
    """`patterns` are names and regular expressions; those that fit come back with how often.
    Raises what `read` raises. Content in gzip or base64, as user data often is, is unpacked."""

    answer_type: ClassVar[object] = tuple[tuple[str, int], ...]
    at_rest: ClassVar[bool] = True

    path: str
    patterns: tuple[tuple[str, str], ...]
    limit: int = 1 << 20

    def answer(self, host: TreeHost) -> tuple[tuple[str, int], ...]:
        text = unpacked(host.read(self.path, limit=self.limit)).decode("utf-8", "replace")
        counts = ((name, len(re.findall(pattern, text))) for name, pattern in self.patterns)
        return tuple((name, count) for name, count in counts if count)


def unpacked(raw: bytes) -> bytes:
    """The content once it is out of gzip or base64, one in the other too."""
    for _ in range(2):
        if raw.startswith(_GZIP):
            raw = _gunzip(raw)
        elif _BASE64.match(raw):
            try:
                raw = base64.b64decode(b"".join(raw.split()), validate=True)
            except binascii.Error:
                return raw
    return raw


def _gunzip(raw: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(raw, MOST_UNPACKED)
    except zlib.error:
        return raw
