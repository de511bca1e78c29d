"""Log lines: a fixed sentence, and the rest as fields. Into the journal where our standard error
leads there (systemd.exec(5), JOURNAL_STREAM), else as text."""

from __future__ import annotations

import contextlib
import os
import sys

try:
    # The rest of systemd.journal is a reader, which we are not.
    from systemd import _journal  # type: ignore[attr-defined]  # our own folder systemd/
except ImportError:
    _journal = None

ERROR, WARNING, INFO = 3, 4, 6  # syslog(3)


def log(level: int, sentence: str, **fields: object) -> None:
    """`fields` must hold nothing secret. In the journal they are NODEWARD_<NAME>."""
    shown = {name: value for name, value in fields.items() if value is not None}
    if _journal is not None and _in_journal():
        _journal.sendv(
            f"MESSAGE={_line(sentence, shown)}",
            f"PRIORITY={level}",
            "SYSLOG_IDENTIFIER=nodeward-agent",
            *(f"NODEWARD_{name.upper()}={value}" for name, value in shown.items()),
        )
    else:
        with contextlib.suppress(OSError):  # a full disk must not end who reports it
            print(_line(sentence, shown), file=sys.stderr, flush=True)


def _line(sentence: str, fields: dict[str, object]) -> str:
    return (
        " ".join([f"{sentence}:", *(f"{k}={v}" for k, v in fields.items())]) if fields else sentence
    )


def _in_journal() -> bool:
    try:
        st = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{st.st_dev}:{st.st_ino}"
