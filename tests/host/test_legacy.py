"""A table of the older iptables as bytes; what a real kernel gives is seen in tests/imds_lab."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.host.legacy import LAYOUTS, Layout, decode

IP = LAYOUTS[0]
DROP, ACCEPT = struct.pack("=i", -1), struct.pack("=i", -2)


def entry(
    layout: Layout, target: bytes, name: str = "", to: bytes = b"", mask: bytes = b""
) -> bytes:
    """One rule: an address, and a target with its data."""
    width = layout.width
    head = bytearray(layout.size)
    head[width : 2 * width] = to.ljust(width, b"\0")
    head[3 * width : 4 * width] = mask.ljust(width, b"\0")
    tail = struct.pack("=H29sB", 32 + len(target), name.encode(), 0) + target
    struct.pack_into("=HH", head, layout.offsets, layout.size, layout.size + len(tail))
    return bytes(head) + tail


def table(layout: Layout, *rules: bytes, policy: bytes = ACCEPT) -> tuple[bytes, bytes]:
    """A table with one hook, FORWARD: its rules, its policy, the end."""
    raw = b"".join(rules)
    end = len(raw)
    raw += entry(layout, policy) + entry(layout, b"ERROR".ljust(32, b"\0"), "ERROR")
    starts, ends = [0] * 5, [0] * 5
    ends[2] = end
    info = struct.pack("=32sI5I5III", b"filter", 1 << 2, *starts, *ends, len(rules) + 2, len(raw))
    return info, raw


@pytest.mark.parametrize("layout", LAYOUTS, ids=["ip", "ip6"])
def test_a_rule_is_its_address_and_its_verdict(layout: Layout) -> None:
    to = (b"\xa9\xfe\xa9\xfe" if layout.width == 4 else b"\xfd\x00\x0e\xc2").ljust(
        layout.width, b"\0"
    )
    mask = b"\xff" * layout.width
    found = decode(layout, "filter", *table(layout, entry(layout, DROP, to=to, mask=mask)))
    (rule,) = found.rules
    assert (rule.family, rule.table, rule.chain) == (layout.family, "filter (legacy)", "FORWARD")
    assert rule.expressions[0][:3] == ("payload", "NETWORK", "16" if layout.width == 4 else "24")
    assert rule.expressions[2] == ("cmp", "NFT_REG_1", "EQ", to.hex())
    assert rule.expressions[-1] == ("verdict", "DROP", "")


def test_a_chains_policy_is_no_rule() -> None:
    found = decode(IP, "filter", *table(IP, policy=DROP))
    assert found.rules == ()
    assert [(c.name, c.hook, c.policy) for c in found.chains] == [("FORWARD", "forward", "drop")]


def test_an_entry_of_no_possible_size_is_refused() -> None:
    info, _ = table(IP)
    with pytest.raises(ValueError, match="no possible size"):
        decode(IP, "filter", info, bytes(IP.size + 64))


@given(st.sampled_from(LAYOUTS), st.data())
def test_a_table_with_any_bytes_changed_is_read_or_refused(
    layout: Layout, data: st.DataObject
) -> None:
    info, raw = table(layout, entry(layout, DROP), entry(layout, b"", "REJECT"))
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0xFF, layout.size]))
    try:
        found = decode(
            layout, "filter", info, bytes(changed[: data.draw(st.integers(0, len(raw)))])
        )
    except ValueError:
        return
    assert len(found.rules) <= 4
