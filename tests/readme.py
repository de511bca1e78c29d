"""What README tells people to type."""

from __future__ import annotations

import re

from node import ROOT


def commands(start: str) -> list[str]:
    """The lines of the first block of shell after the paragraph that starts with these words."""
    text = (ROOT / "README.md").read_text()
    at = text.index(f"\n{start}")
    found = re.search(r"^```sh\n(.*?)^```$", text[at:], re.MULTILINE | re.DOTALL)
    assert found, f"no block of shell after {start!r}"
    return found[1].splitlines()
