"""Debian's PostgreSQL on a socket in a folder of its own, as its own user; needs root."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of an empty database. Commits wait for the disk, as by default."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    folder.mkdir()
    shutil.chown(folder, "postgres")
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(program: str, *arguments: str) -> None:
        command = [*user, str(binaries[-1] / program), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run("initdb", "-D", "data", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    command = [*user, str(binaries[-1] / "postgres"), "-D", "data", *options]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*command, f"--unix_socket_directories={folder}"], cwd=folder, stdout=log, stderr=log
        )
    try:
        while not (folder / ".s.PGSQL.5432").exists():
            time.sleep(0.1)
        time.sleep(0.5)
        run("createdb", "-h", str(folder), "bench")
        yield f"postgresql://postgres@/bench?host={folder}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
