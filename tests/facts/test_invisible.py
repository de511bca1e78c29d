"""What nobody sees on a line is shown by its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.invisible import bare, invisible, shown


@pytest.mark.parametrize(
    ("line", "seen", "meant"),
    [
        ("\ufeffblacklist sctp", "<byte order mark>blacklist sctp", "blacklist sctp"),
        ("blacklist\xa0sctp", "blacklist<no-break space>sctp", "blacklist sctp"),
        ("blacklist sctp\r\n", "blacklist sctp<carriage return>", "blacklist sctp"),
        ("blacklist sc\u200btp", "blacklist sc<zero-width space>tp", "blacklist sctp"),
    ],
)
def test_each_has_a_name(line: str, seen: str, meant: str) -> None:
    text = line.encode().decode("latin-1")
    assert shown(text) == seen
    assert bare(text) == meant


def test_a_byte_a0_is_a_blank_of_latin_1_and_the_end_of_other_letters() -> None:
    assert shown("blacklist\xa0sctp") == "blacklist<no-break space>sctp"
    assert shown("à la carte".encode().decode("latin-1")) == "à la carte"
    assert invisible("à la carte".encode().decode("latin-1")) == ()


@given(st.binary())
def test_any_bytes_can_be_shown_and_hold_none_any_more(data: bytes) -> None:
    assert not {"\r", "\xa0", "\ufeff", "\u200b"} & set(shown(data.decode("latin-1")))
