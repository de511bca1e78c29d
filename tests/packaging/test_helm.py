"""The chart under helm itself: what it makes is what the other tests look at."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import helm_chart as chart
from node import ROOT

pytestmark = pytest.mark.long
HELM = ROOT / ".cache/helm"  # script/helm makes it


def helm(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    if not HELM.exists() and os.environ.get("CI") != "true":
        pytest.skip("script/helm fetches it")
    return subprocess.run(
        [HELM, *words], capture_output=True, text=True, check=False,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Without the checksum of the settings: helm's templates have longer names."""
    plain = json.loads(json.dumps(objects))
    for one in plain:
        template = one.get("spec", {}).get("template", {})
        template.get("metadata", {}).get("annotations", {}).pop("checksum/config", None)
    return {(one["kind"], one["metadata"]["name"]): one for one in plain}


@pytest.mark.parametrize("values", chart.VALUES.values(), ids=chart.VALUES)
def test_helm_makes_the_same_objects(values: dict[str, Any], tmp_path: Path) -> None:
    given = tmp_path / "values.yaml"
    given.write_text(yaml.safe_dump(values))
    done = helm(tmp_path, "template", "nw", chart.CHART, "--namespace", "nodeward", "-f", given)
    assert not done.returncode, done.stderr
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert by_name(made) == by_name(chart.render(values))


def test_helm_has_nothing_to_say_about_the_chart(tmp_path: Path) -> None:
    done = helm(tmp_path, "lint", "--strict", chart.CHART)
    assert not done.returncode, done.stdout


def test_helm_refuses_a_slip_in_the_values(tmp_path: Path) -> None:
    done = helm(tmp_path, "template", "nw", chart.CHART, "--set", "agent.hostNetwrok=true")
    assert done.returncode
    assert "hostNetwrok" in done.stderr
