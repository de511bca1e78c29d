"""docs/data-dictionary.md names everything that leaves the node."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.conftest import Refusal

DOCUMENT = Path(__file__).parents[2] / "docs/data-dictionary.md"
HTTP = {
    "host", "accept", "accept-encoding", "connection", "content-type", "content-encoding",
    "content-length",
}  # fmt: skip
FREE = ("mappings", "cells", "summary")
"""Below these stand names of frameworks, columns and statuses."""


def members(value: object) -> Iterator[str]:
    """The name of each member, at whatever depth."""
    match value:
        case dict():
            for name, inner in value.items():
                yield name
                if name not in FREE:
                    yield from members(inner)
        case list():
            for item in value:
                yield from members(item)
        case _:
            pass


def documented() -> dict[str, set[str]]:
    """The words of the rows of each call; what is said of every call stands under ""."""
    words: dict[str, set[str]] = {}
    call = ""
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 6 or cells[1] in ("call", "---"):
            continue
        if cells[1]:
            call = "" if cells[1] == "every call" else cells[1].strip("`").split(" ")[1]
        words.setdefault(call, set()).update(re.findall(r"`([^`]+)`", cells[2]))
    return words


def test_every_call_header_and_member_that_is_sent_is_in_the_dictionary(
    make: Callable[..., Any], stand: Any
) -> None:
    sent: dict[str, set[str]] = {}
    headers_sent: set[str] = set()
    answer = stand.answer

    def overheard(path: str, raw: bytes, headers: dict[str, str]) -> Any:
        sent.setdefault(path, set()).update(members(json.loads(gzip.decompress(raw))))
        headers_sent.update(headers)
        if path == "/v1/rotate":
            raise Refusal(404, "not-found")  # a collector of an earlier version: the key stays
        return answer(path, raw, headers)

    stand.answer = overheard
    agent = make(stand.url, looks={"interval_s": 1})
    agent.start()
    agent.heard("READY=1")
    (key,) = agent.root.parent.rglob("identity/key")
    os.utime(key, (0, 0))  # an old one: the next is offered
    agent.set_anonymous(True)
    assert stand.wait_for(lambda: len(stand.history) > 1 and len(stand.heartbeats) > 1)
    assert stand.wait_for(lambda: "/v1/rotate" in sent)
    agent.stop()

    words = documented()
    assert set(sent) == {"/v1/enroll", "/v1/session", "/v1/rotate", "/v1/reports", "/v1/heartbeat"}
    for path, names in sent.items():
        assert names <= words[path] | {"id", "version"}, (path, names - words[path])
    assert headers_sent - HTTP <= {word.lower() for word in words[""]}
