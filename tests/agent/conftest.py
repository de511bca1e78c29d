"""A collector of one file, real HTTP(S), that keeps the promises of the wire and checks ours."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import os
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from daemon import Daemon
from nodeward.agent.spool import digest_of


class Refusal(Exception):
    def __init__(self, status: int, code: str, after: str | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.after = status, code, after


class Stand:
    """What a collector holds. `moods` are refusals to come, one a request; `lose` drops answers."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.approve = True
        self.tokens = {"join-me"}
        self.node: str | None = None
        self.expires_at: str | None = None
        self.posture: dict[str, Any] = {}
        self.seen: dict[tuple[str, int], str] = {}
        self.history: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.moods: list[Refusal] = []
        self.lose = 0
        self.want_look = False
        self.request: int | None = None
        """What names its request for a look; None: an earlier version's have no names."""
        self.sessions: dict[str, bytes] | None = {}
        """None: it knows no sessions, as a collector of an earlier version."""
        self.signed: list[str] = []
        """The paths of requests that came with a signature."""
        self.skew_s = 300.0
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.url = ""

    def answer(self, path: str, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        body = json.loads(gzip.decompress(raw))
        if self.moods:
            raise self.moods.pop(0)
        if path == "/v1/enroll":
            return self.enroll(body)
        self.verify(path, raw, headers)
        if path == "/v1/session":
            if self.sessions is None:
                raise Refusal(404, "not-found")
            name = f"s{len(self.sessions)}"
            self.sessions[name] = os.urandom(32)
            until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            key = base64.b64encode(self.sessions[name]).decode()
            return 200, {"session": name, "key": key, "expires_at": until}
        if path == "/v1/heartbeat":
            if body["digest"] != digest_of(self.posture):
                raise Refusal(409, "send-full")
            self.heartbeats.append(body)
            named = {} if self.request is None else {"request": self.request}
            return 200, {"look": self.want_look, **named}
        return self.report(body, raw)

    def enroll(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        public = base64.b64decode(body["public_key"])
        proof = b"nodeward-enroll\n" + public + b"\n" + body["node"].encode()
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(body["proof"]), proof)
        if body["attestation"]["token"] not in self.tokens:
            raise Refusal(401, "bad-token")
        if not self.approve:
            return 202, {"status": "pending"}
        name = base64.b32encode(hashlib.sha256(public).digest()).decode().lower()[:26]
        self.keys[name] = public
        node = self.node or body["node"]
        answer = {"agent_id": name, "node": node, "cluster": body["cluster"]}
        return 200, {**answer, "expires_at": self.expires_at}

    def verify(self, path: str, raw: bytes, headers: dict[str, str]) -> None:
        public = self.keys.get(headers["nodeward-agent"])
        if public is None:
            raise Refusal(401, "unknown-agent")
        at = headers["nodeward-time"]
        text = "\n".join(("nodeward-v1", "POST", path, at, hashlib.sha256(raw).hexdigest()))
        session = headers.get("nodeward-session")
        if session is not None:
            key = (self.sessions or {}).get(session)
            if key is None:
                raise Refusal(401, "session")
            mac = base64.b64decode(headers["nodeward-mac"])
            assert hmac.compare_digest(mac, hmac.digest(key, text.encode(), "sha256"))
        if session is None or path == "/v1/reports":
            signature = base64.b64decode(headers["nodeward-signature"])
            Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
            self.signed.append(path)
        assert abs(time.time() - int(at)) < self.skew_s

    def report(self, body: dict[str, Any], raw: bytes) -> tuple[int, dict[str, Any]]:
        key = (body["boot"], body["seq"])
        receipt = {name: body[name] for name in ("boot", "seq", "digest")}
        if key in self.seen:
            assert self.seen[key] == body["digest"], "the same number for another report"
            return 200, receipt
        assert all(seq < body["seq"] for boot, seq in self.seen if boot == body["boot"])
        if body["kind"] == "full":
            self.posture = {}
        elif body["base"] != digest_of(self.posture):
            raise Refusal(409, "send-full")
        self.posture |= {f["check"]: f for f in body["findings"]}
        assert digest_of(self.posture) == body["digest"]
        self.seen[key] = body["digest"]
        self.history.append(body)
        self.changed.notify_all()
        return 200, receipt

    def wait_for(self, what: Callable[[], bool], seconds: float = 60.0) -> bool:
        with self.changed:
            return self.changed.wait_for(what, seconds)


def handler(stand: Stand) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            after = None
            with stand.lock:
                try:
                    headers = {k.lower(): v for k, v in self.headers.items()}
                    status, answer = stand.answer(self.path, raw, headers)
                except Refusal as no:
                    status, after = no.status, no.after
                    answer = {"error": {"code": no.code, "message": "no", "field": None}}
                except Exception as exc:  # noqa: BLE001  shown to the test
                    status, answer = 500, {"error": {"code": "defect", "message": repr(exc)}}
                if stand.lose:
                    stand.lose -= 1
                    self.close_connection = True
                    return
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if after:
                self.send_header("Retry-After", after)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def serving(stand: Stand, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Stand]:
    server = ThreadingHTTPServer(("127.0.0.1", port), handler(stand))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    stand.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stand
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def stand() -> Iterator[Stand]:
    yield from serving(Stand())


@contextlib.contextmanager
def drip(content: bytes) -> Iterator[str]:
    """Something that begins to answer, and then goes on with a byte at a time, for ever."""

    class Drip(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(1 << 16)
                self.request.sendall(content)
                while not over.wait(0.2):
                    self.request.sendall(b" ")

    over = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def dripping() -> Callable[[bytes], contextlib.AbstractContextManager[str]]:
    return drip


class Authority:
    """A certificate authority of a test, and a server certificate of it for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ca = self._sign(subject, subject, key.public_key(), key, ca=True)
        server_key = ec.generate_private_key(ec.SECP256R1())
        leaf = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collector")])
        server = self._sign(leaf, subject, server_key.public_key(), key, ca=False)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(ca.public_bytes(Encoding.PEM))
        chain = folder / f"{name}-server.pem"
        pem = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(server.public_bytes(Encoding.PEM) + pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)

    def _sign(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        public: ec.EllipticCurvePublicKey,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
        )
        if not ca:
            names = [x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[str], Authority]:
    return lambda name: Authority(tmp_path, name)


@pytest.fixture
def serve() -> Callable[..., Iterator[Stand]]:
    return serving


@pytest.fixture
def new_stand() -> type[Stand]:
    return Stand


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons that are killed at the end, whatever the test did."""
    made: list[Daemon] = []

    def make_daemon(url: str | None, **settings: Any) -> Daemon:
        folder = tmp_path / f"agent{len(made)}"
        folder.mkdir()
        made.append(Daemon(folder, url, **settings))
        return made[-1]

    yield make_daemon
    for daemon in made:
        daemon.close()
