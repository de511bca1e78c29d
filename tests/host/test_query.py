"""Questions and answers survive a recording: to_plain and from_plain are inverse."""

import dataclasses
import enum
import json
import typing
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.host.base import Stat
from nodeward.host.processes import ProcessRow, ProcessTable
from nodeward.host.query import Query, from_plain, to_plain
from nodeward.host.sockets import SocketRow


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    raw: bytes
    number: int
    share: float


@dataclass(frozen=True, slots=True)
class Outer:
    """One of everything that an answer may hold."""

    text: str
    maybe: str | None
    inner: Inner | None
    colour: Colour
    flag: bool
    many: tuple[Inner, ...]
    pair: tuple[int, str]
    by_name: dict[str, Inner]
    by_number: dict[int, bytes]
    some: frozenset[str]
    listed: list[int]


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
INNER = st.builds(
    Inner, st.binary(max_size=12), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)
OUTER = st.builds(
    Outer,
    TEXT,
    st.none() | TEXT,
    st.none() | INNER,
    st.sampled_from(Colour),
    st.booleans(),
    st.lists(INNER, max_size=3).map(tuple),
    st.tuples(st.integers(), TEXT),
    st.dictionaries(TEXT, INNER, max_size=3),
    st.dictionaries(st.integers(), st.binary(max_size=4), max_size=3),
    st.frozensets(TEXT, max_size=3),
    st.lists(st.integers(), max_size=3),
)


@given(OUTER)
def test_what_is_written_as_json_comes_back_the_same(value: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value)))) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KINDS: list[object] = [Outer, Stat, tuple[ProcessRow, ...], tuple[SocketRow, ...], bytes, str]


@given(st.sampled_from(KINDS), JSON)
def test_other_json_is_refused_with_an_ordinary_error(kind: object, raw: object) -> None:
    """A recording is somebody else's file: it must not crash who replays it."""
    try:
        found = from_plain(kind, raw)
    except (ValueError, TypeError, KeyError):
        return
    assert isinstance(found, typing.get_origin(kind) or kind)  # type: ignore[arg-type]


def test_members_of_a_newer_version_are_left_out() -> None:
    row = SocketRow("::", 22, 7, 0)
    assert from_plain(SocketRow, {**dataclasses.asdict(row), "namespace": "host"}) == row


def test_a_member_that_is_missing_is_an_error() -> None:
    with pytest.raises(TypeError):
        from_plain(SocketRow, {"address": "::"})


def test_a_question_is_its_name_and_its_fields() -> None:
    @dataclass(frozen=True, slots=True)
    class Ask(Query[int]):
        answer_type: typing.ClassVar[object] = int
        port: int
        address: str = "::1"

    assert Ask(10250).key() == 'Ask {"address": "::1", "port": 10250}'
    assert ProcessTable().key() == "ProcessTable {}"
