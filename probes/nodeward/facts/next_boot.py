"""The host as its next boot finds it, and what that boot loads by name, asked for or not. Pure.

Rules of modules-load.d from systemd's src/modules-load/modules-load.c and modules-load.d(5): a name
a line, "#" and ";" begin comments, a higher folder's file hides a lower one's of the same name.
Loading is libkmod's with KMOD_PROBE_APPLY_BLACKLIST (src/shared/module-util.c), thus `modprobe -b
NAME`: a blacklisted module is skipped, what another needs is not. It runs before the sysctls are
set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

from nodeward.facts.kernel_modules import DEFAULT_MODPROBE, Helper, KernelModules
from nodeward.facts.modprobe_conf import COMMAND_LINE, Entry, Kind, kernel_words
from nodeward.facts.module_index import normal
from nodeward.lazy import dataclass
from nodeward.model import Fact

KEYS = frozenset({"modules_load", "rd.modules_load"})


class Listed(NamedTuple):
    """A name that the boot loads, and where it stands."""

    name: str
    place: str


class Comes(NamedTuple):
    """A module that the boot brings in for a name. `unclear` says why that cannot be told."""

    module: str
    listed: Listed
    unclear: str = ""


@dataclass(frozen=True, slots=True)
class ModulesLoad(Fact):
    """`unread` are files that could not be read: (path, why)."""

    events: ClassVar[tuple[str, ...]] = ("module",)

    listed: tuple[Listed, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()


def parse_list(raw: bytes, file: str) -> Iterator[Listed]:
    """The names of one file."""
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), 1):
        name = line.strip()
        if name and name[0] not in "#;":
            yield Listed(name, f"{file}:{number}")


def on_command_line(raw: bytes) -> Iterator[Listed]:
    """`modules_load=a,b`, also with "-" for "_", and the initial RAM disk's `rd.modules_load=`."""
    for word in kernel_words(raw):
        key, _, names = word.partition("=")
        if key.replace("-", "_") in KEYS:
            yield from (Listed(name, COMMAND_LINE) for name in names.split(",") if name)


def next_boot(node: KernelModules) -> KernelModules:
    """This host with nothing in /run and the sysctls that its files set. Kept."""
    kept = node.memo.get("next boot")
    if not isinstance(kept, KernelModules):
        kept = node.memo["next boot"] = _rebooted(node)
    return kept


def _rebooted(node: KernelModules) -> KernelModules:
    disabled, _ = node.boot_sysctl.get("kernel.modules_disabled", ("0", ""))
    modprobe, _ = node.boot_sysctl.get("kernel.modprobe", (DEFAULT_MODPROBE, ""))
    helper = node.helper
    if helper.setting != modprobe:
        kinds = {"": "off", DEFAULT_MODPROBE: "kmod", "/bin/false": "false", "/bin/true": "true"}
        helper = Helper(modprobe, kinds.get(modprobe, "other"), "")
        if node.boot_helper is not None and node.boot_helper.setting == modprobe:
            helper = node.boot_helper
    entries = tuple(
        Entry(e.path, Kind.DANGLING) if e.path in node.volatile else e
        for e in node.entries
        if not e.path.startswith("/run/")
    )
    later = (entries, disabled == "1", helper)
    if later == (node.entries, node.disabled, node.helper):
        return node  # a boot changes nothing: nor has anything to be judged again
    return replace(node, entries=entries, disabled=disabled == "1", helper=helper).fresh()


def at_boot(node: KernelModules, load: ModulesLoad) -> tuple[Comes, ...]:
    """What the next boot brings in by name. ParseError when an index is damaged."""
    listed = (*on_command_line(node.command_line), *load.listed)
    if not listed or not node.modular:
        return ()
    empty = replace(next_boot(node), loaded=(), disabled=False).fresh()
    return tuple(dict.fromkeys(_brought(empty, listed)))


def _brought(node: KernelModules, listed: Sequence[Listed]) -> Iterator[Comes]:
    if not any(tree.files for tree in node.kernels):
        why = "there is no index of modules in this tree"
        yield from (Comes(normal(row.name) or row.name, row, why) for row in listed)
    for variant in node.variants():
        for row in listed:
            run = variant.engine.play(row.name, blacklist=True)
            yield from (Comes(module, row) for module in run.inserted)
            if run.unclear:
                dark = sorted(run.touched - set(run.inserted))
                yield from (Comes(module, row, run.unclear[0]) for module in dark)
