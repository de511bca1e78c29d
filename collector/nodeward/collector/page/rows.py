"""Rows that findings carry for tables: what is drawn need not be read out of sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodeward.model import Row, Table
from nodeward.model.report import row_from_json


@dataclass(frozen=True)
class Drawn:
    """A row with the finding and the piece of evidence that it came with."""

    row: Row
    finding: Mapping[str, Any]
    piece: Mapping[str, Any]

    @property
    def cells(self) -> Mapping[str, str]:
        return dict(self.row.cells)


def drawn(findings: Sequence[Mapping[str, Any]], table: Table) -> Iterator[Drawn]:
    """All rows of that table, in the order of the findings and of their evidence."""
    for finding in findings:
        for piece in finding["evidence"]:
            row = row_from_json(piece.get("row"))
            if row is not None and row.table == table:
                yield Drawn(row, finding, piece)
