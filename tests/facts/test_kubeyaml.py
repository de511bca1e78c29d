"""YAML as the daemons read it."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.errors import ParseError
from nodeward.facts.kubeyaml import Duplicate, parse_document, parse_documents


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True), ("Yes", True), ("ON", True), ("true", True),
        ("n", False), ("No", False), ("off", False), ("FALSE", False),
        ("yEs", "yEs"), ("'yes'", "yes"), ("!!str yes", "yes"),
        ("~", None), ("", None), ("null", None),
        ("1:30", "1:30"), ("017", 15), ("0o17", 15), ("0x10", 16), ("1_000", 1000), ("-1", -1),
        ("4h0m0s", "4h0m0s"), ("2026-01-01", "2026-01-01"), ("1.5", 1.5), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_a_plain_scalar_is_what_goyaml_makes_of_it(text: str, value: object) -> None:
    found = parse_document(f"a: {text}\n".encode(), "f").value["a"]
    assert (type(found), found) == (type(value), value)


def test_the_last_of_two_equal_keys_counts_and_is_told() -> None:
    found = parse_document(b"a: 1\nb: {c: 1, c: 2}\na: 3\n", "f")
    assert found.value == {"a": 3, "b": {"c": 2}}
    assert found.duplicates == (Duplicate(("b", "c"), 2), Duplicate(("a",), 3))


@pytest.mark.parametrize("key", [b"<<", b"!!merge <<"])
def test_a_merge_key_wins_over_what_stands_before_it_and_loses_to_what_follows(key: bytes) -> None:
    """decode.go of goyaml.v2: mapping() takes both in their order; isMerge() knows the tag too."""
    found = parse_document(b"x: &x {a: 1, b: 1}\nm: {a: 2, %s: *x, b: 3}\n" % key, "f")
    assert found.value["m"] == {"a": 1, "b": 3}
    assert [d.path for d in found.duplicates] == [("m", "a"), ("m", "b")]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e4", 10000), ("10255.0", 10255), ("1.5", 1.5), ("1e21", 1e21), ("-0.0", 0),
     ("!!binary YWJj", "abc")],
)  # fmt: skip
def test_a_value_is_what_its_json_says(text: str, value: object) -> None:
    found = parse_document(f"a: {text}\n".encode(), "f").value["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", [".inf", ".nan", "!!binary '*'"])
def test_what_json_cannot_hold_is_no_document(text: str) -> None:
    with pytest.raises(ParseError):
        parse_document(f"a: {text}\n".encode(), "f")


def test_a_second_document_is_never_read_whatever_is_in_it() -> None:
    found = parse_document(b"a: 1\n---\nb: [\n", "f")
    assert (found.value, found.more) == ({"a": 1}, True)
    assert not found.duplicates


def test_only_the_first_document_counts_and_the_rest_is_told() -> None:
    found = parse_document(b"a: 1\n---\na: 2\n", "f")
    assert (found.value, found.more) == ({"a": 1}, True)
    assert [d.value for d in parse_documents(b"a: 1\n---\na: 2\n", "f")] == [{"a": 1}, {"a": 2}]


def test_a_key_knows_its_line() -> None:
    assert parse_document(b"\na:\n  b: 1\n", "f").line("a", "b") == 3


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
)


MERGES = b"a0: &a0 {}\n" + b"".join(
    b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (i, i, i - 1, i - 1) for i in range(1, 40)
)
CHAIN = b"a0: &a0 {}\n" + b"".join(
    b"a%d: &a%d {<<: *a%d}\n" % (i, i, i - 1) for i in range(1, 3000)
)


@pytest.mark.parametrize(
    "raw",
    [b"a: [", b"[" * 100_000, b"{a: " * 100_000, b"&a [*a]", b"\0", b"\xff", b"a: b: c", BOMB,
     b"? {a: 1}\n: 2", b"a: *nowhere", b"<<: 1", b"a: &x {<<: *x}",
     b"%YAML 1.2\n---\na: 1", MERGES, CHAIN],
)  # fmt: skip
def test_what_cannot_be_read_is_a_parse_error(raw: bytes) -> None:
    with pytest.raises(ParseError):
        parse_document(raw, "f")


WORDS = st.sampled_from(
    ["a", ": ", "\n", "- ", "{", "}", "[", "]", "&x ", "*x", "<<: ", "'", '"', "---\n", "yes", "0",
     "!!int ", "|", "  ", "#", "\t", ",", "? ", "\x85", "1_0"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=25).map("".join))
def test_bad_text_is_a_parse_error_and_nothing_else(text: str) -> None:
    with contextlib.suppress(ParseError):
        parse_document(text.encode(), "f")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_json_is_read_as_itself(value: object) -> None:
    """The kubelet takes JSON files too. (A lone surrogate is no text of any file.)"""
    text = json.dumps(value)
    try:
        found = parse_document(text.encode(), "f").value
    except ParseError as exc:
        assert "\\u" in text, exc  # noqa: PT017  libyaml refuses escaped surrogates
    else:
        assert found == value or "\\u" in text
