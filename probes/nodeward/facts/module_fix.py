"""The smallest modprobe.d file that keeps a component out of this host, proved by the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from nodeward.facts.errors import ParseError
from nodeward.facts.exposure import BAD, State, expose
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.modprobe_conf import Entry
from nodeward.facts.module_requests import Component

FOLDER = "/etc/modprobe.d"
MOST_LINES = 3  # for one component; what three lines do not stop needs a person


def file_name(node: KernelModules, name: str) -> str:
    """A name that sorts before every other: the first `install` and `softdep` win."""
    file = f"00-nodeward-{name}.conf"
    others = [e.name for e in node.entries if e.name != file and e.name.endswith(".conf")]
    while any(other < file for other in others):
        file = "!" + file
        if file.startswith("!!!"):
            break
    return file


def fix(node: KernelModules, component: Component) -> tuple[str, ...]:
    """The fewest lines after which the engine finds the component kept out; () if there are none.

    Modules that are loaded now are taken to be gone, as after a boot.
    """
    node = after_boot(node, component)
    path = f"{FOLDER}/{file_name(node, component.name)}"
    try:
        lines = list(dict.fromkeys(_candidates(node, component)))
    except ParseError:  # nothing can be proved on a damaged index
        return ()
    for count in range(1, MOST_LINES + 1):
        for chosen in combinations(lines, count):
            if _holds(node, component, path, chosen):
                return chosen
    return ()


def after_boot(node: KernelModules, component: Component) -> KernelModules:
    """The same host before anything asked for the component."""
    kept = tuple(m for m in node.loaded or () if m.name not in component.modules)
    return replace(node, loaded=kept, _memo=dict(_indexes(node)))


def with_file(node: KernelModules, path: str, lines: Sequence[str]) -> KernelModules:
    """The same host with one more file of configuration."""
    data = "".join(f"{line}\n" for line in lines).encode("latin-1", "replace")
    others = tuple(e for e in node.entries if e.path != path)
    return replace(
        node,
        entries=(*others, Entry(path, data=data)),
        habits=tuple(replace(h, dirs=tuple(dict.fromkeys((FOLDER, *h.dirs)))) for h in node.habits),
        _memo=dict(_indexes(node)),
    )


def _indexes(node: KernelModules) -> Iterator[tuple[object, object]]:
    """Parsed indexes are the dearest part, and no rule changes them."""
    memo = node._memo.items()
    return ((k, v) for k, v in memo if isinstance(k, tuple) and k[0] == "index")


def _holds(node: KernelModules, component: Component, path: str, lines: Sequence[str]) -> bool:
    state = expose(with_file(node, path, lines), component).state
    return state not in BAD and state is not State.UNKNOWN


def _candidates(node: KernelModules, component: Component) -> Iterator[str]:
    """What could stop it, first what stops most: the core that all its modules need."""
    for module in _by_reach(node, component):
        yield f"install {module} /bin/false"
    for module in component.registers:
        yield f"blacklist {module}"
    for module in component.registers:
        yield f"softdep {module} pre:"  # an earlier empty one, or install would be ignored
    if len(component.requests) <= 4:
        for request in component.requests:
            yield f"alias {request.name} off"


def _by_reach(node: KernelModules, component: Component) -> list[str]:
    """The component's modules, those that most of its others need first."""
    variant = next(node.variants(), None)
    needed = dict.fromkeys(component.modules, 0)
    if variant is not None:
        for module in component.registers:
            for dependency in {module, *variant.engine.dependencies(module)}:
                if dependency in needed:
                    needed[dependency] += 1
    own = {m: len(variant.engine.dependencies(m)) if variant else 0 for m in needed}
    return sorted(needed, key=lambda m: (-needed[m], own[m]))  # of two, the core
