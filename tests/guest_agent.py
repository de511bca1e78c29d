"""Runs as the guest's only program: answers one JSON call a line on a serial port.

Imported by nothing on the host; tests/guest.py puts it into the guest with nodeward beside it.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import fcntl
import gzip
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import termios
import threading
import traceback
import tty
from collections.abc import Callable
from typing import Any

from module_events import parse_exec
from nodeward.agent.netlink import Events
from nodeward.facts.exposure import expose
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.load_switches import switched_off
from nodeward.facts.module_fix import fix
from nodeward.facts.module_requests import BY_NAME
from nodeward.host import LiveHost
from nodeward.model import Absent
from nodeward.probes.kernel_modules import read_kernel_modules

RELEASE = os.uname().release
FOLDER = f"/usr/lib/modules/{RELEASE}"
WATCHED = ("dccp", "dccp_ipv4", "dccp_ipv6", "dccp_diag", "sctp", "sctp_diag", "tipc", "rds")
# What makes each protocol usable, and what the kernel asks for until it is there.
ASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sock4-dccp": ("dccp_ipv4", ("net-pf-2-proto-33-type-6", "net-pf-2-proto-33")),
    "sock6-dccp": ("dccp_ipv6", ("net-pf-10-proto-33-type-6", "net-pf-10-proto-33")),
    "sock4-dccp-p0": ("dccp_ipv4", ("net-pf-2-proto-0-type-6", "net-pf-2-proto-0")),
    "userns-dccp": ("dccp_ipv4", ("net-pf-2-proto-33-type-6", "net-pf-2-proto-33")),
    "sock4-sctp": ("sctp", ("net-pf-2-proto-132-type-1", "net-pf-2-proto-132")),
    "sock6-sctp": ("sctp", ("net-pf-10-proto-132-type-1", "net-pf-10-proto-132")),
    "seq4-sctp": ("sctp", ("net-pf-2-proto-132-type-5", "net-pf-2-proto-132")),
    "userns-sctp": ("sctp", ("net-pf-2-proto-132-type-1", "net-pf-2-proto-132")),
    "sock-tipc": ("tipc", ("net-pf-30",)),
    "sock-rds": ("rds", ("net-pf-21",)),
}
SOCKETS = {
    "sock4-dccp": (2, 6, 33), "sock6-dccp": (10, 6, 33), "sock4-dccp-p0": (2, 6, 0),
    "userns-dccp": (2, 6, 33), "sock4-sctp": (2, 1, 132), "sock6-sctp": (10, 1, 132),
    "seq4-sctp": (2, 5, 132), "userns-sctp": (2, 1, 132), "sock-tipc": (30, 5, 0),
    "sock-rds": (21, 5, 0),
}  # fmt: skip


def cipher(kind: str, name: str) -> None:
    """bind() of an AF_ALG socket: algif-KIND, and crypto-NAME."""
    with socket.socket(38, 5, 0) as sock:
        sock.bind((kind, name))


def mount_in_userns(kind: str) -> None:
    """mount() with the capabilities of a user namespace: fs-KIND."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x00020000):  # CLONE_NEWUSER | CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    if libc.mount(b"none", b"/tmp", kind.encode(), 0, None):
        raise OSError(ctypes.get_errno(), "mount")


def ask_for_bridges() -> None:
    """ioctl(SIOCGIFBR) of any socket: bridge."""
    with socket.socket() as sock:
        fcntl.ioctl(sock, 0x8940, bytes(24))


def line_discipline(number: int) -> None:
    """ioctl(TIOCSETD) of a terminal of one's own: tty-ldisc-N."""
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSETD, number.to_bytes(4, "little"))


OTHER_WAYS: dict[str, Callable[[], None]] = {
    "algif-hash": lambda: cipher("hash", "md4"),
    "crypto-md4": lambda: cipher("hash", "md4"),
    "fs-udf": lambda: mount_in_userns("udf"),
    "bridge": ask_for_bridges,
    "tty-ldisc-1": lambda: line_discipline(1),
}


def loaded() -> list[str]:
    """The names in /proc/modules."""
    with open("/proc/modules") as file:
        return [line.split()[0] for line in file]


def upstream() -> None:
    """Give the DCCP modules the aliases that Debian takes out."""
    for folder, _, names in os.walk("/upstream"):
        for name in names:
            inside = os.path.relpath(f"{folder}/{name}", "/upstream")
            shutil.copy(f"{folder}/{name}", f"{FOLDER}/{inside}")


def put(files: dict[str, str | None], sysctl: dict[str, str]) -> None:
    """Write a scenario: "-> x" is a link, None takes a file away; then the kernel's settings."""
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if text is None:
            os.unlink(path)
        elif text.startswith("-> "):
            os.symlink(text[3:], path)
        else:
            with open(path, "wb") as file:
                file.write(text.encode())
    for key, value in sysctl.items():
        fd = os.open("/proc/sys/" + key.replace(".", "/"), os.O_WRONLY)
        os.write(fd, value.encode() + b"\n")
        os.close(fd)


def look() -> KernelModules:
    """nodeward's own look at this guest."""
    gone = Absent("pods")
    found = read_kernel_modules.read(LiveHost("/"), gone, gone, gone)
    assert isinstance(found, KernelModules)
    return found


def foretell(trigger: str) -> dict[str, Any]:
    """What nodeward says will come of a trigger: the socket's success, and what is loaded then."""
    node = look()
    variants = list(node.variants())
    # kmod may hide a file behind a dangling link or not: no scenario here has one.
    variant = variants[0]
    there = set(node.live_names)
    engine = variant.engine
    if trigger in ASKS:
        wanted, names = ASKS[trigger]
        unclear = False
        if wanted not in there and switched_off(node, variant) is None:
            for name in names:
                run = engine.run(name)
                unclear |= bool(run.unclear)
                there |= set(run.inserted)
                if wanted in there:
                    break
        return {"ok": wanted in there, "loaded": watched(there), "unclear": unclear}
    run = engine.play(trigger.removeprefix("modprobe-"))
    there |= set(run.inserted)
    return {"ok": None, "loaded": watched(there), "unclear": bool(run.unclear)}


def watched(names: Any) -> list[str]:
    return sorted(set(names) & set(WATCHED))


def fire(trigger: str) -> dict[str, Any]:
    """Do it: a socket as an ordinary user, or modprobe as root."""
    if trigger in SOCKETS:
        result = in_child(trigger)
        return {"ok": result == "OK", "errno": result, "loaded": watched(loaded())}
    done = subprocess.run(
        ["/sbin/modprobe", trigger.removeprefix("modprobe-")], capture_output=True, check=False
    )
    return {"ok": None, "errno": f"rc={done.returncode}", "loaded": watched(loaded())}


def other_way(name: str) -> list[str]:
    """What is loaded after an ordinary user has done something else than open a socket of it."""
    in_child(name)
    return watched(loaded())


def in_child(trigger: str) -> str:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
            os.write(write, attempt(trigger).encode())
        finally:
            os._exit(0)
    os.close(write)
    said = os.read(read, 100)
    os.close(read)
    os.waitpid(pid, 0)
    return said.decode()


def attempt(trigger: str) -> str:
    if trigger.startswith("userns-"):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x10000000 | 0x40000000):  # CLONE_NEWUSER | CLONE_NEWNET
            return "unshare " + errno.errorcode[ctypes.get_errno()]
    try:
        if trigger in OTHER_WAYS:
            OTHER_WAYS[trigger]()
        else:
            socket.socket(*SOCKETS[trigger]).close()
    except OSError as exc:
        return errno.errorcode.get(exc.errno or 0, str(exc.errno))
    return "OK"


def scenario(
    files: dict[str, str | None], sysctl: dict[str, str], prepare: list[str], triggers: list[str]
) -> list[dict[str, Any]]:
    """Each trigger in turn: foretold from the state that is there, then done."""
    put(files, sysctl)
    for words in prepare:
        subprocess.run(words.split(), check=False, capture_output=True)
    rows = []
    for trigger in triggers:
        said = foretell(trigger)
        rows.append({"trigger": trigger, "said": said, "did": fire(trigger)})
    return rows


def exposure(component: str) -> list[str]:
    """nodeward's verdict on one component, from inside."""
    found = expose(look(), BY_NAME[component])
    return [str(found.state), found.because]


def mend(component: str) -> list[str]:
    """Write the file that nodeward proposes for a component."""
    file = f"00-nodeward-{component}.conf"
    lines = fix(look(), BY_NAME[component], file)
    put({f"/etc/modprobe.d/{file}": "".join(f"{line}\n" for line in lines)}, {})
    return list(lines)


def heard(trigger: str) -> dict[str, Any]:
    """What the agent's event sockets tell of a trigger: kinds of events, or why there are none."""
    events = Events(["module", "process"], ["kubelet"], "/")
    did = fire(trigger)
    kinds = set()
    for _ in range(20):
        for fd in select.select(list(events.sockets), [], [], 0.25)[0]:
            kinds.add(events.read(fd)[0])
    events.close()
    return {"did": did, "heard": sorted(kinds - {None}), "failed": events.failed}


def attempted(trigger: str) -> dict[str, Any]:
    """What the process connector tells of a trigger while it happens: its messages, and the
    programs that it says have started."""
    events = Events(["process"], [], "/")
    ((_, sock),) = events.sockets.values()
    sock.setblocking(True)
    sock.settimeout(0.5)
    at_it = threading.Thread(target=fire, args=(trigger,))
    at_it.start()
    raw: list[str] = []
    started: list[list[str]] = []
    while at_it.is_alive() or not started:
        try:
            message = sock.recv(65536)
        except TimeoutError:
            continue
        pid = parse_exec(message)
        if pid is not None:
            raw.append(base64.b64encode(message).decode())
            started.append(argv(pid))
    at_it.join()
    events.close()
    return {"raw": raw, "started": started}


def argv(pid: int) -> list[str]:
    """Its arguments; none when it has ended since."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def heard_of(program: str) -> dict[str, Any]:
    """What the agent's process connector tells when a program of this name starts, and when it
    ends. Only a kubelet is of interest."""
    path = f"/tmp/{program}"
    shutil.copy("/bin/busybox", path)
    events = Events(["process"], ["kubelet"], "/")
    sleeper = subprocess.Popen(["sleep", "600"], executable=path)
    started = within_seconds(events)
    sleeper.kill()
    sleeper.wait()
    ended = within_seconds(events)
    events.close()
    return {"started": started, "ended": ended, "failed": events.failed}


def within_seconds(events: Events) -> list[str]:
    """The kinds that are told until nothing has come for a second."""
    kinds: set[str | None] = set()
    while ready := select.select(list(events.sockets), [], [], 1.0)[0]:
        kinds |= {events.read(fd)[0] for fd in ready}
    return sorted(kind for kind in kinds if kind)


def main(port: str) -> None:
    fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    termios.tcflush(fd, termios.TCIOFLUSH)
    look()  # all is imported and warm before the state is saved
    send(fd, {"ready": RELEASE})
    buffer = b""
    while True:
        buffer += os.read(fd, 65536)
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            if line.strip():
                send(fd, answer(line))


def answer(line: bytes) -> dict[str, Any]:
    try:
        function, arguments = json.loads(base64.b64decode(line))
        return {"result": globals()[function](*arguments)}
    except BaseException:  # noqa: BLE001  the host wants to see it
        return {"error": traceback.format_exc()}


def send(fd: int, value: object) -> None:
    data = b"@@" + base64.b64encode(gzip.compress(json.dumps(value).encode())) + b"\n"
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    main(sys.argv[1])
