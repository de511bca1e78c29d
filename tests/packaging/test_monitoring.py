"""The alert rules and the dashboard: Prometheus reads them, over metrics that are ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

import promtool

FOLDER = Path(__file__).parents[2] / "packaging" / "monitoring"
RULES = FOLDER / "nodeward.rules.yaml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
SOURCES = (
    "agent/nodeward/agent/metrics.py",
    "collector/nodeward/collector/metrics.py",
)
SUFFIX = re.compile("_(total|bucket|sum|count)$")


def _exported() -> set[str]:
    texts = [(FOLDER.parents[1] / source).read_text() for source in SOURCES]
    names = re.findall(r'"(nodeward_[a-z_]+)"', "".join(texts))
    return {SUFFIX.sub("", name) for name in names}


def _asked() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def test_prometheus_takes_the_rules() -> None:
    ran = promtool.check("rules", str(RULES))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "rules found" in ran.stdout


@pytest.mark.parametrize("asked", [*_asked()])
def test_each_question_is_promql_over_metrics_that_are_exported(asked: str) -> None:
    promql_parser.parse(asked.replace("$cluster", ".*"))
    names = set(re.findall(r"nodeward_[a-z_]+", asked))
    assert names
    assert {SUFFIX.sub("", name) for name in names} <= _exported()


def test_the_dashboard_asks_for_its_data_source_and_has_no_ids_of_a_grafana() -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    assert board["__inputs"][0]["name"] == "DS_PROMETHEUS"
    assert "id" not in board
    assert board["uid"] == "nodeward-fleet"
    panels = [p for p in board["panels"] if p["type"] != "row"]
    assert {p["datasource"]["uid"] for p in panels} == {"${DS_PROMETHEUS}"}
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
