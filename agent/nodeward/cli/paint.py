"""Colour and signs on a terminal: NO_COLOR and FORCE_COLOR (https://no-color.org)."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass

from nodeward.model import Severity, Status

GLYPH = {
    Status.FAIL: "✗",
    Status.ERROR: "!",
    Status.UNKNOWN: "?",
    Status.PASS: "✓",
    Status.NOT_APPLICABLE: "–",
}
_ASCII = {"✗": "x", "✓": "+", "–": "-", "·": "*", "…": "..."}
_OF_STATUS = {
    Status.FAIL: "31",
    Status.ERROR: "35",
    Status.UNKNOWN: "33",
    Status.PASS: "32",
    Status.NOT_APPLICABLE: "2",
}
_OF_SEVERITY = {
    Severity.CRITICAL: "1;37;41",
    Severity.HIGH: "1;31",
    Severity.MEDIUM: "33",
    Severity.LOW: "36",
    Severity.INFO: "2",
}
WIDEST = 110


def on_terminal() -> bool:
    """Whether stdout is read by a person. FORCE_COLOR says so of a pipe (a CI log)."""
    return sys.stdout.isatty() or _forced()


def _forced() -> bool:
    return os.environ.get("FORCE_COLOR", "0") not in ("", "0")


@dataclass(frozen=True, slots=True)
class Paint:
    """How to show text: in colour or not, with which signs, how wide."""

    colour: bool
    unicode: bool
    width: int

    @classmethod
    def of_stdout(cls) -> Paint:
        if os.environ.get("NO_COLOR"):
            colour = False
        else:
            colour = _forced() or (sys.stdout.isatty() and os.environ.get("TERM") != "dumb")
        return cls(colour, _can_show(), min(shutil.get_terminal_size().columns, WIDEST))

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text and code else text

    def bold(self, text: str) -> str:
        return self(text, "1")

    def dim(self, text: str) -> str:
        return self(text, "2")

    def sign(self, glyph: str) -> str:
        return glyph if self.unicode else _ASCII.get(glyph, glyph)

    def status(self, status: Status, text: str = "") -> str:
        """Glyph and word: a status is never told by colour alone."""
        return self(f"{self.sign(GLYPH[status])} {text or status.value}", _OF_STATUS[status])

    def severity(self, severity: Severity, text: str = "") -> str:
        return self(text or severity.value, _OF_SEVERITY[severity])


def _can_show() -> bool:
    try:
        "".join(_ASCII).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
