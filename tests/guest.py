"""A real kernel in QEMU: booted once, saved, and set back to that state for every scenario.

No hardware virtualisation is asked for (many machines that run tests are virtual themselves) and
no disk and no network is given: the whole guest is an archive in memory, made of this machine's
own Python, kmod and busybox, of nodeward, and of Debian's kernel from script/guest-kernel.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KERNEL = ROOT / ".cache/guest-kernel"
AGENT = ROOT / "tests/guest_agent.py"
EVENTS = ROOT / "tests/module_events.py"
QEMU = "qemu-system-x86_64"
UPSTREAM = {"dccp_ipv4": 2, "dccp_ipv6": 10}
"""Modules whose socket aliases Debian takes out, and their address family."""
KEPT = re.compile(
    r"kernel/(?:net/(?:dccp|sctp|tipc|rds|ipv4|ipv6|kcm|smc|key|rxrpc|can|vmw_vsock)|lib|crypto"
    r"|arch/x86/crypto)/"
)
"""Module files that go into the guest; the rest only stands in its index."""
# What the guest's side imports beside nodeward; the rest follows from these.
IMPORTS = (
    "base64, ctypes, errno, fcntl, gzip, json, os, shutil, socket, subprocess, termios, threading,"
    " traceback, tty,"
    " encodings.latin_1, encodings.ascii, zlib,"
    " nodeward.host, nodeward.probes.kernel_modules, nodeward.checks.modules,"
    " nodeward.agent.netlink"
)


def missing() -> str:
    """What keeps the guest from running here; "" when nothing does."""
    if not (KERNEL / "stamp").exists():
        return "script/guest-kernel was not run"
    programs = (QEMU, "qemu-img", "depmod", "modprobe", "objcopy", "busybox")
    gone = [p for p in programs if shutil.which(p, path=_PATH) is None]
    return f"{', '.join(gone)}: not here" if gone else ""


_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


class Archive:
    """A cpio archive in the "newc" form, which the kernel unpacks into memory at boot."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._known: set[str] = set()
        self._size = 0

    def directory(self, path: str) -> None:
        path = path.strip("/")
        if path and path not in self._known:
            self.directory(os.path.dirname(path))
            self._add(path, stat.S_IFDIR | 0o755, b"")

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.directory(os.path.dirname(path))
        self._add(path.strip("/"), stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        self.directory(os.path.dirname(path))
        self._add(path.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def console(self) -> None:
        self.directory("dev")
        self._add("dev/console", stat.S_IFCHR | 0o600, b"", major=5, minor=1)

    def _add(self, path: str, mode: int, data: bytes, *, major: int = 0, minor: int = 0) -> None:
        if path in self._known:
            return
        self._known.add(path)
        self._entry(path, mode, data, len(self._known), major, minor)

    def _entry(
        self, path: str, mode: int, data: bytes, inode: int, major: int = 0, minor: int = 0
    ) -> None:
        name = path.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name), 0)
        self._put(b"070701" + b"".join(b"%08x" % f for f in fields) + name)
        self._put(data)

    def _put(self, data: bytes) -> None:
        self._parts.append(data + bytes(-len(data) % 4))

    def bytes(self) -> bytes:
        """The whole archive, ended as the kernel wants it."""
        self._entry("TRAILER!!!", 0, b"", 0)
        return b"".join(self._parts)


def build(folder: Path) -> None:
    """Make `vmlinuz` and `initrd` in the folder."""
    kernel = next((KERNEL / "root/boot").glob("vmlinuz-*"))
    release = kernel.name.removeprefix("vmlinuz-")
    shutil.copy(kernel, folder / "vmlinuz")
    archive = Archive()
    archive.console()
    for name in ("proc", "sys", "dev", "tmp", "run", "etc/modprobe.d", "usr/lib/modprobe.d",
                 "usr/local/lib/modprobe.d"):  # fmt: skip
        archive.directory(name)
    archive.link("lib", "usr/lib")
    archive.link("sbin", "usr/sbin")
    archive.link("bin", "usr/bin")
    archive.link("lib64", "usr/lib64")
    _programs(archive)
    _python(archive)
    _modules(archive, folder, release)
    archive.file("/agent.py", AGENT.read_bytes())
    archive.file("/module_events.py", EVENTS.read_bytes())
    archive.file("/init", _init().encode(), 0o755)
    (folder / "initrd").write_bytes(archive.bytes())


def _init() -> str:
    python = os.path.realpath(sys.executable)
    return (
        "#!/bin/busybox sh\n"
        "export PATH=/usr/sbin:/usr/bin HOME=/ PYTHONDONTWRITEBYTECODE=1\n"
        f"export PYTHONHOME={sys.base_prefix} PYTHONPATH={ROOT}/probes:{ROOT}/agent\n"
        "busybox mount -t proc proc /proc\nbusybox mount -t sysfs sys /sys\n"
        "busybox mount -t devtmpfs dev /dev\nbusybox mkdir /dev/pts\n"
        "busybox mount -t devpts -o ptmxmode=666 pts /dev/pts\nbusybox ip link set lo up\n"
        f"{python} -S /agent.py /dev/ttyS1 </dev/null\n"
        "echo o >/proc/sysrq-trigger\nbusybox sleep 60\n"
    )


def _programs(archive: Archive) -> None:
    busybox = _which("busybox")
    archive.file("/usr/bin/busybox", busybox.read_bytes(), 0o755)
    for name in ("sh", "false", "true", "echo", "sleep"):
        archive.link(f"/usr/bin/{name}", "busybox")
    kmod = _which("modprobe").resolve()
    archive.file("/usr/bin/kmod", kmod.read_bytes(), 0o755)
    for name in ("modprobe", "insmod", "depmod"):
        archive.link(f"/usr/sbin/{name}", "../bin/kmod")
    for library in _libraries(kmod):
        _library(archive, library)


def _which(name: str) -> Path:
    found = shutil.which(name, path=_PATH)
    assert found is not None, name
    return Path(found)


def _libraries(program: Path) -> list[str]:
    """The files that the loader would map, by the paths under which it looks for them."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    return re.findall(r"(?:=> |^\s*)(/\S+)", done.stdout, re.MULTILINE)


def _library(archive: Archive, path: str) -> None:
    # /lib is a link in the guest: the file goes where it really is, under the name asked for.
    where = re.sub(r"^/(lib|lib64|bin|sbin)/", r"/usr/\1/", path)
    archive.file(where, Path(path).read_bytes(), 0o755)


def _python(archive: Archive) -> None:
    """This interpreter, and of its library the modules that are really imported."""
    program = Path(os.path.realpath(sys.executable))
    archive.file(str(program), program.read_bytes(), 0o755)
    code = f"import {IMPORTS}\nimport sys\n" + (
        "print(*{m.__file__ for m in list(sys.modules.values())"
        " if getattr(m, '__file__', None)}, sep='\\n')"
    )
    environment = {"PYTHONPATH": f"{ROOT}/probes:{ROOT}/agent", "PYTHONHOME": sys.base_prefix}
    done = subprocess.run(
        [program, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    shared = {*_libraries(program)}
    with tempfile.TemporaryDirectory() as scratch:
        for file in sorted(done.stdout.split("\n")):
            if file.endswith(".so"):
                shared |= {*_libraries(Path(file))}
                archive.file(file, Path(file).read_bytes(), 0o755)
            elif file.endswith(".py"):
                archive.file(file, Path(file).read_bytes())
                archive.file(*_compiled(program, file, scratch))
    for package in ("probes", "agent"):
        archive.directory(str(ROOT / package))
    for path in sorted(shared):
        _library(archive, path)


def _compiled(program: Path, file: str, scratch: str) -> tuple[str, bytes]:
    """The byte code, which takes long to make without a real processor."""
    import importlib.util
    import py_compile

    target = importlib.util.cache_from_source(file)
    made = py_compile.compile(
        file,
        cfile=f"{scratch}/one.pyc",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        doraise=True,
    )
    assert made is not None
    return target, Path(made).read_bytes()


def _modules(archive: Archive, folder: Path, release: str) -> None:
    """The kernel's folder twice: as Debian has it, and with upstream's aliases on DCCP."""
    stock = folder / "modules"
    shutil.copytree(KERNEL / "root/lib/modules" / release, stock / "lib/modules" / release)
    depmod = _which("depmod")
    subprocess.run([depmod, "-b", stock, release], check=True, capture_output=True)
    tree = stock / "lib/modules" / release
    for path in sorted(tree.rglob("*")):
        inside = path.relative_to(tree).as_posix()
        if path.is_file() and (KEPT.match(inside) or "/" not in inside):
            archive.file(f"/usr/lib/modules/{release}/{inside}", path.read_bytes())
    for module in _give_aliases(tree):
        inside = module.relative_to(tree).as_posix()
        archive.file(f"/upstream/{inside}", module.read_bytes())
    subprocess.run([depmod, "-b", stock, release], check=True, capture_output=True)
    for path in sorted(tree.glob("modules.*")):
        archive.file(f"/upstream/{path.name}", path.read_bytes())
    shutil.rmtree(stock)


def _give_aliases(tree: Path) -> Iterator[Path]:
    objcopy = _which("objcopy")
    for module, family in UPSTREAM.items():
        path = next(tree.rglob(f"{module}.ko"))
        info = tree / "modinfo"
        subprocess.run([objcopy, "-O", "binary", "--only-section=.modinfo", path, info], check=True)
        for protocol in (33, 0):
            with info.open("ab") as file:
                file.write(b"alias=net-pf-%d-proto-%d-type-6\0" % (family, protocol))
        subprocess.run(
            [objcopy, "--update-section", f".modinfo={info}", path], check=True,
            capture_output=True,
        )  # fmt: skip
        info.unlink()
        yield path


class Guest:
    """One running guest. `ask` runs a function of guest_agent.py in it; always `close`."""

    def __init__(self, image: Path, command_line: str = "") -> None:
        # The paths of unix sockets end at 107 bytes, and pytest's folders are deep.
        self._folder = Path(tempfile.mkdtemp(prefix="nwvm"))
        self._buffer = b""
        disk = self._folder / "state.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "8G"], check=True)
        with (self._folder / "err").open("w") as said:
            self._process = subprocess.Popen(
                self._command(image, command_line, disk),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        try:
            self._monitor = self._connect("m")
            self._serial = self._connect("a")
            self._prompt()
            self.ready = self._receive(600)
        except BaseException:
            self.close()
            raise

    def _command(self, image: Path, command_line: str, disk: Path) -> list[str]:
        folder = self._folder
        arguments = (
            # On a machine that is busy the kernel's timer seems to stand still, and it would panic.
            "no_timer_check "
            "console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0 selinux=0 apparmor=0"
            f" tsc=reliable random.trust_cpu=on {command_line}"
        )
        return [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35,smm=off,vmport=off,hpet=off", "-accel", "tcg,tb-size=256",
            "-cpu", "max", "-smp", "1", "-m", "512", "-net", "none",
            "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"),
            "-append", arguments.strip(),
            "-drive", f"if=none,id=s,format=qcow2,file={disk},cache=unsafe",
            "-serial", f"file:{folder}/console",
            "-chardev", f"socket,id=a,path={folder}/a,server=on,wait=off", "-serial", "chardev:a",
            "-chardev", f"socket,id=m,path={folder}/m,server=on,wait=off",
            "-mon", "chardev=m,mode=readline",
        ]  # fmt: skip

    def _connect(self, name: str) -> socket.socket:
        end = time.monotonic() + 60
        while True:
            door = socket.socket(socket.AF_UNIX)
            try:
                door.connect(str(self._folder / name))
                return door
            except OSError:
                door.close()
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self._folder / "err").read_text()) from None
                time.sleep(0.02)  # QEMU makes its sockets before anything can be awaited

    def _prompt(self, limit: float = 300) -> str:
        text = b""
        self._monitor.settimeout(limit)
        while not text.endswith(b"(qemu) "):
            more = self._monitor.recv(65536)
            if not more:
                raise RuntimeError("QEMU has ended: " + self.console())
            text += more
        return text.decode(errors="replace")

    def _order(self, command: str) -> None:
        self._monitor.sendall(command.encode() + b"\n")
        said = self._prompt()
        if "Error" in said or "error" in said:
            raise RuntimeError(said)

    def save(self, name: str) -> None:
        """Keep the guest's present state under a name."""
        self._order(f"savevm {name}")

    def load(self, name: str) -> None:
        """Set the guest back to a state that was kept."""
        self._order(f"loadvm {name}")
        self._buffer = b""

    def ask(self, function: str, *arguments: object, limit: float = 300) -> Any:
        """Call a function of the guest's agent; arguments and answer are JSON."""
        line = base64.b64encode(json.dumps([function, arguments]).encode())
        assert len(line) < 12_000, "the serial line loses long messages"
        self._serial.sendall(line + b"\n")
        answer = self._receive(limit)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def _receive(self, limit: float) -> Any:
        end = time.monotonic() + limit
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                if b"@@" in line:
                    packed = line.partition(b"@@")[2].strip()
                    return json.loads(gzip.decompress(base64.b64decode(packed)))
                continue
            self._serial.settimeout(max(0.1, end - time.monotonic()))
            try:
                more = self._serial.recv(65536)
            except TimeoutError:
                raise RuntimeError(f"no answer in {limit:g} s: {self.console()}") from None
            if not more:
                raise RuntimeError("the guest has ended: " + self.console())
            self._buffer += more

    def console(self) -> str:
        """The end of what the guest's kernel and agent have printed."""
        try:
            return (self._folder / "console").read_text(errors="replace")[-3000:]
        except OSError:
            return ""

    def close(self) -> None:
        """End the guest; nothing of it is left."""
        self._process.kill()
        self._process.wait()
        for name in ("_monitor", "_serial"):
            if hasattr(self, name):
                getattr(self, name).close()
        shutil.rmtree(self._folder, ignore_errors=True)
