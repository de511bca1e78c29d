"""A real collector on loopback with TLS, and agents that speak to it as the wire says."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector_process import Process
from ledger import SENDERS, Sender, flip
from nodeward.collector import pki
from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import migrate
from nodeward.collector.serve import configure
from nodeward.collector.settings import Settings
from nodeward.collector.store.access import Role, make_access
from nodeward.collector.store.enrol import make_join_token
from nodeward.collector.store.fold import fold_some
from nodeward.model.report import finding_from_json, posture_digest

Finding = Mapping[str, Any]
HOUR = 3_600_000


def finding(check: str, status: str, severity: str = "high", because: str = "seen") -> Finding:
    evidence = [{"what": "value", "value": because, "source": "/etc/x:1"}]
    return {
        "check": check,
        "status": status,
        "severity": severity,
        "because": because,
        "evidence": evidence,
        "remedy": None,
        "mappings": {},
    }


def digest(findings: Sequence[Finding]) -> str:
    return posture_digest(finding_from_json(f) for f in findings)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class Agent:
    """A node's agent: its key, and the last posture it told."""

    def __init__(self, url: str, ca: str, node: str, cluster: str = "east") -> None:
        self.key = Ed25519PrivateKey.generate()
        self.node = node
        self.cluster = cluster
        self.boot = hashlib.sha256(self.public).hexdigest()[:32]
        self.seq = 0
        self.findings: dict[str, Finding] = {}
        self.url = url
        self.session = ("", b"")
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = ca

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        return base64.b32encode(hashlib.sha256(self.public).digest()).decode().lower()[:26]

    def enrol(self, token: str, kind: str = "join-token", **over: Any) -> requests.Response:
        proof = self.key.sign(b"nodeward-enroll\n" + self.public + b"\n" + self.node.encode())
        body = {
            "public_key": b64(self.public),
            "node": self.node,
            "cluster": self.cluster,
            "attestation": {"kind": kind, "token": token},
            "proof": b64(proof),
        }
        return self.http.post(self.url + "/v1/enroll", json=body | over, timeout=30)

    def sign(self, path: str, body: bytes, at: int | None = None) -> dict[str, str]:
        when = str(int(time.time()) if at is None else at)
        text = f"nodeward-v1\nPOST\n{path}\n{when}\n{hashlib.sha256(body).hexdigest()}"
        return {
            "Nodeward-Agent": self.id,
            "Nodeward-Time": when,
            "Nodeward-Signature": b64(self.key.sign(text.encode())),
            "Content-Encoding": "gzip",
        }

    def send(self, path: str, body: bytes, **headers: str) -> requests.Response:
        signed = self.sign(path, body) | headers
        return self.http.post(self.url + path, data=body, headers=signed, timeout=30)

    def open_session(self) -> requests.Response:
        answer = self.send("/v1/session", b"", **{"Content-Encoding": "identity"})
        if answer.ok:
            self.session = (answer.json()["session"], base64.b64decode(answer.json()["key"]))
        return answer

    def send_mac(self, path: str, body: bytes, **headers: str) -> requests.Response:
        """Within the session: a MAC for now, and the signature for later."""
        name, key = self.session
        signed = self.sign(path, body)
        parts = [path, signed["Nodeward-Time"], hashlib.sha256(body).hexdigest()]
        text = "\n".join(["nodeward-v1", "POST", *parts])
        signed |= {
            "Nodeward-Session": name,
            "Nodeward-MAC": b64(hmac.digest(key, text.encode(), "sha256")),
        }
        return self.http.post(self.url + path, data=body, headers=signed | headers, timeout=30)

    def rotate(self) -> requests.Response:
        new = Ed25519PrivateKey.generate()
        public = new.public_key().public_bytes_raw()
        proof = new.sign(b"nodeward-rotate\n" + self.id.encode() + b"\n" + public)
        body = json.dumps({"public_key": b64(public), "proof": b64(proof)}).encode()
        answer = self.send("/v1/rotate", body, **{"Content-Encoding": "identity"})
        if answer.ok:
            self.key = new
        return answer

    def body(self, kind: str, findings: Sequence[Finding], /, **over: Any) -> dict[str, Any]:
        after = (self.findings if kind == "delta" else {}) | {f["check"]: f for f in findings}
        out = {
            "schema": "nodeward.report/v1",
            "node": self.node,
            "taken_at": "2026-11-22T04:10:11.123Z",
            "root": "/",
            "live": True,
            "agent": {"version": "0.1.0", "catalog": "sha256:00"},
            "inventory": {"os": {"id": "debian", "version": "12"}, "kernel": "6.1.0"},
            "boot": self.boot,
            "seq": self.seq + 1,
            "kind": kind,
            "digest": digest(list(after.values())),
            "findings": list(findings),
        }
        if kind == "delta":
            out["base"] = digest(list(self.findings.values()))
        return out | over

    def full(self, *findings: Finding, **over: Any) -> requests.Response:
        return self._report("full", findings, over)

    def delta(self, *findings: Finding, **over: Any) -> requests.Response:
        return self._report("delta", findings, over)

    def _report(
        self, kind: str, findings: Sequence[Finding], over: Mapping[str, Any]
    ) -> requests.Response:
        body = self.body(kind, findings, **over)
        answer = self.send("/v1/reports", gzip.compress(json.dumps(body).encode()))
        if answer.ok and not over:
            kept = self.findings if kind == "delta" else {}
            self.findings = kept | {f["check"]: f for f in findings}
            self.seq += 1
        return answer

    def beat(self, **over: Any) -> requests.Response:
        body = {
            "boot": self.boot,
            "seq": self.seq,
            "digest": digest(list(self.findings.values())),
            "spool": {"depth": 0, "dropped": 0},
        }
        return self.send("/v1/heartbeat", gzip.compress(json.dumps(body | over).encode()))


class Running:
    """A collector in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        config = configure(settings)
        self.center: Center = config.app.state.center  # type: ignore[union-attr]
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the collector did not start"
            time.sleep(0.005)  # uvicorn has no event to wait for
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self.ca = str(Path(settings.state) / "ca.crt")
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = self.ca
        self.admin = self.access("admin", Role.ADMIN)

    def stop(self) -> None:
        self.http.close()
        self.server.should_exit = True
        self._thread.join(30)

    def fold(self) -> None:
        """Fold all that waits, however fast it came."""
        with self.center._folding:
            while fold_some(self.center.engine, self.center.writer, now_ms()):
                pass

    def access(self, name: str, role: Role = Role.VIEWER, **labels: str) -> str:
        return self.center.writer.act_now(
            lambda connection: make_access(
                connection, name=name, role=role, labels=labels, ttl_ms=HOUR, now=now_ms()
            )
        )

    def join_token(self, **how: Any) -> str:
        given: dict[str, Any] = {
            "cluster": "east",
            "node": "*",
            "uses": 1000,
            "ttl_ms": HOUR,
            "approve": False,
        }
        return self.center.writer.act_now(
            lambda connection: make_join_token(connection, by="test", now=now_ms(), **(given | how))
        )

    def agent(self, node: str, cluster: str = "east") -> Agent:
        """An enrolled agent."""
        agent = Agent(self.url, self.ca, node, cluster)
        answer = agent.enrol(self.join_token(cluster=cluster))
        assert answer.status_code == 200, answer.text
        return agent

    def get(self, path: str, token: str | None = None, **params: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.admin}"}
        return self.http.get(self.url + path, params=params, headers=headers, timeout=30)

    def post(self, path: str, data: object = None, token: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.admin}"}
        return self.http.post(self.url + path, json=data or {}, headers=headers, timeout=30)

    def items(self, path: str, token: str | None = None, **params: Any) -> list[Any]:
        answer = self.get(path, token, **params)
        assert answer.status_code == 200, answer.text
        items: list[Any] = answer.json()["items"]
        return items


POSTGRES_BIN = Path("/usr/lib/postgresql")


class Postgres:
    """Debian's PostgreSQL on a socket in a folder of its own, run as its own user."""

    def __init__(self, folder: Path, within: Sequence[str] = (), copy_of: str = "") -> None:
        """`within`: a command that runs it elsewhere; `copy_of`: its primary's folder."""
        versions = sorted(POSTGRES_BIN.glob("*/bin"), key=lambda p: int(p.parent.name))
        if not versions:
            if os.environ.get("CI") == "true":
                pytest.fail("PostgreSQL is missing: see script/packages.debian")
            pytest.skip("needs the package postgresql")
        self._bin = versions[-1]
        self._within = within
        self.folder = folder
        data = str(folder / "data")
        shutil.chown(folder, "postgres")
        folder.chmod(0o755)
        if copy_of:
            self._run("pg_basebackup", "-h", copy_of, "-D", data, "-R", "-C", "-S", "standby",
                      "-c", "fast")  # fmt: skip
        else:
            self._run("initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync",
                      "--wal-segsize=1")  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._template = ""

    def _as_postgres(self, program: str, *arguments: str) -> list[str]:
        return [*self._within, "setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                str(self._bin / program), *arguments]  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        command = self._as_postgres(program, *arguments)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def start(self, **settings: str) -> None:
        given = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
        }
        options = [f"--{name}={value}" for name, value in (given | settings).items()]
        log = (self.folder / "log").open("ab")
        command = self._as_postgres("postgres", "-D", str(self.folder / "data"), *options)
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        log.close()
        self.wait()

    def wait(self) -> None:
        """Until it answers; after a crash it replays its log first."""
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn("postgres")).close()
            except psycopg.OperationalError:
                assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.05)  # it has no event to wait for
            else:
                return

    def stop(self, signal_number: int = signal.SIGINT) -> None:
        assert self.process is not None
        self.process.send_signal(signal_number)
        self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its children, as when the machine kills it."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in [self.process.pid, *map(int, children.split())]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        for pid in map(int, children.split()):
            until = time.monotonic() + 30
            while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < until:
                time.sleep(0.01)  # not our children: no wait() for them
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "-D", str(self.folder / "data"), "-w")

    def dsn(self, name: str) -> str:
        return f"host={self.folder} dbname={name} user=postgres"

    def database(self, *, ready: bool = False) -> str:
        """The URL of a new database, empty or with the schema in it."""
        if ready and not self._template:
            with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
                connection.execute("CREATE ROLE nodeward_query LOGIN")
            self._template = "template_ready"
            self._create(self._template, "template1")
            engine = open_engine(self._url(self._template))
            migrate(engine)
            engine.dispose()
        self._count += 1
        name = f"test{self._count}"
        self._create(name, self._template if ready else "template1")
        return self._url(name)

    def _create(self, name: str, template: str) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not below pytest's folder: only its owner may enter that.
    with tempfile.TemporaryDirectory(prefix="nodeward-pg-", dir="/tmp") as folder:
        server = Postgres(Path(folder))
        server.start(fsync="off")  # nothing here cuts the power; the kill tests use their own
        yield server
        server.stop(signal.SIGQUIT)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """One that may be killed: it writes to the disk as in earnest."""
    with tempfile.TemporaryDirectory(prefix="nodeward-pg-", dir="/tmp") as folder:
        server = Postgres(Path(folder))
        server.start()
        yield server
        server.stop(signal.SIGQUIT)


@pytest.fixture
def new_postgres() -> Iterator[Callable[..., Postgres]]:
    """More of them, each in a folder that the test gives; they are killed at its end."""
    made: list[Postgres] = []

    def make(folder: Path, **how: Any) -> Postgres:
        made.append(Postgres(folder, **how))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.stop(signal.SIGQUIT)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.root)])
def database(request: pytest.FixtureRequest) -> str:
    """A new database's URL, of each kind; "" for SQLite in the state folder."""
    if request.param == "sqlite":
        return ""
    server: Postgres = request.getfixturevalue("postgres")
    # The tests of migrations want it empty.
    return server.database(ready="settings" in request.fixturenames)


@pytest.fixture
def settings(tmp_path: Path, database: str) -> Settings:
    pki.write_ca(tmp_path)
    pki.write_server(tmp_path, ["127.0.0.1"])
    query = database.replace("//postgres@", "//nodeward_query@")
    return Settings(
        listen="127.0.0.1:0", state=str(tmp_path), database=database, query_database=query
    )


@pytest.fixture
def new_agent() -> type[Agent]:
    return Agent


@pytest.fixture
def collector(settings: Settings) -> Iterator[Running]:
    running = Running(settings)
    yield running
    running.stop()


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., Running]]:
    """Start further collectors on the same store."""
    started: list[Running] = []

    def begin(other: Settings | None = None) -> Running:
        started.append(Running(other or settings))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    pki.write_ca(tmp_path)
    pki.write_server(tmp_path, ["127.0.0.1"])
    return tmp_path


@pytest.fixture
def senders() -> Iterator[Callable[[Process, str], list[Sender]]]:
    started: list[Sender] = []

    def start(process: Process, token: str) -> list[Sender]:
        for number in range(SENDERS):
            agent = Agent(process.url, str(process.state / "ca.crt"), f"n{number}")
            assert agent.enrol(token).status_code == 200
            started.append(Sender(agent, flip))
        for sender in started:
            sender.start()
        return started

    yield start
    for sender in started:
        sender.stopping.set()
        sender.join(60)
        sender.agent.http.close()
