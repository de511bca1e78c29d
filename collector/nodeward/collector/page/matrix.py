"""The metadata findings of a node as the matrix they are: who asks, what is asked, what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

FAMILY: Final = "meta.pod.reach", "meta.host.reach"
BETWEEN: Final = "; "


@dataclass(frozen=True)
class Matrix:
    """`cells` are by vantage, then endpoint."""

    endpoints: tuple[str, ...]
    cells: Mapping[str, Mapping[str, str]]


def matrix(findings: Sequence[Mapping[str, Any]]) -> Matrix | None:
    """From evidence of the form `WHO`: `ENDPOINT: OUTCOME; ...`; None where there is none."""
    cells: dict[str, dict[str, str]] = {}
    for finding in findings:
        if finding["check"] not in FAMILY:
            continue
        for piece in finding["evidence"]:
            row = _outcomes(str(piece.get("value", "")))
            if row:
                cells.setdefault(str(piece.get("what", "")), {}).update(row)
    endpoints = tuple(dict.fromkeys(e for row in cells.values() for e in row))
    return Matrix(endpoints, cells) if cells else None


def _outcomes(text: str) -> dict[str, str]:
    pairs = (part.partition(": ") for part in text.split(BETWEEN))
    return {endpoint: outcome for endpoint, colon, outcome in pairs if colon}
