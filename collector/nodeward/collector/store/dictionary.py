"""What most nodes say, kept once: evidence is compressed against it, to a third of the size.

A dictionary is never changed, and stays as long as evidence may name it. Its id follows from its
content, so that replicas that make one at the same time cannot mean two things by one id.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import zstandard
from sqlalchemy import Connection, select

from nodeward.collector.db import tables as t
from nodeward.collector.db.engine import insert

LEVEL: Final = 12
"""Against 9: a third less a node (0.45 KB for 0.65), and 0.5 ms for 0.15, off the request path."""
PLAIN_LEVEL: Final = 3
MOST: Final = 224 << 10
"""Bytes: what three nodes say. From 256 KiB on zstd takes other parameters, and gains nothing."""
FEW: Final = 20
"""So many nodes must have said something before there is a dictionary."""
LIFE_MS: Final = 7 * 86_400_000
"""After that what nodes say may have changed enough to make a new one."""
_MARK: Final = b"\x01"  # of a blob that names its dictionary; a plain frame begins with 0x28
_known: dict[int, Dictionary] = {}
_local = threading.local()  # one (de)compressor a thread: they are not safe to share


@dataclass(frozen=True)
class Dictionary:
    """`id` is 31 bits of the content's digest."""

    id: int
    content: bytes

    @classmethod
    def of(cls, content: bytes) -> Dictionary:
        number = int.from_bytes(hashlib.sha256(content).digest()[:4], "big") >> 1
        return cls(number, content)

    @cached_property
    def zstd(self) -> zstandard.ZstdCompressionDict:
        raw = zstandard.ZstdCompressionDict(self.content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        raw.precompute_compress(level=LEVEL)
        return raw


def pack(raw: bytes, dictionary: Dictionary | None) -> bytes:
    packers = _of_thread("packers")
    number = 0 if dictionary is None else dictionary.id
    if number not in packers:
        packers[number] = (
            zstandard.ZstdCompressor(level=PLAIN_LEVEL)
            if dictionary is None
            else zstandard.ZstdCompressor(level=LEVEL, dict_data=dictionary.zstd)
        )
    packed: bytes = packers[number].compress(raw)
    return packed if dictionary is None else _MARK + number.to_bytes(4, "big") + packed


class TooLongError(ValueError):
    """What was packed is more than may be unpacked."""


def unpack(connection: Connection, blob: bytes, most: int) -> bytes:
    """At most so many bytes; raises TooLongError otherwise."""
    number, frame = 0, blob
    if blob.startswith(_MARK):
        number, frame = int.from_bytes(blob[1:5], "big"), blob[5:]
    unpackers = _of_thread("unpackers")
    if number not in unpackers:
        unpackers[number] = (
            zstandard.ZstdDecompressor(dict_data=_load(connection, number).zstd)
            if number
            else zstandard.ZstdDecompressor()
        )
    # A frame names its size, and where it does, zstd looks at no other bound.
    size = zstandard.frame_content_size(frame)
    if size > most:
        raise TooLongError(f"{size} bytes")
    raw: bytes = unpackers[number].decompress(frame, max_output_size=most)
    return raw


def _of_thread(name: str) -> dict[int, Any]:
    found: dict[int, Any] = _local.__dict__.setdefault(name, {})
    return found


def _load(connection: Connection, number: int) -> Dictionary:
    if number not in _known:
        query = select(t.dictionary.c.content).where(t.dictionary.c.id == number)
        content = bytes(connection.execute(query).scalar_one())
        _known[number] = Dictionary(number, content)
    return _known[number]


def newest(connection: Connection, now: int) -> Dictionary | None:
    """The one to compress against; None: it is time to make one."""
    d = t.dictionary.c
    query = select(d.id).where(d.at > now - LIFE_MS).order_by(d.at.desc(), d.id).limit(1)
    number = connection.execute(query).scalar_one_or_none()
    return None if number is None else _load(connection, number)


def made_of(sayings: Iterable[Iterable[bytes]]) -> Dictionary:
    """From what some nodes say, in their order: each text once, MOST bytes in all.

    The first node's texts come last and unbroken: nearest to what is compressed, and one long match
    where another node says the same.
    """
    seen: dict[bytes, int] = {}  # text -> the place of the node that said it first
    size = 0
    for place, sayings_of_node in enumerate(sayings):
        for text in sayings_of_node:
            if text not in seen and size + len(text) <= MOST:
                seen[text] = place
                size += len(text)
    others = [text for text, place in seen.items() if place]
    return Dictionary.of(b"".join((*others, *(text for text, place in seen.items() if not place))))


def keep(connection: Connection, dictionary: Dictionary, now: int) -> None:
    """Store it for all replicas."""
    row = {"id": dictionary.id, "at": now, "content": dictionary.content}
    statement = insert(connection, t.dictionary)
    statement = statement.on_conflict_do_update(index_elements=["id"], set_={"at": now})
    connection.execute(statement, [row])
