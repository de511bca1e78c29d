"""Changes are noticed by what the kernel says, and what it cannot say is compared."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.agent.floor import FLAP_S, RESTLESS, Floor, _rows, listening
from nodeward.agent.netlink import Events
from nodeward.agent.plan import ANY, Plan, plan
from nodeward.agent.watch import TICK_S, FileWatch, _events


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[FileWatch]:
    made = FileWatch(str(tmp_path))
    yield made
    made.close()


def stale(watch: FileWatch, seconds: float = 5.0) -> set[str]:
    """What became stale; waits for the first event."""
    if not select.select([watch.fd], [], [], seconds)[0]:
        return set()
    return watch.read()[0]


def kubelet(root: Path) -> Plan:
    """A folder as kubelet mounts it: files are links through ..data, which is swapped."""
    (root / "cfg/..v1").mkdir(parents=True)
    (root / "cfg/..v1/kubelet").write_text("a")
    (root / "cfg/..data").symlink_to("..v1")
    (root / "cfg/kubelet").symlink_to("..data/kubelet")
    return plan({"Kubelet": ["/cfg/kubelet"]}, {}, str(root))


def write(root: Path) -> None:
    (root / "cfg/..v1/kubelet").write_text("b")


def chmod(root: Path) -> None:
    (root / "cfg/..v1/kubelet").chmod(0o600)


def swap(root: Path) -> None:
    (root / "cfg/..v2").mkdir()
    (root / "cfg/..v2/kubelet").write_text("b")
    (root / "cfg/..data_tmp").symlink_to("..v2")
    (root / "cfg/..data_tmp").rename(root / "cfg/..data")


def replace(root: Path) -> None:
    (root / "cfg/..v1/new").write_text("b")
    (root / "cfg/..v1/new").rename(root / "cfg/..v1/kubelet")


def remove(root: Path) -> None:
    (root / "cfg/..v1/kubelet").unlink()


def move_folder(root: Path) -> None:
    (root / "cfg/..v1").rename(root / "cfg/..old")


def move_what_is_above(root: Path) -> None:
    (root / "cfg").rename(root / "old")


@pytest.mark.parametrize(
    "change", [write, chmod, swap, replace, remove, move_folder, move_what_is_above]
)
def test_a_change_of_what_was_read_is_noticed(
    watch: FileWatch, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    watch.apply(kubelet(tmp_path).folders, time.time())
    change(tmp_path)
    assert stale(watch) == {"Kubelet"}


def test_a_neighbour_wakes_nobody_up(watch: FileWatch, tmp_path: Path) -> None:
    watch.apply(kubelet(tmp_path).folders, time.time())
    (tmp_path / "cfg/other").write_text("x")
    assert stale(watch, 0.2) == set()


def test_a_file_that_was_missing_is_noticed_when_it_comes(watch: FileWatch, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = plan({"F": ["/etc/kubernetes/admin.conf"]}, {}, str(tmp_path))
    watch.apply(made.folders, time.time())
    (tmp_path / "etc/kubernetes").mkdir()
    assert stale(watch) == {"F"}


def test_a_change_between_the_look_and_the_watch_is_not_missed(
    watch: FileWatch, tmp_path: Path
) -> None:
    made = kubelet(tmp_path)
    looked_at = time.time()
    write(tmp_path)
    assert watch.apply(made.folders, looked_at - 0.1) == {"Kubelet"}


def remove_folder(root: Path) -> None:
    shutil.rmtree(root / "cfg")


@pytest.mark.parametrize("change", [remove, remove_folder, move_folder, move_what_is_above])
def test_what_went_between_the_look_and_the_watch_is_not_missed(
    watch: FileWatch, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    made = kubelet(tmp_path)
    time.sleep(2 * TICK_S)
    looked_at = time.time()
    calm = FileWatch(str(tmp_path))
    assert calm.apply(made.folders, looked_at) == set()
    calm.close()
    change(tmp_path)
    assert watch.apply(made.folders, looked_at) == {"Kubelet"}
    assert watch.apply(made.folders, looked_at) == set()  # told once


def test_entries_of_a_folder_on_the_way_do_not_even_wake_us(
    watch: FileWatch, tmp_path: Path
) -> None:
    (tmp_path / "var/lib/kubelet").mkdir(parents=True)
    made = plan({"F": ["/var/lib/kubelet/config.yaml"]}, {}, str(tmp_path))
    watch.apply(made.folders, time.time())
    (tmp_path / "var/lib/other").touch()
    assert not select.select([watch.fd], [], [], 0.2)[0]


def test_two_ways_to_one_folder_are_both_heard(watch: FileWatch, tmp_path: Path) -> None:
    """As by a bind mount, or the root of a process: the kernel has one watch for both."""
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/root").symlink_to("../..")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a").touch()
    read = {"F": ["/etc/a"], "G": ["/proc/7/root/etc/a"]}
    made = plan(read, {}, str(tmp_path))
    watch.apply(made.folders, time.time())
    (tmp_path / "etc/a").chmod(0o600)
    assert stale(watch) == {"F", "G"}
    watch.apply(plan({"F": read["F"]}, {}, str(tmp_path)).folders, time.time())
    watch.read()
    (tmp_path / "etc/a").chmod(0o644)
    assert stale(watch) == {"F"}


def test_a_folder_that_is_no_longer_of_interest_wakes_nobody(
    watch: FileWatch, tmp_path: Path
) -> None:
    watch.apply(kubelet(tmp_path).folders, time.time())
    watch.apply({}, time.time())
    watch.read()
    write(tmp_path)
    assert stale(watch, 0.2) == set()


def test_a_folder_made_anew_is_watched_again(watch: FileWatch, tmp_path: Path) -> None:
    made = kubelet(tmp_path)
    watch.apply(made.folders, time.time())
    move_folder(tmp_path)
    stale(watch)
    (tmp_path / "cfg/..v1").mkdir()
    watch.apply(made.folders, time.time())
    watch.read()
    (tmp_path / "cfg/..v1/kubelet").write_text("c")
    assert stale(watch) == {"Kubelet"}


@pytest.mark.root
def test_an_overflow_is_told(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watch = FileWatch(str(tmp_path))
    watch.apply({"/": {ANY: ["F"]}}, time.time())
    for n in range(limit // 2 + 10):  # two different events each: equal neighbours are merged
        (tmp_path / "a").touch()
        (tmp_path / f"b{n % 2}").touch()
    assert watch.read()[1]
    watch.close()


# EMFILE stands for both: the user's instances and the process's descriptors.
EXHAUST = """
import resource, sys, time
from nodeward.agent.watch import FileWatch
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
many = [FileWatch("/") for _ in range(30)]
refused = many[-1]
assert refused.lost == {"fs.inotify.max_user_instances is used up"}, refused.lost
assert refused.apply({"/": {"": ["F"]}}, time.time()) == set()
assert refused.unwatched == {"/"} and refused.lost
"""


def test_exhausted_instances_are_told_and_the_folders_are_polled() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", EXHAUST],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@given(st.binary(max_size=200))
def test_any_bytes_of_events_end(raw: bytes) -> None:
    assert len(_events(raw)) <= len(raw) // 16


# -- the floor -----------------------------------------------------------------------------


def proc(root: Path, modules: str = "ext4 1 2 - Live 0x0\n", listening: str = "1F90") -> Floor:
    (root / "proc/1/net").mkdir(parents=True, exist_ok=True)
    (root / "proc/modules").write_text(modules)
    (root / "proc/1/comm").write_text("systemd\n")
    (root / "proc/1/net/tcp").write_text(
        "  sl  local_address rem_address   st\n"
        f"   0: 0100007F:{listening} 00000000:0000 0A 0 0 0\n"
        "   1: 0100007F:0016 0100007F:9999 01 0 0 0\n"
    )
    return Floor(str(root), ["kubelet"])


EVENTS = {"module": ["M"], "listener": ["L"], "process": ["P"]}


def compared(floor: Floor) -> set[str]:
    return floor.compare(Plan(events=EVENTS), set(EVENTS), [])


def test_what_did_not_change_is_not_stale(tmp_path: Path) -> None:
    floor = proc(tmp_path)
    assert compared(floor) == set()
    assert compared(floor) == set()


def test_a_module_a_listener_and_a_program_are_noticed(tmp_path: Path) -> None:
    floor = proc(tmp_path)
    compared(floor)
    proc(tmp_path, modules="ext4 1 2 - Live 0x0\nsctp 1 0 - Live 0x0\n")
    assert compared(floor) == {"M"}
    proc(tmp_path, modules="ext4 1 2 - Live 0x0\nsctp 1 0 - Live 0x0\n", listening="280A")
    assert compared(floor) == {"L"}
    (tmp_path / "proc/77").mkdir()
    (tmp_path / "proc/77/comm").write_text("kubelet\n")
    assert compared(floor) == {"P"}


ANSWER = st.lists(
    st.builds(struct.pack, st.just("=IHHII"), st.integers(0, 60), st.sampled_from([20, 3, 2]),
              st.just(2), st.just(0), st.just(0)) | st.binary(max_size=80)
).map(b"".join)  # fmt: skip


@given(ANSWER)
def test_any_answer_of_the_kernel_ends(raw: bytes) -> None:
    _rows(raw, set())


def test_a_socket_that_listens_is_told_by_the_kernel_and_one_that_does_not_is_not() -> None:
    before = listening()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1].to_bytes(2, "big")
        with socket.create_connection(server.getsockname()):
            new = listening() - before
    assert new == {bytes([socket.AF_INET]) + port + bytes([127, 0, 0, 1]) + bytes(12)}
    assert listening() == before


def test_a_use_count_of_a_module_and_a_program_of_no_interest_are_not(tmp_path: Path) -> None:
    floor = proc(tmp_path)
    compared(floor)
    proc(tmp_path, modules="ext4 1 99 - Live 0x0\n")
    (tmp_path / "proc/78").mkdir()
    (tmp_path / "proc/78/comm").write_text("sh\n")
    assert compared(floor) == set()


def test_a_setting_of_the_kernel_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "proc/sys").mkdir(parents=True)
    floor, polled = Floor(str(tmp_path), []), Plan(polled={"/proc/sys/x": ["S"]})
    floor.compare(polled, [], [])
    (tmp_path / "proc/sys/x").write_text("1\n")
    assert floor.compare(polled, [], []) == {"S"}


def test_a_program_that_a_shell_becomes_is_noticed(tmp_path: Path) -> None:
    floor = proc(tmp_path)
    (tmp_path / "proc/77").mkdir()
    (tmp_path / "proc/77/comm").write_text("sh\n")
    compared(floor)
    (tmp_path / "proc/77/comm").write_text("kubelet\n")
    assert compared(floor) == {"P"}


def test_a_counter_is_left_alone_for_a_while_and_that_is_told(tmp_path: Path) -> None:
    at = 0.0
    floor, polled = Floor(str(tmp_path), [], lambda: at), Plan(polled={"/count": ["S"]})

    def becomes(value: int) -> set[str]:
        (tmp_path / "count").write_text(str(value))
        return floor.compare(polled, [], [])

    assert [becomes(n) for n in range(RESTLESS + 1)] == [set(), *[{"S"}] * RESTLESS]
    assert [*floor.resting] == ["/count"]
    assert becomes(7) == set()
    at = FLAP_S
    assert becomes(7) == {"S"}  # what changed in between
    assert [*floor.resting] == ["/count"]
    at = 2 * FLAP_S
    assert becomes(7) == set()
    assert not floor.resting
    assert becomes(8) == {"S"}


@pytest.mark.root
def test_a_file_system_that_is_mounted_over_a_watched_folder_is_noticed(tmp_path: Path) -> None:
    made = kubelet(tmp_path)
    floor = Floor(str(tmp_path), [])
    floor.compare(made, [], [])
    assert floor.compare(made, [], []) == set()
    (tmp_path / "other").mkdir()
    over = tmp_path / "cfg/..v1"
    subprocess.run(["mount", "--bind", tmp_path / "other", over], check=True)
    try:
        assert floor.compare(made, [], []) == {"Kubelet"}
    finally:
        subprocess.run(["umount", over], check=True)


def test_a_folder_that_cannot_be_watched_is_compared(tmp_path: Path) -> None:
    folders = kubelet(tmp_path)
    floor = Floor(str(tmp_path), [])
    floor.compare(folders, [], list(folders.folders))
    chmod(tmp_path)
    assert floor.compare(folders, [], list(folders.folders)) == {"Kubelet"}


# -- netlink -------------------------------------------------------------------------------


def heard(events: Events, seconds: float = 5.0) -> str | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ready, _, _ = select.select(list(events.sockets), [], [], 0.2)
        for fd in ready:
            kind, _ = events.read(fd)
            if kind:
                return kind
    return None


def test_a_route_that_comes_is_heard() -> None:
    events = Events(["route"], [], "/")
    subprocess.run(["ip", "address", "add", "127.9.9.9/32", "dev", "lo"], check=True)
    try:
        assert heard(events) == "route"
    finally:
        subprocess.run(["ip", "address", "del", "127.9.9.9/32", "dev", "lo"], check=True)
        events.close()


def test_without_the_host_s_network_the_process_connector_is_told_to_be_missing() -> None:
    """Tests run in a network namespace of their own: just the case of a pod without hostNetwork."""
    events = Events(["process", "module"], ["kubelet"], "/")
    assert events.failed == {"process": "ECONNREFUSED"}
    assert [kind for kind, _ in events.sockets.values()] == ["module"]
    events.close()


# In the network namespace of whoever started the tests: the process connector is there if that is
# the machine's own. Nothing is sent there but one message to the kernel.
STARTED = """
import os, select, subprocess, sys, time
from nodeward.agent.netlink import Events
events = Events(["process"], ["sleep"], "/")
if events.failed:
    sys.exit(f"told: {events.failed['process']}")
child = subprocess.Popen(["sleep", "0.05"])
heard, until = 0, time.monotonic() + 20
while heard < 2 and time.monotonic() < until:
    for fd in select.select(list(events.sockets), [], [], 1)[0]:
        heard += events.read(fd)[0] == "process"
child.wait()
print("heard" if heard == 2 else "deaf")
"""


def outside() -> list[str]:
    """What leads into the network namespace of an ancestor of ours that has another one."""
    own, pid = os.readlink("/proc/self/ns/net"), os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/net") != own:
                return ["nsenter", f"--net=/proc/{pid}/ns/net"]
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return []


@pytest.mark.root
def test_a_program_that_starts_and_ends_is_heard_where_the_kernel_tells() -> None:
    ran = subprocess.run(
        [*outside(), sys.executable, "-c", STARTED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "heard" in ran.stdout or "told: ECONNREFUSED" in ran.stderr, ran.stderr


def test_nobody_but_the_kernel_is_listened_to() -> None:
    """Any process may send to a netlink socket."""
    events = Events(["module"], [], "/")
    fd = next(iter(events.sockets))
    pid = events.sockets[fd][1].getsockname()[0]
    liar = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
    with liar, contextlib.suppress(OSError):  # the kernel may not even let it
        liar.sendto(b"add@/module/sctp\0ACTION=add\0", (pid, 0))
    assert heard(events, 0.3) is None
    events.close()


@pytest.mark.root
def test_a_uevent_that_is_no_module_s_does_not_even_wake_us() -> None:
    events = Events(["module"], [], "/")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as all_of_them:
        all_of_them.bind((0, 1))
        Path("/sys/devices/virtual/mem/null/uevent").write_text("change")
        assert select.select([all_of_them], [], [], 10)[0]  # it was sent
    assert not select.select(list(events.sockets), [], [], 0)[0]
    events.close()
