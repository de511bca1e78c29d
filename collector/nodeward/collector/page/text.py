"""Text from hosts as people may read it: hostile until shown otherwise.

Jinja2 escapes what HTML would act on. Here is what it leaves: characters that move the cursor, hide
or reorder what stands beside them, and strings that would fill the screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 800
"""Characters of one value on a page; the JSON has the rest."""

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def legible(text: object) -> str:
    """The text with each such character by its number, and an end to it."""
    plain = _UNSEEN.sub(lambda m: f"\u27e8U+{ord(m[0]):04X}\u27e9", str(text))
    if len(plain) <= LONGEST:
        return plain
    return f"{plain[:LONGEST]}… ({len(plain)} characters; the JSON has them all)"


def verbatim(texts: Iterable[str]) -> bool:
    """Whether all of them stand on the page just as they are."""
    return all(legible(text) == text for text in texts)


SHORT: Final = 160


def short(text: object) -> str:
    """The same for a name in a table whose other columns want to be read too."""
    plain = str(text)
    return plain if len(plain) <= SHORT else f"{plain[:SHORT]}… ({len(plain)} characters)"


def csv_cell(value: object) -> str:
    """A value that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
