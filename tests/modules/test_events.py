"""The kernel's own messages about programs that start, as they were recorded."""

from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from module_events import parse_exec, requested
from module_hosts import DATA

ROWS = [json.loads(line) for line in (DATA / "module-autoload.jsonl").read_text().splitlines()]
CASES = [row for row in ROWS if row["kind"] == "case"]


def test_a_blocked_attempt_has_a_call_of_modprobe_and_no_uevent() -> None:
    row = next(r for r in CASES if r["case"] == "install dccp /bin/false")
    asked = [requested(line.split()) for _, _, line in row["execs"]]
    assert "net-pf-2-proto-33-type-6" in asked
    assert not row["uevents"]


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
