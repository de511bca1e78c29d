"""os-release(5) as a shell would read it, and the hashed machine id."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.system import hash_machine_id, parse_os_release

NAME = st.from_regex(r"\A[A-Z][A-Z_]{0,8}\Z")
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=12)


@given(st.dictionaries(NAME, VALUE, max_size=5))
def test_what_is_quoted_for_a_shell_comes_back(pairs: dict[str, str]) -> None:
    text = "# a comment\n\n" + "".join(f"{k}={shlex.quote(v)}\n" for k, v in pairs.items())
    assert parse_os_release(text.encode()) == pairs


WORD = st.sampled_from(["ID", "=", '"', "'", "\\", "\n", "#", " ", "$(x)", "debian", "\r", "é"])


@given(st.lists(WORD, max_size=20).map("".join))
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(v, str) for v in parse_os_release(text.encode()).values())


@given(st.binary(max_size=60))
def test_any_bytes_are_read(raw: bytes) -> None:
    parse_os_release(raw)


def test_a_line_that_no_shell_could_read_hides_no_other() -> None:
    assert parse_os_release(b'NAME="open\nID=debian\n') == {"ID": "debian"}


def test_a_machine_id_is_never_shown_and_never_changes() -> None:
    hashed = hash_machine_id(b"0123456789abcdef0123456789abcdef\n")
    assert hashed == hash_machine_id(b"0123456789abcdef0123456789abcdef")
    assert hashed is not None
    assert hashed.startswith("sha256:")
    assert "0123456789abcdef" not in hashed


@pytest.mark.parametrize("raw", [b"", b"uninitialized\n", b"0123\n"])
def test_an_image_has_no_machine_id_yet(raw: bytes) -> None:
    assert hash_machine_id(raw) is None
