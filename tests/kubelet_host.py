"""A host with a stand-in kubelet, in namespaces of its own; one scan of it.

    python kubelet_host.py FOLDER ARG...     FOLDER: see kubelet_standin.py; ARG...: for the scan,
                                             or for the program that STANDIN_RUN names

A folder within it that holds a listen.txt is a further kubelet. One with a `private.yaml` sees that
as its configuration, and one with a `private-network` lives in a network of its own.

Run as the first process of new mount, pid and network namespaces: this machine's /etc and
/var/lib are hidden under copies that live as long as these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import kubelet_standin

HERE = Path(__file__).parent
CHECKOUT = HERE.parent


def hide(place: str, copy: Path) -> None:
    """Show `copy` where `place` is."""
    subprocess.run(["mount", "--bind", str(copy), place], check=True)


def main() -> int:
    folder, *arguments = sys.argv[1:]
    recording = Path(folder)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    etc, lib = recording / "etc", recording / "lib"
    (etc / "kubernetes" / "pki").mkdir(parents=True)
    (lib / "kubelet").mkdir(parents=True)
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "python3.11"):
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, etc / name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, etc / name)
    (etc / "hostname").write_text("k8s-node1\n")
    if (recording / "config.yaml").exists():
        shutil.copy2(recording / "config.yaml", lib / "kubelet" / "config.yaml")
    if (recording / "ca.crt").exists():
        shutil.copy2(recording / "ca.crt", etc / "kubernetes" / "pki" / "ca.crt")
    if (recording / "presented.crt").exists():  # what lies on the node as the kubelet's own
        (lib / "kubelet" / "pki").mkdir(mode=0o755)
        shutil.copy2(recording / "presented.crt", lib / "kubelet" / "pki" / "kubelet.crt")
    hide("/etc", etc)
    hide("/var/lib", lib)
    if (recording / "network.sh").exists():
        subprocess.run(["sh", "-e", str(recording / "network.sh")], check=True)
    kubelet = start(recording)
    others = [start(place.parent) for place in sorted(recording.glob("*/listen.txt"))]
    if (recording / "later.yaml").exists():  # the file is changed under the running kubelet
        config = lib / "kubelet" / "config.yaml"
        config.write_bytes((recording / "later.yaml").read_bytes())
        moment = time.time() + 60
        os.utime(config, (moment, moment))
    place = recording / "stranger"
    stranger = serve_as_a_stranger(place.read_text()) if place.exists() else None
    try:
        program = os.environ.get("STANDIN_RUN")
        what = [program] if program else ["-m", "nodeward.cli", "scan"]
        scan = [sys.executable, *what, *arguments]
        return subprocess.run(scan, env=environment(), check=False).returncode
    finally:
        for process in (kubelet, *others, stranger):
            if process is not None:
                process.kill()
                process.wait()


def serve_as_a_stranger(place: str) -> subprocess.Popen[bytes]:
    """Another program on this ADDRESS:PORT (of loopback without one; "": on 10255 everywhere),
    which answers 200 to everything."""
    address, _, port = place.rpartition(":")
    where = (address or "127.0.0.1", int(port)) if port else ("0.0.0.0", 10255)
    program = (
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        f"s = h.HTTPServer({where}, A)\n"
        "print('ready', flush=True)\n"
        "s.serve_forever()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert other.stdout is not None
    if other.stdout.readline() != b"ready\n":
        raise RuntimeError("the stranger did not start")
    return other


def environment() -> dict[str, str]:
    ours = os.pathsep.join(str(CHECKOUT / part) for part in ("probes", "agent", "collector"))
    return {**os.environ, "PYTHONPATH": ours, "NODEWARD_METADATA": "off"}


def start(recording: Path) -> subprocess.Popen[str]:
    """The copy of the interpreter, once it listens on every port."""
    program = recording / "binaries" / "v1.36.2" / "kubelet"  # where its version is told
    program.parent.mkdir(parents=True)
    shutil.copy2(Path(sys.executable).resolve(), program)
    words = kubelet_standin.command((recording / "cmdline.args.txt").read_text().splitlines())
    kubelet = subprocess.Popen(
        words if not (recording / "private.yaml").exists() else _apart(recording, program, words),
        executable=None if (recording / "private.yaml").exists() else program,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONHOME": sys.base_prefix,
            "PYTHONPATH": os.pathsep.join([sysconfig.get_paths()["purelib"], str(HERE)]),
            "STANDIN": str(recording),
        },
    )
    assert kubelet.stdout is not None
    if kubelet.stdout.readline() != "ready\n":
        raise RuntimeError("the stand-in did not start")
    return kubelet


def _apart(recording: Path, program: Path, words: list[str]) -> list[str]:
    """The same in a mount namespace of its own, where another file stands for its configuration."""
    script = 'mount --bind "$1" /var/lib/kubelet/config.yaml && shift && exec -a kubelet "$@"'
    namespaces = ["--mount"]
    if (recording / "private-network").exists():
        script, namespaces = f"ip link set lo up && {script}", ["--mount", "--net"]
    private = str(recording / "private.yaml")
    return ["unshare", *namespaces, "bash", "-c", script, "sh", private, str(program), *words[1:]]


if __name__ == "__main__":
    sys.exit(main())
