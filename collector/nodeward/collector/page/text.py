"""Text from hosts as people may read it: hostile until shown otherwise.

Jinja2 escapes what HTML would act on. Here is what it leaves: characters that move the cursor, hide
or reorder what stands beside them, and strings that would fill the screen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import category

LONGEST: Final = 800
"""Characters of one value on a page; the JSON has the rest."""
WHOLE: Final = 20_000
"""Characters of a fix, which is of use only as a whole; an honest one has a few hundred."""

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point, controls, and the blank of Braille."""
MOST_MARKS: Final = 4
"""Combining marks on one letter; more would cover the lines above and below."""


def legible(text: object, longest: int = LONGEST) -> str:
    """The text with each such character by its number, and an end to it."""
    plain = _UNSEEN.sub(lambda m: _number(m[0]), _unpiled(str(text)))
    if len(plain) <= longest:
        return plain
    return f"{plain[:longest]}… ({len(plain)} characters; the JSON has them all)"


@dataclass(frozen=True)
class Commands:
    """Commands as they stand on the page, and whether that is just as they were told."""

    lines: Sequence[str]
    as_told: bool


def commands(steps: Sequence[str]) -> Commands:
    """Whole, or, where all of them together are longer than any fix is, each cut like all else."""
    longest = WHOLE if sum(map(len, steps)) <= WHOLE else LONGEST
    lines = [legible(step, longest) for step in steps]
    return Commands(lines, lines == list(steps))


def _number(char: str) -> str:
    return f"\u27e8U+{ord(char):04X}\u27e9"


def _unpiled(text: str) -> str:
    """Combining marks past those that a letter can carry, by their numbers."""
    if text.isascii():
        return text
    out, marks = [], 0
    for char in text:
        marks = marks + 1 if category(char) in ("Mn", "Me") else 0
        out.append(char if marks <= MOST_MARKS else _number(char))
    return "".join(out)


SHORT: Final = 160


def short(text: object, longest: int = SHORT) -> str:
    """The same for a name in a table whose other columns want to be read too."""
    plain = str(text)
    return plain if len(plain) <= longest else f"{plain[:longest]}… ({len(plain)} characters)"


def csv_cell(value: object) -> str:
    """A value that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
