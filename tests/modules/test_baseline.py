"""What was loaded at the agent's first look after a boot, and what came later."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_hosts import debian, put
from nodeward.agent import baseline as keeper
from nodeward.agent.baseline import BASELINE_FILE, SETTLED_S, baseline
from nodeward.agent.clock import moment
from nodeward.agent.config import from_tree
from nodeward.agent.runner import Looker
from nodeward.agent.spool import Moment, Spool
from nodeward.agent.work import Job, perform
from nodeward.facts.errors import ParseError
from nodeward.facts.module_baseline import ModuleBaseline, dump_baseline, parse_baseline
from nodeward.host import LiveHost
from nodeward.model import Absent, Seen

EARLY, LATER = Moment(1000.0, 30.0, "b1"), Moment(5000.0, SETTLED_S, "b1")


def test_the_list_of_a_boot_stays_as_it_was_taken(tmp_path: Path) -> None:
    first = baseline(tmp_path, ["overlay", "br_netfilter"], LATER)
    assert first.names == ("br_netfilter", "overlay")
    assert baseline(tmp_path, ["overlay", "sctp"], LATER) == first


def test_while_a_node_boots_the_list_grows(tmp_path: Path) -> None:
    baseline(tmp_path, ["overlay"], EARLY)
    assert baseline(tmp_path, ["overlay", "vxlan"], EARLY).names == ("overlay", "vxlan")
    assert baseline(tmp_path, ["overlay", "sctp"], LATER).names == ("overlay", "vxlan")


def test_another_boot_has_another_list(tmp_path: Path) -> None:
    baseline(tmp_path, ["overlay"], LATER)
    found = baseline(tmp_path, ["overlay", "xfs"], Moment(9000.0, SETTLED_S, "b2"))
    assert found.names == ("overlay", "xfs")


@pytest.mark.parametrize(
    "text",
    [
        b'{"schema": "nodeward.modules/v1", "boot": "b1", "taken_at": 1e300, "modules": []}',
        b"",
        b"{",
        b"[]",
        b'{"schema": "nodeward.modules/v1"}',
        b"\xff",
    ],
)
def test_a_spoilt_list_is_taken_anew(tmp_path: Path, text: bytes) -> None:
    (tmp_path / BASELINE_FILE).write_bytes(text)
    assert baseline(tmp_path, ["overlay"], LATER).names == ("overlay",)


@given(st.binary(max_size=200))
def test_no_file_breaks_the_reader(raw: bytes) -> None:
    with contextlib.suppress(ParseError):
        parse_baseline(raw)


@given(st.lists(st.text()), st.floats(0, 1e11), st.text())
def test_what_is_written_is_read(names: list[str], at: float, boot: str) -> None:
    one = ModuleBaseline(tuple(names), at, boot)
    assert parse_baseline(dump_baseline(one)) == one


@pytest.fixture
def node(tmp_path: Path) -> Path:
    debian(tmp_path / "root")
    put(tmp_path / "root", {"/proc/modules": "overlay 1 1 - Live 0x0\n"})
    return tmp_path


def load_events(folder: Path) -> dict[str, Any]:
    """What the agent's worker says after one full look at a node of files."""
    tree = {
        "node": "n1",
        "host_root": str(folder / "root"),
        "state_dir": str(folder / "state"),
        "run_dir": str(folder / "run"),
    }
    config = from_tree(tree, {})
    perform(Job("full", config.to_job()))
    spool = Spool(folder / "state", config.spool, moment)
    try:
        return dict(spool.latest()["kernel.module.load-event"])
    finally:
        spool.close()


def test_the_agent_sees_what_is_loaded_after_its_first_look(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SETTLED_S", 0.0)  # this machine may have booted just now
    first = load_events(node)
    assert first["status"] == "pass"
    assert "the agent's first look of this boot" in first["because"]
    put(node / "root", {"/proc/modules": "overlay 1 1 - Live 0x0\nsctp 1 0 - Live 0x0\n"})
    later = load_events(node)
    assert later["status"] == "fail"
    assert [e["value"] for e in later["evidence"]] == ["sctp"]


def test_who_scans_the_host_has_the_agents_list_of_this_boot(tmp_path: Path) -> None:
    kept = ModuleBaseline(("x",), 1.0, "b1")
    files = {
        "/var/lib/nodeward/modules.json": dump_baseline(kept).decode(),
        "/proc/sys/kernel/random/boot_id": "b1\n",
    }
    put(tmp_path, files)
    assert Looker(LiveHost(tmp_path)).look(ModuleBaseline) == Seen(
        ModuleBaseline(("x",), 1.0, "b1")
    )
    put(tmp_path, {"/proc/sys/kernel/random/boot_id": "b2\n"})
    assert isinstance(Looker(LiveHost(tmp_path)).look(ModuleBaseline), Absent)
