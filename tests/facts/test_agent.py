"""The agent's status file is read by whoever scans the host."""

import contextlib
import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.agent import (
    SCHEMA,
    Agent,
    Kept,
    Sandbox,
    Spending,
    Standing,
    Watch,
    parse_agent,
)
from nodeward.facts.errors import ParseError

TEXT = st.text(max_size=5)
AGENT = st.builds(
    Agent,
    st.builds(Watch, st.dictionaries(TEXT, TEXT, max_size=2), st.tuples(TEXT)),
    st.builds(Spending, st.floats(0, 1), st.floats(0, 1), st.booleans()),
    st.builds(Sandbox, st.tuples(TEXT, TEXT), st.tuples(TEXT), st.just(())),
    st.builds(Standing, TEXT, st.booleans(), TEXT, st.booleans()),
    st.builds(Kept, st.integers(0), st.integers(0), st.integers(0)),
)


@given(AGENT)
def test_what_is_written_is_read(agent: Agent) -> None:
    assert (
        parse_agent(json.dumps({"schema": SCHEMA, **asdict(agent), "later": 1}).encode()) == agent
    )


PIECE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["watch", "sources", "lost", "kept", "dropped", "spending", "used"]),
            inner,
            max_size=3,
        )
    ),
)


@given(
    st.binary(max_size=20)
    | PIECE.map(lambda p: json.dumps(p).encode())
    | st.dictionaries(st.sampled_from(["watch", "kept", "spending", "sandbox"]), PIECE).map(
        lambda d: json.dumps({"schema": SCHEMA, **d}).encode()
    )
)
def test_anything_else_is_a_parse_error(raw: bytes) -> None:
    with contextlib.suppress(ParseError):
        parse_agent(raw)
