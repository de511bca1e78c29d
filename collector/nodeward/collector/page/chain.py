"""Kernel modules of a node: each request, what it leads to step by step, and where that ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodeward.collector.page.rows import drawn
from nodeward.model import Table


def chains(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A line each request that a check followed: the finding, and the steps in their order."""
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for one in drawn(findings, Table.STEP):
        line = out.setdefault(
            (one.finding["check"], one.row.name),
            {"request": one.row.name, "finding": one.finding, "steps": []},
        )
        line["steps"].append(one.piece)
    return list(out.values())


def plain(finding: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The evidence that is no step of a chain."""
    steps = [one.piece for one in drawn([finding], Table.STEP)]
    return [piece for piece in finding["evidence"] if piece not in steps]
