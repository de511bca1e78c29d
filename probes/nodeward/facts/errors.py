"""The one error of every parser here."""

from __future__ import annotations


class ParseError(ValueError):
    """Text from the host is not in the shape that its manual promises.

    `line` counts from 1; 0 when the fault is not in one line. `text` is shown as its repr and cut:
    it may hold terminal escapes, and must not be a secret.
    """

    def __init__(self, what: str, line: int, text: str) -> None:
        super().__init__(
            f"{what}, line {line}: {text[:80]!r}" if line else f"{what}: {text[:80]!r}"
        )
        self.what = what
        self.line = line
        self.text = text
