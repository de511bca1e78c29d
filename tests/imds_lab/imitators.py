"""Pretend metadata services. Each records every request it gets, byte for byte.

They bind to whatever address a scenario names, inside a namespace that the lab made.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Headers = Mapping[str, str]


@dataclass
class Answer:
    """What goes back. `hops` is the TTL of the answer's packets, as IMDSv2's hop limit sets it."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    hops: int = 0


NOT_FOUND = Answer(404, "not found")
Service = Callable[[str, str, Headers], Answer]


def aws(*, v1: bool, hops: int) -> Service:
    def answer(method: str, path: str, headers: Headers) -> Answer:
        server = {"Server": "EC2ws"}
        if (method, path) == ("PUT", "/latest/api/token"):
            ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            if not ttl.isdigit():
                return Answer(400, "", server)
            echo = {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl}
            return Answer(200, "AQAEAFake==", server | echo, hops)
        if not v1 and "x-aws-ec2-metadata-token" not in headers:
            return Answer(401, "<?xml version='1.0'?><html>401 - Unauthorized</html>", server)
        if path == "/latest/meta-data/":
            return Answer(200, "ami-id\nami-launch-index\nhostname\niam/\ninstance-id", server)
        return NOT_FOUND

    return answer


def gce(
    *, server: str = "Metadata Server for VM", names: str = "cluster-name\nkube-env\n"
) -> Service:
    def answer(method: str, path: str, headers: Headers) -> Answer:
        if headers.get("metadata-flavor") != "Google":
            return Answer(403, "<!DOCTYPE html>missing header", {"Server": server})
        flavor = {"Metadata-Flavor": "Google", "Server": server}
        if path == "/computeMetadata/v1/instance/id":
            return Answer(200, "1234567890123456789", flavor)
        if path == "/computeMetadata/v1/instance/attributes/":
            return Answer(200, names, flavor)
        return NOT_FOUND

    return answer


def azure() -> Service:
    def answer(method: str, path: str, headers: Headers) -> Answer:
        if headers.get("metadata") != "true":
            return Answer(400, '{"error":"Bad request. Required metadata header not specified"}')
        if path == "/metadata/versions":
            return Answer(200, '{"apiVersions":["2017-03-01","2021-12-13"]}')
        return NOT_FOUND

    return answer


def fixed(
    path: str, body: str, *, status: int = 200, need: tuple[str, str] | None = None
) -> Service:
    """One path with one answer; `need` is a header without which it is 401."""

    def answer(method: str, asked: str, headers: Headers) -> Answer:
        if need is not None and headers.get(need[0]) != need[1]:
            return Answer(401, "")
        return Answer(status, body) if asked == path else NOT_FOUND

    return answer


def oci(*, v1: bool) -> Service:
    def answer(method: str, path: str, headers: Headers) -> Answer:
        if path == "/opc/v2/instance/id" and headers.get("authorization") == "Bearer Oracle":
            return Answer(200, "ocid1.instance.oc1.iad.anuwfake")
        if path == "/opc/v1/instance/id" and v1:
            return Answer(200, "ocid1.instance.oc1.iad.anuwfake")
        return NOT_FOUND

    return answer


def linode() -> Service:
    def answer(method: str, path: str, headers: Headers) -> Answer:
        if (method, path) != ("PUT", "/v1/token"):
            return NOT_FOUND
        return Answer(200, '["0f1e2d3c4b5a69788796a5b4c3d2e1f0"]')

    return answer


def captive(status: int = 302) -> Service:
    """Answers everything: with its own page, or the way to it."""

    def answer(method: str, path: str, headers: Headers) -> Answer:
        page = "<html><title>Please log in</title></html>"
        return Answer(
            status, page, {"Location": "http://login.example/", "Content-Type": "text/html"}
        )

    return answer


SERVICES: dict[str, Service] = {
    "aws-v1": aws(v1=True, hops=1),
    "aws-v2-hop1": aws(v1=False, hops=1),
    "aws-v2-hop2": aws(v1=False, hops=2),
    "gce": gce(),
    "gke": gce(server="GKE Metadata Server", names="cluster-name\n"),
    "gke-old": gce(names="cluster-name\n"),
    "azure": azure(),
    "wireserver": fixed("/?comp=versions", '<?xml version="1.0"?><Versions></Versions>'),
    "hostgaplugin": fixed("/versions", '["2015-09-01"]'),
    "oci-v1-off": oci(v1=False),
    "oci-v1-on": oci(v1=True),
    "alibaba": fixed("/latest/meta-data/instance-id", "i-bp1fake"),
    "alibaba-hardened": fixed("/latest/meta-data/instance-id", "", status=403),
    "openstack": fixed("/openstack", "2012-08-10\n2018-08-27\nlatest"),
    "gce-many": gce(names="".join(f"a-name-of-a-node-{n:03}\n" for n in range(30)) + "kube-env\n"),
    "linode": linode(),
    "yes-to-all": lambda *_: Answer(200, "ok, go on"),
    "nothing-here": lambda *_: NOT_FOUND,
    "captive-redirect": captive(302),
    "captive-page": captive(200),
    "captive-login": captive(511),
}


class Listener:
    """Serves one name at one address, and appends what it is asked to a file."""

    def __init__(self, name: str, address: str, log: Path) -> None:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        self.name, self.address, self.log = name, address, log
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain, _, zone = host.strip("[]").partition("%")
        at = (plain, int(port))
        self.sock.bind((*at, 0, socket.if_nametoindex(zone)) if zone else at)
        self.sock.listen(512)

    def serve(self) -> None:
        while True:
            conn, peer = self.sock.accept()
            threading.Thread(target=self._one, args=(conn, peer[0]), daemon=True).start()

    def _one(self, conn: socket.socket, source: str) -> None:
        try:
            with conn:
                if self.name in ODD:
                    self._write(source, b"")
                    ODD[self.name](conn)
                else:
                    self._answer(conn, source)
        except OSError:
            pass  # the probe hangs up when it has seen enough

    def _answer(self, conn: socket.socket, source: str) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            piece = conn.recv(4096)
            if not piece:
                break
            raw += piece
        self._write(source, raw)
        if not raw:
            return
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines if x)}
        answer = SERVICES[self.name](method, path, headers)
        if answer.hops:
            conn.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, answer.hops)
            if ":" in source:
                conn.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, answer.hops)
        head = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(answer.body)}"]
        head += [f"{k}: {v}" for k, v in answer.headers.items()]
        conn.sendall("\r\n".join([*head, "", answer.body]).encode())
        conn.settimeout(3)
        conn.recv(1)  # until the other side has closed: a close with a small TTL would be lost

    def _write(self, source: str, raw: bytes) -> None:
        entry = {
            "service": self.name,
            "at": self.address,
            "from": source,
            "raw": raw.decode("latin-1"),
        }
        with self.log.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def _tarpit(conn: socket.socket) -> None:
    time.sleep(30)


def _reset(conn: socket.socket) -> None:
    conn.recv(1)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _drip_head(conn: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nServer: EC2ws\r\nContent-Length: 6\r\n\r\nami-id":
        conn.sendall(bytes([byte]))
        time.sleep(0.1)


def _drip_body(conn: socket.socket) -> None:
    conn.sendall(b"HTTP/1.1 200 OK\r\nServer: EC2ws\r\nContent-Length: 100000\r\n\r\n")
    while True:
        conn.sendall(b"x")
        time.sleep(0.1)


def _endless_head(conn: socket.socket) -> None:
    conn.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        conn.sendall(b"X-More: " + b"a" * 65536 + b"\r\n")


def _endless_body(conn: socket.socket) -> None:
    conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        conn.sendall(b"a" * 65536)


def _no_http(conn: socket.socket) -> None:
    conn.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    time.sleep(2)


def _close(conn: socket.socket) -> None:
    conn.recv(4096)


ODD: dict[str, Callable[[socket.socket], None]] = {
    "tarpit": _tarpit,
    "reset": _reset,
    "drip-head": _drip_head,
    "drip-body": _drip_body,
    "endless-head": _endless_head,
    "endless-body": _endless_body,
    "no-http": _no_http,
    "close": _close,
}

FORBIDDEN = re.compile(
    r"security-credentials|user-?data|customData|identity/(?!$)"
    r"|/token\b(?<!/latest/api/token)(?<!PUT /v1/token)"
    r"|service-accounts|attributes/\S|goalstate|vmSettings|certificates|meta_data\.json|password"
    r"|/v1/credentials|/v2/credentials|/conf\b|dynamic/"
)
"""Paths that no probe may ever ask."""
