"""Listening rows of /proc/net/tcp as the kernel writes them, and other text."""

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.errors import ParseError
from nodeward.facts.listeners import Listener, parse_proc_net_tcp

HEAD = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
FOUR = st.ip_addresses(v=4)
SIX = st.ip_addresses(v=6)


def words(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The kernel's %08X of each 32-bit word as it lies in memory."""
    packed = address.packed
    count = len(packed) // 4
    return "".join(f"{w:08X}" for w in struct.unpack(f"<{count}I", packed))


def line(number: int, local: str, port: int, state: int, uid: int, inode: int) -> str:
    return (
        f"{number:4d}: {local}:{port:04X} {'0' * len(local)}:0000 {state:02X} 00000000:00000000"
        f" 00:00000000 00000000 {uid:5d}        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
    )


ROW = st.tuples(
    FOUR | SIX, st.integers(0, 65535), st.sampled_from([1, 6, 10]), st.integers(0, 2**32 - 1),
    st.integers(0, 2**32),
)  # fmt: skip


@given(st.lists(ROW, max_size=5))
def test_what_the_kernel_writes_comes_back(
    rows: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int, int, int, int]],
) -> None:
    text = "".join(
        line(n, words(address), port, state, uid, inode)
        for n, (address, port, state, uid, inode) in enumerate(rows)
    )
    assert parse_proc_net_tcp(HEAD + text.encode()) == tuple(
        Listener(str(address), port, inode, uid)
        for address, port, state, uid, inode in rows
        if state == 10
    )


WORD = st.sampled_from(
    [b"0:", b"0100007F:1F90", b"0A", b"01", b":", b"GG", b"0", b"-1", b"\xff", b"\n", b"00:00:00",
     b"0100007F0A:1", b"\xc2\xb2"]
)  # fmt: skip


@given(st.lists(WORD, max_size=40).map(b" ".join))
def test_other_text_is_a_parse_error_and_nothing_else(raw: bytes) -> None:
    with contextlib.suppress(ParseError):
        parse_proc_net_tcp(HEAD + raw)


@pytest.mark.parametrize(
    ("address", "loopback", "wildcard", "text"),
    [
        ("127.0.0.53", True, False, "127.0.0.53:53"),
        ("0.0.0.0", False, True, "0.0.0.0:53"),
        ("::1", True, False, "[::1]:53"),
        ("::", False, True, "[::]:53"),
        ("10.0.0.1", False, False, "10.0.0.1:53"),
        ("::ffff:127.0.0.1", True, False, "[::ffff:127.0.0.1]:53"),
    ],
)
def test_who_can_reach_a_listener(address: str, loopback: bool, wildcard: bool, text: str) -> None:
    row = Listener(address, 53, 1, 0)
    assert (row.loopback, row.wildcard, str(row)) == (loopback, wildcard, text)
