"""`nodeward collector openreports` and `departed` against a stand-in for the API server.

It keeps what is applied as the real one would: by name, refused without the token.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from nodeward.cli.main import cli
from nodeward.collector import pki
from nodeward.collector.db import tables as t

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
REPORTS = "/apis/openreports.io/v1alpha1/clusterreports"


class ApiServer:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        pki.write_ca(folder)
        pki.write_server(folder, ["127.0.0.1"])
        (folder / "token").write_text("the-account\n")
        self.folder = folder
        self.nodes = {"n1": "uid-1"}
        self.reports: dict[str, Any] = {}
        self.calls: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                if self.headers["Authorization"] != "Bearer the-account":
                    return self._say(401, {})
                return self._say(*outer.answer(self.command, self.path, body, self.headers))

            do_GET = do_PATCH = do_DELETE = handle_any

            def _say(self, code: int, data: object) -> None:
                raw = json.dumps(data).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, verb: str, target: str, body: bytes, headers: Any) -> tuple[int, object]:
        url = urlsplit(target)
        name = url.path.removeprefix(REPORTS).strip("/")
        self.calls.append((verb, url.path))
        query = parse_qs(url.query)
        if (verb, url.path) == ("GET", "/api/v1/nodes"):
            # A page each, as a large cluster answers.
            names = sorted(self.nodes)
            at = int(query.get("continue", ["0"])[0])
            item = {"metadata": {"name": names[at], "uid": self.nodes[names[at]]}}
            more = str(at + 1) if at + 1 < len(names) else ""
            return 200, {"items": [item], "metadata": {"continue": more}}
        if (verb, url.path) == ("GET", REPORTS):
            assert query["labelSelector"] == ["app.kubernetes.io/managed-by=nodeward"]
            return 200, {"items": list(self.reports.values()), "metadata": {}}
        if verb == "PATCH":
            assert headers["Content-Type"] == "application/apply-patch+yaml"
            assert query == {"fieldManager": ["nodeward"], "force": ["true"]}
            self.reports[name] = json.loads(body)
            return 200, self.reports[name]
        if verb == "DELETE":
            return 200, self.reports.pop(name)
        return 404, {}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "api")
    yield server
    server.server.shutdown()
    server.server.server_close()
    server.thread.join()


@pytest.fixture
def run(collector: Any, api: ApiServer) -> Any:
    def runs(*more: str, what: str = "openreports") -> Result:
        environment = {
            "NODEWARD_COLLECTOR": collector.url,
            "NODEWARD_CA": collector.ca,
            "NODEWARD_TOKEN": collector.admin,
        }
        words = [
            "collector", what, "east", "--api", api.url,
            "--api-ca", str(api.folder / "ca.crt"), "--api-token-file", str(api.folder / "token"),
            "--every", "1", "--rounds", "1", *more,
        ]  # fmt: skip
        return CliRunner().invoke(cli, words, env=environment, standalone_mode=False)

    return runs


def _f(status: str) -> dict[str, Any]:
    return {"check": "a.x", "status": status, "severity": "high", "because": "seen"}


def test_each_node_of_the_cluster_gets_a_report_that_goes_with_it(
    collector: Any, api: ApiServer, run: Any
) -> None:
    api.nodes["n2"] = "uid-2"
    collector.agent("n1").full(_f("fail"))
    collector.agent("n2").full(_f("pass"))
    collector.agent("elsewhere", "west").full(_f("fail"))
    assert run().output == "2 reports written, 0 deleted\n"
    assert sorted(api.reports) == ["nodeward-n1", "nodeward-n2"]
    report = api.reports["nodeward-n1"]
    assert report["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert report["summary"]["fail"] == 1
    assert [r["rule"] for r in report["results"]] == ["a.x"]


def test_only_what_changed_is_written_again(collector: Any, api: ApiServer, run: Any) -> None:
    api.nodes["n2"] = "uid-2"
    one, two = collector.agent("n1"), collector.agent("n2")
    one.full(_f("fail"))
    two.full(_f("fail"))
    assert run("--rounds", "2").output.splitlines() == ["2 reports written, 0 deleted"]
    assert [verb for verb, _ in api.calls].count("PATCH") == 2


def test_a_report_about_a_node_that_is_gone_is_deleted(
    collector: Any, api: ApiServer, run: Any
) -> None:
    collector.agent("n1").full(_f("fail"))
    run()
    api.reports["nodeward-old"] = {"metadata": {"name": "nodeward-old"}, "scope": {"name": "old"}}
    assert run().output.endswith("1 deleted\n")
    assert sorted(api.reports) == ["nodeward-n1"]


def test_a_cluster_that_refuses_is_exit_code_four(collector: Any, api: ApiServer, run: Any) -> None:
    (api.folder / "token").write_text("another")
    result = run()
    assert result.return_value == 4
    assert "401" in result.output
    (api.folder / "token").unlink()
    assert run().return_value == 4
    assert api.reports == {}


# -- departed


def _nodes(collector: Any) -> list[str]:
    return [node["node"] for node in collector.items("/v1/nodes", cluster="east")]


def test_a_node_that_its_cluster_deleted_is_retired_and_one_that_never_was_there_is_not(
    collector: Any, api: ApiServer, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.nodes |= {"n2": "uid-2"}
    for name in ("n1", "n2", "etcd-1"):
        collector.agent(name).full(_f("fail"))
    collector.agent("n1", "west").full(_f("fail"))
    rounds = iter((lambda: api.nodes.pop("n2"), lambda: None))
    monkeypatch.setattr("nodeward.cli.controller.time.sleep", lambda _: next(rounds)())
    assert run("--rounds", "3", what="departed").output == "n2 is gone\n"
    assert _nodes(collector) == ["etcd-1", "n1"]
    assert len(collector.items("/v1/nodes", cluster="west")) == 1
    assert [a["object"] for a in collector.items("/v1/audit")] == ["east/n2"]


def test_whom_the_clusters_own_token_vouched_for_need_not_be_seen_first(
    collector: Any, api: ApiServer, run: Any
) -> None:
    for name in ("n1", "n2"):
        collector.agent(name).full(_f("fail"))
    vouched = t.agent.update().where(t.agent.c.node == 2).values(method="k8s-psat")
    collector.center.writer.act_now(lambda c: c.execute(vouched))
    assert run(what="departed").output == "n2 is gone\n"
    assert _nodes(collector) == ["n1"]


def test_a_cluster_that_has_none_of_the_nodes_is_another_one(
    collector: Any, api: ApiServer, run: Any
) -> None:
    for name in ("m1", "m2"):
        collector.agent(name).full(_f("fail"))
    vouched = t.agent.update().values(method="k8s-psat")
    collector.center.writer.act_now(lambda c: c.execute(vouched))
    result = run(what="departed")
    assert result.return_value == 4
    assert "is it another one?" in result.output
    assert _nodes(collector) == ["m1", "m2"]
