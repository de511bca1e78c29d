"""Run the program as a user does, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Said:
    """What the program wrote, and its exit code."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """What the program is started with: our sources, no cloud, no colour but on demand."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    path = os.pathsep.join(str(ROOT / p) for p in ("probes", "agent", "collector"))
    return {**kept, "PYTHONPATH": path, "NODEWARD_METADATA": "off", "TERM": "xterm", **more}


def nodeward(*args: str | Path, env: Mapping[str, str] | None = None, stdin: str = "") -> Said:
    """`nodeward ARGS`; an error of the program is an exit code, not an exception."""
    done = subprocess.run(
        [sys.executable, "-m", "nodeward.cli", *map(str, args)],
        env=environment(**(env or {})), input=stdin, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def nodeward_on_terminal(
    *args: str | Path, columns: int = 100, env: Mapping[str, str] | None = None
) -> Said:
    """The same with stdout and stderr on a terminal of this width."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "nodeward.cli", *map(str, args)],
        env=environment(**(env or {})), stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunk = os.read(ours, 1 << 16)
            except OSError:  # EIO: the other side is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(ours)
        code = process.wait(timeout=60)
    return Said(code, b"".join(chunks).decode("utf-8", "replace").replace("\r\n", "\n"), "")
