"""The process table of a tree at rest: whatever a process called itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.host import MissingError, TreeHost
from nodeward.host.processes import ProcessRow, ProcessTable

COMM = st.binary(min_size=1, max_size=15).filter(lambda raw: b"\0" not in raw)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    top = tmp_path_factory.mktemp("proc")
    return (top / str(n) for n in range(10**9))


def tree(root: Path, stat: bytes, status: bytes = b"", boot: bytes = b"btime 1000\n") -> TreeHost:
    folder = root / "proc/7"
    folder.mkdir(parents=True)
    (root / "proc/stat").write_bytes(boot)
    (folder / "stat").write_bytes(stat)
    (folder / "status").write_bytes(status)
    return TreeHost(root)


def only_row(host: TreeHost) -> ProcessRow:
    (row,) = host.ask(ProcessTable())
    return row


@given(COMM, st.integers(0, 2**22), st.integers(0, 2**40))
def test_a_name_may_hold_any_character(
    trees: Iterator[Path], comm: bytes, ppid: int, ticks: int
) -> None:
    """A process names itself: ") S 1 (" in it must not move a field."""
    fields = [b"S", str(ppid).encode(), *[b"0"] * 17, str(ticks).encode(), *[b"0"] * 30]
    stat = b"7 (" + comm + b") " + b" ".join(fields) + b"\n"
    row = only_row(tree(next(trees), stat, b"Name:\tx\nUid:\t0\t1\t2\t3\n"))
    assert row.comm.encode("utf-8", "surrogateescape") == comm
    assert (row.ppid, row.started_at, row.uid) == (ppid, (100_000 + ticks) / 100, 0)


WORD = st.sampled_from(
    [b"7", b"(", b")", b"S", b"-1", b"\n", b"\xff", b"9" * 400, b"nan", b"Uid:", b"btime", b""]
)
TEXT = st.lists(WORD, max_size=60).map(b" ".join)


@given(TEXT, TEXT, TEXT)
def test_other_text_is_a_process_of_which_less_is_known(
    trees: Iterator[Path], stat: bytes, status: bytes, boot: bytes
) -> None:
    assert only_row(tree(next(trees), stat, status, boot)).pid == 7


def test_a_tree_may_hold_no_more_than_the_number(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/²").mkdir()  # a digit for Python, not for the kernel
    assert only_row(TreeHost(tmp_path)) == ProcessRow(7, 0, "", None, None, None)


def test_an_executable_that_was_replaced_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/exe").symlink_to("/usr/bin/kubelet (deleted)")
    assert only_row(TreeHost(tmp_path)).exe == "/usr/bin/kubelet"


@pytest.mark.parametrize("path", ["proc", "etc"])
def test_a_tree_without_a_process_has_no_table(tmp_path: Path, path: str) -> None:
    (tmp_path / path).mkdir()
    with pytest.raises(MissingError):
        TreeHost(tmp_path).ask(ProcessTable())
