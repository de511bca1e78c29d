"""The running machine: its processes and sockets, and what we may not see of them."""

import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from child import as_nobody, in_child, mount_proc, open_to_all
from nodeward.agent.runner import Looker
from nodeward.facts.listeners import Listeners
from nodeward.facts.processes import Processes
from nodeward.host import HostError, LiveHost, OfflineError, TreeHost
from nodeward.host.processes import ProcessTable
from nodeward.host.sockets import ListeningSockets
from nodeward.model import Fact, Seen, Unreadable


def seen(kind: type[Fact], host: TreeHost | None = None) -> Fact:
    reading = Looker(host or LiveHost()).look(kind)
    assert isinstance(reading, Seen), reading
    return reading.fact


def processes(host: TreeHost | None = None) -> Processes:
    fact = seen(Processes, host)
    assert isinstance(fact, Processes)
    return fact


@contextmanager
def sleeper(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for us to be done with it."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_we_see_ourselves() -> None:
    (ours,) = [p for p in processes().rows if p.pid == os.getpid()]
    assert ours.exe == os.readlink("/proc/self/exe")
    assert ours.uid == os.getuid()
    assert ours.ppid == os.getppid()
    assert ours.argv is not None
    assert ours.started_at is not None


def test_arguments_are_the_bytes_that_were_given() -> None:
    odd = os.fsdecode(b"--name=caf\xe9\x1b[31m\xff")
    with sleeper("--empty=", "", odd) as process:
        (row,) = [p for p in processes().rows if p.pid == process.pid]
    assert row.argv is not None
    assert row.argv[-3:] == ("--empty=", "", odd)


def test_the_same_processes_are_read_from_files_and_through_psutil() -> None:
    """A tree at rest with a proc/ folder says of a process what the live host says."""
    with sleeper("--x") as process:
        live = {row.pid: row for row in LiveHost().ask(ProcessTable())}[process.pid]
        rest = {row.pid: row for row in TreeHost("/").ask(ProcessTable())}[process.pid]
    assert (live.ppid, live.comm, live.exe, live.uid) == (
        rest.ppid, rest.comm, rest.exe, rest.uid,
    )  # fmt: skip
    assert live.started_at is not None
    assert rest.started_at is not None
    assert abs(live.started_at - rest.started_at) < 1.5  # the boot time is known to the second


def test_processes_that_vanish_while_we_look_cost_nothing() -> None:
    """Looking goes on while another thread starts and ends processes as fast as it can."""
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            subprocess.run(["/bin/true"], check=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(15):
            rows = processes().rows
            assert os.getpid() in {row.pid for row in rows}
            assert isinstance(seen(Listeners), Listeners)
    finally:
        done.set()
        thread.join()


def test_a_zombie_is_a_process_without_arguments() -> None:
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    os.waitid(os.P_PID, process.pid or 0, os.WEXITED | os.WNOWAIT)
    (row,) = [p for p in processes().rows if p.pid == process.pid]
    process.join()
    assert row.argv == ()


@pytest.mark.root
@pytest.mark.parametrize("option", ["hidepid=1", "hidepid=2"])
def test_hidden_processes_are_known_to_be_hidden(tmp_path: Path, option: str) -> None:
    (tmp_path / "proc").mkdir()
    open_to_all(tmp_path)

    def claim() -> None:
        found = processes(LiveHost(tmp_path))
        assert not found.complete
        assert {row.pid for row in found.rows} == {os.getpid()}

    in_child(lambda: as_nobody(claim), before=lambda: mount_proc(str(tmp_path / "proc"), option))


@pytest.mark.root
def test_root_sees_all_whatever_is_hidden_from_others(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()

    def claim() -> None:
        found = processes(LiveHost(tmp_path))
        assert found.complete
        assert 1 in {row.pid for row in found.rows}

    in_child(claim, before=lambda: mount_proc(str(tmp_path / "proc"), "hidepid=2"))


@pytest.mark.root
def test_an_executable_we_may_not_see_is_not_guessed() -> None:
    """The arguments are the process's own to write: one that is called kubelet need not be it."""
    with sleeper() as process:

        def claim() -> None:
            (row,) = [p for p in processes().rows if p.pid == process.pid]
            assert row.exe is None
            assert row.argv is not None

        as_nobody(claim)


def test_proc_that_is_not_mounted_is_no_empty_table(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    with pytest.raises(HostError):
        LiveHost(tmp_path).ask(ProcessTable())


def test_sockets_of_another_network_are_not_taken_for_the_hosts() -> None:
    """The tests run in a network of their own, so sock_diag must refuse, and what is listening
    is read from pid 1's table, which is the host's."""
    assert not LiveHost().same_namespace("net")
    with pytest.raises(OfflineError):
        LiveHost().ask(ListeningSockets())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fact = seen(Listeners)
        assert isinstance(fact, Listeners)
        assert fact.source == "/proc/1/net/tcp"
        assert not [row for row in fact.on(port) if row.pid == os.getpid()]


@pytest.fixture
def own_pid_one(tmp_path: Path) -> Path:
    """A root in which this process is pid 1: its network is the machine's."""
    (tmp_path / "proc/1/ns").mkdir(parents=True)
    (tmp_path / "proc/1/ns/net").symlink_to(os.readlink("/proc/self/ns/net"))
    (tmp_path / "proc/self").mkdir()
    return tmp_path


def test_our_own_listeners_are_found_through_the_kernel(own_pid_one: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        ports = {four.getsockname()[1]: "127.0.0.1", six.getsockname()[1]: "::1"}
        rows = LiveHost(own_pid_one).ask(ListeningSockets())
        found = {row.port: row.address for row in rows if row.port in ports}
        assert found == ports
        assert os.fstat(four.fileno()).st_ino in {row.inode for row in rows}


def test_a_connection_is_no_listener(own_pid_one: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        rows = LiveHost(own_pid_one).ask(ListeningSockets())
        assert os.fstat(client.fileno()).st_ino not in {row.inode for row in rows}


def test_the_kernels_table_says_the_same_as_sock_diag(own_pid_one: Path) -> None:
    from nodeward.facts.listeners import parse_proc_net_tcp

    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("0.0.0.0", 0)) as two,
        socket.create_server(("::", 0), family=socket.AF_INET6) as three,
    ):
        ours = {os.fstat(s.fileno()).st_ino for s in (one, two, three)}
        asked = LiveHost(own_pid_one).ask(ListeningSockets())
        table = parse_proc_net_tcp(Path("/proc/self/net/tcp").read_bytes())
        table += parse_proc_net_tcp(Path("/proc/self/net/tcp6").read_bytes())
    found = {(r.address, r.port, r.inode, r.uid) for r in asked if r.inode in ours}
    assert len(found) == 3
    assert found == {(r.address, r.port, r.inode, r.uid) for r in table if r.inode in ours}


@pytest.mark.root
def test_an_ordinary_user_reads_the_hosts_table() -> None:
    """Who may not compare namespaces asks pid 1's table instead of his own kernel."""

    def claim() -> None:
        assert not LiveHost().same_namespace("net")
        reading = Looker(LiveHost()).look(Listeners)
        assert isinstance(reading, Seen | Unreadable)
        if isinstance(reading, Seen):
            assert isinstance(reading.fact, Listeners)
            assert reading.fact.source == "/proc/1/net/tcp"

    as_nobody(claim)


def test_more_listeners_than_one_answer_of_the_kernel_holds(own_pid_one: Path) -> None:
    with contextlib.ExitStack() as open_ones:
        servers = [
            open_ones.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(500)
        ]
        ports = {server.getsockname()[1] for server in servers}
        rows = LiveHost(own_pid_one).ask(ListeningSockets())
        assert ports <= {row.port for row in rows}


@pytest.mark.parametrize("name", ["cmdline", "stat", "mountinfo", "exe", "fd", "fd/0", "ns", "no"])
def test_the_short_way_to_a_process_leads_to_the_same(name: str) -> None:
    """LiveHost opens what the kernel keeps of a process in one step, a TreeHost walks there."""
    path = f"/proc/{os.getppid()}/{name}"  # not ours: we open files

    def told(host: TreeHost) -> list[object]:
        said: list[object] = []
        for ask in (host.read, host.link, host.names, host.lstat):
            try:
                said.append(ask(path))
            except HostError as exc:
                said.append((type(exc), exc.path, exc.why))
        return said

    assert told(LiveHost()) == told(TreeHost("/", live=True))


def test_a_folder_that_only_looks_like_proc_is_walked(tmp_path: Path) -> None:
    """Its entries may be links that lead out of the root."""
    (tmp_path / "secret").write_bytes(b"out")
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc/7").symlink_to(tmp_path)
    with pytest.raises(HostError):
        LiveHost(root).read("/proc/7/secret")
