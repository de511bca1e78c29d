"""What an operator does: init, settings, the unit; hostile senders."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import promtool
from nodeward.cli.main import cli
from nodeward.collector import settings

ROOT = Path(__file__).parents[2]
SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def _f(check: str = "a.x", status: str = "fail") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": "seen"}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def runs(*arguments: str) -> Result:
        environment = {"NODEWARD_COLLECTOR_STATE": str(tmp_path)}
        return CliRunner().invoke(
            cli, ["collector", *arguments], env=environment, standalone_mode=False
        )

    return runs


def test_init_makes_what_is_missing_and_leaves_what_is_there(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    assert run("init", "--name", "collector.example").exception is None
    before = {p.name: p.read_bytes() for p in tmp_path.glob("*.crt")}
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
    assert run("init").exception is None
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.crt")} == before


def test_a_label_and_a_waiver_are_made_beside_a_running_collector(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    run("init")
    assert run("label", "east", "env=prod", "team=a").exception is None
    assert run("label", "east", "env-").exception is None
    assert run("label", "east", "env").exception
    with sqlite3.connect(tmp_path / "collector.db") as store:
        assert store.execute("SELECT key, value FROM cluster_label").fetchall() == [("team", "a")]
    store.close()
    made = run("waive", "a.*", "--reason", "r", "--owner", "o", "--until", "30d")
    assert re.fullmatch(r"[0-9a-f]{12}\n", made.output)
    assert run("waive", "a.*", "--reason", "r", "--owner", "o", "--until", "9w9").exception


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"listne": "x"}, "did you mean listen"),
        ({"listen": "nowhere"}, "invalid literal"),
        ({"stale_after": "soon"}, "soon"),
        ({"tls": "yes"}, "must be bool"),
        ({"connections": True}, "must be int"),
        ({"listen": "8443"}, "ADDRESS:PORT"),
        ({"listen": "127.0.0.1:99999"}, "ADDRESS:PORT"),
        ({"stale_after": "0s"}, "stale_after"),
        ({"keep_changes": "0d"}, "keep_changes"),
        ({"database": "postgres://a:b@c/d"}, "database must be sqlite"),
        ({"database": "nonsense"}, "database must be sqlite"),
        ({"query_database": "sqlite:////x"}, "query_database must be postgresql"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(settings.SettingsError, match=said):
        settings.check(values, "collector.yaml")


def test_a_file_that_is_not_there_is_told_by_config_check(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("config", "check").exception is None
    trust = "{east: {issuer: 'https://k', jwks: /nowhere/jwks.json}}"
    monkeypatch.setenv("NODEWARD_COLLECTOR_CLUSTERS", trust)
    assert "clusters.east.jwks: there is no /nowhere/jwks.json" in str(
        run("config", "check").exception
    )


def test_settings_come_from_file_folder_and_environment(tmp_path: Path) -> None:
    main = tmp_path / "collector.yaml"
    main.write_text("listen: 0.0.0.0:1\nstale_after: 1h\n")
    (tmp_path / "collector.d").mkdir()
    (tmp_path / "collector.d" / "10.yaml").write_text("listen: 0.0.0.0:2\n")
    got = settings.load(main, {"NODEWARD_COLLECTOR_METRICS_OPEN": "true"})
    assert (got.listen, got.stale_after, got.metrics_open) == ("0.0.0.0:2", "1h", True)


# -- the server


def test_it_is_alive_and_ready_and_tells_prometheus(collector: Any) -> None:
    collector.agent("n1").full(_f())
    for path in ("/livez", "/readyz"):
        assert collector.http.get(collector.url + path, timeout=30).text == "ok\n"
    told = collector.get("/metrics").text
    assert 'nodeward_fleet_findings{check="a.x",severity="high",status="fail"} 1.0' in told
    assert 'nodeward_fleet_nodes{cluster="east",seen="current"} 1.0' in told
    assert "n1" not in told


@SQLITE_ONLY
def test_every_answer_carries_a_request_id_and_the_one_error_shape(collector: Any) -> None:
    for path in ("/nothing", "/v1/nodes/east/none", "/v1/findings?limit=0", "/v1/reports"):
        answer = collector.get(path)
        assert set(answer.json()["error"]) == {"code", "message", "field"}
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def _connected(collector: Any) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=collector.ca)
    port = int(collector.url.rpartition(":")[2])
    plain = socket.create_connection(("127.0.0.1", port), 30)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


@SQLITE_ONLY
def test_headers_that_do_not_end_are_cut_off(
    start: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.protocol.HEADERS_S", 0.2)
    monkeypatch.setattr("nodeward.collector.protocol.SWEEP_S", 0.1)
    with _connected(start()) as slow:
        slow.sendall(b"GET /livez HTTP/1.1\r\nx: ")
        # An orderly end is as good as a hard one.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert slow.recv(1) == b""


@SQLITE_ONLY
def test_a_body_that_dawdles_is_a_408(
    start: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.api.answer.BODY_S", 0.3)
    with _connected(start()) as slow:
        slow.sendall(b"POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


@SQLITE_ONLY
@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 100,
        b"GET /livez HTTP/1.1\r\na: " + b"b" * 100_000,
        b"GET /" + b"a" * 100_000,
    ],
    ids=["many headers", "a long header", "a long path"],
)
def test_headers_without_bounds_are_cut_off(collector: Any, head: bytes) -> None:
    with _connected(collector) as flood:
        try:
            flood.sendall(head + b"\r\n")
            assert not flood.recv(100).startswith(b"HTTP/1.1 200")
        except (ssl.SSLError, ConnectionError):
            pass
    assert collector.http.get(collector.url + "/livez", timeout=30).ok


@SQLITE_ONLY
def test_more_than_can_be_written_is_a_503_that_says_when(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = collector.agent("n1")
    monkeypatch.setattr("nodeward.collector.store.writer.MOST_WAITING", 0)
    answer = agent.full(_f())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    monkeypatch.undo()
    assert agent.full(_f()).status_code == 200


@SQLITE_ONLY
def test_stopping_does_not_wait_for_idle_connections(start: Callable[[], Any]) -> None:
    running = start()
    agent = running.agent("n1")
    agent.full(_f())
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 10


def test_the_unit_is_confined() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = ROOT / "systemd" / "nodeward-collector.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:]


@SQLITE_ONLY
def test_promtool_has_nothing_to_say_of_the_metrics(collector: Any) -> None:
    collector.agent("n1").full(_f())
    collector.get("/v1/nodes")
    promtool.said_nothing("metrics", collector.get("/metrics").text)
