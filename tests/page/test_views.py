"""Each view as people open it: no complaint of the browser, no policy broken, usable by all."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from nodeward.collector.page.text import commands, legible
from nodeward.collector.store.access import Role
from page_site import Eyes, Site, eyes

ROOT = Path(__file__).parents[2]
AXE = ROOT / "tests/data/axe/axe.min.js"
VENDORED = ROOT / "collector/nodeward/collector/page/static/vendor"
VIEWS = {
    "fleet": "/",
    "nodes": "/nodes",
    "node": "/nodes/prod-eu/prod-eu-worker-0003",
    "hostile": "/nodes/prod-eu/prod-eu-worker-0000",
    "diff": "/nodes/prod-eu/prod-eu-worker-0000/diff?since=29d",
    "checks": "/checks",
    "check": "/checks/kernel.module.sctp",
    "findings": "/findings",
    "heat": "/heat?by=env",
    "heat-kernels": "/heat?by=node.kernel",
    "find": "/find?q=sctp",
    "changes": "/changes?since=7d",
    "certificates": "/certificates",
    "keys": "/certificates/keys",
    "waivers": "/waivers",
    "agents": "/agents",
    "sql": "/sql?sql=SELECT+cluster,+count(*)+AS+nodes+FROM+node+GROUP+BY+cluster",
}


def wrong(eyes: Eyes) -> list[str]:
    """All that axe-core finds."""
    # The page's policy lets no foreign script in; the debugger's own door is not bound by it.
    eyes.page.evaluate(AXE.read_text())
    found = eyes.page.evaluate("axe.run().then((r) => r.violations)")
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:200]} {v['nodes'][0].get('failureSummary', '')[:300]}"
        for v in found
    ]


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_opens_without_complaint(operator: Eyes, name: str) -> None:
    operator.go(VIEWS[name])
    assert operator.page.locator("h1").is_visible()
    operator.shot(name)
    assert wrong(operator) == []


def test_the_door_and_the_first_day_open_without_complaint(chromium: Browser, empty: Site) -> None:
    for seen in eyes(chromium, empty, color_scheme="dark"):
        seen.go("/login")
        assert wrong(seen) == []
        seen.log_in(empty.token("alice", Role.OPERATOR))
        assert wrong(seen) == []
        seen.page.get_by_role("button", name="Make a join token").click()
        seen.page.get_by_role("heading", name="Enrol nodes").wait_for()
        assert wrong(seen) == []


@pytest.mark.parametrize("name", VIEWS)
def test_a_dark_screen_has_contrast_too(dark: Eyes, name: str) -> None:
    dark.go(VIEWS[name])
    for details in dark.page.locator("details").all()[:6]:
        details.evaluate("d => { d.open = true; }")
    assert wrong(dark) == []


@pytest.mark.parametrize("name", VIEWS)
def test_a_narrow_dark_screen_shows_it_too(dark_phone: Eyes, name: str) -> None:
    dark_phone.go(VIEWS[name])
    dark_phone.shot(f"{name}-phone")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert dark_phone.page.evaluate(wide) == 0
    assert wrong(dark_phone) == []


def test_the_keyboard_reaches_content_and_every_view(operator: Eyes) -> None:
    operator.go("/")
    operator.page.keyboard.press("Tab")
    assert operator.page.locator(":focus").inner_text() == "Skip to content"
    operator.page.keyboard.press("Enter")
    assert operator.page.evaluate("document.activeElement.id") == "main"
    for name in ("Nodes", "Checks", "Heat map", "Changes", "Certificates", "Waivers", "Agents"):
        link = operator.page.get_by_role("navigation").get_by_role("link", name=name, exact=True)
        link.focus()
        assert link.evaluate("e => e === document.activeElement")


def test_hostile_text_acts_on_nothing_and_can_be_read(operator: Eyes) -> None:
    operator.go(VIEWS["hostile"])
    text = operator.page.locator("#kernel\\.module\\.dccp").inner_text()
    assert "<script>alert(1)</script>" in text
    assert "\u27e8U+001B\u27e9[31mred" in text
    assert "\u27e8U+202E\u27e9gpj.exe" in text
    assert "10069 characters" in text
    for drawn in ("#listeners", "#matrix", "#certs", "#chains"):
        section = operator.page.locator(f"section:has({drawn})")
        assert "<script>alert(1)</script>" in section.inner_text()
    assert "\u202e" not in operator.page.content()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/nodes?cluster=prod-eu", "prod-eu-worker-0003"),
        ("/heat?by=node.kernel", "kernel.module.sctp"),
    ],
)
def test_hostile_text_leaves_honest_names_on_one_line(operator: Eyes, path: str, name: str) -> None:
    operator.go(path)
    assert "<script>" in operator.page.locator("table").inner_text()
    link = operator.page.locator("table").get_by_role("link", name=name)
    assert link.evaluate("e => e.getClientRects().length") == 1
    assert link.evaluate("e => e.closest('tr').clientHeight") < 50, "the row is of two lines"


def test_a_pass_is_not_counted_with_what_does_not_apply(operator: Eyes) -> None:
    operator.go(VIEWS["node"])
    summary = operator.page.locator(".quiet-list summary", has_text="not-applicable").first
    assert re.search(r"pass\s+\d+\s+–\s+not-applicable\s+\d+", summary.inner_text())


def test_escape_closes_what_the_search_found(operator: Eyes) -> None:
    operator.go("/")
    box = operator.page.get_by_role("searchbox", name="Find a node or check")
    box.press_sequentially("sctp")
    found = operator.page.locator("#found")
    found.get_by_role("link", name="kernel.module.sctp").focus()
    operator.page.keyboard.press("Escape")
    expect(found).to_be_hidden()
    expect(box).to_be_focused()


def test_a_fix_is_whole_or_not_to_be_copied() -> None:
    """Longer than what is cut elsewhere, as a fix of many files may be; and one that no fix is."""
    for words, copied in ((["a" * 3_000, "b\nc"], 1), (["a" * 19_000] * 2, 0), (["a\u202eb"], 0)):
        text = commands(words)
        assert text.as_told == bool(copied)
        if copied:
            assert list(text.lines) == words
        else:
            assert len("".join(text.lines)) < 2_000


HIDDEN = "\u034f\u115f\u1160\u2800\u3164\ufe0f\uffa0\U000e0041\U000e0100\u200b\u202e"


@pytest.mark.parametrize("char", HIDDEN)
def test_a_character_that_cannot_be_seen_is_shown_by_its_number(char: str) -> None:
    assert legible(f"a{char}b") == f"a\u27e8U+{ord(char):04X}\u27e9b"


def test_a_letter_carries_few_marks() -> None:
    assert legible("e\u0323\u0302") == "e\u0323\u0302"
    shown = legible("e" + "\u0301" * 240)
    assert shown.count("\u0301") == 4
    assert "\u27e8U+0301\u27e9" in shown


def test_vendored_files_are_what_was_released() -> None:
    told = (VENDORED / "README.md").read_text() + (AXE.parent / "README.md").read_text()
    for file in [*VENDORED.glob("*.js"), *VENDORED.glob("*.css"), AXE]:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in told, file.name
