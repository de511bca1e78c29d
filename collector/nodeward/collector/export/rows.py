"""What the forms share: a finding as the API gives it, and its evidence as a line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

Row = Mapping[str, Any]
NOT_APPLICABLE: Final = "not-applicable"
STANDARDS: Final = {
    "cis-kubernetes-1.12": "CIS Kubernetes Benchmark 1.12",
    "nsa-cisa-1.2": "NSA/CISA Kubernetes Hardening Guide 1.2",
    "sac": "Kubernetes security checklist",
    "stig": "Kubernetes STIG",
}


def evidence(piece: Row) -> str:
    return f"{piece.get('what')}: {piece.get('value')} [{piece.get('source')}]"


def because(row: Row) -> str:
    return row.get("because") or f"{row['check']} is {row['status']}"


def ms(text: str | None) -> int:
    """Milliseconds since 1970; 0 for none."""
    return round(datetime.fromisoformat(text).timestamp() * 1000) if text else 0
