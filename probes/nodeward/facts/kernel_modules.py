"""Everything on a host that decides which kernel modules a process can have loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property, lru_cache
from typing import ClassVar, NamedTuple

from nodeward.facts import busybox_conf
from nodeward.facts.autoload import Kernel, Modprobe, Program
from nodeward.facts.kernel_guards import ModuleRequests
from nodeward.facts.modprobe_conf import (
    Configuration,
    Entry,
    Habits,
    configure,
    distinct,
    module_blacklist,
)
from nodeward.facts.module_doors import Doors
from nodeward.facts.module_index import Index, Reads, read_index
from nodeward.facts.pods import PodGuards
from nodeward.facts.runtime import Runtime
from nodeward.lazy import dataclass
from nodeward.model import Fact

DEFAULT_MODPROBE = "/sbin/modprobe"  # CONFIG_MODPROBE_PATH unless a distribution says otherwise


class Loaded(NamedTuple):
    """One line of /proc/modules. `taint` are the letters in parentheses ("OE")."""

    name: str
    references: int
    state: str
    taint: str = ""


def parse_proc_modules(raw: bytes) -> tuple[Loaded, ...]:
    """`name size refcount users state address (taint)`."""
    rows = []
    for line in raw.decode("utf-8", "replace").split("\n"):
        words = line.split()
        if len(words) >= 5:
            taint = words[6].strip("()") if len(words) > 6 else ""
            rows.append(
                Loaded(words[0], int(words[2]) if words[2].isdecimal() else 0, words[4], taint)
            )
    return tuple(rows)


def parse_sysctl(raw: bytes) -> Iterator[tuple[str, str, int]]:
    """sysctl.d(5): (key with dots, value, line). A "-" before a key only hides errors."""
    for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), 1):
        text = line.strip()
        key, equals, value = text.partition("=")
        if equals and not text.startswith(("#", ";")):
            yield key.strip().lstrip("-").replace("/", "."), value.strip(), number


@dataclass(frozen=True, slots=True)
class Helper:
    """What the kernel runs for a request: `kernel.modprobe` and the program it leads to.

    `kind`: kmod, busybox, false, true, off (an empty path), missing, not executable, other.
    `setting` is the path as the kernel has it, `real` after all links; `writable` names what a
    user other than root could replace it through, "" when nothing. `dirs` are the modprobe.d
    folders compiled into it, () when it does not tell; `version` is kmod's, None if unknown.
    """

    setting: str = DEFAULT_MODPROBE
    kind: str = "kmod"
    real: str = "/usr/bin/kmod"
    writable: str = ""
    dirs: tuple[str, ...] = ()
    version: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class KernelTree:
    """One kernel's folder under /lib/modules. `files` are depmod's files by name.

    `missing` are module files that the index names and the disk does not have, of those looked
    at; `forgotten` are files that are there and not in the index; `config` holds the build
    options looked at (None: no config file was found).
    """

    release: str
    folder: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    errors: tuple[tuple[str, str], ...] = ()
    missing: frozenset[str] = frozenset()
    forgotten: tuple[str, ...] = ()
    config: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class KernelModules(Fact):
    """All inputs of the verdicts on modules. What could not be read stands in `errors`.

    `habits` are the ways in which modprobe may collect its files: more than one when its version
    is not known. `loaded` is None when it is not known; `modular` is False where the running
    kernel has no loadable modules. `requests` and `pods` say which pods could make a request at
    all, `runtime` whose default filter they have; None: not to be seen, or not there. `banner` is
    /proc/version, "" where it is not to be seen. `boot_sysctl` is what the configuration will
    set at the next boot, with its place. `assumed` names what was taken from the kernel's
    defaults. `memo` keeps what was worked out of all this: judging again costs next to nothing.
    """

    events: ClassVar[tuple[str, ...]] = ("module", "sysctl", "pod")

    live: bool = True
    kernels: tuple[KernelTree, ...] = ()
    habits: tuple[Habits, ...] = ()
    entries: tuple[Entry, ...] = ()
    helper: Helper = field(default_factory=Helper)
    disabled: bool | None = False
    command_line: bytes = b""
    loaded: tuple[Loaded, ...] | None = ()
    built_in: frozenset[str] = frozenset()  # under /sys/module and not in /proc/modules
    modular: bool = True
    line_disciplines: bool = True  # dev.tty.ldisc_autoload: any process may have one loaded
    programs: Mapping[str, bool] = field(default_factory=dict)
    requests: ModuleRequests | None = None
    pods: PodGuards | None = None
    runtime: Runtime | None = None
    banner: str = ""
    boot_sysctl: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    boot_helper: Helper | None = None  # what kernel.modprobe of boot_sysctl leads to
    unapplied: tuple[str, ...] = ()  # lines of /etc/sysctl.conf that the boot does not read
    volatile: frozenset[str] = frozenset()  # files of modprobe.d outside of /run that link into it
    assumed: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    memo: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def live_names(self) -> frozenset[str]:
        """The names of loaded modules."""
        return frozenset(m.name for m in self.loaded or ())

    def fresh(self) -> KernelModules:
        """The same without what was worked out before; parsed indexes are kept."""
        indexes: dict[object, object] = {
            k: v for k, v in self.memo.items() if isinstance(k, tuple) and k[0] == "index"
        }
        return replace(self, memo=indexes)

    def variants(self) -> Iterator[Variant]:
        """Each kernel under each set of folders. ParseError when an index is damaged."""
        for tree in self.kernels:
            for habits in distinct(self.habits, self.entries):
                key = (tree.release, tree.folder, habits)
                kept = self.memo.get(key)
                if not isinstance(kept, Variant):
                    kept = self.memo[key] = self._variant(tree, habits)
                yield kept

    def _variant(self, tree: KernelTree, habits: Habits) -> Variant:
        program = Program.BUSYBOX if self.helper.kind == "busybox" else Program.KMOD
        index = self._index(tree, program)
        conf = self._configuration(tree, habits, program)
        banned = frozenset(module_blacklist(self.command_line))

        def refuses(name: str, path: str) -> str:
            if self.disabled:
                return "kernel.modules_disabled is 1"
            if name in banned:
                return "module_blacklist= of the kernel command line names it"
            if path in tree.missing:
                return f"{path} is not on the disk"
            return ""

        kernel = Kernel(self.live_names, refuses, tree.missing)
        engine = Modprobe(index, conf, kernel, program, self.programs, tree.folder)
        closed = frozenset() if self.line_disciplines else frozenset({"tty-ldisc-"})
        return Variant(tree, habits, index, conf, engine, banned, closed)

    def _configuration(self, tree: KernelTree, habits: Habits, program: Program) -> Configuration:
        if program is Program.BUSYBOX:
            return busybox_conf.configure(self.entries)
        softdep = tree.files.get("modules.softdep")
        return configure(
            self.entries,
            habits,
            softdep=None if softdep is None else (f"{tree.folder}/modules.softdep", softdep),
            command_line=self.command_line,
        )

    def _index(self, tree: KernelTree, program: Program) -> Index:
        reads = Reads.TRIES if self.live else Reads.EITHER
        reads = Reads.TEXTS if program is Program.BUSYBOX else reads
        key = ("index", tree.release, tree.folder, reads)
        kept = self.memo.get(key)
        if not isinstance(kept, Index):
            kept = self.memo[key] = read_index(tree.files, reads)
        return kept


@dataclass(frozen=True)
class Variant:
    """One kernel under one set of folders, ready to be asked.

    `closed` are shapes of names for which this kernel wants a capability. `base` is, of a variant
    to which lines were added that only take away, what it was made from: it has all the doors that
    are left in this one.
    """

    tree: KernelTree
    habits: Habits
    index: Index
    conf: Configuration
    engine: Modprobe
    banned: frozenset[str]
    closed: frozenset[str] = frozenset()
    base: Variant | None = None

    @cached_property
    def doors(self) -> Doors:
        """What may lead to a module besides its own requests."""
        if self.base is not None:
            return self.base.doors
        return Doors(self.engine, self.index, version(self.tree.release), self.closed)

    def plus(self, path: str, lines: Sequence[str]) -> Variant:
        """The same with one more file of configuration, whose lines keep something out."""
        conf = self.conf.plus(path, lines)
        words = [line.split() for line in lines]
        names = frozenset(w[1].replace("-", "_") for w in words if w[0] != "alias")
        request = next((w[1] for w in words if w[0] == "alias"), "")
        engine = self.engine.changed(conf, names, request)
        if sum(w[0] == "alias" for w in words) > 1:
            engine = replace(engine, _runs={})
        return replace(self, conf=conf, engine=engine, base=self.base or self)

    def instead(self, file: str, line: int, lines: Sequence[str]) -> Variant:
        """The same with other lines, that keep something out, in the place of one."""
        conf = self.conf.instead(file, line, lines)
        engine = replace(self.engine, conf=conf, ignores=self.engine.ignoring, _runs={}, _soft={})
        return replace(self, conf=conf, engine=engine, base=self.base or self)

    def having(self, modules: Iterable[str]) -> Variant:
        """The same as if these modules were loaded."""
        kernel = replace(self.engine.kernel, live=self.engine.kernel.live | set(modules))
        engine = replace(self.engine, kernel=kernel, _runs={})
        return replace(self, engine=engine, base=self.base or self)

    def without(self, modules: Sequence[str]) -> Variant:
        """The same as if these modules were not loaded."""
        kernel = replace(self.engine.kernel, live=self.engine.kernel.live - set(modules))
        if kernel.live == self.engine.kernel.live:
            return self
        return replace(self, engine=replace(self.engine, kernel=kernel, _runs={}))


@lru_cache(maxsize=64)
def version(release: str) -> tuple[int, int]:
    """`6.1.0-56-cloud-amd64` -> (6, 1); (0, 0) where it does not begin so."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def parse_build_options(raw: bytes, wanted: Iterable[str]) -> Mapping[str, str]:
    """The wanted CONFIG_ options of a kernel's config: "y", "m", "n" or a text without quotes."""
    found = {}
    for name in wanted:
        at = raw.find(b"CONFIG_%s=" % name.encode())
        while at > 0 and raw[at - 1 : at] != b"\n":
            at = raw.find(b"CONFIG_%s=" % name.encode(), at + 1)
        if at < 0:
            found[name] = "n"
        else:
            line = raw[at : raw.find(b"\n", at) % (len(raw) + 1)]
            found[name] = line.partition(b"=")[2].strip(b'" \r').decode("utf-8", "replace")
    return found
