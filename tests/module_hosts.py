"""File trees of hosts for the module tests, from the indexes of a real Debian 12 kernel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nodeward.facts.module_requests import COMPONENTS

DATA = Path(__file__).parent / "data/modules"
LOOKED_AT = {m for c in COMPONENTS for m in c.modules}  # whose files are looked for on the disk
RELEASE = "6.1.0-56-cloud-amd64"
INDEX = DATA / "debian12-cloud-6.1"
UPSTREAM_ALIASES = """alias net-pf-2-proto-33-type-6 dccp_ipv4
alias net-pf-2-proto-0-type-6 dccp_ipv4
alias net-pf-10-proto-33-type-6 dccp_ipv6
alias net-pf-10-proto-0-type-6 dccp_ipv6
"""


def put(root: Path, files: Mapping[str, str]) -> None:
    """Write each file; a relative path lies under /etc/modprobe.d. "-> x" makes a link."""
    for name, text in files.items():
        path = root / (name if name.startswith("/") else f"etc/modprobe.d/{name}").lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_bytes(text.encode())


def debian(root: Path, *, upstream: bool = False, merged: bool = True) -> Path:
    """A Debian 12 node's kernel, modprobe and empty configuration. Returns its module folder."""
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/bin").mkdir()
    (root / "usr/sbin").mkdir()
    for name in ("lib", "bin", "sbin"):
        if merged:
            (root / name).symlink_to(f"usr/{name}")
        else:
            (root / name).mkdir()
    folder = root / f"lib/modules/{RELEASE}"
    folder.mkdir(parents=True)
    for path in INDEX.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if upstream:
        with (folder / "modules.alias").open("a") as file:
            file.write(UPSTREAM_ALIASES)
    for line in (folder / "modules.dep").read_text().splitlines():
        first, _, needs = line.partition(":")
        if Path(first).stem.replace("-", "_") in LOOKED_AT:
            for module in (first, *needs.split()):
                (folder / module).parent.mkdir(parents=True, exist_ok=True)
                (folder / module).touch()
    put(root, {"/proc/sys/kernel/osrelease": f"{RELEASE}\n"})
    for name in ("false", "true", "sh"):
        program = root / f"usr/bin/{name}"
        program.touch()
        program.chmod(0o755)
    (root / "etc/modprobe.d").mkdir(parents=True)
    return folder


def program(root: Path, path: str, body: bytes = b"#!/bin/sh\n", mode: int = 0o755) -> None:
    """An executable file."""
    where = root / path.lstrip("/")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(body)
    os.chmod(where, mode)
