"""Our walk of a path ends where the kernel's own confined walk ends, openat2(RESOLVE_IN_ROOT)."""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeward.host import HostError, TreeHost

OPENAT2 = 437  # the same number on every architecture
RESOLVE_IN_ROOT = 0x10
LIBC = ctypes.CDLL(None, use_errno=True)

NAMES = ["a", "b", "c"]
STEP = st.sampled_from([*NAMES, "..", ".", ""])
TARGET = st.builds(
    lambda lead, steps: (lead + "/".join(steps)) or ".",
    st.sampled_from(["", "/"]),
    st.lists(STEP, min_size=1, max_size=5),
)
ENTRY = st.one_of(st.just(None), st.just(b"file"), TARGET)  # folder, file, link
# (folders to stand in, name, what to put there), in the order of making
TREE = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), max_size=2), st.sampled_from(NAMES), ENTRY),
    max_size=12,
)
PATH = st.builds(lambda steps: "/" + "/".join(steps), st.lists(STEP, max_size=6))


def kernel(root: Path, path: str, *, follow: bool) -> tuple[int, int] | str:
    """Device and inode, or the name of the error."""
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    how = struct.pack("QQQ", flags, 0, RESOLVE_IN_ROOT)
    top = os.open(root, os.O_PATH)
    fd, code = -1, errno.EAGAIN
    while fd < 0 and code == errno.EAGAIN:  # somebody on this machine renamed or mounted: again
        fd = LIBC.syscall(OPENAT2, top, os.fsencode(path), how, len(how))
        code = ctypes.get_errno()
    os.close(top)
    if fd < 0:
        return errno.errorcode[code]
    try:
        found = os.fstat(fd)
        return found.st_dev, found.st_ino
    finally:
        os.close(fd)


def ours(root: Path, path: str, *, follow: bool) -> tuple[int, int] | str:
    host = TreeHost(root)
    try:
        found = host.stat(path) if follow else host.lstat(path)
    except HostError as exc:
        return exc.why
    return found.device, found.inode


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new empty folder at each step."""
    top = tmp_path_factory.mktemp("trees")

    def folders() -> Iterator[Path]:
        for n in range(10**9):
            folder = top / str(n) / "root"
            folder.mkdir(parents=True)
            yield folder

    return folders()


def plant(root: Path, tree: list[tuple[list[str], str, bytes | str | None]]) -> None:
    for folders, name, what in tree:
        at = root
        for folder in folders:
            at = at / folder
            if not os.path.lexists(at):
                at.mkdir()
            if at.is_symlink() or not at.is_dir():
                break
        else:
            if os.path.lexists(at / name):
                continue
            if what is None:
                (at / name).mkdir()
            elif isinstance(what, bytes):
                (at / name).write_bytes(what)
            else:
                (at / name).symlink_to(what)


@settings(max_examples=300)
@given(TREE, st.lists(PATH, min_size=1, max_size=8))
def test_every_path_ends_where_the_kernel_ends(
    fresh: Iterator[Path],
    tree: list[tuple[list[str], str, bytes | str | None]],
    paths: list[str],
) -> None:
    root = next(fresh)
    plant(root, tree)
    for path in paths:
        assert ours(root, path, follow=True) == kernel(root, path, follow=True)
        if path.rpartition("/")[2] not in ("", ".", ".."):
            assert ours(root, path, follow=False) == kernel(root, path, follow=False)
