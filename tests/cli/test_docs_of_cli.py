"""docs/cli.md names every verb, option, form and exit code that there is, and its examples run."""

import re
from pathlib import Path

import pytest

from nodeward.checks import catalog
from nodeward.cli import exits, main, scan
from nodeward.cli.accept import parse
from nodeward.model import Status

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_verb_is_there(verb: str) -> None:
    assert re.search(rf"`{verb}[ `]", PAGE), verb


def test_every_option_of_scan_is_there() -> None:
    for parameter in scan.command.params:
        assert max(parameter.opts, key=len) in PAGE, parameter.opts


def test_every_form_and_status_and_exit_code_is_there() -> None:
    for word in (*scan.FORMS, *(s.value for s in Status)):
        assert f"| `{word}` |" in PAGE
    for name in ("OK", "FAILS", "USAGE", "UNKNOWN", "DEFECT"):
        assert f"| {getattr(exits, name)} |" in PAGE


def test_the_exceptions_can_be_used_as_they_stand() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (entry,) = parse(text, catalog())
    assert entry.until_text == "2026-12-31"
