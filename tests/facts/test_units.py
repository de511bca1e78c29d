"""Service units as systemd reads them."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.errors import ParseError
from nodeward.facts.units import (
    Word,
    command,
    parse_environment_file,
    parse_unit,
    service_entries,
    split_words,
)

PLAIN = st.text("abc-=/.", min_size=1, max_size=6)


@given(st.lists(st.text("ab c'\"-=/", max_size=8), max_size=5))
def test_words_that_were_quoted_come_back(words: list[str]) -> None:
    assert split_words(" ".join(shlex.quote(w) for w in words), "f") == words


@given(st.lists(st.sampled_from(["a", "'", '"', "\\", " ", "$A", "${A}", "\t"]), max_size=12))
def test_bad_quoting_is_a_parse_error_and_nothing_else(parts: list[str]) -> None:
    with contextlib.suppress(ParseError):
        split_words("".join(parts), "f")


LINE = st.sampled_from(
    ["[Service]", "[Unit]", "ExecStart=/a \\", "ExecStart=", "# c", "; d", "  b", "", "=x", "A=1=2",
     "[", "]", "\\", "ExecStart=/b 'c"]
)  # fmt: skip


@given(st.lists(LINE, max_size=10).map("\n".join))
def test_any_text_is_a_unit_and_entries_know_their_line(text: str) -> None:
    lines = text.split("\n")
    for entry in parse_unit(text.encode(), "u"):
        number = int(entry.source.rpartition(":")[2])
        assert entry.key in lines[number - 1] or lines[number - 1].endswith("\\")


def test_an_empty_assignment_resets_what_came_before() -> None:
    unit = parse_unit(
        b"[Service]\nExecStart=/a\nExecStart=\nExecStart=/b\n[X]\nExecStart=/c\n", "u"
    )
    assert [e.value for e in service_entries(unit, "ExecStart")] == ["/b"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-/k $A", ["/k", "--x=1", "--y"]),  # a word of its own is split
        ("/k ${A}", ["/k", "--x=1 --y"]),  # in braces it is not
        ("/k --z=${B}", ["/k", "--z=2"]),
        ("/k $NONE ${NONE}", ["/k", ""]),
        ("@!/k '$A' 100%%", ["/k", "--x=1", "--y", "100%"]),
    ],
)
def test_variables_are_filled_in(line: str, words: list[str]) -> None:
    environment = {"A": Word("--x=1 --y", "f: A"), "B": Word("2", "f: B")}
    (entry,) = service_entries(
        parse_unit(f"[Service]\nExecStart={line}".encode(), "u"), "ExecStart"
    )
    assert [w.text for w in command(entry, environment)] == words


def test_a_word_knows_the_file_it_came_from() -> None:
    (entry,) = service_entries(parse_unit(b"[Service]\nExecStart=/k $A --c", "u"), "ExecStart")
    found = command(entry, {"A": Word("--a --b", "/etc/default/k: A")})
    assert [w.source for w in found] == ["u:2", "/etc/default/k: A", "/etc/default/k: A", "u:2"]


def test_an_environment_file_is_read_with_its_quotes() -> None:
    raw = b"# c\nA=1\nB=\"two words\"\n C='x'\nexport D=4\n9=no\nA=5\nE=a\\\nb\n"
    found = {k: w.text for k, w in parse_environment_file(raw, "f").items()}
    assert found == {"A": "5", "B": "two words", "C": "x", "E": "ab"}  # systemd drops "export D"
