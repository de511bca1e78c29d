"""What is said of the kubelet of each distribution, line by line.

`script/test tests/kubelet/test_distributions.py --update-goldens` rewrites the files; the reviewer
sees verdicts in the diff.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

import kubelet_hosts
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost

GOLDENS = Path(__file__).parent / "goldens"


def verdicts(root: Path) -> str:
    """One line a finding."""
    at = datetime.fromisoformat(kubelet_hosts.JUDGED).timestamp()
    report = scan(TreeHost(root), select(["kubelet.*"]), at=at)
    lines = [f"{f.check:33} {f.status:15} {f.severity:9} {f.because}" for f in report.findings]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", kubelet_hosts.HOSTS)
def test_a_distribution_is_judged_as_before(
    name: str, tmp_path: Path, update_goldens: bool
) -> None:
    found = verdicts(kubelet_hosts.build(kubelet_hosts.HOSTS[name](), tmp_path / name))
    golden = GOLDENS / f"{name}.txt"
    if update_goldens:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()
