"""The first flight of a TLS 1.3 server, opened: its certificates, and whose it would take.

From the ServerHello on everything is sealed (RFC 8446). Python's ssl shows neither the whole chain
nor the request for a certificate, so both sides of one key exchange are worked out here: section 7
from the shared secret to the server's handshake key, section 5 for each record. Nothing is
proved by it (the server's signature is not looked at), nothing is sent but the hello.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nodeward.host.tls_wire import (
    CHANGE_CIPHER,
    SEALED,
    SERVER_HELLO,
    TLS12,
    TLS13,
    client_hello,
    extension,
    extensions,
    messages,
    record,
    records,
    sized,
    vector,
)

if TYPE_CHECKING:
    import socket

    from nodeward.host.wire import Budget

CIPHERS = {0x1301: ("sha256", 16), 0x1302: ("sha384", 32), 0x1303: ("sha256", 32)}
"""Hash, and bytes of the key: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305."""
CHACHA20 = 0x1303
X25519 = 0x001D
_CURVES = {0x0017: "SECP256R1", 0x0018: "SECP384R1", 0x0019: "SECP521R1"}
_SUPPORTED_VERSIONS, _KEY_SHARE = 43, 51

Exchange = Callable[[bytes], bytes]
"""From the other side's public key to the shared secret."""


def opened(
    connection: socket.socket, name: str | None, budget: Budget
) -> Iterator[tuple[int, bytes]]:
    """The server's handshake messages, from the ServerHello on. AlertError when it ends the
    handshake, ValueError, IndexError or struct.error for what is no TLS 1.3."""
    shares, exchanges = _key_shares()
    more = extension(_SUPPORTED_VERSIONS, vector(struct.pack(">H", TLS13), 1))
    more += extension(_KEY_SHARE, vector(shares, 2))
    hello = client_hello(TLS12, CIPHERS, name, exchanges, more)
    connection.sendall(record(hello))
    found = records(connection, budget)
    kind, body = next(messages(found), (0, b""))
    if kind != SERVER_HELLO:
        raise ValueError("no ServerHello")
    yield kind, body
    transcript = hello + bytes([kind]) + vector(body, 3)
    yield from messages(_unsealed(found, body, transcript, exchanges))


def chosen(body: bytes) -> int:
    """The cipher of a ServerHello: version(2) random(32) session(1+n) cipher(2) ..."""
    number: int = struct.unpack_from(">H", body, 35 + body[34])[0]
    return number


def _unsealed(
    found: Iterator[tuple[int, bytes]],
    hello: bytes,
    transcript: bytes,
    exchanges: Mapping[int, Exchange],
) -> Iterator[tuple[int, bytes]]:
    """The records after the ServerHello, each opened with the key of its handshake."""
    from cryptography.exceptions import InvalidTag

    cipher, given = chosen(hello), extensions(hello[38 + hello[34] :])
    if given.get(_SUPPORTED_VERSIONS) != struct.pack(">H", TLS13) or cipher not in CIPHERS:
        raise ValueError("another version than TLS 1.3")
    share = given.get(_KEY_SHARE, b"")
    exchange = exchanges.get(int.from_bytes(share[:2]))
    if exchange is None:
        raise ValueError("a key exchange that was not offered")
    digest, size = CIPHERS[cipher]
    secret = handshake_secret(digest, exchange(sized(share[2:], 2)), transcript)
    aead = _aead(cipher, expanded(digest, secret, b"key", b"", size))
    iv = int.from_bytes(expanded(digest, secret, b"iv", b"", 12))
    count = 0
    for kind, data in found:
        if kind == CHANGE_CIPHER:  # for the sake of middleboxes: section 5
            continue
        if kind != SEALED:
            yield kind, data
            continue
        head = struct.pack(">BHH", SEALED, TLS12, len(data))
        try:
            inner = aead.decrypt((iv ^ count).to_bytes(12), data, head).rstrip(b"\0")
        except InvalidTag:
            raise ValueError("sealed with another key") from None
        count += 1
        yield inner[-1], inner[:-1]


def handshake_secret(digest: str, shared: bytes, transcript: bytes) -> bytes:
    """server_handshake_traffic_secret of section 7.1, without a pre-shared key."""
    zeros = bytes(hashlib.new(digest).digest_size)
    early = hmac.digest(zeros, zeros, digest)
    derived = expanded(digest, early, b"derived", hashlib.new(digest).digest(), len(zeros))
    secret = hmac.digest(derived, shared, digest)
    said = hashlib.new(digest, transcript).digest()
    return expanded(digest, secret, b"s hs traffic", said, len(zeros))


def expanded(digest: str, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """HKDF-Expand-Label. No more than one block of the hash is ever wanted here."""
    info = struct.pack(">H", size) + vector(b"tls13 " + label, 1) + vector(context, 1)
    return hmac.digest(secret, info + b"\1", digest)[:size]


def load() -> None:
    """Make sure that all that is needed later can be, by doing it once."""
    _aead(0, bytes(16))
    _key_shares()
    import cryptography.exceptions  # noqa: F401


def _aead(cipher: int, key: bytes) -> Any:  # noqa: ANN401  cryptography is imported when needed
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

    return ChaCha20Poly1305(key) if cipher == CHACHA20 else AESGCM(key)


def _key_shares() -> tuple[bytes, dict[int, Exchange]]:
    """A public key for each group that is offered, so that no server need ask for another."""
    from cryptography.hazmat.primitives.asymmetric import ec, x25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    own = x25519.X25519PrivateKey.generate()
    raw = own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    shares = struct.pack(">H", X25519) + vector(raw, 2)
    exchanges: dict[int, Exchange] = {
        X25519: lambda other: own.exchange(x25519.X25519PublicKey.from_public_bytes(other))
    }
    for number, curve in _CURVES.items():
        key = ec.generate_private_key(getattr(ec, curve)())
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        shares += struct.pack(">H", number) + vector(point, 2)
        exchanges[number] = _on_curve(key)
    return shares, exchanges


def _on_curve(key: Any) -> Exchange:  # noqa: ANN401
    from cryptography.hazmat.primitives.asymmetric import ec

    def exchange(other: bytes) -> bytes:
        point = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, other)
        shared: bytes = key.exchange(ec.ECDH(), point)
        return shared

    return exchange
