"""The asking verbs, as a person types them, against a real collector."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.routing import Route

from nodeward.cli.get import KINDS
from nodeward.cli.main import cli
from nodeward.collector.app import API

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class EnoughError(Exception):
    """Of a watch that has no end."""


@pytest.fixture
def run(collector: Any) -> Any:
    agent = collector.agent("n1")
    f = {"severity": "high", "because": "=it\x1b[31m is open"}
    agent.full({"check": "a.x", "status": "fail"} | f, {"check": "a.y", "status": "pass"} | f)
    agent.delta({"check": "a.y", "status": "unknown"} | f)

    def runs(*arguments: str, **over: str) -> Result:
        environment = {
            "NODEWARD_COLLECTOR": collector.url,
            "NODEWARD_CA": collector.ca,
            "NODEWARD_TOKEN": collector.admin,
        }
        return CliRunner().invoke(cli, arguments, env=environment | over, standalone_mode=False)

    return runs


def test_findings_come_the_worst_first_and_escaped(run: Any) -> None:
    lines = run("get", "findings").output.splitlines()
    assert [line.split("\t")[4] for line in lines] == ["a.x", "a.y"]
    assert "\x1b" not in lines[0]
    assert "\\x1b[31m is open" in lines[0]


def test_each_list_of_the_api_is_a_kind_and_is_shown(run: Any, collector: Any) -> None:
    lists = {r.path for r in API if isinstance(r, Route) and "GET" in (r.methods or ())}
    kinds = {p.removeprefix("/v1/") for p in lists if re.fullmatch("/v1/[a-z-]+", p)}
    assert set(KINDS) == kinds
    for number, status in enumerate(("pass", "fail")):
        plane = collector.agent(f"plane{number}")
        finding = {"check": "a.x", "status": status, "severity": "high", "because": "so"}
        plane.full(finding, inventory={"roles": ["control-plane"]})
    for path, body in (
        ("waivers", {"check": "*", "reason": "r", "owner": "o", "until": "1d"}),
        ("tokens", {"cluster": "east"}),
        ("alerts", {"name": "x", "kind": "silence", "target": "webhook", "url": "https://a"}),
    ):
        assert collector.post(f"/v1/{path}", body).status_code == 201
    for kind in KINDS:
        result = run("get", kind)
        assert result.return_value == 0, (kind, result.output)
        assert result.output.strip() or kind in ("events", "retirements", "shared-keys"), kind


def test_shared_keys_name_the_nodes_that_hold_them(run: Any, collector: Any) -> None:
    piece = {"what": "kubelet-client", "value": f"key sha256:{'ab' * 32}", "source": "/srv/k.pem"}
    told = {"check": "cert.shared-key", "status": "pass", "severity": "medium", "because": "one"}
    for node, cluster in (("n2", "east"), ("n3", "west")):
        collector.agent(node, cluster).full(told | {"evidence": [piece]})
    collector.fold()
    (line,) = run("get", "shared-keys").output.splitlines()
    reading, component, _because, on, key = line.split("\t")
    assert (reading, component, on) == ("clone", "kubelet-client", "east/n2, west/n3")
    assert key == f"sha256:{'ab' * 32}"
    assert run("get", "shared-keys", "--reading", "copied").output == ""


def test_json_is_the_collectors_own(run: Any) -> None:
    data = json.loads(run("get", "findings", "-o", "json", "--status", "fail").output)
    assert data["schema"] == "nodeward.cli/v1"
    assert [i["check"] for i in data["items"]] == ["a.x"]


def test_csv_is_safe_in_a_spreadsheet(run: Any) -> None:
    rows = list(csv.reader(io.StringIO(run("get", "findings", "-o", "csv").output)))
    assert rows[0][-2:] == ["because", "waived_until"]
    assert rows[1][3] == "fail"
    assert rows[1][-2].startswith("'=it")
    asked = run("query", "SELECT -1 AS \"=x\", '-1' AS a, '-x' AS b", "-o", "csv").output
    assert list(csv.reader(io.StringIO(asked))) == [["'=x", "a", "b"], ["-1", "-1", "'-x"]]


def test_who_asks_too_often_waits(
    run: Any, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.center.apply(replace(collector.settings, asks_per_s=1))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        collector.center.apply(replace(collector.settings, asks_per_s=1_000))

    monkeypatch.setattr("nodeward.client.client.time", SimpleNamespace(sleep=sleep))
    for _ in range(500):
        assert run("get", "nodes").return_value == 0
        if waits:
            break
    assert waits == [1.0]


def test_a_watch_outlives_the_collector(
    run: Any, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []

    def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 1:
            collector.stop()
        if len(turns) == 3:
            raise EnoughError

    monkeypatch.setattr("nodeward.cli.watch.time", SimpleNamespace(sleep=sleep))
    watched = run("watch")
    assert len(turns) == 3
    assert watched.output.count("trying again") == 2


def test_divergence_can_be_asked_of_a_role(run: Any, collector: Any) -> None:
    finding = {"check": "a.x", "status": "fail", "severity": "high", "because": "so"}
    collector.agent("w1").full(finding, inventory={"roles": ["worker"]})
    assert run("get", "divergence", "--role", "worker").return_value == 0
    assert "of that role" in run("get", "divergence", "--role", "etcd").output


def test_other_programs_forms_are_for_findings(run: Any) -> None:
    assert json.loads(run("get", "findings", "-o", "ocsf", "--status", "fail").output)
    assert run("get", "findings", "-o", "junit").output.startswith("<?xml")
    assert "findings" in str(run("get", "nodes", "-o", "junit").exception)


def test_query_diff_and_watch(run: Any) -> None:
    assert run("query", "SELECT check_id FROM finding ORDER BY 1").output.split() == ["a.x", "a.y"]
    assert run("diff", "n1", "--since", "1s").exit_code == 0
    watched = run("watch", "--rounds", "1").output
    assert watched.split("\t")[3:] == ["a.y", "pass (high)", "unknown (high)\n"]


def test_a_refusal_is_exit_code_four_and_one_line(run: Any) -> None:
    for over in ({"NODEWARD_TOKEN": "nwt_wrong"}, {"NODEWARD_COLLECTOR": "https://127.0.0.1:1"}):
        result = run("get", "nodes", **over)
        assert result.return_value == 4
        assert result.output.startswith("nodeward: ")
    assert run("query", "DELETE FROM node").return_value == 4


def test_a_foreign_ca_is_not_trusted(run: Any, tmp_path: Any) -> None:
    from nodeward.collector import pki

    other = tmp_path / "other"
    other.mkdir()
    pki.write_ca(other)
    result = run("get", "nodes", NODEWARD_CA=str(other / "ca.crt"))
    assert result.return_value == 4
    assert "not trusted" in result.output


def test_without_a_collector_it_is_wrong_usage(run: Any) -> None:
    result = run("get", "nodes", NODEWARD_COLLECTOR="")
    assert "--collector" in str(result.exception)
