"""Addresses of servers as configurations write them."""

from __future__ import annotations

import re

from nodeward.lazy import pattern

_URL = pattern(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:[^@/]*@)?"
    r"(?P<host>\[[^\]/]*\]|[^:/?#]*)(?::(?P<port>\d{1,5}))?(?:[/?#].*)?",
    re.DOTALL,
)


def split_url(text: str) -> tuple[str, str, int | None]:
    """Scheme ("" when there is none), host without brackets, and port; all empty for no URL."""
    found = _URL.fullmatch(text.strip())
    if found is None:
        return "", "", None
    port = int(found["port"]) if found["port"] else None
    return (found["scheme"] or "").lower(), found["host"].strip("[]").lower(), port
