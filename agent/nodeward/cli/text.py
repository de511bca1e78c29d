"""Values of a host as text for a terminal: no control character reaches it unescaped."""

from __future__ import annotations

import re

# C0 and C1 controls, line separators, and the marks that reorder text.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def safe(text: str) -> str:
    """The text with each such character as \\xNN or \\uNNNN."""
    return _UNSAFE.sub(lambda m: ascii(m[0])[1:-1], text)
