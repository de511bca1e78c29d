"""What changes while a collector runs: its settings on SIGHUP, its certificate whenever it is new.

All of it happens on the event loop: a TLS context must not change while a connection is made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nodeward.collector.center import Center
from nodeward.collector.settings import Settings, SettingsError

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0


class Reload:
    """Watches. `ask` may be called from a signal handler."""

    def __init__(
        self, center: Center, context: ssl.SSLContext | None, again: Callable[[], Settings] | None
    ) -> None:
        self._center = center
        self._context = context
        self._again = again
        self._asked = False
        self._files = (center.settings.cert_path, center.settings.key_path)
        self._seen = self._stamp()

    def ask(self) -> None:
        self._asked = True

    async def watch(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_S)

    def look(self) -> None:
        asked, self._asked = self._asked, False
        if asked and self._again is not None:
            self._settings(self._again)
        if self._context is not None and (asked or self._stamp() != self._seen):
            self._certificate(self._context)

    def _settings(self, again: Callable[[], Settings]) -> None:
        """A file that is wrong changes nothing."""
        try:
            new = again()
        except SettingsError as exc:
            log.error("the settings stay as they were: %s", exc)
            return
        fixed = self._center.apply(new)
        for name in fixed:
            log.warning("%s is another now: that needs a restart", name)
        log.info("settings were read anew")

    def _certificate(self, context: ssl.SSLContext) -> None:
        """Tried on another context first: a key that does not fit must not spoil this one.

        Key and certificate are two files; between the two writes they do not fit, and after the
        second they are looked at again.
        """
        self._seen = self._stamp()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
            context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as exc:
            log.error("the certificate stays as it was: %s", exc)
        else:
            log.info("certificate and key were read anew")

    def _stamp(self) -> tuple[object, ...]:
        return tuple(_state(path) for path in self._files)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
