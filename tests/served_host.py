"""Real TLS servers on a host of their own, and one scan of it.

    python served_host.py FOLDER < scenario.json

Run as the first process of new mount, pid and network namespaces. FOLDER holds a node's files
(`root`, see pki_node.py); its /etc and /var/lib hide this machine's. The scenario is
{"servers": [[PROGRAM, ARGUMENT, ...], ...], "ports": [...], "replace": {PATH: TEXT},
"stop": [PROGRAM, ...], "at": RFC3339}: PROGRAM is a copy of openssl by that name, or Debian's
etcd (inside FOLDER/image when there is such a folder); with "-alert NUMBER PORT ..." it answers
every hello with that alert, as Go's server does. `replace` happens once all ports are open, `stop`
freezes. The scan's JSON goes to stdout.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
KEPT = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl/openssl.cnf", "passwd")


ALERTING = """
import socket, sys
number, port = map(int, sys.argv[1:3])
with socket.create_server(("127.0.0.1", port)) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            if connection.recv(16384):
                connection.sendall(bytes([21, 3, 3, 0, 2, 2, number]))
"""


def main() -> int:
    folder = Path(sys.argv[1])
    scenario = json.load(sys.stdin)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hide(folder / "root")
    programs = {}
    try:
        for words in scenario["servers"]:
            programs[words[0]] = start(folder, words)
        for port in scenario["ports"]:
            wait_for(port)
        for path, text in scenario.get("replace", {}).items():
            Path(path).write_text(text)
        for name in scenario.get("stop", []):
            programs[name].send_signal(signal.SIGSTOP)
        return scan(scenario["at"])
    finally:
        for program in programs.values():
            program.kill()
            program.wait()


def hide(root: Path) -> None:
    """Show the node's /etc and /var/lib, with what programs need of this machine's."""
    for name in KEPT:
        source, target = Path("/etc") / name, root / "etc" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.exists():
            shutil.copy2(source, target)
    for place in ("etc", "var/lib"):
        subprocess.run(["mount", "--bind", str(root / place), f"/{place}"], check=True)


def start(folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
    program, *arguments = words
    if program == "etcd" and (folder / "image").is_dir():
        return contained(folder, arguments)
    executable = shutil.which("etcd") if program == "etcd" else str(folder / program)
    assert executable
    if arguments[0] == "-alert":
        shutil.copy2(Path(sys.executable).resolve(), executable)
        arguments = ["-ISc", ALERTING, *arguments[1:]]
    elif program != "etcd":
        shutil.copy2(str(shutil.which("openssl")), executable)
        arguments = ["s_server", "-quiet", *arguments]
    with open(folder / f"{program}.log", "wb") as log:
        return subprocess.Popen(
            [program, *arguments],
            executable=executable,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
        )


def contained(folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """etcd with another root, as a container has: its /certs is no path of the host."""
    image = folder / "image"
    for name in ("usr", "lib", "lib64", "bin"):
        (image / name).mkdir()
        if Path("/", name).exists():
            subprocess.run(["mount", "--rbind", f"/{name}", str(image / name)], check=True)
    with open(folder / "etcd.log", "wb") as log:
        return subprocess.Popen(
            ["chroot", str(image), "/usr/bin/etcd", *arguments], stdout=log, stderr=log
        )


def wait_for(port: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def scan(at: str) -> int:
    ours = os.pathsep.join(str(CHECKOUT / part) for part in ("probes", "agent", "collector"))
    command = [sys.executable, "-m", "nodeward.cli", "scan", "-o", "json", "--at", at]
    command += ["--check", "cert.inuse-mismatch", "--check", "cert.expiry.*"]
    command += ["--check", "cert.webhook"]
    environment = {**os.environ, "PYTHONPATH": ours, "NODEWARD_METADATA": "off"}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
