"""Every check proves its own truth table."""

import pytest

from nodeward.checks import catalog
from nodeward.model import Check, Example, Status, decide

CASES = [
    pytest.param(c, e, id=f"{c.id}-{i}-{e.expect}")
    for c in catalog().values()
    for i, e in enumerate(c.examples)
]


@pytest.mark.parametrize(("rule", "example"), CASES)
def test_example(rule: Check[...], example: Example) -> None:
    """A check says of each of its examples what the example promises."""
    verdict = decide(rule, example.readings(rule.needs))
    assert verdict.status == example.expect, verdict.because


@pytest.mark.parametrize("rule", catalog().values(), ids=lambda c: c.id)
def test_definition_is_complete(rule: Check[...]) -> None:
    """A check shows a pass, a fail and an unknown, and names a source."""
    assert {e.expect for e in rule.examples} >= {Status.PASS, Status.FAIL, Status.UNKNOWN}
    assert rule.sources
    assert all(s.url.startswith("https://") for s in rule.sources)
    assert rule.title
    assert rule.why
    assert rule.remedy.text


@pytest.mark.parametrize("rule", catalog().values(), ids=lambda c: c.id)
def test_an_unreadable_need_is_never_a_pass(rule: Check[...]) -> None:
    """Whatever it asks for, a check that can see nothing passes nothing."""
    from nodeward.model import Unreadable

    dark = {need.fact: Unreadable(need.fact.__name__, "EACCES") for need in rule.needs}
    assert decide(rule, dark).status in (Status.UNKNOWN, Status.NOT_APPLICABLE)
