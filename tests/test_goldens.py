"""What nodeward says of machines once seen: one short file a machine, one line a finding.

`script/test --update-goldens tests/test_goldens.py` writes them anew; the difference is what a
reviewer reads. tests/hosts/README.md tells where each machine came from.
"""

import gzip
import json
from pathlib import Path

import pytest

import kubeadm_tree
from nodeward.agent.scan import scan, select
from nodeward.cli.scan import parse_time
from nodeward.host import Replay, TreeHost
from nodeward.host.record import redacted
from nodeward.model import Report, Status

HOSTS = Path(__file__).parent / "hosts"
RECORDINGS = sorted(HOSTS.glob("*.json.gz"))


def lines(report: Report) -> str:
    """A line a finding, by id: check, status, severity where it counts, reason."""
    return "".join(
        f"{f.check:<34} {f.status:<14} "
        f"{f.severity if f.status is Status.FAIL else '-':<8} {f.because}\n"
        for f in report.findings
    )


def recording(path: Path) -> dict[str, object]:
    data = json.loads(gzip.decompress(path.read_bytes()))
    assert isinstance(data, dict)
    return data


def compare(golden: Path, found: str, update: bool) -> None:
    if update:
        golden.write_text(found, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == found, "script/test --update-goldens, then read"


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.name.removesuffix(".json.gz"))
def test_a_recorded_machine_is_judged_as_before(path: Path, update_goldens: bool) -> None:
    data = recording(path)
    log, live, root = data["log"], data["live"], data["root"]
    assert isinstance(log, dict)
    assert isinstance(root, str)
    report = scan(
        Replay(log, live=bool(live), root=root),
        select(()),
        at=parse_time(str(data["taken_at"])),
        node=str(data["node"]),
    )
    golden = path.with_name(path.name.removesuffix(".json.gz") + ".findings.txt")
    compare(golden, lines(report), update_goldens)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.name.removesuffix(".json.gz"))
def test_a_recording_answers_all_that_is_asked(path: Path) -> None:
    """Else a check says `unknown` of a machine that it could judge: record it anew."""
    golden = path.with_name(path.name.removesuffix(".json.gz") + ".findings.txt")
    assert "not in this recording" not in golden.read_text(encoding="utf-8"), (
        "tests/hosts/README.md"
    )


def test_the_kubeadm_node_is_judged_as_before(kubeadm_root: Path, update_goldens: bool) -> None:
    report = scan(TreeHost(kubeadm_root), select(()), at=parse_time(kubeadm_tree.NOW))
    compare(HOSTS / "kubeadm-1.36.findings.txt", lines(report), update_goldens)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.name.removesuffix(".json.gz"))
def test_a_recording_holds_no_secret(path: Path) -> None:
    log = recording(path)["log"]
    assert isinstance(log, dict)
    log.pop("read /etc/machine-id")  # replaced by another each time
    assert redacted(log) == log
