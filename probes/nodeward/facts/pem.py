"""Text armour of certificates and keys, RFC 7468 as lax as OpenSSL and Go read it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from nodeward.lazy import dataclass, pattern

CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")

_OTHER = b"?!"
"""What stands in place of a body that is base64 and not shown: see nodeward.host.pem."""

_BLOCK = pattern(
    rb"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)"
    rb"(?:-----END (?P=label)-----|(?=-----BEGIN )|\Z)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block. `data` is None where the body cannot be used, and `error` says why. `whole`:
    whether its armour is: a block without its end, or whose body is no base64, is none to Go's
    encoding/pem, which goes on to the next."""

    label: str
    data: bytes | None
    error: str = ""
    whole: bool = True

    @property
    def private(self) -> bool:
        return self.label.endswith("PRIVATE KEY")


def split(text: bytes) -> Iterator[Block]:
    """Every block, in order. What stands between them is skipped, as all readers of PEM do; one
    bad block costs no other."""
    for match in _BLOCK.finditer(text):
        label = match["label"].decode("ascii")
        if not match[0].endswith(b"-----"):
            yield Block(label, None, f"BEGIN {label} without its END", whole=False)
            continue
        body = match["body"].rpartition(b"\n\n")[2] if b":" in match["body"] else match["body"]
        if body.strip() == _OTHER:
            yield Block(label, None, f"holds no {label.lower()}")
            continue
        try:
            yield Block(label, base64.b64decode(b"".join(body.split()), validate=True))
        except binascii.Error:
            yield Block(label, None, "not base64", whole=False)
