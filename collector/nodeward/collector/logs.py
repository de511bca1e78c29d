"""The log: one JSON object a line on stderr, which journald and every shipper takes as it is."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that is being answered; threads that work for it know it too."""
PRIORITY: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""What sd-daemon(3) calls them."""


class Lines(logging.Formatter):
    """`at`, `level`, `logger`, `message`, `request_id`, what `extra={"told": {...}}` says, and
    `exception`. No value can begin a line of its own: JSON escapes it."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= getattr(record, "told", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str)
        return f"<{PRIORITY.get(record.levelname, 6)}>{text}" if self._journal else text


def to_stderr(out: TextIO | None = None) -> None:
    """All logging of this process, from now on. journald is told the level as it wants it."""
    handler = logging.StreamHandler(out or sys.stderr)
    handler.setFormatter(Lines(journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
