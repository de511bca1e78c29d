"""Whom a collector's certificate may be signed by: the files that were configured, and what the
collector itself has said since, over a connection that was trusted already.

A collector whose authority changes hands tells of the next one before it is used, and of the old
one no more after that. What it once told and tells no longer is not trusted, though a configured
file still holds it. Other files than those that were there then: their operator knows better, and
what was told before is forgotten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import ssl
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

from nodeward.agent.config import read_regular
from nodeward.agent.identity import write_whole

TOLD: Final = "authorities.json"
BUNDLE: Final = "ca-bundle.pem"
MOST: Final = 64 << 10
"""Characters of what a collector may tell."""
_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


@dataclass(slots=True)
class Told:
    """By URL the certificates that it names now, and those that it named once."""

    configured: str = ""  # a digest of the files that were there
    now: dict[str, list[str]] = field(default_factory=dict)
    once: list[str] = field(default_factory=list)


class Authorities:
    """`files` are those of the configuration; without any, the system's are trusted, and no
    collector is asked about them."""

    def __init__(self, files: tuple[str, ...], state: Path) -> None:
        self._content = b"\n".join(read_regular(Path(file)) for file in files)
        self._state = state
        self._told = self._read() if files else None

    def bundle(self) -> Path | None:
        """All of them in one file: requests takes one. None: the system's."""
        if self._told is None:
            return None
        path = self._state / BUNDLE
        content = self.content()
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
        return path

    def content(self) -> bytes:
        return b"" if self._told is None else self._trusted(self._told)

    def tell(self, url: str, pem: object) -> None:
        """A collector that is trusted names its authorities. What is none changes nothing."""
        if self._told is None or not isinstance(pem, str) or len(pem) > MOST:
            return
        told = _certificates(pem)
        if not told or told == self._told.now.get(url) or not _usable(told):
            return
        before = self._told.now.get(url, [])
        self._told.once = sorted({*self._told.once, *before, *told})
        self._told.now[url] = told
        with contextlib.suppress(OSError):  # a full disk: it is told again with the next session
            write_whole(self._state / TOLD, json.dumps(asdict(self._told)).encode())

    def _trusted(self, told: Told) -> bytes:
        now = {one for ours in told.now.values() for one in ours}
        over = set(told.once) - now
        if not now:
            return self._content
        kept = [one for one in _certificates(self._content.decode("latin-1")) if one not in over]
        return "\n".join(dict.fromkeys([*kept, *sorted(now)])).encode() + b"\n"

    def _read(self) -> Told:
        digest = hashlib.sha256(self._content).hexdigest()
        try:
            told = Told(**json.loads((self._state / TOLD).read_bytes()))
            if any(_certificates(one) != [one] for one in chain(told.once, *told.now.values())):
                raise ValueError
        except (OSError, ValueError, TypeError, AttributeError):
            told = Told()
        return told if told.configured == digest else Told(digest)


def _certificates(pem: str) -> list[str]:
    """The certificates in it, each in one form, whatever stands between them."""
    return [_form(block) for block in _BLOCK.findall(pem)]


def _form(block: str) -> str:
    body = "".join(block.split("-----")[2].split())
    lines = (body[i : i + 64] for i in range(0, len(body), 64))
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----"))


def _usable(certificates: Iterable[str]) -> bool:
    """Whether TLS takes them all: one that it does not would cost all trust."""
    try:
        ssl.create_default_context(cadata="\n".join(certificates))
    except (ssl.SSLError, ValueError):
        return False
    return True
