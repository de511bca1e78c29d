"""A lazy pattern finds what re finds."""

from __future__ import annotations

import re

import pytest

from nodeward.lazy import pattern


def test_it_finds_what_the_compiled_one_finds() -> None:
    ours, theirs = pattern(r"(?P<a>[a-c]+)(\d)?"), re.compile(r"(?P<a>[a-c]+)(\d)?")
    text = "ab1 c2 x bb"
    assert ours.findall(text) == theirs.findall(text)
    assert [m.span() for m in ours.finditer(text)] == [m.span() for m in theirs.finditer(text)]
    assert ours.sub("-", text) == theirs.sub("-", text)
    assert ours.split(text) == theirs.split(text)
    found = ours.fullmatch("ab1")
    assert found is not None
    assert found["a"] == "ab"
    assert ours.groupindex == theirs.groupindex
    assert ours.pattern == theirs.pattern


def test_flags_and_bytes_count() -> None:
    assert pattern("A", re.IGNORECASE).match("a")
    assert pattern(rb"\d").search(b"x1")


def test_a_wrong_one_is_told_when_it_is_used() -> None:
    wrong = pattern("(")
    with pytest.raises(re.error):
        wrong.match("x")
