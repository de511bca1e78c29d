"""Enrolment by a pod's token: by the cluster's public keys, and by asking its API server."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from nodeward.collector import settings as settings_module
from nodeward.collector.attest import Trust
from nodeward.collector.problem import Problem

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ISSUER = "https://kubernetes.default.svc.cluster.local"
USER = "system:serviceaccount:nodeward:nodeward-agent"


class Cluster:
    """A cluster's signing key, and the tokens that its API server would issue."""

    def __init__(self, folder: Path) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps(KeySet([self.key]).as_dict(private=False)))

    def token(self, node: str = "n1", key: Any = None, **over: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": ["nodeward"],
            "sub": USER,
            "exp": now + 3_600,
            "nbf": now,
            "kubernetes.io": {"node": {"name": node, "uid": f"uid-of-{node}"}},
        } | over
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, key or self.key)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture
def trusting(settings: Any, cluster: Cluster, start: Callable[..., Any]) -> Any:
    trust = Trust(issuer=ISSUER, jwks=str(cluster.jwks))
    return start(replace(settings, clusters={"east": trust}))


def _enrol(collector: Any, new_agent: Any, token: str, node: str = "n1", **over: Any) -> Any:
    agent = new_agent(collector.url, collector.ca, node)
    return agent, agent.enrol(token, "k8s-psat", **over)


def test_a_pods_token_enrols_the_node_it_was_issued_on(
    trusting: Any, cluster: Cluster, new_agent: Any
) -> None:
    agent, answer = _enrol(trusting, new_agent, cluster.token())
    assert answer.status_code == 200, answer.text
    finding = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}
    assert agent.full(finding).status_code == 200
    assert trusting.items("/v1/agents")[0]["method"] == "k8s-psat"


@pytest.mark.parametrize(
    "over",
    [
        {"iss": "https://elsewhere"},
        {"aud": ["kubernetes"]},
        {"sub": "system:serviceaccount:default:default"},
        {"exp": 1},
        {"exp": None},
        {"nbf": 2**40},
        {"kubernetes.io": {}},
        {"kubernetes.io": {"node": {"name": "n1"}}},
        {"kubernetes.io": "n1"},
    ],
)
def test_a_token_that_does_not_say_all_of_it_is_refused(
    trusting: Any, cluster: Cluster, new_agent: Any, over: dict[str, Any]
) -> None:
    _, answer = _enrol(trusting, new_agent, cluster.token(**over))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "psat")


def test_who_is_enrolled_and_who_is_not_is_in_the_event_log(
    trusting: Any, cluster: Cluster, new_agent: Any
) -> None:
    _enrol(trusting, new_agent, cluster.token())
    _enrol(trusting, new_agent, cluster.token(), node="n2")
    _enrol(trusting, new_agent, "a.b.c", node="n3")
    told = [(e["kind"], e["node"], e["detail"]) for e in trusting.items("/v1/events")]
    assert told == [
        ("enroll.refused", None, {"code": "psat", "node": "n3"}),
        ("enroll.refused", None, {"code": "other-node", "node": "n2"}),
        ("agent.enrolled", "n1", {"method": "k8s-psat", "status": "active"}),
    ]


def test_without_the_clusters_keys_an_agent_is_told_to_come_again(
    cluster: Cluster, trusting: Any, new_agent: Any
) -> None:
    for content in (b"", b"[]", b'{"keys": 7}', b'{"keys": [{}]}', None):
        cluster.jwks.unlink()
        if content is not None:
            cluster.jwks.write_bytes(content)
        _, answer = _enrol(trusting, new_agent, cluster.token())
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "30"), content


def test_a_token_by_another_key_or_none_is_refused(
    trusting: Any, cluster: Cluster, new_agent: Any
) -> None:
    other = RSAKey.generate_key(2048, {"kid": "one"})
    head = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    unsigned = f"{head}.{cluster.token().split('.')[1]}."
    for token in (cluster.token(key=other), unsigned, "x", "", "a.b.c"):
        _, answer = _enrol(trusting, new_agent, token)
        assert answer.status_code == 403, token


def test_the_token_of_one_node_does_not_enrol_another(
    trusting: Any, cluster: Cluster, new_agent: Any
) -> None:
    _, answer = _enrol(trusting, new_agent, cluster.token("n1"), node="n2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "other-node")
    _, answer = _enrol(trusting, new_agent, cluster.token("n1"), cluster="west")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cluster")


def test_a_new_pods_key_supersedes_and_a_new_uid_begins_a_new_life(
    trusting: Any, cluster: Cluster, new_agent: Any
) -> None:
    finding = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}
    first, _ = _enrol(trusting, new_agent, cluster.token())
    first.full(finding)
    second, answer = _enrol(trusting, new_agent, cluster.token())
    assert answer.status_code == 200
    trusting.center.keys.poll()
    assert first.full(finding).json()["error"]["code"] == "superseded"
    assert len(trusting.items("/v1/findings")) == 1
    another: dict[str, Any] = {"kubernetes.io": {"node": {"name": "n1", "uid": "another"}}}
    third, answer = _enrol(trusting, new_agent, cluster.token(**another))
    assert answer.status_code == 200
    trusting.center.keys.poll()
    assert second.full(finding).json()["error"]["code"] == "retired"
    assert trusting.items("/v1/findings") == []
    assert third.full(finding).status_code == 200
    assert trusting.items("/v1/checks")[0]["nodes"]["fail"] == 1


# -- TokenReview


@pytest.fixture
def api(settings: Any) -> Iterator[Any]:
    """An API server that answers TokenReviews as it is told to."""
    asked: list[Any] = []
    status: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], body["spec"]))
            out = json.dumps({"status": status}).encode()
            self.send_response(201)
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        def log_message(self, *_: Any) -> None:
            pass

    state = Path(settings.state)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(state / "tls.crt", state / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (state / "sa").write_text("our-token\n")
    trust = Trust(
        auth="tokenreview",
        api=f"https://127.0.0.1:{server.server_port}",
        ca=str(state / "ca.crt"),
        token_file=str(state / "sa"),
    )
    yield trust, asked, status
    server.shutdown()
    server.server_close()
    thread.join()


GOOD = {
    "authenticated": True,
    "audiences": ["nodeward"],
    "user": {
        "username": USER,
        "extra": {
            "authentication.kubernetes.io/node-name": ["n1"],
            "authentication.kubernetes.io/node-uid": ["u"],
        },
    },
}


def test_the_api_server_is_asked_and_believed(
    settings: Any, start: Callable[..., Any], api: Any, new_agent: Any
) -> None:
    trust, asked, status = api
    status |= GOOD
    collector = start(replace(settings, clusters={"east": trust}))
    _, answer = _enrol(collector, new_agent, "a-token")
    assert answer.status_code == 200, answer.text
    path, authorization, spec = asked[0]
    assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert authorization == "Bearer our-token"
    assert spec == {"token": "a-token", "audiences": ["nodeward"]}


def test_what_the_api_server_does_not_vouch_for_is_refused(api: Any) -> None:
    from nodeward.collector.attest import attest

    trust, _, status = api
    for bad in (
        {},
        GOOD | {"authenticated": False},
        GOOD | {"audiences": ["other"]},
        GOOD | {"audiences": None},
        GOOD | {"user": {"username": USER}},
        GOOD | {"user": {"username": "x", "extra": GOOD["user"]["extra"]}},  # type: ignore[index]
    ):
        status.clear()
        status |= bad
        with pytest.raises(Problem, match="service-account token"):
            attest(trust, "t", time.time())
    with pytest.raises(Problem, match="does not answer"):
        attest(replace(trust, api="https://127.0.0.1:1"), "t", time.time())


def test_a_cluster_that_lacks_a_setting_is_named(database: str) -> None:
    for given, said in (
        ({"east": {"issuer": "x"}}, "needs jwks"),
        ({"east": {"isuer": "x"}}, "did you mean issuer"),
        ({"east": {"auth": "guess"}}, "needs auth"),
        ({"east": 1}, "mapping"),
    ):
        with pytest.raises(settings_module.SettingsError, match=said):
            settings_module.check({"clusters": given}, "collector.yaml")
