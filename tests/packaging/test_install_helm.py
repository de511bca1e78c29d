"""README's way into a cluster, line by line, and what comes of it: agents that report."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from helm_cluster import Cluster
from node import ROOT
from package.centre import manage
from readme import commands

pytestmark = [pytest.mark.root, pytest.mark.long]

COLLECTOR = "https://nw-nodeward-collector.nodeward.svc:8443"
NODEWARD = "/opt/nodeward/bin/nodeward"


class ApiServer(BaseHTTPRequestHandler):
    """Vouches for the token of the agent's pod on node-a, and for no other."""

    def do_POST(self) -> None:
        assert self.path == "/apis/authentication.k8s.io/v1/tokenreviews"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = body["spec"]["token"] == "token of nw-nodeward-agent-x"
        extra = "authentication.kubernetes.io/"
        user = {
            "username": "system:serviceaccount:nodeward:nw-nodeward-agent",
            "extra": {f"{extra}node-name": ["node-a"], f"{extra}node-uid": ["uid-a"],
                      f"{extra}pod-name": ["x"], f"{extra}pod-uid": ["x"]},
        }  # fmt: skip
        status = {"authenticated": known, "audiences": ["nodeward"], "user": user}
        out = json.dumps({"status": status}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def cluster(rootfs: Path, tmp_path: Path) -> Iterator[Cluster]:
    """One node, an API server, and nothing installed."""
    made = Cluster(tmp_path / "cluster", rootfs)
    account = made.folder / "account"
    account.mkdir(parents=True)
    (made.folder / "hosts").write_text(
        "127.0.0.1 localhost kubernetes.default.svc nw-nodeward-collector.nodeward.svc\n"
    )
    keys = tmp_path / "api"
    keys.mkdir()
    (keys / "collector.yaml").write_text(json.dumps({"state": str(keys)}))
    manage(keys, "init", "--name", "kubernetes.default.svc")
    (account / "ca.crt").write_bytes((keys / "ca.crt").read_bytes())
    (account / "token").write_text("token of the collector")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "tls.crt", keys / "tls.key")
    server = ThreadingHTTPServer(("127.0.0.1", 443), ApiServer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    made.stop()
    server.shutdown()
    server.server_close()


def test_the_commands_of_the_readme_end_with_a_node_in_the_collector(
    cluster: Cluster, tmp_path: Path
) -> None:
    lines = commands("README.md", "**In a cluster, by Helm**")
    assert len(lines) <= 5
    assert lines.pop(0) == "sudo script/image"  # wants a network: done before the long tier begins
    path = f"{cluster.tools(tmp_path / 'bin')}:{os.environ['PATH']}"
    script = f"cd {ROOT}\n" + "\n".join(lines).replace(">ca.crt", f">{tmp_path}/ca.crt")
    script = script.replace("--from-file=ca.crt", f"--from-file={tmp_path}/ca.crt")
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail"], input=script, env=os.environ | {"PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, f"{done.stdout}\n{done.stderr}"

    def ask(*argv: str, token: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tmp_path / "bin/kubectl", "-n", "nodeward", "exec", "nw-nodeward-collector-0", "--",
             "/usr/bin/env", f"NODEWARD_TOKEN={token}", NODEWARD, *argv],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    for probe in ("readinessProbe", "livenessProbe"):
        cluster.until_probed("nw-nodeward-agent-x", probe)

    config = ["collector", "--config", "/etc/nodeward/collector.yaml"]
    token = ask(*config, "access", "create", "tests").stdout.strip()
    end = time.monotonic() + 120
    while True:
        found = ask("get", "nodes", "-o", "json", "--collector", COLLECTOR, "--ca",
                    "/var/lib/nodeward/ca.crt", token=token)  # fmt: skip
        if "node-a" in found.stdout:
            break
        logs = "\n".join(p.read_text()[-3000:] for p in cluster.folder.glob("pods/*/log"))
        assert time.monotonic() < end, f"{found.stdout}\n{found.stderr}\n{logs}"
        time.sleep(1)
