"""Pods made of real containers: Debian's containerd and runc, wired by a CNI plugin.

... python -m imds_lab.containers < scenario > result
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imds_lab.lab import CLOUD4, Lab, lab, look, run, settle

IMAGE = "docker.io/library/busybox:lab"
CNI = "/usr/lib/cni"
CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{folder}/socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""


def image() -> bytes:
    """A docker archive with one layer: a static busybox."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/busybox"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, content in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


class Runtime:
    """A containerd of our own, with everything it writes below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "config.toml").write_text(CONFIG.format(folder=folder))
        self._daemon = subprocess.Popen(
            ["containerd", "--config", str(folder / "config.toml")],
            stderr=(folder / "log").open("w"),
        )
        settle_file(folder / "socket", self._daemon)
        (folder / "image.tar").write_bytes(image())
        self.ctr("images", "import", str(folder / "image.tar"))
        self.containers: list[str] = []
        self.group = f"lab-{os.urandom(4).hex()}"

    def ctr(self, *words: str) -> str:
        argv = ["ctr", "--address", str(self.folder / "socket"), "-n", "k8s.io", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            log = (self.folder / "log").read_text()[-2000:]
            raise RuntimeError(f"{words}: {done.stderr} {log}")
        return done.stdout

    def start(self, name: str, group: str, *options: str) -> int:
        """A container that sleeps; its first process as we see it."""
        sleep = ("/bin/busybox", "sleep", "600")
        self.ctr("run", "-d", "--cgroup", group, *options, IMAGE, name, *sleep)
        self.containers.append(name)
        for line in self.ctr("tasks", "list").splitlines():
            words = line.split()
            if words[0] == name:
                return int(words[1])
        raise RuntimeError(f"{name} does not run")

    def wire(self, name: str, pid: int, data: Path) -> None:
        """CNI ADD with the bridge plugin, as a container runtime does it."""
        config = {
            "cniVersion": "0.4.0", "name": "pods", "type": "bridge", "bridge": "cni0",
            "isGateway": True,
            "ipam": {
                "type": "host-local", "dataDir": str(data),
                "ranges": [[{"subnet": "10.244.9.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        }  # fmt: skip
        environment = {
            "CNI_COMMAND": "ADD", "CNI_CONTAINERID": name, "CNI_NETNS": f"/proc/{pid}/ns/net",
            "CNI_IFNAME": "eth0", "CNI_PATH": CNI, "PATH": os.environ["PATH"],
        }  # fmt: skip
        done = subprocess.run(
            [f"{CNI}/bridge"], input=json.dumps(config), env=environment, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def end(self) -> None:
        for name in self.containers:
            self.ctr("tasks", "kill", "-s", "KILL", name)
            self.ctr("tasks", "delete", "--force", name)
            self.ctr("containers", "delete", name)
        self._daemon.send_signal(signal.SIGTERM)
        self._daemon.wait()
        for top in Path("/sys/fs/cgroup").glob(f"**/{self.group}"):
            for group in sorted(top.rglob("*/"), reverse=True):
                group.rmdir()
            top.rmdir()


def settle_file(path: Path, daemon: subprocess.Popen[bytes]) -> None:
    """Wait until a daemon answers at its socket."""
    import socket
    import time

    end = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_UNIX) as sock:
            if path.exists() and sock.connect_ex(str(path)) == 0:
                return
        if daemon.poll() is not None or time.monotonic() > end:
            raise RuntimeError("containerd does not start")
        time.sleep(0.05)


@contextmanager
def runtime(folder: Path) -> Iterator[Runtime]:
    made = Runtime(folder)
    try:
        yield made
    finally:
        made.end()


def pods(made: Lab, containerd: Runtime, names: Sequence[str], on_host: Sequence[str]) -> None:
    """One container a pod, in the cgroup and with the log folder that a kubelet would give it."""
    for number, name in enumerate([*names, *on_host], 1):
        uid = f"5e0a1b2c-0000-4000-8000-{number:012x}"
        namespace, _, short = name.partition("/")
        Path(f"/var/log/pods/{namespace}_{short}_{uid}").mkdir(parents=True)
        host = ("--net-host",) if name in on_host else ()
        group = f"/{containerd.group}/kubepods/besteffort/pod{uid}/{os.urandom(32).hex()}"
        pid = containerd.start(short, group, *host)
        if not host:
            containerd.wire(short, pid, made.folder / "ipam")
            settle(pid, [CLOUD4])


def play(scenario: dict[str, Any]) -> dict[str, Any]:
    with lab() as made:
        made.cloud(scenario["services"], scenario["closed"])
        with runtime(made.folder / "containerd") as containerd:
            pods(made, containerd, scenario["names"], scenario["on_host"])
            for argv in scenario["rules"]:
                run(*argv[:-1], text=argv[-1])
            result = look(scenario)
        result["requests"] = made.requests()
    return result
