"""The engine says of every measured row what a real kernel did.

The rows were measured on Debian's 6.1 cloud kernel with kmod 30: one trigger under one
configuration in a fresh virtual machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from module_hosts import DATA, debian, put
from nodeward.agent.runner import Looker
from nodeward.facts.autoload import Modprobe, Run
from nodeward.facts.kernel_modules import KernelModules, Variant
from nodeward.facts.load_switches import switched_off
from nodeward.host import TreeHost
from nodeward.model import Seen

WATCHED = {"dccp", "dccp_ipv4", "dccp_ipv6", "dccp_diag", "sctp", "sctp_diag"}
ROWS = [json.loads(line) for line in (DATA / "module-autoload.jsonl").read_text().splitlines()]
CASES = [row for row in ROWS if row["kind"] == "case"]

# What each trigger makes the kernel ask for, in order, until a module has come.
ASKS = {
    "sock4-dccp": ("net-pf-2-proto-33-type-6", "net-pf-2-proto-33"),
    "sock6-dccp": ("net-pf-10-proto-33-type-6", "net-pf-10-proto-33"),
    "sock4-dccp-p0": ("net-pf-2-proto-0-type-6", "net-pf-2-proto-0"),
    "userns-dccp": ("net-pf-2-proto-33-type-6", "net-pf-2-proto-33"),
    "sock4-sctp": ("net-pf-2-proto-132-type-1", "net-pf-2-proto-132"),
    "sock6-sctp": ("net-pf-10-proto-132-type-1", "net-pf-10-proto-132"),
    "seq4-sctp": ("net-pf-2-proto-132-type-5", "net-pf-2-proto-132"),
    "userns-sctp": ("net-pf-2-proto-132-type-1", "net-pf-2-proto-132"),
    "diag-dccp": (),  # guarded on this kernel: asked for only once the protocol is there
    "diag-sctp": (),
}


def host_of(row: dict[str, Any], root: Path) -> KernelModules:
    """A tree at rest as the row's guest was, and what nodeward reads from it."""
    folder = debian(root, upstream=row["base"] == "up")
    put(root, row["files"])
    extra = row["extra"]
    if "symlink('/dev/null'" in extra:
        (root / "etc/modprobe.d/zz.conf").symlink_to("/dev/null")
    elif "chmod" in extra:
        (root / "etc/modprobe.d/zz.conf").chmod(0)
    elif "sysctl('kernel.modprobe'" in extra:
        value = extra.partition("','")[2].removesuffix("')").replace("\\n", "")
        put(root, {"/proc/sys/kernel/modprobe": f"{value}\n"})
    elif "modules_disabled" in extra:
        put(root, {"/proc/sys/kernel/modules_disabled": "1\n"})
    elif "unlink(ko('sctp'))" in extra:
        _forget(folder, "sctp")
    elif "modprobe','sctp_diag'" in extra:
        inserted = engine_of(read(root)).play("sctp_diag").inserted
        lines = [f"{m} 1 0 - Live 0x0000000000000000\n" for m in inserted]
        put(root, {"/proc/modules": "".join(lines)})
    else:
        assert not extra, extra
    if row["case"].startswith("cmdline "):
        put(root, {"/proc/cmdline": f"quiet {row['case'][8:]}\n"})
    return read(root)


def _forget(folder: Path, module: str) -> None:
    """As after `rm` of the module's file and depmod."""
    for name in ("modules.dep", "modules.alias", "modules.symbols"):
        text = (folder / name).read_text().splitlines(keepends=True)
        kept = [x for x in text if f"/{module}.ko:" not in x and x.split()[-1] != module]
        (folder / name).write_text("".join(kept))
    next(folder.rglob(f"{module}.ko")).unlink()


def read(root: Path) -> KernelModules:
    reading = Looker(TreeHost(root)).look(KernelModules)
    assert isinstance(reading, Seen), reading
    assert isinstance(reading.fact, KernelModules)
    return reading.fact


def variant_of(node: KernelModules) -> Variant:
    variants = list(node.variants())
    # kmod's version is not known in a tree: kmod 30's folders are the ones that were measured.
    return next((v for v in variants if "/usr/local/lib/modprobe.d" in v.habits.dirs), variants[0])


def engine_of(node: KernelModules) -> Modprobe:
    return variant_of(node).engine


def foretold(node: KernelModules, trigger: str) -> set[str]:
    """The watched modules that the engine says are in the kernel after the trigger."""
    there = set(node.live_names)
    engine = engine_of(node)
    if trigger in ASKS:
        if switched_off(node, variant_of(node)) is None:
            for name in ASKS[trigger]:
                run = engine.run(name)
                assert not run.unclear
                there |= set(run.inserted)
                if run.inserted:
                    break
        return there & WATCHED
    return (there | set(_by_root(engine, trigger))) & WATCHED


def _by_root(engine: Modprobe, trigger: str) -> list[str]:
    tool, _, rest = trigger.partition("-")
    if tool == "insmod":
        refused = engine.kernel.refuses(rest, engine.path(rest) or "")
        return [] if refused else [rest]
    run: Run = engine.play(
        rest.removeprefix("b-").removeprefix("i-"),
        ignore_install=rest.startswith("i-"),
        blacklist=rest.startswith("b-"),
    )
    return run.inserted


@pytest.mark.parametrize("row", CASES, ids=lambda r: f"{r['base']}: {r['case']}: {r['trigger']}")
def test_the_engine_foretells_what_was_loaded(row: dict[str, Any], tmp_path: Path) -> None:
    node = host_of(row, tmp_path)
    assert foretold(node, row["trigger"]) == set(row["loaded"])


def test_all_measured_rows_are_here() -> None:
    assert len(CASES) == 137
