"""Starts our own interpreter: as the short-lived worker, and as the resident itself.

A pipe takes one job in, another brings out what comes of it. The worker is a process of its own so
that what it imports is gone with it, and so that it can be killed whatever it hangs on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

MOST_RESULT = 16 << 20
PIPE_BYTES = 1 << 20
"""A job fits in here, so that giving it never waits for the worker."""


class Worker:
    """One worker from its start to its end."""

    def __init__(self, cpu_limit_s: int, memory_limit_bytes: int) -> None:
        job_out, self._job = os.pipe2(os.O_CLOEXEC)
        self.result_fd, result_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with contextlib.suppress(OSError):  # beyond the user's share of pipe memory
            fcntl.fcntl(self._job, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self._job, False)
        os.set_blocking(result_in, True)
        argv = [*_python("nodeward.agent.start"), str(cpu_limit_s), str(memory_limit_bytes)]
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                argv,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, job_out, 0),
                    (os.POSIX_SPAWN_DUP2, result_in, 1),
                ],
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
            )
        finally:
            os.close(job_out)
            os.close(result_in)
        self._collected = bytearray()
        self._at_end = False
        self._status: int | None = None
        self.cpu_s = 0.0

    def give(self, job: Mapping[str, Any]) -> None:
        """Hand over the one job. A worker that is already dead is told by `ended`."""
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._job, json.dumps(job).encode() + b"\n")
        os.close(self._job)
        self._job = -1

    def read(self) -> None:
        """Take what has come. Call when `result_fd` is readable."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.result_fd, 1 << 16):
                self._collected += chunk
                if len(self._collected) > MOST_RESULT:
                    self.kill()
                    break
            else:
                self._at_end = True

    @property
    def at_end(self) -> bool:
        """Whether nothing more will come."""
        return self._at_end

    def ended(self) -> bool:
        """Whether the process is gone; never waits."""
        if self._status is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if not pid:
                return False
            self._status = status
            self.cpu_s = usage.ru_utime + usage.ru_stime
            self.read()
        return True

    def said(self) -> dict[str, Any]:
        """What it said since this was asked last."""
        whole, _, rest = self._collected.rpartition(b"\n")
        self._collected = rest
        out: dict[str, Any] = {}
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # then it is no word of ours
                out |= json.loads(line)
        return out

    @property
    def well(self) -> bool:
        """Whether it came to its end by itself."""
        return self._status == 0

    @property
    def failed(self) -> bool:
        """Whether it ended by itself, of a defect."""
        return self._status is not None and os.waitstatus_to_exitcode(self._status) > 0

    def why(self) -> str:
        """How it ended, for people."""
        if self._status is None:
            return "is still running"
        code = os.waitstatus_to_exitcode(self._status)
        return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"

    def kill(self) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        for fd in (self._job, self.result_fd):
            if fd >= 0:
                os.close(fd)
        self._job = self.result_fd = -1


def become_resident(file: str | None) -> NoReturn:
    """Replace this process by the resident agent, without what the command line has imported."""
    argv = [*_python("nodeward.agent"), *([file] if file else [])]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, argv)  # noqa: S606  our own interpreter


def _python(module: str) -> list[str]:
    isolated = ["-I"] if sys.flags.isolated else []
    return [sys.executable, *isolated, "-m", module]
