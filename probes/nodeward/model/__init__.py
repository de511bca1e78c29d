"""The nouns of nodeward: pure values, standard library only, no input or output."""

from nodeward.model.reading import (
    Absent,
    Broken,
    Fact,
    Params,
    Reading,
    Readings,
    Seen,
    Unreadable,
)
from nodeward.model.report import JSON, Report
from nodeward.model.rule import Check, Example, Need, Source, check, decide, finding, place
from nodeward.model.verdict import (
    CheckId,
    Evidence,
    Finding,
    Remedy,
    Row,
    Severity,
    Status,
    Table,
    Verdict,
    legible,
    most,
)

__all__ = [
    "JSON",
    "Absent",
    "Broken",
    "Check",
    "CheckId",
    "Evidence",
    "Example",
    "Fact",
    "Finding",
    "Need",
    "Params",
    "Reading",
    "Readings",
    "Remedy",
    "Report",
    "Row",
    "Seen",
    "Severity",
    "Source",
    "Status",
    "Table",
    "Unreadable",
    "Verdict",
    "check",
    "decide",
    "finding",
    "legible",
    "most",
    "place",
]
