"""A stand-in for a kubelet: its name, its arguments and its answers are those of a recording.

    STANDIN=FOLDER kubelet -m kubelet_standin xxxx...

FOLDER holds cmdline.args.txt, listen.txt, anonymous/*, server.*. Run by a copy of the interpreter
whose file is named `kubelet`. It writes the recorded arguments over its own, so that
/proc/PID/cmdline is the recorded one. TLS is real; the client CA is
named in the handshake where the recorded kubelet named one (ca.crt is there).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from client_ca import name_client_ca

UNKNOWN = b"404 page not found\n"


def become(words: list[str]) -> None:
    """Write these over our own arguments, which `command` made exactly as long."""
    raw = b"".join(w.encode() + b"\0" for w in words)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end of proc_pid_stat(5)
    assert end - start == len(raw)
    ctypes.memmove(start, raw, len(raw))


def command(words: list[str]) -> list[str]:
    """Arguments for the copy of the interpreter, of the same length in all."""
    ours = ["kubelet", "-m", "kubelet_standin"]
    missing = sum(len(w) + 1 for w in words) - sum(len(w) + 1 for w in ours)
    return [*ours, "x" * (missing - 1)]


def asker(folder: Path, request: bytes) -> str:
    """The folder of who asks: a token's text is its name. Every token that comes is noted."""
    found = re.search(rb"^authorization: bearer (\S+)\r$", request, re.I | re.M)
    if found is None:
        return "anonymous"
    with (folder / "tokens").open("a") as seen:
        seen.write(f"{found[1].decode()} {path_of(request)}\n")
    return found[1].decode()


def recorded(folder: Path, request: bytes, prefix: str) -> bytes:
    """The recorded answer as HTTP/1.1, which a kubelet speaks when no other is agreed."""
    name = prefix + (path_of(request).strip("/").replace("/", "_") or "root")
    headers = folder / asker(folder, request) / f"{name}.headers"
    if not headers.exists():
        body = UNKNOWN
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    body = (
        headers.with_suffix(".body").read_bytes() if headers.with_suffix(".body").exists() else b""
    )
    first, *rest = headers.read_text().splitlines()
    status = first.split(" ", 1)[1].strip() or "200"
    kept = [h for h in rest if h and not h.lower().startswith(("content-length", "transfer-"))]
    lines = [f"HTTP/1.1 {status}", *kept, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def context(folder: Path) -> SSL.Context:
    """As Go sets it up: from TLS 1.2 unless the file wants 1.3, its default ciphers, a client
    certificate asked for only where there is a client CA."""
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    config = folder / "config.yaml"
    only_13 = config.exists() and "tlsMinVersion: VersionTLS13" in config.read_text()
    made.set_min_proto_version(SSL.TLS1_3_VERSION if only_13 else SSL.TLS1_2_VERSION)
    made.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:@SECLEVEL=0")
    made.use_certificate_chain_file(str(folder / "server.crt"))
    made.use_privatekey_file(str(folder / "server.key"))
    authority = folder / "ca.crt"
    if authority.exists():
        name_client_ca(made, x509.load_pem_x509_certificate(authority.read_bytes()))
        made.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return made


def misbehave(plain: socket.socket, how: str) -> None:
    """Never answer, answer without end, answer in no language, or end every handshake."""
    with contextlib.suppress(OSError), contextlib.closing(plain):
        if how == "alert":
            plain.recv(4096)
            plain.sendall(b"\x15\x03\x03\x00\x02\x02\x50")  # internal_error: no certificate yet
        elif how == "garbage":
            plain.sendall(b"220 mail.example ESMTP\r\n" * 10)
        elif how == "endless":
            while True:
                plain.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 65536)
        while plain.recv(4096):  # until the other side gives up
            pass


def serve(listener: socket.socket, folder: Path, tls: SSL.Context | None, prefix: str) -> None:
    while True:
        plain, _ = listener.accept()
        if (how := os.environ.get("STANDIN_MODE")) and how not in ("drip", "silent-unhandled"):
            threading.Thread(target=misbehave, args=(plain, how), daemon=True).start()
            continue
        threading.Thread(target=answer, args=(plain, folder, tls, prefix), daemon=True).start()


def answer(plain: socket.socket, folder: Path, tls: SSL.Context | None, prefix: str) -> None:
    drips = os.environ.get("STANDIN_MODE") == "drip"
    with contextlib.suppress(SSL.Error, OSError), contextlib.closing(plain):
        if tls is None and drips:
            plain.recv(4096)
            drip(plain.sendall)
        if tls is None:
            plain.sendall(recorded(folder, plain.recv(4096), prefix))
            return
        secure = SSL.Connection(tls, plain)
        secure.set_accept_state()
        secure.do_handshake()
        if drips:
            secure.recv(4096)
            drip(secure.sendall)
        request = secure.recv(4096)
        if os.environ.get("STANDIN_MODE") == "silent-unhandled" and "/pprof/" in path_of(request):
            plain.recv(4096)  # until the other side gives up
        secure.sendall(recorded(folder, request, prefix))
        secure.shutdown()


def drip(send: Callable[[bytes], object]) -> None:
    """A body without end, a byte at a time: each comes well within any timeout of one read."""
    send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        send(b"x")
        time.sleep(0.05)


def path_of(request: bytes) -> str:
    return request.split(b" ")[1].decode()


def listeners(folder: Path) -> Iterator[tuple[str, int]]:
    """Where the recorded kubelet listened, from `ss`."""
    for line in (folder / "listen.txt").read_text().splitlines():
        address, port = line.split()[3].rsplit(":", 1)
        yield address, int(port)


def main() -> None:
    folder = Path(os.environ["STANDIN"])
    become((folder / "cmdline.args.txt").read_text().splitlines())
    threads = []
    for address, port in listeners(folder):
        if address in ("*", "[::]"):  # the second is for IPv6 alone
            both = address == "*"
            listener = socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=both, backlog=64
            )
        else:
            listener = socket.create_server((address, port), backlog=64)
        prefix = "ro10255_" if port == 10255 else ""
        tls = context(folder) if port == 10250 else None
        threads.append(
            threading.Thread(target=serve, args=(listener, folder, tls, prefix), daemon=True)
        )
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    threads[0].join()


def names_a_client_ca(folder: Path) -> bool:
    """Whether the recorded server did, by `openssl s_client`."""
    return re.search("^Acceptable client", (folder / "tls.txt").read_text(), re.M) is not None


if __name__ == "__main__":
    main()
