"""Run a piece of a test as somebody else: in a child process that may give rights away."""

import ctypes
import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
LIBC = ctypes.CDLL(None, use_errno=True)


def in_child(claim: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> None:
    """Fork, call `before` and then `claim`; fail with the child's traceback when it raises."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a thread of a library may be about
        pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            before()
            claim()
        except BaseException:  # noqa: BLE001  told to the parent
            os.write(write_end, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    assert not said, said


def as_nobody(claim: Callable[[], object]) -> None:
    """The same as an ordinary user without groups or capabilities."""

    def give_up() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    in_child(claim, before=give_up)


def mount_proc(at: str, options: str) -> None:
    """Another /proc at this folder, seen by this process alone (call it in a child)."""
    for result in (
        LIBC.unshare(CLONE_NEWNS),
        LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        LIBC.mount(b"proc", at.encode(), b"proc", 0, options.encode()),
    ):
        if result:
            raise OSError(ctypes.get_errno(), f"mount proc: {os.strerror(ctypes.get_errno())}")


def open_to_all(folder: Path) -> None:
    """Let an ordinary user reach a test's folder."""
    for each in (folder, *folder.parents):
        if "pytest" in str(each):
            each.chmod(0o755)
