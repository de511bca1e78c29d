"""`nodeward watch -o ocsf`: a SIEM hears of each change, over restarts of either side."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nodeward.cli.main import cli
from nodeward.collector.export.stream import Place

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def _f(status: str) -> dict[str, Any]:
    piece = {"what": "mode", "value": "0644", "source": "/etc/x"}
    return {"check": "a.x", "status": status, "severity": "high", "because": "seen",
            "evidence": [piece]}  # fmt: skip


@pytest.fixture
def run(collector: Any) -> Any:
    def runs(*arguments: str, **over: str) -> Result:
        environment = {
            "NODEWARD_COLLECTOR": collector.url,
            "NODEWARD_CA": collector.ca,
            "NODEWARD_TOKEN": collector.admin,
        }
        words = ("watch", "-o", "ocsf", "--rounds", "1", *arguments)
        return CliRunner().invoke(cli, words, env=environment | over, standalone_mode=False)

    return runs


@pytest.fixture
def siem() -> Iterator[Any]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.server.status == 200:  # type: ignore[attr-defined]
                self.server.told.append((dict(self.headers), body))  # type: ignore[attr-defined]
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.told, server.status = [], 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _lines(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_finding_begins_changes_and_ends(collector: Any, run: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f("pass"))
    agent.delta(_f("fail"))
    agent.delta(_f("unknown"))
    agent.delta(_f("pass"))
    agent.full()
    told = _lines(run().output)
    assert [(e["type_uid"], e["status_code"], e["status_id"]) for e in told] == [
        (200302, "fail", 1), (200302, "unknown", 1), (200303, "pass", 4),
        (200303, "not-applicable", 4),
    ]  # fmt: skip
    assert len({e["finding_info"]["uid"] for e in told}) == 1
    assert [e["time"] for e in told] == sorted(e["time"] for e in told)


def test_an_event_holds_what_the_finding_says_if_it_still_says_that(
    collector: Any, run: Any
) -> None:
    agent = collector.agent("n1")
    agent.full(_f("fail"))
    agent.delta(_f("unknown"))
    agent.delta(_f("fail"))
    dark, failing = _lines(run().output)
    assert failing["compliance"]["status_details"] == ["mode: 0644 [/etc/x]"]
    assert dark["compliance"]["status_details"] == []


def test_a_node_that_comes_with_a_failure_is_news(collector: Any, run: Any) -> None:
    collector.agent("n1").full(_f("fail"), _f("pass") | {"check": "a.y"})
    (told,) = _lines(run().output)
    assert (told["type_uid"], told["status_code"]) == (200301, "fail")
    assert told["finding_info"]["title"] == "a.x"
    assert run("--check", "b.*").output == ""


def test_what_was_told_is_not_told_again(collector: Any, run: Any, tmp_path: Path) -> None:
    out, place = tmp_path / "events.ndjson", tmp_path / "place"
    agent = collector.agent("n1")
    agent.full(_f("pass"))
    agent.delta(_f("fail"))
    for _ in range(2):
        assert run("--to", str(out), "--resume", str(place)).return_value == 0
    agent.delta(_f("pass"))
    run("--to", str(out), "--resume", str(place))
    assert [e["status_code"] for e in _lines(out.read_text())] == ["fail", "pass"]


def test_what_a_server_did_not_take_is_sent_again(
    collector: Any, run: Any, siem: Any, tmp_path: Path
) -> None:
    url, place = f"http://127.0.0.1:{siem.server_port}/in", tmp_path / "place"
    agent = collector.agent("n1")
    agent.full(_f("pass"))
    agent.delta(_f("fail"))
    siem.status = 503
    assert run("--to", url, "--resume", str(place)).return_value == 4
    siem.status = 200
    for _ in range(2):
        done = run("--to", url, "--resume", str(place), NODEWARD_TO_TOKEN="hec")
        assert done.return_value == 0
    ((headers, body),) = siem.told
    assert headers["Authorization"] == "Bearer hec"
    assert [e["status_code"] for e in _lines(body)] == ["fail"]


def test_what_is_no_place_is_wrong_usage(run: Any, tmp_path: Path) -> None:
    for content in ("", "[]", "{}", '{"at": "soon", "told": []}'):
        (tmp_path / "place").write_text(content)
        result = run("--to", str(tmp_path / "out"), "--resume", str(tmp_path / "place"))
        assert type(result.exception).__name__ == "UsageError", content


@pytest.mark.usefixtures("database")
def test_a_change_that_is_committed_late_is_still_told() -> None:
    place = Place("2026-11-22T05:00:00.000Z")
    first = {"at": "2026-11-22T05:00:10.000Z", "cluster": "c", "node": "n", "check": "a"}
    place.passed([first])
    late = first | {"at": "2026-11-22T05:00:04.000Z"}
    assert late["at"] >= place.since
    assert place.new([late, first]) == [late]
