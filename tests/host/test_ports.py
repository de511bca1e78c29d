"""Asking a port of this machine: TLS as the server shows it, and one GET."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

import tls_keys as keys
from client_ca import name_client_ca
from nodeward.host import LiveHost, OfflineError
from nodeward.host.http import HttpAnswer, HttpGet
from nodeward.host.kubelet_port import KubeletPort, PortRow
from nodeward.host.query import from_plain, to_plain
from nodeward.host.tls import (
    COMMON,
    HANDSHAKE_FAILURE,
    OLD,
    PROTOCOL_VERSION,
    TLS10,
    TLS11,
    TLS12,
    TLS13,
    TlsAnswer,
    TlsHandshake,
    TlsHandshakes,
    TlsOffer,
    _flight,
    _read_13,
    _told,
)
from nodeward.host.wire import Budget, Outcome


class OurMachine(LiveHost):
    """The tests' own network is this machine's, whatever pid 1 may be in."""

    def same_namespace(self, kind: str) -> bool | None:
        return True


HOST = OurMachine()
LONG = 60.0  # a busy machine must not make a test fail that is not about time
Talk = Callable[[socket.socket], object]


@contextmanager
def serving(talk: Talk, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a free loopback port that lets `talk` handle each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def loop() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(plain,), daemon=True).start()

        def handle(plain: socket.socket) -> None:
            plain.settimeout(10)
            with plain, suppress(OSError):
                if context is None:
                    talk(plain)
                    return
                with context.wrap_socket(
                    plain, server_side=True, do_handshake_on_connect=False
                ) as secure:
                    secure.do_handshake()
                    talk(secure)

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def nothing(connection: socket.socket) -> None:
    connection.recv(1)


def saying(*parts: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)

    return talk


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    """Requests, but does not require, a certificate of the CA "kubernetes"; as a kubelet does."""
    authority = keys.make("kubernetes", ca=True)
    crt, key = keys.make("node", authority).write(tmp_path, "server")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    context.load_verify_locations(tmp_path / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def test_a_tls_server_shows_its_certificate_cipher_and_client_cas(
    server: ssl.SSLContext, tmp_path: Path
) -> None:
    with serving(nothing, server) as port:
        found = HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG))
    shown = ssl.PEM_cert_to_DER_cert((tmp_path / "server.crt").read_text())
    assert (found.outcome, found.version) == (Outcome.ANSWERED, TLS12)
    assert found.cipher in COMMON
    assert found.chain[0] == shown
    assert found.client_cas == ()  # Python's server asks for a certificate, and names no CA
    assert from_plain(TlsAnswer, to_plain(found)) == found


def _naming(folder: Path, authorities: Iterable[x509.Certificate]) -> SSL.Context:
    """A server with the certificate of `server` that names these client CAs, as ssl cannot."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_file(str(folder / "server.crt"))
    context.use_privatekey_file(str(folder / "server.key"))
    context.set_verify(SSL.VERIFY_PEER)
    for authority in authorities:
        name_client_ca(context, authority)
    return context


def _handshake_by(context: SSL.Context) -> Talk:
    def talk(plain: socket.socket) -> None:
        plain.settimeout(None)
        secure = SSL.Connection(context, plain)
        secure.set_accept_state()
        with suppress(SSL.Error):
            secure.do_handshake()

    return talk


def test_the_client_cas_that_a_server_names_are_seen(
    server: ssl.SSLContext, tmp_path: Path
) -> None:
    authority = keys.make("kubernetes", ca=True).certificate
    with serving(_handshake_by(_naming(tmp_path, [authority]))) as port:
        found = HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG))
    assert found.client_cas == (authority.subject.public_bytes(),)


def test_a_server_without_a_client_ca_asks_for_no_certificate(server: ssl.SSLContext) -> None:
    server.verify_mode = ssl.CERT_NONE
    with serving(nothing, server) as port:
        assert HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG)).client_cas is None


def test_a_server_that_speaks_only_1_3_is_asked_again(
    server: ssl.SSLContext, tmp_path: Path
) -> None:
    """With the whole chain, of which ssl shows the first only."""
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    with serving(nothing, server) as port:
        found = HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG))
    shown = ssl.PEM_cert_to_DER_cert((tmp_path / "server.crt").read_text())
    assert (found.outcome, found.version, len(found.chain)) == (Outcome.ANSWERED, TLS13, 2)
    assert found.chain[0] == shown
    assert found.client_cas == ()


def test_a_server_of_1_3_without_a_client_ca_asks_for_no_certificate(
    server: ssl.SSLContext,
) -> None:
    server.minimum_version, server.verify_mode = ssl.TLSVersion.TLSv1_3, ssl.CERT_NONE
    with serving(nothing, server) as port:
        assert HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG)).client_cas is None


@contextmanager
def openssl(folder: Path, *options: str) -> Iterator[int]:
    """OpenSSL's own server with the certificate of `server`; its port."""
    words = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-verify", "1",
             "-CAfile", "ca.crt", "-cert", "server.crt", "-key", "server.key"]  # fmt: skip
    pipe = subprocess.PIPE
    process = subprocess.Popen([*words, *options], cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        assert process.stdout is not None
        line = next(row for row in process.stdout if row.startswith(b"ACCEPT"))
        yield int(line.rpartition(b":")[2])
    finally:
        process.kill()
        process.communicate()


SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


@pytest.mark.parametrize("suite", range(3), ids=SUITES.__getitem__)
@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384", "P-521"])
def test_the_sealed_flight_of_1_3_is_opened_with_every_cipher_and_key_exchange(
    suite: int, group: str, server: ssl.SSLContext, tmp_path: Path
) -> None:
    with openssl(tmp_path, "-ciphersuites", SUITES[suite], "-groups", group) as port:
        found = HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG))
    shown = ssl.PEM_cert_to_DER_cert((tmp_path / "server.crt").read_text())
    assert (found.outcome, found.cipher) == (Outcome.ANSWERED, 0x1301 + suite)
    assert found.chain[0] == shown
    assert found.client_cas == (keys.name("kubernetes").public_bytes(),)


def test_a_key_exchange_that_we_do_not_know_is_no_answer(
    server: ssl.SSLContext, tmp_path: Path
) -> None:
    with openssl(tmp_path, "-groups", "X448") as port:
        found = HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG))
    assert (found.outcome, found.client_cas) == (Outcome.TLS_ALERT, None)


AUTHORITIES = keys.make("kubernetes", ca=True).key


@settings(max_examples=20, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@example(names=["x" * 64] * 20, times=20)
@given(names=st.lists(st.text("abcdefgh .:@", min_size=1, max_size=64), max_size=30),
       times=st.sampled_from([1, 1, 20]))  # fmt: skip
def test_the_client_cas_of_a_server_of_1_3_are_seen_whatever_they_are(
    names: list[str], times: int, server: ssl.SSLContext, tmp_path: Path
) -> None:
    """Also where they are too many for one record."""
    context = _naming(tmp_path, [keys.named(n, AUTHORITIES) for n in names] * times)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    with serving(_handshake_by(context)) as port:
        found = HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG))
    assert (found.outcome, found.version) == (Outcome.ANSWERED, TLS13)
    assert found.client_cas == tuple(keys.name(n).public_bytes() for n in names) * times


@given(st.lists(st.tuples(st.sampled_from([2, 8, 11, 13, 15, 20]), st.binary(max_size=60))))
def test_whatever_a_sealed_flight_holds_is_read_or_told(flight: list[tuple[int, bytes]]) -> None:
    found = _told(_read_13(flight))
    assert found.outcome in (Outcome.ANSWERED, Outcome.GARBAGE)


def test_an_old_version_is_refused_by_a_server_of_today(server: ssl.SSLContext) -> None:
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    with serving(nothing, server) as port:
        found = HOST.ask(TlsOffer("127.0.0.1", port, TLS11, seconds=LONG))
    assert (found.outcome, found.alert) == (Outcome.TLS_ALERT, PROTOCOL_VERSION)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_an_old_version_is_seen_where_a_server_still_takes_it(server: ssl.SSLContext) -> None:
    """Though our own library would never offer it."""
    server.minimum_version = ssl.TLSVersion.TLSv1_1
    server.set_ciphers("ALL:@SECLEVEL=0")
    with serving(nothing, server) as port:
        found = HOST.ask(TlsOffer("127.0.0.1", port, TLS11, seconds=LONG))
    assert (found.outcome, found.version) == (Outcome.ANSWERED, TLS11)


def test_a_weak_cipher_is_seen_only_where_it_is_taken(server: ssl.SSLContext) -> None:
    with serving(nothing, server) as port:
        server.set_ciphers("ECDHE+AESGCM")
        strong = HOST.ask(TlsOffer("127.0.0.1", port, TLS12, OLD, seconds=LONG))
        server.set_ciphers("ECDHE+AES:@SECLEVEL=0")
        weak = HOST.ask(TlsOffer("127.0.0.1", port, TLS12, OLD, seconds=LONG))
    assert (strong.outcome, strong.alert) == (Outcome.TLS_ALERT, HANDSHAKE_FAILURE)
    assert (weak.outcome, weak.cipher in OLD) == (Outcome.ANSWERED, True)


REPLY = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\nX-Secret: 1\r\n\r\nUnauthorized"


def test_a_refusal_is_kept_with_its_words(server: ssl.SSLContext) -> None:
    with serving(saying(REPLY), server) as port:
        found = HOST.ask(HttpGet("127.0.0.1", port, "/pods", tls=True, seconds=LONG))
    assert found == HttpAnswer(
        Outcome.ANSWERED, 401, (("content-length", "12"),), b"Unauthorized", "", 12
    )


WEAK_NAMES = "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"


def look(port: int) -> PortRow:
    return HOST.ask(KubeletPort("127.0.0.1", port, ("/pods",), True, LONG))


def test_every_weak_cipher_that_a_kubelets_port_takes_is_found(server: ssl.SSLContext) -> None:
    with serving(saying(REPLY), server) as port:
        server.set_ciphers(WEAK_NAMES)
        found = look(port)
        server.set_ciphers("ECDHE+AESGCM")
        strong = look(port)
    assert set(found.weak_ciphers) == {0xC009, 0xC00A, 0xC023}
    assert strong.weak_ciphers == ()


VERSIONS = {
    (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_3): (TLS10, TLS11, TLS12, TLS13),
    (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2): (TLS11, TLS12),
    (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3): (TLS12, TLS13),
    (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3): (TLS13,),
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("span", VERSIONS, ids=str)
def test_every_tls_version_that_a_kubelets_port_takes_is_found(
    server: ssl.SSLContext, span: tuple[ssl.TLSVersion, ssl.TLSVersion]
) -> None:
    server.set_ciphers("ALL:@SECLEVEL=0")
    server.minimum_version, server.maximum_version = span
    with serving(saying(REPLY), server) as port:
        assert look(port).versions == VERSIONS[span]


def test_a_server_that_names_a_cipher_which_was_not_offered_is_not_asked_for_ever() -> None:
    body = b"\x03\x03" + b"\0" * 32 + b"\0" + b"\xc0\x2f" + b"\0"
    flight = b"\x02" + len(body).to_bytes(3) + body + b"\x0e\0\0\0"
    hellos: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        hellos.append(connection.recv(4096))
        connection.sendall(b"\x16\x03\x03" + len(flight).to_bytes(2) + flight)

    with serving(talk) as port:
        assert look(port).weak_ciphers == ()
    assert len(hellos) < 10


def test_the_body_of_a_success_is_not_kept() -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2;x\r\nef\r\n0\r\n\r\n"
    )
    with serving(saying(reply)) as port:
        found = HOST.ask(HttpGet("127.0.0.1", port, "/pods", seconds=LONG))
    assert (found.status, found.body, found.size) == (200, b"", 6)
    assert from_plain(HttpAnswer, to_plain(found)) == found


def test_the_request_is_one_get_without_credentials() -> None:
    seen: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        seen.append(connection.recv(4096))
        connection.sendall(REPLY)

    with serving(talk) as port:
        HOST.ask(HttpGet("127.0.0.1", port, "/pods", seconds=LONG))
    assert seen == [
        b"GET /pods HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: nodeward\r\n"
        b"Connection: close\r\n\r\n"
    ]


def test_where_nothing_listens_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert HOST.ask(HttpGet("127.0.0.1", port, "/", seconds=LONG)).outcome is Outcome.REFUSED
        assert HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG)).outcome is Outcome.REFUSED


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def dripping(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"H")
        time.sleep(0.05)


@pytest.mark.parametrize("talk", [silent, endless, dripping], ids=lambda t: t.__name__)
def test_a_hostile_server_costs_no_more_than_the_budget(talk: Talk) -> None:
    with serving(talk) as port:
        began = time.monotonic()
        plain = HOST.ask(HttpGet("127.0.0.1", port, "/", seconds=0.3))
        secure = HOST.ask(HttpGet("127.0.0.1", port, "/", tls=True, seconds=0.3))
        hello = HOST.ask(TlsHandshake("127.0.0.1", port, seconds=0.3))
        HOST.ask(KubeletPort("127.0.0.1", port, ("/pods", "/x"), True, 0.3, configz=True))
        HOST.ask(KubeletPort("127.0.0.1", port, ("/pods", "/x"), False, 0.3, configz=True))
        took = time.monotonic() - began
    assert took < 20  # 1.5 s by their budgets; a machine may be busy, but none of them is endless
    assert plain.outcome in (Outcome.TIMEOUT, *([Outcome.ANSWERED] if talk is endless else []))
    assert plain.size <= 512
    assert {secure.outcome, hello.outcome} <= {Outcome.TIMEOUT, Outcome.GARBAGE}


GARBAGE = [
    b"", b"\0" * 100, b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x16\x03\x03\xff\xff",
    b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
    b"\x16\x03\x03\x00\x08\x0b\x00\x00\x04\x00\x00\x09\x00",
    b"\x15\x03\x03\x00\x01\x02", b"\x17\x03\x03\x00\x01a", b"\x16\x03\x03\x00\x00" * 3,
]  # fmt: skip


@pytest.mark.parametrize("reply", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_told_and_never_raised(reply: bytes) -> None:
    with serving(saying(reply)) as port:
        for query in (
            HttpGet("127.0.0.1", port, "/", seconds=LONG),
            HttpGet("127.0.0.1", port, "/", tls=True, seconds=LONG),
        ):
            assert HOST.ask(query).outcome in (Outcome.GARBAGE, Outcome.TLS_ALERT)
        assert HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG)).outcome is Outcome.GARBAGE


def test_a_tls_port_that_ends_the_handshake_is_told_by_its_alert() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x50"  # internal_error: no certificate yet
    with serving(saying(alert)) as port:
        assert HOST.ask(TlsHandshake("127.0.0.1", port, seconds=LONG)) == TlsAnswer(
            Outcome.TLS_ALERT, alert=80
        )
        assert (
            HOST.ask(HttpGet("127.0.0.1", port, "/", tls=True, seconds=LONG)).outcome
            is Outcome.TLS_ALERT
        )


@pytest.mark.parametrize("address", ["192.0.2.1", "169.254.169.254", "2001:db8::1"])
def test_no_packet_ever_leaves_for_another_machine(address: str) -> None:
    with pytest.raises(OfflineError, match="not an address of this machine"):
        HOST.ask(HttpGet(address, 80, "/"))


RECORD = st.sampled_from(
    [
        b"\x16\x03\x03\x00\x04", b"\x02\x00\x00\x00", b"\x0b\x00\x00\x03\x00\x00\x00",
        b"\x15", b"\x03\x03", b"\x0d\x00\x00\x04\x01\x01", b"\x0e\x00\x00\x00", b"\x00" * 40,
        b"\x00\x02\x02\x28", b"\xff" * 5, b"\x00\x2d",
    ]
)  # fmt: skip


@given(st.lists(RECORD, max_size=12).map(b"".join))
def test_any_answer_to_a_hello_is_an_outcome(raw: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        found = _flight(ours, Budget(5))
    assert found.outcome in (Outcome.GARBAGE, Outcome.TLS_ALERT, Outcome.ANSWERED)
    assert (found.alert is not None) == (found.outcome is Outcome.TLS_ALERT)


def test_several_ports_are_asked_at_once_and_answer_in_order() -> None:
    """Each server waits until all of them are asked: one after another would never end well."""
    met = threading.Barrier(5)

    def wait(connection: socket.socket) -> None:
        with suppress(threading.BrokenBarrierError):
            met.wait(LONG)

    with ExitStack() as stack:
        opened = [stack.enter_context(serving(wait)) for _ in range(5)]
        free = stack.enter_context(socket.socket())
        free.bind(("127.0.0.1", 0))
        ports = tuple(("127.0.0.1", port) for port in (*opened, free.getsockname()[1]))
        found = HOST.ask(TlsHandshakes(ports, LONG))
    assert not met.broken
    assert [a.outcome for a in found] == [Outcome.GARBAGE] * 5 + [Outcome.REFUSED]
