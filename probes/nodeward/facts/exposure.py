"""Whether a process without rights can use a component of the kernel on this host. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nodeward.facts.autoload import Does, EndlessError, Program, Run
from nodeward.facts.build_options import BUILT_BY
from nodeward.facts.errors import ParseError
from nodeward.facts.exposed import BAD, Exposure, State, either, exposure_of, stopped_by, traced
from nodeward.facts.kernel_modules import KernelModules, KernelTree, Variant
from nodeward.facts.load_switches import loading_disabled, switched_off
from nodeward.facts.module_index import BUILT_IN_FILES, module_name
from nodeward.facts.module_requests import BY_NAME, Component, Request
from nodeward.facts.module_ways import Way, opened, other_ways, requests
from nodeward.model import Evidence


def expose(node: KernelModules, component: Component) -> Exposure:
    """The worst over the kernels and sets of folders that this host may have. Kept."""
    kept = node.memo.get(component.name)
    if not isinstance(kept, Exposure):
        kept = node.memo[component.name] = _expose(node, component)
    return kept


def _expose(node: KernelModules, component: Component) -> Exposure:
    early = _running(node, component)
    if early is not None:
        return early
    if component.wants:
        first = expose(node, BY_NAME[component.wants])
        if first.state not in BAD and first.state is not State.UNKNOWN:
            return Exposure(
                first.state,
                f"nothing can ask for {component.title}: {first.because}",
                first.place,
                trace=first.trace,
            )
    if not node.kernels:
        return exposure_of(State.UNKNOWN, "offline: there is no kernel in this tree")
    found: list[Exposure] = []
    try:
        found += [expose_in(node, variant, component) for variant in node.variants()]
    except ParseError as exc:
        return exposure_of(State.UNKNOWN, f"an index of the modules is damaged: {exc}")
    return min(found, key=lambda e: list(State).index(e.state))


def _running(node: KernelModules, component: Component) -> Exposure | None:
    """What holds whatever the configuration says: it is in the kernel, or nothing can come in."""
    for module in component.registers:
        if module in node.live_names:
            return exposure_of(
                State.LOADED,
                f"{module} is in the kernel now, where no rule of modprobe.d matters any more",
                Evidence("loaded module", module, "/proc/modules"),
            )
    if not node.modular:
        return _without_modules(node, component)
    if node.loaded is None:
        why = "; ".join(f"{path}: {error}" for path, error in node.errors)
        return exposure_of(State.UNKNOWN, f"could not see what is loaded ({why})")
    return None


def _without_modules(node: KernelModules, component: Component) -> Exposure:
    """In a kernel that loads nothing, all hangs on what is built in. /sys/module shows only what
    has a parameter; the rest only the options of the build tell."""
    there = [m for m in component.registers if m in node.built_in]
    if there:
        return _built_in(there[0], f"/sys/module/{there[0]}")
    option = BUILT_BY[component.name]
    said = {(tree.config or {}).get(option) for tree in node.kernels}
    if "y" in said:
        return _built_in(component.registers[0], f"CONFIG_{option}=y")
    if said <= {"n", "m"} and said:
        return exposure_of(
            State.OFF,
            f"this kernel has no loadable modules, and {component.name} is not built in",
            Evidence("build option", f"CONFIG_{option} is not set", "the kernel's configuration"),
        )
    return exposure_of(
        State.UNKNOWN,
        f"this kernel has no loadable modules, and whether {component.name} is built in cannot be"
        " told: there is no /boot/config of it and no /proc/config.gz",
        Evidence("loadable modules", "none", "/proc/modules"),
    )


def _built_in(module: str, source: str) -> Exposure:
    return exposure_of(
        State.BUILT_IN,
        f"{module} is built into the kernel: no rule of modprobe.d can keep it out",
        Evidence("built in", module, source),
    )


def expose_in(node: KernelModules, variant: Variant, component: Component) -> Exposure:
    """The answer under one kernel and one way of reading, for what is not loaded now."""
    engine = variant.engine
    for module in component.registers:
        if engine.is_builtin(module):
            return _built_in(module, f"{variant.tree.folder}/modules.builtin")
        if module in node.built_in and engine.path(module) is None:
            return _built_in(module, f"/sys/module/{module}")
    unread = _unread(node, variant)
    if unread is not None:
        return unread
    absent = _absent(node, variant, component)
    if absent is not None:
        return absent
    off = loading_disabled(node) if component.by_udev else switched_off(node, variant)
    if off is not None:
        return off
    if node.helper.kind == "other" and not component.by_udev:
        return exposure_of(
            State.UNKNOWN,
            f"kernel.modprobe leads to {node.helper.real or node.helper.setting},"
            " a program we do not know",
            Evidence("kernel.modprobe", node.helper.setting, "/proc/sys/kernel/modprobe"),
        )
    return _judged(node, variant, component)


def _unread(node: KernelModules, variant: Variant) -> Exposure | None:
    for entry in variant.conf.unread:
        return exposure_of(
            State.UNKNOWN,
            f"could not read {entry.path}: {entry.error}",
            Evidence("unreadable", entry.error, entry.path),
        )
    for path, error in (*variant.tree.errors, *node.errors):
        return exposure_of(
            State.UNKNOWN, f"could not read {path}: {error}", Evidence("unreadable", error, path)
        )
    return None


def _absent(node: KernelModules, variant: Variant, component: Component) -> Exposure | None:
    engine, tree = variant.engine, variant.tree
    if not tree.files and not node.live:
        return exposure_of(
            State.UNKNOWN,
            f"there is no index of modules in {tree.folder}: they may lie in an image that is"
            " mounted there at boot",
            Evidence("modules.dep", "not there", tree.folder),
        )
    paths = [engine.path(m) for m in component.registers]
    if all(p is None for p in paths):
        untold = _untold(tree, component)
        if untold is not None:
            return untold
        note = ""
        mine = forgotten(tree, component)
        if mine and variant.index.text and engine.program is Program.KMOD:
            return exposure_of(
                State.UNKNOWN,
                f"{mine[0]} is on the disk, but modules.dep does not name it: it was cut off, or"
                " depmod, without which this modprobe finds nothing here, will add it",
                Evidence("modules.dep", f"no {either(component.registers)}", tree.folder),
            )
        if mine:
            note = (
                f"; {mine[0]} is on the disk, but the index does not know it (depmod was not run)"
            )
        elif not tree.files:
            note = f"; there is no index in {tree.folder}, so that modprobe finds none"
        return exposure_of(
            State.ABSENT,
            f"kernel {tree.release} has no module {either(component.registers)}{note}",
            Evidence("modules.dep", f"no {either(component.registers)}", tree.folder),
        )
    if all(p is None or p in tree.missing for p in paths):
        gone = ", ".join(p for p in paths if p)
        return exposure_of(
            State.ABSENT,
            f"the files of {either(component.registers)} are not on the disk",
            Evidence("missing file", gone, tree.folder),
        )
    return None


def _untold(tree: KernelTree, component: Component) -> Exposure | None:
    """Where the index does not say what is built in, the build's options do, or nothing does."""
    if not BUILT_IN_FILES.isdisjoint(tree.files):
        return None
    option = BUILT_BY[component.name]
    said = (tree.config or {}).get(option)
    if said == "y":
        return _built_in(component.registers[0], f"CONFIG_{option}=y")
    if said is not None:
        return None
    return exposure_of(
        State.UNKNOWN,
        f"whether {component.name} is built into kernel {tree.release} cannot be told: there is no"
        f" modules.builtin in {tree.folder}, and no config of this kernel",
        Evidence("modules.builtin", "not there", tree.folder),
    )


def forgotten(tree: KernelTree, component: Component) -> tuple[str, ...]:
    """Files of the component that are on the disk and that the index does not know."""
    return tuple(f for f in tree.forgotten if module_name(f) in component.registers)


def _judged(node: KernelModules, variant: Variant, component: Component) -> Exposure:
    engine = variant.engine
    runs = [(r, engine.run(r.name)) for r in requests(variant, component)]
    through = _through(component, runs)
    if not through and not all(engine.sealed(m) for m in component.registers):
        runs += [(r, engine.run(r.name)) for r in component.rarer]
        through = _through(component, runs)
    dim = [(r, run) for r, run in runs if run.unclear]
    ways: Sequence[Way] = ()
    if not through:
        try:
            ways = list(other_ways(node, variant, component))
        except EndlessError:
            return _too_far(variant, component)
        dim += [(w.door.request, w.run) for w in ways if not w.loads]
        ways = [w for w in ways if w.loads]
    held = [(r, run) for r, run in runs if run.found and (r, run) not in through + dim]
    held = [(r, run) for r, run in held if _concerns(run, component)]
    if through:
        return _open(variant, component, through, held)
    if ways:
        return _open_by(variant, component, ways, held)
    try:
        stepped = _with_help(node, variant, component, runs)
    except EndlessError:
        return _too_far(variant, component)
    if stepped is not None:
        return stepped
    return _let_in_by_none(variant, component, runs, dim, held)


def _let_in_by_none(
    variant: Variant,
    component: Component,
    runs: list[tuple[Request, Run]],
    dim: list[tuple[Request, Run]],
    held: list[tuple[Request, Run]],
) -> Exposure:
    """No request is seen to insert it: whether that is known, and why. `dim` are runs that cannot
    be followed, `held` those that were stopped."""
    engine = variant.engine
    lost = _led_nowhere(variant, runs)
    if lost is not None:
        return lost
    if dim:
        request, run = dim[0]
        return traced(
            State.UNKNOWN,
            f"cannot tell whether {request.name} loads {either(component.registers)}:"
            f" {run.unclear[0]}",
            variant,
            (request, run),
        )
    cut = [
        m for m in component.registers
        if not (variant.index.complete(m) or engine.sealed(m) or engine.blacklisted(m))
    ]  # fmt: skip
    if cut:
        return exposure_of(
            State.UNKNOWN,
            f"modules.alias may be cut off before {cut[0]}: it ends earlier than modules.dep",
            Evidence("modules.alias", f"nothing behind {cut[0]}", variant.tree.folder),
        )
    if not held:
        return exposure_of(
            State.UNREACHABLE,
            f"no request {'of a device' if component.by_udev else 'of a socket'} leads to"
            f" {either(component.registers)} on kernel {variant.tree.release}; root can still load"
            f" it by name{_by_root(variant, component)}",
            Evidence("requests tried", str(len(runs)), f"{variant.tree.folder}/modules.alias"),
        )
    return _blocked(variant, component, held)


def _too_far(variant: Variant, component: Component) -> Exposure:
    return exposure_of(
        State.UNKNOWN,
        f"what draws in {either(component.registers)} leads too far to follow",
        Evidence("configuration", "too many rules", variant.conf.dirs[0]),
    )


def _with_help(
    node: KernelModules,
    variant: Variant,
    component: Component,
    runs: Sequence[tuple[Request, Run]],
) -> Exposure | None:
    """Where a request stops at another module: whether something else brings that one in, and the
    request then gets through, for modprobe does not try again what is there."""
    stopped = {
        e.module for _, run in (*runs, *_side_runs(variant, component)) for e in run.events
        if e.does in (Does.RUNS, Does.REFUSED)
    }  # fmt: skip
    for module in sorted(stopped - set(component.registers)):
        request = opened(node, variant, module)
        brought = set(variant.engine.run(request).inserted) if request else set()
        if not brought:
            continue
        found = _judged(node, variant.having(brought), component)
        if found.state in BAD or found.state is State.UNKNOWN:
            because = f"once {request} has brought in {module}: {found.because}"
            return replace(found, because=because)
    return None


def _side_runs(variant: Variant, component: Component) -> Iterator[tuple[Request, Run]]:
    """Those of other modules that bring a component in or try to. They were played before."""
    for module in component.registers:
        if not variant.engine.sealed(module):
            for door in variant.doors.doors(module):
                yield door.request, variant.engine.run(door.request.name)


def _led_nowhere(variant: Variant, runs: Sequence[tuple[Request, Run]]) -> Exposure | None:
    """An alias of the index to a module that the index has not: no run of depmod writes that."""
    engine, folder = variant.engine, variant.tree.folder
    for request, run in runs:
        for found in run.found:
            mine = found.alias is not None and found.place.startswith(f"{folder}/")
            if mine and not found.builtin and engine.path(found.name) is None:
                return exposure_of(
                    State.UNKNOWN,
                    f"the index is damaged: modules.alias leads {request.name} to {found.name!r},"
                    " which modules.dep has not",
                    Evidence("modules.alias", f"{request.name} -> {found.name}", found.place),
                )
    return None


def _through(
    component: Component, runs: Sequence[tuple[Request, Run]]
) -> list[tuple[Request, Run]]:
    """Those that bring it in."""
    mine = set(component.registers)
    return [(r, run) for r, run in runs if not mine.isdisjoint(run.inserted)]


def without_userns(node: KernelModules, component: Component) -> bool:
    """Whether something that needs no user namespace brings in what by itself needs one."""
    if expose(node, component).state not in (State.OPEN, State.PARTLY):
        return False
    try:
        return any(
            way.loads and not way.door.request.userns
            for variant in node.variants()
            for way in other_ways(node, variant, component)
        )
    except EndlessError:
        return True


def _concerns(run: Run, component: Component) -> bool:
    named = {f.name for f in run.found} | {e.module for e in run.events}
    return bool(named & set(component.modules)) or any(
        e.does in (Does.REFUSED, Does.NOTHING) for e in run.events
    )


def _open(
    variant: Variant,
    component: Component,
    through: list[tuple[Request, Run]],
    held: list[tuple[Request, Run]],
) -> Exposure:
    request, run = through[0]
    module = next(m for m in run.inserted if m in component.registers)
    who = "udev loads" if component.by_udev else "any process can load"
    because = f"{who} {module}: {request.by} asks for {request.name}"
    by = tuple(r for r, _ in through)
    if not held:
        return replace(traced(State.OPEN, because, variant, (request, run)), by=by)
    because += f", though {held[0][0].name} is blocked ({stopped_by(held[0][1])})"
    return replace(traced(State.PARTLY, because, variant, (request, run), held[0]), by=by)


def _open_by(
    variant: Variant,
    component: Component,
    ways: Sequence[Way],
    held: list[tuple[Request, Run]],
) -> Exposure:
    """Its own requests are kept out, and another lets it in."""
    way = ways[0]
    request = way.door.request
    drawn = variant.doors.way(way.module, way.door.module)
    because = f"any process can load {way.module}: {request.by} asks for {request.name}"
    if drawn is not None:
        start = "" if drawn.by is not None else f"{way.door.module} comes, and "
        because += f"; {start}{drawn.words}{' brings it along' if drawn.by is not None else ''}"
    if held:
        because += f"; {held[0][0].name} is blocked ({stopped_by(held[0][1])})"
    state = State.PARTLY if held else State.OPEN
    found = traced(state, because, variant, (request, way.run), *held[:1])
    by = tuple(w.door.request for w in ways)
    if drawn is None or drawn.by is None:
        return replace(found, by=by)
    row = Evidence("brings it along", drawn.by.shown, drawn.by.place)
    return replace(found, by=by, place=drawn.by.place, trace=lambda: (row, *found.trace()))


def _by_root(variant: Variant, component: Component) -> str:
    """A rule that brings a component in with something that only root or udev asks for."""
    try:
        return next(_roots_ways(variant, component), "")
    except EndlessError:
        return ""


def _roots_ways(variant: Variant, component: Component) -> Iterator[str]:
    for module in component.registers:
        if variant.engine.sealed(module):
            continue
        for name, drawn in variant.doors.drawing(module).items():
            if drawn is None or drawn.by is None or drawn.by.file.startswith(variant.tree.folder):
                continue
            if module in variant.engine.run(name).inserted:
                yield (
                    f"; {drawn.words} brings it in with {name}, which root can load, or udev for a"
                    " device"
                )


def _blocked(variant: Variant, component: Component, held: list[tuple[Request, Run]]) -> Exposure:
    request, run = held[0]
    because = f"{component.title} is kept out: {stopped_by(run)}"
    partial = [m for m in run.inserted if m in component.parts]
    if partial:
        because += f"; {', '.join(partial)} is loaded all the same, which alone opens nothing"
    if any(e.does is Does.BLACKLISTED for e in run.events):
        by_name = variant.engine.run(component.registers[0])
        if component.registers[0] in by_name.inserted:
            because += "; root can still load it by name"
    because += _by_root(variant, component)
    return traced(State.BLOCKED, because, variant, (request, run))
