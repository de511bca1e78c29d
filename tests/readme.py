"""What our documents tell people to type."""

from __future__ import annotations

import re

from node import ROOT


def block(document: str, start: str, language: str) -> str:
    """The first block of this language after the paragraph that starts with these words."""
    text = (ROOT / document).read_text()
    at = text.index(f"\n{start}")
    found = re.search(rf"^```{language}\n(.*?)^```$", text[at:], re.MULTILINE | re.DOTALL)
    assert found, f"{document}: no block of {language} after {start!r}"
    return found[1]


def commands(document: str, start: str) -> list[str]:
    """The lines of such a block of shell."""
    return block(document, start, "sh").splitlines()
