"""The kernel's own messages about modules, as they were recorded."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_hosts import DATA
from nodeward.facts.kernel_modules import Loaded
from nodeward.facts.module_events import ModuleEvent, changes, parse_exec, parse_uevent, requested

ROWS = [json.loads(line) for line in (DATA / "module-autoload.jsonl").read_text().splitlines()]
CASES = [row for row in ROWS if row["kind"] == "case"]
WATCHED = {"dccp", "dccp_ipv4", "dccp_ipv6", "dccp_diag", "sctp", "sctp_diag"}


def message(parts: list[str]) -> bytes:
    return b"".join(part.encode() + b"\0" for part in parts)


@pytest.mark.parametrize("row", CASES, ids=lambda r: f"{r['base']}: {r['case']}: {r['trigger']}")
def test_recorded_uevents_name_the_modules_that_came(row: dict[str, object]) -> None:
    sent = row["uevents"]
    assert isinstance(sent, list)
    seen = {
        e.module for _, parts in sent if (e := parse_uevent(message(parts))) and e.action == "add"
    }
    if "modprobe sctp_diag" not in str(row["case"]):  # there it came before the trigger
        assert seen & WATCHED == set(row["loaded"])  # type: ignore[call-overload]  # a list


def test_a_blocked_attempt_has_a_call_of_modprobe_and_no_uevent() -> None:
    row = next(r for r in CASES if r["case"] == "install dccp /bin/false")
    asked = [requested(line.split()) for _, _, line in row["execs"]]
    assert "net-pf-2-proto-33-type-6" in asked
    assert not row["uevents"]


def test_messages_of_udevd_and_of_other_subsystems_are_no_module_events() -> None:
    assert parse_uevent(b"libudev\0\xfe\xed\xca\xfe") is None
    assert parse_uevent(message(["add@/devices/x", "ACTION=add", "SUBSYSTEM=net"])) is None
    assert (
        parse_uevent(message(["add@/module/x", "DEVPATH=/module/x", "SUBSYSTEM=drivers"])) is None
    )


def test_a_removal_is_told_from_an_addition() -> None:
    parts = ["remove@/module/dccp", "ACTION=remove", "DEVPATH=/module/dccp", "SUBSYSTEM=module",
             "SEQNUM=7"]  # fmt: skip
    assert parse_uevent(message(parts)) == ModuleEvent("remove", "dccp", 7)


# A DCCP socket while `install dccp /bin/false` holds, as Linux 6.1's process connector told it:
# modprobe, sh -c, /bin/false, and modprobe for the second name.
EXECS = (
    "TAAAAAMAAAAGAAAAAAAAAAEAAAABAAAABgAAAAAAAAAoAAAAAgAAAAAAAADEg3dfAgAAAFUAAABVAAAAAAAAAAAAAAAA"
    "AAAAAAAAAA==",
    "TAAAAAMAAAAIAAAAAAAAAAEAAAABAAAACAAAAAAAAAAoAAAAAgAAAAAAAACP6dVuAgAAAFYAAABWAAAAAAAAAAAAAAAA"
    "AAAAAAAAAA==",
    "TAAAAAMAAAAJAAAAAAAAAAEAAAABAAAACQAAAAAAAAAoAAAAAgAAAAAAAAApbvVxAgAAAFYAAABWAAAAAAAAAAAAAAAA"
    "AAAAAAAAAA==",
    "TAAAAAMAAAANAAAAAAAAAAEAAAABAAAADQAAAAAAAAAoAAAAAgAAAAAAAAA1QdR2AgAAAFcAAABXAAAAAAAAAAAAAAAA"
    "AAAAAAAAAA==",
)


def test_recorded_starts_of_programs_name_their_processes() -> None:
    assert [parse_exec(base64.b64decode(one)) for one in EXECS] == [85, 86, 86, 87]


def test_the_end_of_a_process_is_no_start_of_a_program() -> None:
    message = bytearray(base64.b64decode(EXECS[0]))
    message[36:40] = (0x80000000).to_bytes(4, "little")  # PROC_EVENT_EXIT
    assert parse_exec(bytes(message)) is None


@given(st.binary(max_size=200))
def test_no_message_breaks_the_reader(raw: bytes) -> None:
    parse_exec(raw)
    parse_uevent(raw)
    parse_uevent(b"add@/module/" + raw)


def test_two_looks_show_what_came_and_went() -> None:
    old = [Loaded("a", 0, "Live"), Loaded("b", 1, "Live")]
    new = [Loaded("b", 1, "Live"), Loaded("c", 0, "Live")]
    assert changes(old, new) == (("c",), ("a",))
