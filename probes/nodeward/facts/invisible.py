"""Characters that nobody sees on a line, in text that was read byte by byte, as Latin-1."""

from __future__ import annotations

from nodeward.lazy import pattern

BOM = "\xef\xbb\xbf"
_GAP = "no-break space"
_NAMES = {
    "\xc2\xa0": _GAP,
    "\xe2\x80\xaf": _GAP,
    "\r": "carriage return",
    BOM: "byte order mark",
    "\xc2\xad": "soft hyphen",
    "\xe2\x80\x8b": "zero-width space",
    "\xe2\x80\x8c": "zero-width non-joiner",
    "\xe2\x80\x8d": "zero-width joiner",
    "\xe2\x81\xa0": "word joiner",
}
# Latin-1's own no-break space is one byte, which in UTF-8 also ends other letters.
_ANY = pattern("|".join(_NAMES) + "|(?<![\x80-\xff])\xa0")


def invisible(text: str) -> tuple[str, ...]:
    """The names of those that a text holds, each once."""
    return tuple(dict.fromkeys(_NAMES.get(sign, _GAP) for sign in _ANY.findall(text)))


def shown(text: str) -> str:
    """The text with the name of each in its place, and other letters as UTF-8 has them."""
    named = _ANY.sub(lambda sign: f"<{_NAMES.get(sign[0], _GAP)}>", text.strip("\t\n "))
    return named.encode("latin-1", "replace").decode("utf-8", "backslashreplace")


def bare(text: str) -> str:
    """The text as it looks: a blank for what looks like one, and without the rest."""
    return _ANY.sub(lambda sign: " " if _NAMES.get(sign[0], _GAP) == _GAP else "", text).strip()
