"""The plain form in which agents send: a request line and headers of which nothing is special.

Not an HTTP parser: whatever is not exactly this is left to one.
"""

from __future__ import annotations

from typing import Final

from nodeward.collector.wire import MOST_SENT

MOST_HEADERS: Final = 64
MOST_BYTES: Final = 32 << 10
PATHS: Final = {f"POST {path} HTTP/1.1".encode(): path for path in ("/v1/heartbeat", "/v1/reports")}
_END: Final = b"\r\n\r\n"
_VISIBLE: Final = bytes(set(range(256)) - {*range(0x20), 0x7F})
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_SPECIAL: Final = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te"))


def plain_head(data: bytes) -> tuple[str, dict[bytes, bytes], int, int] | None:
    """Path, headers, where the body begins and how long it is; None: let a parser see to it."""
    end = data.find(_END, 0, MOST_BYTES)
    if end < 0:
        return None
    lines = data[:end].split(b"\r\n")
    path = PATHS.get(lines[0])
    # What is left without the visible bytes must be the line ends and nothing else.
    if path is None or data[:end].translate(None, _VISIBLE) != b"\r\n" * (len(lines) - 1):
        return None
    if len(lines) > MOST_HEADERS:
        return None
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or name.translate(None, _TOKEN) or name in headers:
            return None
        headers[name] = value.strip(b" ")
    length = headers.get(b"content-length", b"")
    if _SPECIAL & headers.keys() or not (length.isdigit() and len(length) < 12):
        return None
    size = int(length)
    if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive" or size > MOST_SENT:
        return None
    return path, headers, end + 4, size
