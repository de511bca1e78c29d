"""A folder that our own sandbox hides is unreadable. It looks empty, and must never pass for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodeward.host.masks import parse_masks

HIDDEN = (
    "581 560 0:25 /systemd/inaccessible/dir /usr/lib/modules ro,nosuid - tmpfs tmpfs rw\n"
    "582 560 0:25 /systemd/inaccessible/reg /proc/kallsyms ro - tmpfs tmpfs rw\n"
    "583 560 8:1 / /a\\040b rw - ext4 /dev/sda1 rw\n"
)


def test_systemd_s_covers_are_told_from_mounts() -> None:
    assert parse_masks(HIDDEN) == ("/proc/kallsyms", "/usr/lib/modules")


def test_the_covers_of_a_container_s_manager_are_told_too() -> None:
    line = "3 1 0:50 /host/inaccessible/dir /usr/lib/modules ro master:6 - tmpfs tmpfs rw\n"
    assert parse_masks(line) == ("/usr/lib/modules",)


def test_an_empty_file_system_that_the_host_does_not_have_hides_what_is_below() -> None:
    """TemporaryFileSystem=/etc/kubernetes, ProtectHome=tmpfs, PrivateDevices=."""
    host = "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:7 / /srv rw - tmpfs tmpfs rw\n"
    service = host + (
        "3 1 0:80 / /etc/kubernetes ro - tmpfs tmpfs rw\n"
        "4 1 0:81 / /home ro shared:1 - tmpfs tmpfs rw\n"
        "5 1 0:82 / /dev rw - tmpfs tmpfs rw\n"
        "6 1 0:83 / /run/credentials/nodeward-agent.service ro - tmpfs tmpfs rw\n"
        "7 1 0:7 /x /srv/x rw - tmpfs tmpfs rw\n"
    )
    assert parse_masks(service, host) == ("/etc/kubernetes", "/home")
    assert parse_masks(service) == ()


def test_what_is_elsewhere_on_the_host_hides_what_is_there() -> None:
    """BindReadOnlyPaths=/srv:/etc/kubernetes, beside what ProtectSystem=strict and StateDirectory=
    mount over themselves, and a new /proc."""
    host = (
        "1 0 8:1 /@root / rw - btrfs /dev/vda rw\n2 1 8:2 / /var/lib rw - ext4 /dev/vdb rw\n"
        "3 1 0:7 / /proc rw - proc proc rw\n"
    )
    service = host + (
        "4 1 8:1 /@root/etc /etc ro - btrfs /dev/vda rw\n"
        "5 1 8:2 /nodeward /var/lib/nodeward rw - ext4 /dev/vdb rw\n"
        "6 1 0:8 / /proc ro - proc proc rw,hidepid=invisible\n"
        "9 6 0:8 /mtrr /proc/mtrr ro - proc proc rw\n"
        "7 1 8:1 /@root/srv /etc/kubernetes ro - btrfs /dev/vda rw\n"
        "8 1 8:1 /@root/tmp/systemd-private-1/tmp /tmp rw - btrfs /dev/vda rw\n"
    )
    assert parse_masks(service, host) == ("/etc/kubernetes",)
    assert parse_masks(host, host) == ()


def test_in_a_pod_what_the_host_has_is_found_below_its_root() -> None:
    host = "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:7 / /srv rw - tmpfs tmpfs rw\n"
    pod = (
        "1 0 0:9 / / rw - overlay overlay rw\n2 1 0:10 / /etc/secret rw - tmpfs tmpfs rw\n"
        "3 1 8:1 / /host ro - ext4 /dev/vda rw\n4 1 0:7 / /host/srv ro - tmpfs tmpfs rw\n"
        "5 1 8:9 / /host/gone rw - ext4 /dev/vdz rw\n6 1 0:11 / /host/etc rw - tmpfs tmpfs rw\n"
    )
    assert parse_masks(pod, host, "/host") == ("/host/etc",)


def test_a_proc_that_shows_processes_only_hides_the_rest() -> None:
    line = "9 1 0:9 / /proc rw - proc proc rw,hidepid=invisible,subset=pid\n"
    assert parse_masks(line) == ("/proc/*",)
    assert parse_masks(line, None, "/host") == ()


# What ProcSubset=pid does to a service.
PROCESSES = """
from nodeward.host import DeniedError, LiveHost
host = LiveHost()
assert host.read("/proc/1/comm") and host.stat("/proc") and "1" in host.names("/proc")
assert host.read("/proc/self/comm")
for path in ("/proc/sys/kernel/modprobe", "/proc/modules", "/proc/sys"):
    try:
        host.stat(path)
    except DeniedError:
        continue
    raise SystemExit(f"{path} answered")
"""


@pytest.mark.root
def test_what_is_not_shown_beside_processes_is_denied_and_they_are_not() -> None:
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         'mount -t proc -o subset=pid proc /proc && exec "$0" -c "$1"', sys.executable, PROCESSES],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("text", ["", "\n", "a b c", "1 2 3 /systemd/inaccessible/dir"])
def test_a_short_line_is_no_cover(text: str) -> None:
    assert parse_masks(text) == ()


# What ProtectKernelModules=yes does to a service, in a mount namespace of its own.
LOOK = """
import sys
from nodeward.host import DeniedError, LiveHost
for ask in ("names", "stat", "read"):
    for path in (sys.argv[1], sys.argv[1] + "/6.1/modules.dep", sys.argv[1] + "/../covered/x"):
        try:
            getattr(LiveHost(), ask)(path)
        except DeniedError as exc:
            assert "sandbox" in exc.why
        else:
            raise SystemExit(f"{ask} {path} answered")
assert LiveHost().names(sys.argv[2]) == ("seen",)
"""


@pytest.mark.root
def test_a_covered_folder_is_denied_and_its_neighbour_is_not(tmp_path: Path) -> None:
    (tmp_path / "covered").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open/seen").touch()
    fake_run = tmp_path / "run"
    fake_run.mkdir()
    script = (
        f"mount -t tmpfs none {fake_run} && mkdir -p {fake_run}/systemd/inaccessible/dir &&"
        f" mount --bind {fake_run}/systemd/inaccessible/dir {tmp_path}/covered &&"
        f' exec "$0" -c "$1" {tmp_path}/covered {tmp_path}/open'
    )
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, LOOK],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_a_file_of_the_host_that_is_gone_and_still_mounted_is_no_mask_of_ours() -> None:
    """What systemd-nspawn puts over boot_id; a service has it anew, on a /proc/sys of its own."""
    gone = "0:47 /.#boot-id//deleted /proc/sys/kernel/random/boot_id ro shared:6 - tmpfs tmpfs rw"
    first = f"117 101 0:50 / /proc rw - proc proc rw\n43 117 {gone}\n"
    ours = f"206 199 0:57 / /proc rw - proc proc rw\n223 206 {gone}\n"
    assert parse_masks(ours, first) == ()
    assert parse_masks(ours, first.replace("boot-id//", "other//")) == (
        "/proc/sys/kernel/random/boot_id",
    )
