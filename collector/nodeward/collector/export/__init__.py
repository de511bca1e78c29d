"""Findings in the forms of other programs: SIEMs, pipelines, auditors, spreadsheets, clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from nodeward.collector.export import junit, ndjson, ocsf, openreports, oscal, table
from nodeward.collector.export.rows import Row

FORMS: Final[Mapping[str, tuple[Callable[[Iterable[Row]], str], str]]] = {
    "ndjson": (ndjson.write, "application/x-ndjson"),
    "ocsf": (ocsf.write, "application/x-ndjson"),
    "junit": (junit.write, "application/xml"),
    "csv": (table.write, "text/csv; charset=utf-8"),
    "openreports": (openreports.write, "application/x-ndjson"),
    "oscal": (oscal.write, "application/json"),
}
