"""Read what decides which kernel modules can be loaded."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from posixpath import join

from nodeward.facts.autoload import Modprobe
from nodeward.facts.build_options import BUILT_BY
from nodeward.facts.errors import ParseError
from nodeward.facts.install_command import FALSE, TRUE, paths
from nodeward.facts.kernel_guards import ModuleRequests
from nodeward.facts.kernel_modules import (
    DEFAULT_MODPROBE,
    Helper,
    KernelModules,
    KernelTree,
    Loaded,
    parse_build_options,
    parse_proc_modules,
    parse_sysctl,
)
from nodeward.facts.modprobe_conf import (
    Entry,
    parse,
)
from nodeward.facts.module_index import BINARY, BUILT_IN_FILES, TEXT
from nodeward.facts.module_requests import COMPONENTS
from nodeward.facts.pods import PodGuards
from nodeward.facts.runtime import Runtime
from nodeward.host import Host, HostError, MissingError
from nodeward.host.modprobe import WhatProgram
from nodeward.model import Absent, Unreadable
from nodeward.probes import modprobe_d
from nodeward.probes.registry import probe

SYSCTL_DIRS = ("/etc/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
SYSCTLS = ("kernel.modprobe", "kernel.modules_disabled")
OLD_SYSCTL = "/etc/sysctl.conf"
# systemd's reads sysctl.d alone: the old file only where a link there leads to it, as it did in
# distributions until about 2024. All others (procps, OpenRC, BusyBox) read it last.
SYSTEMD_SYSCTL = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")
OTHER_SYSCTL = ("/sbin/sysctl", "/usr/sbin/sysctl", "/bin/sysctl")
INDEX_LIMIT = 64 << 20
OPTIONS = (
    "MODULES",
    "STATIC_USERMODEHELPER",
    "STATIC_USERMODEHELPER_PATH",
    "MODULE_SIG_FORCE",
    "MODPROBE_PATH",
)


class Notes:
    """What went wrong, and what was taken for granted, on the way."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []
        self.assumed: list[str] = []

    def read(self, host: Host, path: str, *, limit: int = 1 << 20) -> bytes | None:
        """A file, or None when it is not there; what cannot be read is noted too."""
        try:
            return host.read(path, limit=limit)
        except MissingError:
            return None
        except HostError as exc:
            self.errors.append((exc.path, exc.why))
            return None


@probe
def read_kernel_modules(
    host: Host,
    requests: ModuleRequests | Absent | Unreadable,
    pods: PodGuards | Absent | Unreadable,
    runtime: Runtime | Absent | Unreadable,
) -> KernelModules:
    found = _with_files(host, _inputs(host))
    return replace(
        found,
        requests=requests if isinstance(requests, ModuleRequests) else None,
        pods=pods if isinstance(pods, PodGuards) else None,
        runtime=runtime if isinstance(runtime, Runtime) else None,
    )


def _inputs(host: Host) -> KernelModules:
    notes = Notes()
    loaded, modular = _loaded(host, notes)
    helper = _helper(host, notes)
    folders = modprobe_d.folders(host)
    entries: tuple[Entry, ...] = (
        *(e for f in dict.fromkeys(folders.values()) for e in modprobe_d.entries_in(host, f)),
        *modprobe_d.old_file(host, helper),
    )
    if helper.kind == "busybox":
        entries = modprobe_d.with_included(host, entries)
    boot_sysctl = _boot_sysctl(host)
    boot_helper = _boot_helper(host, boot_sysctl, helper)
    wanted = _wanted({h.kind for h in (helper, boot_helper) if h is not None}, entries)
    return KernelModules(
        live=host.live,
        kernels=_kernels(host, notes, wanted, _options(modular=modular)),
        habits=modprobe_d.habits_of(helper, folders),
        entries=entries,
        helper=helper,
        disabled=_disabled(host, notes),
        command_line=_command_line(host, notes),
        loaded=loaded,
        built_in=_built_in(host, loaded or ()),
        modular=modular,
        line_disciplines=_line_disciplines(host),
        programs=_programs(host, entries, notes),
        banner=_banner(host),
        boot_sysctl=boot_sysctl,
        boot_helper=boot_helper,
        unapplied=_unapplied(host, boot_sysctl),
        volatile=frozenset(e.path for e in entries if _in_run(host, e)),
        assumed=tuple(notes.assumed),
        errors=tuple(notes.errors),
    )


def _loaded(host: Host, notes: Notes) -> tuple[tuple[Loaded, ...] | None, bool]:
    """/proc/modules, and whether the running kernel has loadable modules at all."""
    try:
        return parse_proc_modules(host.read("/proc/modules", limit=4 << 20)), True
    except MissingError:
        if host.live and _is(host, "/proc/sys/kernel"):
            return (), _is(host, "/proc/sys/kernel/modprobe")
        if host.live:
            notes.errors.append(("/proc/modules", "no /proc here"))
            return None, True
        notes.assumed.append("nothing is loaded (no /proc/modules in this tree)")
        return (), True
    except HostError as exc:
        notes.errors.append((exc.path, exc.why))
        return None, True


def _is(host: Host, path: str) -> bool:
    try:
        host.stat(path)
    except HostError:
        return False
    return True


def _helper(host: Host, notes: Notes) -> Helper:
    before = len(notes.errors)
    raw = notes.read(host, "/proc/sys/kernel/modprobe")
    for path, why in notes.errors[before:]:  # no default is taken for what nobody could read
        return Helper("", "kmod", "", error=f"{path}: {why}")
    if raw is None:
        setting = DEFAULT_MODPROBE
        notes.assumed.append(f"kernel.modprobe is {setting}, the kernel's default")
    else:
        setting = raw.decode("utf-8", "surrogateescape").rstrip("\n")
    if not setting:
        return Helper(setting, "off", "")
    try:
        found = host.ask(WhatProgram(setting))
    except HostError as exc:
        return Helper(setting, "other", "", error=f"{exc.path}: {exc.why}")
    if found.kind == "missing" and raw is None:
        notes.assumed.append("modprobe is kmod (none in this tree)")
        return Helper(setting, "kmod", "", found.writable)
    return Helper(setting, found.kind, found.real, found.writable, found.dirs, found.version)


def _disabled(host: Host, notes: Notes) -> bool | None:
    raw = notes.read(host, "/proc/sys/kernel/modules_disabled")
    return raw is not None and raw.strip() == b"1"


def _line_disciplines(host: Host) -> bool:
    """Whether a terminal loads one for any process: the kernel's default, before 5.1 always."""
    try:
        return host.read("/proc/sys/dev/tty/ldisc_autoload").strip() != b"0"
    except HostError:
        return True


def _command_line(host: Host, notes: Notes) -> bytes:
    raw = notes.read(host, "/proc/cmdline")
    if raw is None:
        notes.assumed.append("the kernel command line says nothing about modules")
    return raw or b""


def _banner(host: Host) -> str:
    """Only the kernel's own version is in it that its release may hide: nothing hangs on it."""
    try:
        return host.read("/proc/version").decode("utf-8", "replace").strip()
    except HostError:
        return ""


def _boot_sysctl(host: Host) -> Mapping[str, tuple[str, str]]:
    """What sysctl.d(5) will set at the next boot: by file name, the last one wins.
    The key "" is for a file that cannot be read: its path, and why."""
    try:
        found: dict[str, tuple[str, str]] = {}
        for path in _sysctl_files(host):
            found |= _sysctls_of(host, path)
        old = _sysctls_of(host, OLD_SYSCTL)
    except HostError as exc:
        return {"": (exc.path, exc.why)}
    changes = {k: v for k, v in old.items() if k not in found or found[k][0] != v[0]}
    if not changes or any(_is(host, path) for path in SYSTEMD_SYSCTL):
        return found
    if any(_is(host, path) for path in OTHER_SYSCTL):
        return found | old
    return {"": (OLD_SYSCTL, "whether this host's boot reads it is not known")}


def _sysctl_files(host: Host) -> list[str]:
    """The files of sysctl.d in the order in which they count; a higher folder hides a lower one's
    file of the same name."""
    chosen: dict[str, str] = {}
    for folder in SYSCTL_DIRS:
        try:
            names = host.names(folder)
        except MissingError:
            continue
        for name in names:
            if name.endswith(".conf"):
                chosen.setdefault(name, f"{folder}/{name}")
    return [chosen[name] for name in sorted(chosen)]


def _sysctls_of(host: Host, path: str) -> dict[str, tuple[str, str]]:
    """What a file sets of what counts here, each with its place."""
    try:
        raw = host.read(path)
    except MissingError:
        return {}
    if b"modprobe" not in raw and b"modules_disabled" not in raw:
        return {}
    return {k: (v, f"{path}:{n}") for k, v, n in parse_sysctl(raw) if k in SYSCTLS}


def _unapplied(host: Host, boot_sysctl: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Where the old file sets something that this host's boot leaves out."""
    if "" in boot_sysctl:
        return ()
    try:
        old = _sysctls_of(host, OLD_SYSCTL)
    except HostError:
        return ()
    return tuple(place for k, (v, place) in old.items()
                 if k not in boot_sysctl or boot_sysctl[k][0] != v)  # fmt: skip


def _boot_helper(
    host: Host, boot_sysctl: Mapping[str, tuple[str, str]], now: Helper
) -> Helper | None:
    """What kernel.modprobe leads to after a boot, where that is not what it leads to now."""
    setting, _ = boot_sysctl.get("kernel.modprobe", (DEFAULT_MODPROBE, ""))
    if not setting or setting == now.setting:
        return None
    try:
        found = host.ask(WhatProgram(setting))
    except HostError as exc:
        return Helper(setting, "other", "", error=f"{exc.path}: {exc.why}")
    if found.kind == "missing" and setting == DEFAULT_MODPROBE and not host.live:
        return None  # taken for kmod, as where the tree tells nothing
    return Helper(setting, found.kind, found.real, found.writable, found.dirs, found.version)


def _in_run(host: Host, entry: Entry) -> bool:
    """Whether a file that stands elsewhere lies in /run, which a boot empties."""
    if entry.path.startswith("/run/"):
        return False
    try:
        return host.real(entry.path).startswith("/run/")
    except HostError:
        return False


def _built_in(host: Host, loaded: tuple[Loaded, ...]) -> frozenset[str]:
    """What /sys/module has and /proc/modules has not: built in, with a parameter or a version."""
    try:
        names = host.names("/sys/module")
    except HostError:
        return frozenset()
    return frozenset(names) - {m.name for m in loaded}


def _wanted(kinds: set[str], entries: Iterable[Entry]) -> tuple[str, ...]:
    """depmod's files that these kinds of modprobe read. The symbols' is large, and the kernel asks
    a process nothing of it: only a rule can lead there."""
    if kinds == {"busybox"}:
        return TEXT
    if "busybox" in kinds:
        return (*TEXT, *_wanted(kinds - {"busybox"}, entries))
    named = any(b"symbol:" in (e.data or b"") for e in entries)
    return (*BINARY, "modules.symbols.bin") if named else BINARY


def _options(*, modular: bool) -> tuple[str, ...]:
    """The build options that count: of a kernel that loads nothing, all that bring a component."""
    return OPTIONS if modular else (*OPTIONS, *BUILT_BY.values())


def _kernels(
    host: Host, notes: Notes, wanted: tuple[str, ...], options: tuple[str, ...]
) -> tuple[KernelTree, ...]:
    raw = notes.read(host, "/proc/sys/kernel/osrelease")
    if raw is not None:
        return (_tree(host, raw.decode("utf-8", "replace").strip(), wanted, options),)
    names: tuple[str, ...] = ()
    for folder in ("/lib/modules", "/usr/lib/modules"):
        try:
            names = host.names(folder)
        except HostError:
            continue
        break
    return tuple(_tree(host, name, wanted, options) for name in names if not name.startswith("."))


def _tree(
    host: Host, release: str, wanted: tuple[str, ...], options: tuple[str, ...]
) -> KernelTree:
    folder = next(
        (f for f in (f"/lib/modules/{release}", f"/usr/lib/modules/{release}") if _is(host, f)),
        f"/lib/modules/{release}",
    )
    notes = Notes()
    busybox = wanted == TEXT
    files = _files(
        host, notes, folder, dict.fromkeys((*wanted, "modules.alias", "modules.softdep"))
    )
    if not busybox and "modules.builtin.bin" not in files:  # what is built in is so without it
        files |= _files(host, notes, folder, ("modules.builtin",))
    if not busybox and not host.live and not any(n.endswith(".bin") for n in files):
        files |= _files(host, notes, folder, (*TEXT, *_texts(wanted)))
    if BUILT_IN_FILES.isdisjoint(files):  # then only the build's options tell
        options = (*options, *BUILT_BY.values())
    return KernelTree(
        release, folder, files, tuple(notes.errors), config=_config(host, release, folder, options)
    )


def _texts(tries: Iterable[str]) -> Iterable[str]:
    """`modules.symbols` for `modules.symbols.bin`, where that is wanted too."""
    return ("modules.symbols",) if "modules.symbols.bin" in tries else ()


def _files(host: Host, notes: Notes, folder: str, names: Iterable[str]) -> dict[str, bytes]:
    found = {}
    for name in names:
        raw = notes.read(host, f"{folder}/{name}", limit=INDEX_LIMIT)
        if raw is not None:
            found[name] = raw
    return found


def _config(
    host: Host, release: str, folder: str, options: tuple[str, ...]
) -> Mapping[str, str] | None:
    for path in (f"/boot/config-{release}", f"{folder}/config"):
        try:
            return parse_build_options(host.read(path, limit=4 << 20), options)
        except HostError:
            continue
    if host.live:
        try:
            raw = zlib.decompress(host.read("/proc/config.gz"), wbits=31)
            return parse_build_options(raw, options)
        except (HostError, zlib.error):
            pass
    return None


def _programs(host: Host, entries: Iterable[Entry], notes: Notes) -> Mapping[str, bool]:
    """Whether the programs that install commands name are there. A tree without a shell is not
    the whole host: that no command can run is proved on a live one only."""
    wanted: set[str] = set()
    for entry in entries:
        rules, _ = (
            parse(entry.data or b"", entry.path) if b"install" in (entry.data or b"") else ((), ())
        )
        for rule in rules:
            if rule.kind == "install":
                wanted |= paths(rule.value)
    if not wanted:
        return {}
    found = {path: _is(host, path) for path in sorted(wanted - FALSE - TRUE | {"/bin/sh"})}
    if not host.live and not found["/bin/sh"]:
        del found["/bin/sh"]
        notes.assumed.append("/bin/sh is there (none in this tree)")
    return found


def _with_files(host: Host, found: KernelModules) -> KernelModules:
    """The same with the module files that matter looked for on the disk."""
    try:
        engines = {variant.tree.release: variant.engine for variant in found.variants()}
    except ParseError:  # the judge says which file
        return found
    trees = tuple(
        _on_disk(host, tree, engines[tree.release]) if tree.files else tree
        for tree in found.kernels
    )
    return replace(found, kernels=trees).fresh()


def _on_disk(host: Host, tree: KernelTree, engine: Modprobe) -> KernelTree:
    wanted: dict[str, str] = {}
    forgotten: list[str] = []
    for component in COMPONENTS:
        for module in component.modules:
            path = engine.path(module)
            if path is None:
                for home in component.homes:
                    forgotten += _forgotten(host, f"{tree.folder}/{home}", module)
                continue
            for name in (module, *engine.dependencies(module)):
                wanted[name] = engine.path(name) or ""
    missing = {p for p in wanted.values() if p and not _is(host, join(tree.folder, p))}
    return replace(tree, missing=frozenset(missing), forgotten=tuple(forgotten))


def _forgotten(host: Host, folder: str, module: str) -> list[str]:
    try:
        names = host.names(folder)
    except HostError:
        return []
    return [
        f"{folder}/{n}"
        for n in names
        if ".ko" in n and n.partition(".")[0].replace("-", "_") == module
    ]
