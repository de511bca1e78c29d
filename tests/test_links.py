"""What a page of this repository points to is there, and its commands exist."""

import re
from pathlib import Path

import pytest

from nodeward.cli.main import VERBS

ROOT = Path(__file__).parents[1]
SKIP = {".venv", ".cache", ".git", ".demo", "node_modules"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not SKIP & set(p.relative_to(ROOT).parts))
OWN = [p for p in PAGES if "data" not in p.parts and "checks" not in p.parts]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)[^)]*\)")
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:sudo |\.venv/bin/)?nodeward ([a-z-]+)", re.MULTILINE)
SCRIPT = re.compile(r"^(?:sudo )?(script/[a-z0-9-]+)", re.MULTILINE)


@pytest.mark.parametrize("page", OWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    dead = [target for target in LINK.findall(text) if not (page.parent / target).exists()]
    assert not dead


@pytest.mark.parametrize("page", OWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_are_ones_that_there_are(page: Path) -> None:
    text = "".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    assert set(COMMAND.findall(text)) <= set(VERBS)
    assert all((ROOT / script).exists() for script in SCRIPT.findall(text))
