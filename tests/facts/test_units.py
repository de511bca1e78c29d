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
    with_specifiers,
    without,
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
        ("@!/k '$A'", ["/k", "--x=1", "--y"]),
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


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ('A="--x\n --y"\nB=1\n', "--x\n --y"),
        ("A='--x'  \"--y\"\n", "--x--y"),
        ("A=--x\\ --y  \n", "--x --y"),
        ('A=--l="a b" --y\n', '--l="a b" --y'),
        ('A="\\"q\\" \\x \\$"\n', '"q" \\x $'),
        ("# a comment \\\nA=--y\n", "--y"),
        ("A=1\r\nA=2\r\n", "2"),
        ('A="never closed\n', "never closed\n"),
        ("A=\nB=2\n", ""),
    ],
    ids=["two lines", "put together", "a blank escaped", "quotes inside", "escapes", "a comment",
         "other line ends", "an open quote", "empty"],
)  # fmt: skip
def test_an_environment_file_is_read_as_systemd_reads_it(raw: str, value: str) -> None:
    assert parse_environment_file(raw.encode(), "f")["A"].text == value


@given(st.text(alphabet="A=\"'\\ \n#x", max_size=60))
def test_no_environment_file_is_too_odd(text: str) -> None:
    found = parse_environment_file(text.encode(), "f")
    assert all(set(name) <= {"A", "x"} for name in found)


def test_a_variable_whose_quote_is_never_closed_ends_with_its_value() -> None:
    (entry,) = service_entries(parse_unit(b"[Service]\nExecStart=/k $A", "u"), "ExecStart")
    assert [w.text for w in command(entry, {"A": Word('"--x y', "f: A")})] == ["/k", "--x y"]


def test_specifiers_that_the_name_decides_are_filled_in() -> None:
    assert with_specifiers("%E/%N %n %p %i 5%% %H", "a@b.service") == (
        "/etc/a@b a@b.service a b 5% %H"
    )


def test_an_unset_variable_is_gone() -> None:
    (entry,) = service_entries(
        parse_unit(b"[Service]\nUnsetEnvironment=A B=1 C=1", "u"), "UnsetEnvironment"
    )
    environment = {name: Word("1" if name == "B" else "2", "f") for name in "ABCD"}
    assert set(without(environment, entry)) == {"C", "D"}
