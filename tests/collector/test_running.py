"""A collector that runs: its CA and settings change under it; what it logs; how it ends."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from cryptography import x509

from collector_process import Process
from nodeward.agent.clock import moment
from nodeward.agent.config import Collector, SpoolBounds
from nodeward.agent.identity import Identity
from nodeward.agent.push import AwayError, Centre, Pusher
from nodeward.agent.spool import Spool
from nodeward.cli.main import cli
from nodeward.collector import pki
from nodeward.collector.clock import now_ms
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import migrate
from nodeward.collector.logs import Lines, request_id
from nodeward.collector.rate import Buckets
from nodeward.collector.store.access import Role, make_access
from nodeward.collector.store.enrol import make_join_token
from nodeward.model.report import finding_from_json, posture_digest

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
HEAD = {"schema": "nodeward.report/v1", "node": "n1", "taken_at": "2026-11-22T04:00:00.000Z"}
FINDING = {"check": "a.x", "status": "fail", "severity": "high", "because": "so",
           "evidence": [], "mappings": {}}  # fmt: skip


def _until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


# -- processes


@pytest.fixture
def run(tmp_path: Path, database: str) -> Iterator[Callable[..., Process]]:
    """Start collectors on one store; each has a state folder with the same certificate."""
    first = tmp_path / "c1"
    first.mkdir()
    pki.write_ca(first)
    pki.write_server(first, ["127.0.0.1"])
    url = database or f"sqlite:///{first / 'collector.db'}"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    started: list[Process] = []

    def begin(config: Path | None = None) -> Process:
        state = tmp_path / f"c{len(started) + 1}"
        if state != first:
            shutil.copytree(first, state, ignore=shutil.ignore_patterns("*.db*", "log"))
        process = Process(state, url)
        process.options = ["--config", str(config)] if config else []
        started.append(process)
        process.start()
        return process

    begin.url = url  # type: ignore[attr-defined]
    yield begin
    for process in started:
        if process.process is not None and process.process.poll() is None:
            process.stop()


def _made(url: str, make: Callable[..., str], **how: Any) -> str:
    engine = open_engine(url)
    with engine.execution_options(writes=True).begin() as connection:
        token = make(connection, ttl_ms=3_600_000, now=now_ms(), **how)
    engine.dispose()
    return token


def _join(url: str) -> str:
    return _made(url, make_join_token, cluster="east", node="*", uses=9, approve=False, by="test")


def _access(url: str) -> str:
    return _made(url, make_access, name="admin", role=Role.ADMIN, labels={})


@pytest.mark.root
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_revoked_key_is_refused_by_every_process_within_five_seconds(
    run: Any, new_agent: Any
) -> None:
    here, there = run(), run()
    agent = new_agent(here.url, str(here.state / "ca.crt"), "n1")
    assert agent.enrol(_join(run.url)).status_code == 200
    assert agent.full(FINDING).status_code == 200
    agent.url = there.url
    assert agent.open_session().status_code == 200
    assert agent.beat().status_code == 200
    answer = requests.post(
        f"{here.url}/v1/agents/{agent.id}/revoke",
        headers={"Authorization": f"Bearer {_access(run.url)}"},
        verify=str(here.state / "ca.crt"),
        timeout=30,
    )
    assert answer.status_code == 200
    began = time.monotonic()
    agent.url = here.url
    assert agent.beat().json()["error"]["code"] == "revoked"
    agent.url = there.url
    while agent.send_mac("/v1/heartbeat", _beat(agent)).status_code == 200:
        assert time.monotonic() - began < 5
        time.sleep(0.1)
    assert agent.beat().json()["error"]["code"] == "revoked"


def _beat(agent: Any) -> bytes:
    told = posture_digest(finding_from_json(f) for f in agent.findings.values())
    beat = {"boot": agent.boot, "seq": agent.seq, "digest": told}
    return gzip.compress(json.dumps(beat).encode())


@SQLITE_ONLY
def test_a_request_that_was_begun_is_finished_before_the_process_ends(
    run: Any, new_agent: Any
) -> None:
    process = run()
    agent = new_agent(process.url, str(process.state / "ca.crt"), "n1")
    agent.enrol(_join(run.url))
    body = gzip.compress(json.dumps(agent.body("full", [FINDING])).encode())
    head = {"Host": "x", "Content-Length": str(len(body)), **agent.sign("/v1/reports", body)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    context = ssl.create_default_context(cafile=str(process.state / "ca.crt"))
    plain = socket.create_connection(("127.0.0.1", process.port), 30)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as slow:
        slow.sendall(f"POST /v1/reports HTTP/1.1\r\n{lines}\r\n".encode() + body[:10])
        assert process.process is not None
        process.process.send_signal(signal.SIGTERM)
        _until(lambda: not process._answers())  # it takes nobody new
        slow.sendall(body[10:])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert process.ended() in (0, -signal.SIGTERM)
    engine = open_engine(run.url)
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT count(*) FROM report").scalar_one()
    engine.dispose()
    assert stored == 1


@SQLITE_ONLY
def test_sighup_reads_settings_anew_and_a_wrong_file_changes_nothing(
    run: Any, tmp_path: Path
) -> None:
    config = tmp_path / "collector.yaml"
    config.write_text("metrics_open: false\n")
    process = run(config)
    http = requests.Session()
    http.trust_env = False
    http.verify = str(process.state / "ca.crt")

    def metrics() -> int:
        return http.get(f"{process.url}/metrics", timeout=30).status_code

    def after(text: str, said: str) -> None:
        config.write_text(text)
        assert process.process is not None
        process.process.send_signal(signal.SIGHUP)
        _until(lambda: said in process.log)

    assert metrics() == 401
    after("metrics_open: true\nlisten: 0.0.0.0:1\n", "settings were read anew")
    assert metrics() == 200
    after("metrics_opne: false\n", "did you mean metrics_open")
    assert metrics() == 200
    lines = [json.loads(line) for line in process.log.splitlines()]
    assert [line["message"] for line in lines if line["level"] == "error"] == [
        f"the settings stay as they were: {config}: there is no setting metrics_opne;"
        " did you mean metrics_open?"
    ]


# -- the CA


class Node:
    """The real agent's way to a collector; each push reads the files of its configuration."""

    def __init__(self, folder: Path, token: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.token = token
        self.spool = Spool(folder, SpoolBounds(), moment)
        self.spool.put(HEAD, {"a.x": FINDING}, whole=True)

    def push(self, url: str, ca: Path) -> str | None:
        """What went wrong."""
        centre = Centre(Collector(urls=(url,), timeout_s=30, ca=(str(ca),)), self.folder)
        identity = Identity(self.folder / "identity", "m1")
        vouch = lambda: {"kind": "join-token", "token": self.token}  # noqa: E731
        pusher = Pusher(centre, identity, self.spool, "n1", "east", vouch, HEAD)
        try:
            return pusher.push().failed
        finally:
            centre.close()

    @property
    def identity(self) -> str:
        return Identity(self.folder / "identity", "m1").agent_id


@SQLITE_ONLY
def test_the_ca_changes_hands_under_a_live_agent_that_keeps_its_identity(
    collector: Any, tmp_path: Path
) -> None:
    state = Path(collector.settings.state)
    node = Node(tmp_path / "node", collector.join_token())

    def ca(step: str) -> None:
        environment = {"NODEWARD_COLLECTOR_STATE": str(state)}
        result = CliRunner().invoke(
            cli, ["collector", "ca", step], env=environment, standalone_mode=False
        )
        assert result.exception is None, result.output

    def served() -> int:
        port = int(collector.url.rpartition(":")[2])
        pem = ssl.get_server_certificate(("127.0.0.1", port))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    old, away = tmp_path / "first.crt", Node(tmp_path / "away", collector.join_token())
    shutil.copy(state / "ca.crt", old)
    before = served()

    def push(ours: Node = node) -> str | None:
        """An hour later: a session is begun anew, the file is as it was."""
        (ours.folder / "identity" / "session.json").unlink(missing_ok=True)
        return ours.push(collector.url, old)

    assert [push(), push()] == [None, None]  # the report, then a heartbeat
    who = node.identity
    ca("begin")
    assert served() == before
    assert push() is None
    ca("switch")
    _until(lambda: served() != before)  # no restart, no signal
    assert push() is None
    assert "CERTIFICATE_VERIFY_FAILED" in str(push(away))  # it never heard of the second
    ca("finish")
    assert [push(), push()] == [None, None]  # it hears of that, then acts on it
    trusted = (node.folder / "ca-bundle.pem").read_text()
    assert trusted.split() == (state / "ca.crt").read_text().split()  # the first is over
    assert not (state / "old.key").exists()
    assert (state / "ca-bundle.crt").read_bytes() == (state / "ca.crt").read_bytes()
    assert node.identity == who
    assert [a["agent"] for a in collector.items("/v1/agents")] == [who]
    assert [a["act"] for a in collector.items("/v1/audit")] == [
        "ca.finish",
        "ca.switch",
        "ca.begin",
    ]


def _grown_old(node: Node) -> None:
    os.utime(node.folder / "identity" / "key", (1, 1))


@SQLITE_ONLY
def test_an_agent_replaces_its_key_in_time_and_goes_on(collector: Any, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", collector.join_token(uses=1))

    def push() -> str | None:
        return node.push(collector.url, Path(collector.ca))

    assert [push(), push()] == [None, None]
    first = node.identity
    _grown_old(node)
    assert push() is None
    second = node.identity
    assert second != first
    assert push() is None
    node.spool.put(HEAD, {"a.x": FINDING | {"status": "pass"}}, whole=True)
    assert push() is None
    assert [f["status"] for f in collector.items("/v1/findings")] == ["pass"]
    known = {a["agent"]: a["status"] for a in collector.items("/v1/agents")}
    assert known == {first: "superseded", second: "active"}
    assert push() is None
    assert node.identity == second


@SQLITE_ONLY
def test_an_agent_that_did_not_hear_of_its_new_key_finds_out(
    collector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path / "node", collector.join_token(uses=1))

    def push() -> str | None:
        return node.push(collector.url, Path(collector.ca))

    assert [push(), push()] == [None, None]
    first = node.identity
    _grown_old(node)

    def lost(_identity: Identity) -> bool:
        raise AwayError("the answer was lost")

    with monkeypatch.context() as cut:
        cut.setattr(Identity, "succeed", lost)
        assert push() is None
    assert node.identity == first
    assert push() is None
    assert node.identity != first
    assert push() is None
    assert [f["check"] for f in collector.items("/v1/findings")] == ["a.x"]


def test_a_step_that_is_not_due_is_refused_and_renewing_keeps_the_names(tmp_path: Path) -> None:
    pki.write_ca(tmp_path)
    pki.write_server(tmp_path, ["collector.example", "127.0.0.1"])

    def ca(step: str) -> Any:
        environment = {"NODEWARD_COLLECTOR_STATE": str(tmp_path)}
        CliRunner().invoke(cli, ["collector", "init"], env=environment)
        return CliRunner().invoke(cli, ["collector", "ca", step], env=environment)

    for step in ("switch", "finish"):
        assert "not due" in ca(step).output
    assert ca("begin").exit_code == 0
    assert "begun already" in ca("begin").output
    before = (tmp_path / "tls.crt").read_bytes()
    assert ca("renew").exit_code == 0
    held = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    assert held.serial_number != x509.load_pem_x509_certificate(before).serial_number
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["collector.example", "127.0.0.1"]
    held.verify_directly_issued_by(
        x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    )


@SQLITE_ONLY
def test_a_key_that_does_not_fit_leaves_the_certificate_as_it_was(
    collector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    state = Path(collector.settings.state)
    good = (state / "tls.key").read_bytes()
    (state / "tls.key").write_bytes((state / "ca.key").read_bytes())
    _until(lambda: "the certificate stays as it was" in caplog.text)
    fresh = requests.get(f"{collector.url}/livez", verify=collector.ca, timeout=30)
    assert fresh.status_code == 200
    caplog.set_level(logging.INFO)
    (state / "tls.key").write_bytes(good)
    _until(lambda: "were read anew" in caplog.text)


# -- TLS, request ids, the log


@SQLITE_ONLY
def test_it_speaks_tls_only_and_no_old_one(collector: Any) -> None:
    port = int(collector.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not plain.recv(100).startswith(b"HTTP")
    context = ssl.create_default_context(cafile=collector.ca)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a-b.C_9", True),
        ("x" * 65, False),
        ("a b", False),
        ('"', False),
        ("{}", False),
        ("ü", False),
    ],
)
def test_a_request_id_that_cannot_be_anything_else_is_echoed(
    collector: Any, given: str, kept: bool
) -> None:
    headers = {"X-Request-Id": given.encode("latin-1")}
    answer = collector.http.get(collector.url + "/livez", headers=headers, timeout=30)
    assert (answer.headers["X-Request-Id"] == given) is kept


@SQLITE_ONLY
def test_what_people_ask_is_a_line_with_route_who_and_id_and_no_secret(
    collector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = {"Authorization": f"Bearer {collector.admin}", "X-Request-Id": "mine"}
    url = collector.url + "/v1/nodes?node=secret"
    collector.http.get(url, headers=headers, timeout=30)

    def lines() -> list[logging.LogRecord]:
        ours = [r for r in caplog.records if r.name == "nodeward.collector.app"]
        return [r for r in ours if "/v1/nodes" in r.getMessage()]

    _until(lines)
    record = lines()[0]
    told = record.told  # type: ignore[attr-defined]
    assert (told["method"], told["route"], told["status"], told["who"]) == (
        "GET", "/v1/nodes", 200, "admin"
    )  # fmt: skip
    line = Lines(journal=False).format(record)
    assert "secret" not in line
    assert collector.admin not in line


def test_a_line_of_the_log_is_one_json_object_whatever_is_in_it() -> None:
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "a\n<3>b %s", ("\x1b[31m\r\n",), None)
    request_id.set("r1")
    line = Lines(journal=False).format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    told = json.loads(line)
    assert (told["level"], told["message"], told["request_id"]) == (
        "error", "a\n<3>b \x1b[31m\r\n", "r1"
    )  # fmt: skip
    assert Lines(journal=True).format(record) == f"<3>{line}"
    request_id.set("")


# -- how often


def test_a_bucket_fills_as_time_goes_by() -> None:
    now = [0.0]
    buckets = Buckets(lambda: now[0])
    assert [buckets.take(b"a", 2.0) for _ in range(20)] == [0.0] * 20
    assert buckets.take(b"a", 2.0) == 0.5
    assert buckets.take(b"b", 2.0) == 0.0
    now[0] = 0.5
    assert buckets.wait(b"a", 2.0) == 0.0
    assert buckets.take(b"a", 2.0) == 0.0
    assert buckets.take(b"a", 2.0) == 0.5


def _rates(start: Callable[..., Any], settings: Any, **over: int) -> Any:
    return start(replace(settings, **over))


@SQLITE_ONLY
def test_a_token_that_asks_too_often_is_told_when_and_no_other(
    start: Callable[..., Any], settings: Any
) -> None:
    collector = _rates(start, settings, asks_per_s=1)
    other = collector.access("other")
    answers = [collector.get("/v1/clusters") for _ in range(40)]
    refused = [a for a in answers if a.status_code == 429]
    assert answers[0].status_code == 200
    assert refused[0].json()["error"]["code"] == "too-often"
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert collector.get("/v1/clusters", other).status_code == 200
    agent = collector.agent("n1")
    assert all(agent.full(FINDING, seq=n).status_code == 200 for n in range(1, 41))


@SQLITE_ONLY
@pytest.mark.parametrize("way", ["token", "login", "enrol"])
def test_an_address_that_guesses_is_stopped(
    start: Callable[..., Any], settings: Any, new_agent: Any, way: str
) -> None:
    collector = _rates(start, settings, refusals_per_s=1)

    def guess(number: int) -> int:
        if way == "enrol":
            return int(new_agent(collector.url, collector.ca, "n1").enrol("nwj_x").status_code)
        if way == "login":
            form = {"token": f"nwt_{number}"}
            url = collector.url + "/login"
            return int(collector.http.post(url, data=form, timeout=30).status_code)
        return int(collector.get("/v1/nodes", f"nwt_{number}").status_code)

    codes = [guess(number) for number in range(40)]
    assert 429 in codes
    assert set(codes) <= {401, 403, 429}
    assert collector.http.get(collector.url + "/livez", timeout=30).ok
