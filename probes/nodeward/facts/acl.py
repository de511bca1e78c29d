"""POSIX access lists as the kernel stores them, acl(5) and include/uapi/linux/posix_acl_xattr.h."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nodeward.facts.errors import ParseError

XATTR = "system.posix_acl_access"
_VERSION = 2
_USER, _OWN_GROUP, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10


def parse_acl(raw: bytes, group: int | None = None) -> tuple[str, ...]:
    """What named users and groups may effectively do, as "user 1000: r--"; those who may do
    nothing are left out. So may the file's own group, where its number is given: the mode has the
    mask in that place."""
    try:
        (version,) = struct.unpack_from("<I", raw)
        entries = list(struct.iter_unpack("<HHI", raw[4:]))
    except struct.error:
        raise ParseError("access list", 0, raw.hex()) from None
    if version != _VERSION:
        raise ParseError("access list", 0, f"version {version}")
    mask = next((perm for tag, perm, _ in entries if tag == _MASK), 7)
    if group is not None:
        entries = [
            (_GROUP, p, group) if tag == _OWN_GROUP else (tag, p, n) for tag, p, n in entries
        ]
    return tuple(_named(entries, mask))


def _named(entries: list[tuple[int, int, int]], mask: int) -> Iterator[str]:
    for tag, perm, number in entries:
        if tag in (_USER, _GROUP) and perm & mask:
            letters = "".join(
                c if perm & mask & bit else "-" for c, bit in zip("rwx", (4, 2, 1), strict=True)
            )
            yield f"{'user' if tag == _USER else 'group'} {number}: {letters}"
