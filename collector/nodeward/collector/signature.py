"""Signed requests: the agent's Ed25519 key over method, path, time and the body as sent."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def agent_id(public_key: bytes) -> str:
    """The name of a key: it cannot be chosen."""
    return base64.b32encode(hashlib.sha256(public_key).digest()).decode().lower()[:26]


def signed_text(method: str, path: str, time_s: str, sha256: bytes) -> bytes:
    return f"nodeward-v1\n{method}\n{path}\n{time_s}\n{sha256.hex()}".encode()


def enroll_text(public_key: bytes, node: str) -> bytes:
    return b"nodeward-enroll\n" + public_key + b"\n" + node.encode()


def rotate_text(old: str, public_key: bytes) -> bytes:
    """What the new key signs: the name of the old one, so that it cannot be moved to another."""
    return b"nodeward-rotate\n" + old.encode() + b"\n" + public_key


def good(public_key: bytes, signature: bytes, text: bytes) -> bool:
    """Whether this key signed this text. A key that is none is not good either."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
