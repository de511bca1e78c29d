"""Files for their owner only: names and addresses are in them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click


def write(path: Path, content: bytes) -> None:
    """Whole or not at all; what was there, with whatever mode and owner, is replaced."""
    try:
        fd, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as exc:
        raise click.UsageError(f"cannot write {path}: {exc.strerror}") from None
    try:
        with open(fd, "wb") as out:
            out.write(content)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
