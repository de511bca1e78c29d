"""A kubeadm control-plane node as a file tree, from the recording in tests/data/kubeadm.

A checkout keeps neither modes nor owners nor processes, so they are put on here: modes from
STAT.txt, arguments from CMDLINES.txt. Private keys were never recorded: where one was, it says so.
"""

from __future__ import annotations

import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

DATA = Path(__file__).parent / "data" / "kubeadm"

NOW = "2026-11-22T04:00:00Z"
"""The moment at which the recording is judged: minutes after the cluster was made."""

BOOT = datetime(2026, 11, 22, 3, 50, tzinfo=UTC)
WRITTEN = datetime(2026, 11, 22, 3, 51, tzinfo=UTC)
STARTED = datetime(2026, 11, 22, 3, 53, tzinfo=UTC)
TICKS = os.sysconf("SC_CLK_TCK")

NO_KEY = "-----BEGIN PRIVATE KEY-----\nREDACTED\n-----END PRIVATE KEY-----\n"

LINKS = {
    "var/lib/kubelet/pki/kubelet-client-current.pem": (
        "/var/lib/kubelet/pki/kubelet-client-2026-11-22-03-52-20.pem"
    ),
    "opt/cni/bin": "/usr/lib/cni",
}
FOLDER = {"kubelet": "/usr/bin", "containerd": "/usr/bin"}  # the rest run from their images
FIRST_PID = 1201
OS_RELEASE = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


def build(root: Path) -> Path:
    """Make the tree at `root`, which must not exist yet, and return it."""
    for name in ("etc", "var"):
        shutil.copytree(DATA / name, root / name)
    (root / "etc/hostname").write_text("k8s-node1\n")
    (root / "etc/os-release").write_text(OS_RELEASE)
    for line in (DATA / "STAT.txt").read_text().splitlines():
        kind, mode, _owner, _group, path = line.split(" ", 4)
        _entry(root, path, kind[0], int(mode, 8))
    for key in (*root.glob("etc/kubernetes/pki/**/*.key"), *root.glob("var/lib/kubelet/pki/*")):
        if key.suffix == ".key" or key.name.startswith("kubelet-client-2"):
            with key.open("a") as file:
                file.write(NO_KEY)
    _processes(root)
    _age(root / "etc")
    _age(root / "var")
    return root


def _entry(root: Path, path: str, kind: str, mode: int) -> None:
    """One line of STAT.txt; all of them belong to root, as do we where owners are judged."""
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "l":
        place.symlink_to(LINKS[path])
        return
    if kind == "d":
        place.mkdir(exist_ok=True)
    elif kind == "s":
        os.mknod(place, stat.S_IFSOCK)
    else:
        place.touch()
    place.chmod(mode)


def _processes(root: Path) -> None:
    proc = root / "proc"
    proc.mkdir()
    (proc / "stat").write_text(f"btime {int(BOOT.timestamp())}\n")
    add_process(root, 1, ["/sbin/init"], exe="/usr/lib/systemd/systemd", ppid=0, started=BOOT)
    for number, line in enumerate((DATA / "CMDLINES.txt").read_text().splitlines()):
        argv = line.split()
        folder = FOLDER.get(argv[0], "/usr/local/bin")
        add_process(root, FIRST_PID + number, argv, exe=f"{folder}/{argv[0]}")


def add_process(
    root: Path,
    pid: int,
    argv: list[str],
    *,
    exe: str,
    ppid: int = 1,
    uid: int = 0,
    started: datetime = STARTED,
) -> Path:
    """proc/<pid> with cmdline, comm, exe, stat and status, as proc(5) describes them."""
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    comm = exe.rpartition("/")[2][:15]
    ticks = int((started - BOOT).total_seconds() * TICKS)
    (folder / "cmdline").write_bytes(b"".join(os.fsencode(a) + b"\0" for a in argv))
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "exe").symlink_to(exe)
    (folder / "stat").write_text(f"{pid} ({comm}) S {ppid}{' 0' * 17} {ticks}{' 0' * 30}\n")
    ids = f"{uid}\t{uid}\t{uid}\t{uid}"
    (folder / "status").write_text(
        f"Name:\t{comm}\nPid:\t{pid}\nPPid:\t{ppid}\nUid:\t{ids}\nGid:\t{ids}\n"
    )
    return folder


def _age(top: Path) -> None:
    """Every file was written before the daemons started."""
    written = WRITTEN.timestamp()
    for folder, _, files in os.walk(top):
        for name in files:
            os.utime(Path(folder, name), (written, written), follow_symlinks=False)
        os.utime(folder, (written, written))
