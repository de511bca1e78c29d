"""Tell systemd how we are: sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

try:
    from systemd import daemon  # type: ignore[attr-defined]  # our own folder systemd/
except ImportError:  # a container image without libsystemd
    daemon = None

_daemon: Any = daemon


def notify(state: str) -> None:
    """Send "READY=1", "WATCHDOG=1", "STATUS=...". Nothing happens outside of systemd."""
    if _daemon is not None:
        with contextlib.suppress(OSError):
            _daemon.notify(state)
        return
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address[0] == "@" else address)
        sock.send(state.encode())


def watchdog_s() -> float | None:
    """How often systemd wants to hear WATCHDOG=1; None when it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() and int(text) > 0 else None
