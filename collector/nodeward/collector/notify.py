"""The few words for systemd: one datagram to the socket that it names (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def notify(words: str) -> None:
    """Say READY=1, STOPPING=1 ...; without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.connect("\0" + address[1:] if address[0] == "@" else address)
        out.sendall(words.encode())
