"""Arguments as spf13/pflag reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.kubelet_flags import KINDS
from nodeward.facts.pflags import Kind, parse_arguments, parse_bool, parse_int

NAMES = sorted(KINDS)
VALUE = st.text("abc/=,:0129.", max_size=6)
FLAG = st.tuples(st.sampled_from([n for n in NAMES if len(n) > 1]), VALUE, st.integers(0, 2))


def spelled(name: str, value: str, how: int) -> tuple[list[str], str]:
    """One flag as words, and the value it then has."""
    written = name.replace("-", "_") if how == 2 else name
    if how == 1 and KINDS[name] is not Kind.BOOL and value:
        return [f"--{written}", value], value
    if how == 1 and KINDS[name] is Kind.BOOL:
        return [f"--{written}"], "true"
    return [f"--{written}={value}"], value


@given(st.lists(FLAG, max_size=8))
def test_every_way_to_write_a_flag_reads_the_same(flags: list[tuple[str, str, int]]) -> None:
    words, wanted = ["kubelet"], []
    for name, value, how in flags:
        more, meant = spelled(name, value, how)
        words += more
        wanted.append((name, meant))
    found = parse_arguments(words, KINDS)
    assert [(f.name, f.value) for f in found.flags] == wanted
    assert not found.stray
    for name, _ in wanted:
        last = found.last(name)
        assert last is not None
        assert last.value == [v for n, v in wanted if n == name][-1]


WORD = st.sampled_from(
    ["--", "-", "--=", "--a", "-v", "-v2", "-v=2", "x", "", "--anonymous-auth", "--config", "\n",
     "--read_only-port=0", "=", "--no", "---x", "\udc80"]
)  # fmt: skip


@given(st.lists(WORD, max_size=10))
def test_no_arguments_are_an_error_and_places_point_at_them(words: list[str]) -> None:
    found = parse_arguments(words, KINDS)
    assert all(words[f.place].startswith("-") for f in found.flags)


def test_a_bare_boolean_leaves_the_next_word_alone() -> None:
    found = parse_arguments(["kubelet", "--anonymous-auth", "false"], KINDS)
    assert (found.flags[0].value, found.stray) == ("true", ("false",))


def test_booleans_and_numbers_are_those_of_go() -> None:
    assert [parse_bool(t) for t in ("1", "t", "True", "0", "F", "yes", "")] == [
        True, True, True, False, False, None, None,
    ]  # fmt: skip
    texts = ("010", "0x10", "-1", "-010", "1_0", "0x_1f", "0_7", "_1", "1__0", "x", "", "9" * 30)
    assert [parse_int(t) for t in texts] == [
        8, 16, -1, -8, 10, 31, 7, None, None, None, None, None,
    ]  # fmt: skip


def test_a_flag_that_is_empty_in_the_end_is_as_good_as_none() -> None:
    found = parse_arguments(["kubelet", "--config=/a", "--config=", "--config-dir=/d"], KINDS)
    assert found.given("config") is None
    assert found.given("config-dir") is not None
