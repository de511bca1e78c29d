"""A file tree as a host: nothing leads out of it, nothing blocks, nothing is cut silently."""

import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from child import as_nobody, in_child, open_to_all
from nodeward.host import (
    DeniedError,
    HostError,
    LiveHost,
    MissingError,
    NotRegularError,
    OfflineError,
    TooBigError,
    TreeHost,
)
from nodeward.host.sockets import ListeningSockets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with /etc/inside, beside a secret that no path in it may reach."""
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("outside")
    inside = tmp_path / "tree"
    (inside / "etc/dir").mkdir(parents=True)
    (inside / "etc/inside").write_text("inside")
    return inside


def test_a_file_is_read_whole(root: Path) -> None:
    assert TreeHost(root).read("/etc/inside") == b"inside"


ESCAPES = {
    "dots in the path": ("/../../secret", None),
    "dots below a folder": ("/etc/dir/../../../secret", None),
    "an absolute link": ("/link", "/secret"),
    "a link with dots": ("/link", "../../../secret"),
    "a folder link": ("/link/secret", "/.."),
    "a folder link with dots": ("/link/secret", "../.."),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_no_path_leads_out_of_the_tree(root: Path, name: str) -> None:
    path, target = ESCAPES[name]
    if target is not None:
        (root / "link").symlink_to(target)
    with pytest.raises(MissingError):
        TreeHost(root).read(path)


def test_an_absolute_link_means_the_trees_own_file(root: Path) -> None:
    (root / "link").symlink_to("/etc/inside")
    host = TreeHost(root)
    assert host.read("/link") == b"inside"
    assert host.real("/link") == "/etc/inside"
    assert host.link("/link") == "/etc/inside"


def test_dots_above_the_root_stay_at_the_root(root: Path) -> None:
    assert TreeHost(root).read("/../../../etc/inside") == b"inside"


def test_a_link_swapped_between_two_steps_stays_inside(root: Path) -> None:
    """One thread reads a path whose folder another turns into links out of the tree and back."""
    (root / "a").mkdir()
    (root / "a/secret").write_text("inside")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            os.rename(root / "a", root / "b")
            os.symlink("../", root / "a")
            os.unlink(root / "a")
            os.symlink("/../..", root / "a")
            os.unlink(root / "a")
            os.rename(root / "b", root / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        host = TreeHost(root)
        reads = 0
        while reads < 5000 or b"inside" not in seen:  # on a busy machine it is rarely whole
            reads += 1
            try:
                seen.add(host.read("/a/secret"))
            except MissingError:
                seen.add(b"missing")
    finally:
        done.set()
        thread.join()
    assert seen <= {b"inside", b"missing"}


def test_forty_links_are_followed_and_forty_one_are_a_loop(root: Path) -> None:
    (root / "l0").symlink_to("etc/inside")
    for n in range(1, 41):
        (root / f"l{n}").symlink_to(f"l{n - 1}")
    host = TreeHost(root)
    assert host.read("/l39") == b"inside"
    with pytest.raises(HostError, match="ELOOP"):
        host.read("/l40")


def test_a_link_to_itself_is_an_error_and_not_a_missing_file(root: Path) -> None:
    (root / "self").symlink_to("self")
    with pytest.raises(HostError, match="ELOOP") as caught:
        TreeHost(root).read("/self")
    assert not isinstance(caught.value, MissingError)


def test_a_dangling_link_is_missing_and_still_a_link(root: Path) -> None:
    (root / "gone").symlink_to("nowhere")
    host = TreeHost(root)
    with pytest.raises(MissingError):
        host.stat("/gone")
    assert stat.S_ISLNK(host.lstat("/gone").mode)


def test_a_link_that_is_no_link_is_an_error(root: Path) -> None:
    with pytest.raises(HostError):
        TreeHost(root).link("/etc/inside")


@pytest.mark.parametrize(
    "path", ["/etc/inside/", "/etc/inside/.", "/etc/inside/..", "/etc/inside/x"]
)
def test_a_file_is_no_folder_however_the_path_ends(root: Path, path: str) -> None:
    with pytest.raises(MissingError, match="ENOTDIR"):
        TreeHost(root).stat(path)


@pytest.mark.parametrize("path", ["etc/inside", "", "/etc/in\0side", "/etc/\ud800"])
def test_what_is_no_path_is_refused(root: Path, path: str) -> None:
    with pytest.raises(HostError, match="not an absolute path"):
        TreeHost(root).read(path)


def test_a_fifo_never_blocks(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(NotRegularError, match="a FIFO"):
        TreeHost(root).read("/fifo")


def test_a_socket_is_no_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
        with pytest.raises(NotRegularError, match="a socket"):
            TreeHost(root).read("/sock")


@pytest.mark.root
def test_a_device_is_never_opened(root: Path) -> None:
    # 10:255 belongs to no driver: opening it would say ENXIO or ENODEV.
    os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(10, 255))
    with pytest.raises(NotRegularError, match="a device"):
        TreeHost(root).read("/device")


def test_a_folder_is_no_file_and_a_file_no_folder(root: Path) -> None:
    with pytest.raises(NotRegularError, match="a directory"):
        TreeHost(root).read("/etc")
    with pytest.raises(MissingError):
        TreeHost(root).names("/etc/inside")


def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not(root: Path) -> None:
    (root / "ten").write_bytes(b"0123456789")
    host = TreeHost(root)
    assert host.read("/ten", limit=10) == b"0123456789"
    with pytest.raises(TooBigError, match="more than 9 bytes"):
        host.read("/ten", limit=9)


def test_a_sparse_terabyte_is_refused_at_once(root: Path) -> None:
    with open(root / "huge", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TooBigError):
        TreeHost(root).read("/huge")


def test_a_folder_with_too_many_entries_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.host.tree.MOST_NAMES", 3)
    for n in range(3):
        (root / f"etc/dir/{n}").touch()
    assert TreeHost(root).names("/etc/dir") == ("0", "1", "2")
    (root / "etc/dir/3").touch()
    with pytest.raises(TooBigError, match="more than 3 entries"):
        TreeHost(root).names("/etc/dir")


def test_names_that_are_no_utf8_can_be_asked_for_again(root: Path) -> None:
    name = b"caf\xe9\x1b[31m"
    (root / os.fsdecode(name)).write_text("latin")
    host = TreeHost(root)
    (odd,) = [n for n in host.names("/") if n.startswith("caf")]
    assert os.fsencode(odd) == name
    assert host.read(f"/{odd}") == b"latin"


def test_attributes_are_read_through_links(root: Path) -> None:
    try:
        os.setxattr(root / "etc/inside", "user.test", b"value")
    except OSError as exc:
        if exc.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("this file system keeps no user attributes")
    (root / "link").symlink_to("etc/inside")
    assert TreeHost(root).xattr("/link", "user.test") == b"value"


def test_an_attribute_that_is_not_set_is_missing(root: Path) -> None:
    with pytest.raises(MissingError):
        TreeHost(root).xattr("/etc/inside", "user.none")


def test_the_mode_owner_and_size_are_those_of_the_inode(root: Path) -> None:
    path = root / "etc/inside"
    path.chmod(0o640)
    seen, real = TreeHost(root).stat("/etc/inside"), os.stat(path)
    assert stat.S_IMODE(seen.mode) == 0o640
    assert (seen.uid, seen.gid, seen.size, seen.inode, seen.device, seen.mtime) == (
        real.st_uid, real.st_gid, 6, real.st_ino, real.st_dev, real.st_mtime,
    )  # fmt: skip


def test_a_root_that_is_gone_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        TreeHost(tmp_path / "none").names("/")


def test_a_tree_at_rest_answers_no_live_question(root: Path) -> None:
    with pytest.raises(OfflineError):
        TreeHost(root).ask(ListeningSockets())


def test_no_descriptor_is_left_open(root: Path) -> None:
    (root / "self").symlink_to("self")
    os.mkfifo(root / "fifo")
    host = TreeHost(root)
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/etc/inside", "/none/x", "/self", "/fifo", "/etc/inside/x", "/etc/../etc/dir"):
        for ask in (host.read, host.stat, host.lstat, host.names, host.link, host.real):
            with suppress(HostError):
                ask(path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
def test_what_an_ordinary_user_may_not_read_is_denied_and_not_missing(root: Path) -> None:
    (root / "etc/inside").chmod(0o600)
    (root / "etc/dir").chmod(0o700)
    open_to_all(root)

    def ask() -> None:
        host = TreeHost(root)
        for path, call in (
            ("/etc/inside", host.read), ("/etc/dir", host.names), ("/etc/dir/x", host.stat),
        ):  # fmt: skip
            with pytest.raises(DeniedError):
                call(path)
        assert stat.S_IMODE(host.stat("/etc/inside").mode) == 0o600

    as_nobody(ask)


@pytest.mark.root
def test_without_our_own_proc_nothing_is_called_missing(root: Path) -> None:
    """In a chroot without /proc no descriptor can be reopened."""

    def ask() -> None:
        host = TreeHost("/")
        assert stat.S_ISREG(host.stat("/etc/inside").mode)
        for call in (host.read, lambda p: host.xattr(p, "user.x")):
            with pytest.raises(HostError, match="/proc") as caught:
                call("/etc/inside")
            assert not isinstance(caught.value, MissingError)
        with pytest.raises(MissingError):
            host.read("/etc/none")

    in_child(ask, before=lambda: os.chroot(root))


@contextmanager
def process_in(tree: Path) -> Iterator[int]:
    """A process whose root is the tree, until the block ends."""
    to_child, to_us = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot(tree)
            os.chdir("/")
            os.write(to_us[1], b"x")
            os.read(to_child[0], 1)
        finally:
            os._exit(0)
    try:
        os.read(to_us[0], 1)
        yield pid
    finally:
        os.write(to_child[1], b"x")
        os.waitpid(pid, 0)
        for fd in (*to_child, *to_us):
            os.close(fd)


@pytest.mark.root
def test_another_processes_root_is_entered_and_not_left(tmp_path: Path) -> None:
    """/proc/PID/root leads into that process's tree, and links in there stay in there."""
    tree = tmp_path / "container"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/inside").write_text("container")
    (tree / "link").symlink_to("/etc/inside")
    (tree / "out").symlink_to("/../../../../../../etc/hostname")
    fake = tree / "proc/1"
    fake.mkdir(parents=True)
    (fake / "root").symlink_to("/")
    with process_in(tree) as pid:
        host = LiveHost("/")
        base = f"/proc/{pid}/root"
        assert host.read(f"{base}/etc/inside") == b"container"
        assert host.read(f"{base}/link") == b"container"
        assert host.real(f"{base}/link") == f"{base}/etc/inside"
        with pytest.raises(MissingError):
            host.read(f"{base}/out")
        # A folder inside the container that looks like /proc/1 is no way out either.
        assert host.read(f"{base}/proc/1/root/etc/inside") == b"container"
        assert host.link(base) == str(tree)


def test_a_folder_that_looks_like_a_process_is_no_way_out(root: Path) -> None:
    """The kernel would follow a link on the disk from the running machine's root."""
    (root / "proc/7").mkdir(parents=True)
    (root / "proc/7/root").symlink_to("/")
    assert LiveHost(root).read("/proc/7/root/etc/inside") == b"inside"
