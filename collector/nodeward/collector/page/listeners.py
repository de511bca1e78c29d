"""The map of a node's listeners: which port answers whom, and what it says without credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nodeward.collector.page.rows import drawn
from nodeward.model import Status, Table

ORDER: Final = (
    Status.FAIL, Status.ERROR, Status.UNKNOWN, Status.PASS, Status.NOT_APPLICABLE,
)  # fmt: skip


def listeners(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A line each socket that some check looked at, by port: address, port, program, reach, the
    answers of the port, and the verdicts that rest on it, the worst first."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for one in drawn(findings, Table.LISTENER):
        cells = one.cells
        port = cells.get("port", "")
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
        line = found.setdefault(
            (number, one.row.name),
            {
                "address": cells.get("address", one.row.name),
                "port": number,
                "program": cells.get("program", ""),
                "reach": cells.get("reach", ""),
                "local": cells.get("reach", "") == "this node",
                "answers": {},
                "verdicts": {},
            },
        )
        line["verdicts"][one.finding["check"]] = one.finding
    for one in drawn(findings, Table.ANSWER):
        for (number, _), line in found.items():
            if str(number) == one.row.name:
                line["answers"].update(one.cells)
                line["verdicts"][one.finding["check"]] = one.finding
    return [
        {**line, "verdicts": sorted(line["verdicts"].values(), key=_worst)}
        for _, line in sorted(found.items())
    ]


def _worst(finding: Mapping[str, Any]) -> tuple[int, str]:
    return ORDER.index(Status(finding["status"])), finding["check"]
