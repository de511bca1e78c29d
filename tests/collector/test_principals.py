"""Whatever two principals do, a node's rows are only written under a key attested for it, and none
seems to be alive that has not spoken.

Both have everything that ever went over the wire, may sign anything with their own keys, and hold
join tokens for their own node only. The collector is the real one, without the network.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import event, text

from nodeward.collector.api.agents import Front
from nodeward.collector.center import Center
from nodeward.collector.clock import now_ms
from nodeward.collector.db.engine import open_engine
from nodeward.collector.db.migrate import migrate
from nodeward.collector.problem import Problem
from nodeward.collector.settings import Settings
from nodeward.collector.signature import good, signed_text
from nodeward.collector.store import lifecycle
from nodeward.collector.store.access import EVERYTHING
from nodeward.collector.store.enrol import make_join_token

NAMES = ("a", "b")
REPORTING = ("/v1/reports", "/v1/heartbeat")
NAME = st.sampled_from(NAMES)
T = TypeVar("T")


@dataclass(frozen=True)
class Sent:
    """A request as it went over the wire."""

    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def key_id(key: Ed25519PrivateKey) -> str:
    return id_of(key.public_key().public_bytes_raw())


def id_of(public: bytes) -> str:
    return base64.b32encode(hashlib.sha256(public).digest()).decode().lower()[:26]


class Time:
    """The time of day for all: the principals, the collector, its database."""

    now = now_ms()

    @classmethod
    def of_database(cls, connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("julianday", 1, lambda _: cls.now / 86_400_000 + 2_440_587.5)
        connection.execute("PRAGMA synchronous=OFF")  # nothing here cuts the power


async def _nothing(*_: Any) -> None:
    raise AssertionError("not an agent's call")


class AtOnce(ThreadPoolExecutor):
    """What the collector does in a thread of its own is done where it is asked for: nothing else
    runs meanwhile, and a thread for each question took most of the time."""

    def submit(self, act: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(act(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001  as from a thread
            done.set_exception(exc)
        return done


class Principals(RuleBasedStateMachine):
    template: Path
    loop: asyncio.AbstractEventLoop

    @initialize(enrolled=st.sets(NAME))
    def begin(self, enrolled: set[str]) -> None:
        shutil.copy(self.template, self.template.with_name("collector.db"))
        self.center = Center(Settings(state=str(self.template.parent)))
        self.center.clock.now = lambda: Time.now  # type: ignore[method-assign]
        self.front = Front(_nothing, self.center)
        self.keys: dict[str, list[Ed25519PrivateKey]] = {n: [] for n in NAMES}
        self.sessions: dict[str, list[tuple[str, bytes]]] = {n: [] for n in NAMES}
        self.wire: list[Sent] = []
        self.attested: set[tuple[str, str]] = set()
        self.seq = self.beats = 0
        self.authors: dict[int, str] = {}
        self.spoke = dict.fromkeys(NAMES, 0)  # when something new was heard of a node
        self.heard: set[Sent] = set()
        self.tokens = {n: self._token(n) for n in NAMES}
        for name in NAMES:
            key = self._new_key(name)
            if name in enrolled:
                self._enrol(name, name, key)

    def teardown(self) -> None:
        if hasattr(self, "center"):
            self.center.close()

    # -- what the wire carries

    def _token(self, node: str) -> str:
        return self.center.writer.act_now(
            lambda c: make_join_token(
                c, cluster="east", node=node, uses=99, ttl_ms=3_600_000, approve=False,
                by="test", now=Time.now,
            )
        )  # fmt: skip

    def _send(self, sent: Sent) -> tuple[int, Any]:
        Time.now += 1  # no two requests come at one time
        self.wire.append(sent)
        status, answer = self.loop.run_until_complete(self._call(sent))
        if status in (200, 202):
            self._attest(sent)
        if status == 200 and sent.path in REPORTING and sent not in self.heard:
            self.heard.add(sent)
            self.spoke[self._node_of(dict(sent.headers)[b"nodeward-agent"].decode())] = Time.now
        return status, answer

    def _node_of(self, agent: str) -> str:
        with self.center.engine.connect() as connection:
            query = text("SELECT n.name FROM node n JOIN agent a ON a.node = n.id WHERE a.id = :id")
            name: str = connection.execute(query, {"id": agent}).scalar_one()
            return name

    def _attest(self, sent: Sent) -> None:
        """What the collector granted, if it should have: also to one who repeats what was refused
        before, as a rotation by a key that was pending then."""
        if sent.path not in ("/v1/enroll", "/v1/rotate"):
            return
        body = json.loads(sent.body)
        new = id_of(base64.b64decode(body["public_key"]))
        if sent.path == "/v1/enroll":
            if self.tokens[body["node"]] == body["attestation"]["token"]:
                self.attested.add((new, body["node"]))
            return
        old = dict(sent.headers)[b"nodeward-agent"].decode()
        self.attested |= {(new, node) for key, node in set(self.attested) if key == old}

    async def _call(self, sent: Sent) -> tuple[int, Any]:
        out: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent.body, "more_body": False}

        async def send(message: Any) -> None:
            out.append(message)

        length = (b"content-length", str(len(sent.body)).encode())
        scope = {
            "type": "http",
            "method": "POST",
            "path": sent.path,
            "headers": [*sent.headers, length],
        }
        await self.front(scope, receive, send)
        self.center.keys.poll()
        return out[0]["status"], json.loads(out[1]["body"])

    def _signed(self, key: Ed25519PrivateKey, path: str, body: bytes) -> Sent:
        when = str(Time.now // 1000)
        signature = key.sign(signed_text("POST", path, when, hashlib.sha256(body).digest()))
        headers = (
            (b"nodeward-agent", key_id(key).encode()),
            (b"nodeward-time", when.encode()),
            (b"nodeward-signature", b64(signature).encode()),
        )
        return Sent(path, headers, body)

    def _report(self, node: str, author: str) -> bytes:
        self.seq += 1
        self.authors[self.seq] = author
        report = {
            "schema": "nodeward.report/v1",
            "node": node,
            "taken_at": "2026-11-22T04:10:11.123Z",
            "boot": "boot",
            "seq": self.seq,
            "kind": "full",
            "digest": f"sha256:{self.seq:064x}",
            "findings": [
                {"check": "a.x", "status": "pass", "severity": "low", "because": str(self.seq)}
            ],
        }
        return gzip.compress(json.dumps(report).encode())

    def _new_key(self, name: str) -> Ed25519PrivateKey:
        key = Ed25519PrivateKey.generate()
        self.keys[name].append(key)
        return key

    def _enrol(self, who: str, node: str, key: Ed25519PrivateKey) -> None:
        public = key.public_key().public_bytes_raw()
        body = {
            "public_key": b64(public),
            "node": node,
            "cluster": "east",
            "attestation": {"kind": "join-token", "token": self.tokens[who]},
            "proof": b64(key.sign(b"nodeward-enroll\n" + public + b"\n" + node.encode())),
        }
        status, _ = self._send(Sent("/v1/enroll", (), json.dumps(body).encode()))
        assert status in (200, 202, 403)

    # -- what they do

    @rule(who=NAME, node=NAME)
    def enrol_a_new_key(self, who: str, node: str) -> None:
        self._enrol(who, node, self._new_key(who))

    @rule(who=NAME, node=NAME, data=st.data())
    def enrol_an_old_key(self, who: str, node: str, data: st.DataObject) -> None:
        self._enrol(who, node, data.draw(st.sampled_from(self.keys[who])))

    @rule(who=NAME, node=NAME, data=st.data())
    def report(self, who: str, node: str, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.keys[who]))
        self._send(self._signed(key, "/v1/reports", self._report(node, who)))

    @rule(who=NAME, node=NAME, data=st.data())
    def report_under_a_foreign_name(self, who: str, node: str, data: st.DataObject) -> None:
        """Signed with an own key, sent in another's name."""
        mine = data.draw(st.sampled_from(self.keys[who]))
        theirs = data.draw(st.sampled_from(self.keys[node]))
        sent = self._signed(mine, "/v1/reports", self._report(node, who))
        agent = (b"nodeward-agent", key_id(theirs).encode())
        self._send(replace(sent, headers=(agent, *sent.headers[1:])))

    @rule(who=NAME, session=st.booleans(), data=st.data())
    def beat(self, who: str, session: bool, data: st.DataObject) -> None:
        """That nothing has changed since the node's last report, whoever sent that; the report
        itself if there was none."""
        with self.center.engine.connect() as connection:
            query = text(
                "SELECT digest FROM posture p JOIN node n ON n.id = p.node WHERE name = :n"
            )
            held = connection.execute(query, {"n": who}).scalar()
        key = data.draw(st.sampled_from(self.keys[who]))
        if held is None:
            self._send(self._signed(key, "/v1/reports", self._report(who, who)))
            held = self.seq.to_bytes(32, "big")
        self.beats += 1
        body = {"boot": "boot", "seq": self.beats, "digest": f"sha256:{held.hex()}"}
        sent = self._signed(key, "/v1/heartbeat", json.dumps(body).encode())
        if session and self.sessions[who]:
            sent = self._in_session(sent, *data.draw(st.sampled_from(self.sessions[who])))
        self._send(sent)

    @rule(seconds=st.integers(1, 600))
    def wait(self, seconds: int) -> None:
        Time.now += 1000 * seconds

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        if self.wire:
            self._send(data.draw(st.sampled_from(self.wire)))

    @rule(seconds=st.integers(0, 600), data=st.data())
    def replay_a_beat(self, seconds: int, data: st.DataObject) -> None:
        Time.now += 1000 * seconds
        if beats := [sent for sent in self.wire if sent.path == "/v1/heartbeat"]:
            self._send(data.draw(st.sampled_from(beats)))
            self.center._flush()

    @rule(data=st.data(), node=NAME)
    def rewrite(self, data: st.DataObject, node: str) -> None:
        """The headers of one request, the body of another or a new one."""
        if not self.wire:
            return
        head = data.draw(st.sampled_from(self.wire))
        bodies = [s.body for s in self.wire if s.path == head.path] or [b""]
        body = data.draw(st.one_of(st.sampled_from(bodies), st.just(self._report(node, "nobody"))))
        self._send(replace(head, body=body))

    @rule(who=NAME, data=st.data())
    def open_a_session(self, who: str, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.keys[who]))
        status, answer = self._send(self._signed(key, "/v1/session", b""))
        if status == 200:
            self.sessions[who].append((answer["session"], base64.b64decode(answer["key"])))

    @rule(who=NAME, other=NAME, node=NAME, data=st.data())
    def report_in_a_session(self, who: str, other: str, node: str, data: st.DataObject) -> None:
        """An own session's MAC, any agent's name, an own signature."""
        if not self.sessions[who]:
            return
        name, secret = data.draw(st.sampled_from(self.sessions[who]))
        mine = data.draw(st.sampled_from(self.keys[who]))
        named = data.draw(st.sampled_from(self.keys[other]))
        sent = self._in_session(
            self._signed(mine, "/v1/reports", self._report(node, who)), name, secret
        )
        agent = (b"nodeward-agent", key_id(named).encode())
        self._send(replace(sent, headers=(agent, *sent.headers[1:])))

    def _in_session(self, sent: Sent, name: str, secret: bytes) -> Sent:
        when = dict(sent.headers)[b"nodeward-time"].decode()
        told = signed_text("POST", sent.path, when, hashlib.sha256(sent.body).digest())
        mac = b64(hmac.digest(secret, told, "sha256")).encode()
        more = ((b"nodeward-session", name.encode()), (b"nodeward-mac", mac))
        return replace(sent, headers=(*sent.headers, *more))

    @rule(who=NAME, data=st.data())
    def rotate(self, who: str, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.keys[who]))
        new = self._new_key(who)
        public = new.public_key().public_bytes_raw()
        proof = new.sign(b"nodeward-rotate\n" + key_id(old).encode() + b"\n" + public)
        body = json.dumps({"public_key": b64(public), "proof": b64(proof)}).encode()
        self._send(self._signed(old, "/v1/rotate", body))

    @rule(who=NAME, act=st.sampled_from(["approve", "release", "revoke"]), data=st.data())
    def operator(self, who: str, act: str, data: st.DataObject) -> None:
        """An operator approves only what is attested, as they should."""
        agent = key_id(data.draw(st.sampled_from(self.keys[who])))
        if act == "approve" and (agent, who) not in self.attested:
            return
        with contextlib.suppress(Problem):
            self.center.writer.act_now(lambda c: getattr(lifecycle, act)(c, agent, EVERYTHING))
        self.center.keys.poll()

    @rule()
    def fold(self) -> None:
        self.center._fold()

    @rule()
    def flush(self) -> None:
        self.center._flush()

    @rule()
    def forget(self) -> None:
        """As another replica, which has not heard yet what this one has."""
        self.center.pulse.forget_all()

    @invariant()
    def rows_are_written_under_attested_keys(self) -> None:
        if not hasattr(self, "center"):
            return
        with self.center.engine.connect() as connection:
            rows = connection.execute(text(
                "SELECT r.*, n.name, a.public_key FROM report r JOIN node n ON n.id = r.node"
                " JOIN agent a ON a.id = r.agent"
            )).all()  # fmt: skip
        for row in rows:
            assert (row.agent, row.name) in self.attested
            assert self.authors[row.seq] == row.name
            if row.body is not None and row.verified == 1:
                sha = hashlib.sha256(row.body).digest()
                told = signed_text("POST", "/v1/reports", str(row.signed_at), sha)
                assert good(row.public_key, row.signature, told)

    @invariant()
    def only_who_speaks_seems_alive(self) -> None:
        if not hasattr(self, "center"):
            return
        with self.center.engine.connect() as connection:
            rows = connection.execute(text(
                "SELECT n.name, p.seen_at FROM posture p JOIN node n ON n.id = p.node"
                " WHERE p.seen_at IS NOT NULL"
            )).all()  # fmt: skip
        for row in rows:
            assert row.seen_at <= self.spoke[row.name]


def _try_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> None:
    """One engine for all walks, or each would compile its statements anew."""
    engine = open_engine(f"sqlite:///{tmp_path}/collector.db")
    event.listen(engine, "connect", Time.of_database)
    monkeypatch.setattr("nodeward.collector.center.open_engine", lambda *_, **__: engine)
    migrate(engine)
    engine.dispose()
    Principals.template = (tmp_path / "collector.db").rename(tmp_path / "template.db")
    Principals.loop = asyncio.new_event_loop()
    Principals.loop.set_default_executor(AtOnce())
    case = Principals.TestCase
    case.settings = settings(
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a failure tells its steps; making them fewer takes minutes
        suppress_health_check=list(HealthCheck),
        **how,
    )
    with contextlib.closing(Principals.loop):
        case().runTest()


def test_rows_of_a_node_are_only_written_under_a_key_attested_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _try_all(tmp_path, monkeypatch, max_examples=25, stateful_step_count=30, derandomize=True)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_the_same_with_other_steps_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _try_all(tmp_path, monkeypatch, max_examples=2_000, stateful_step_count=50, print_blob=True)
