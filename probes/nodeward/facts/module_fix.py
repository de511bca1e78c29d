"""The smallest modprobe.d file that keeps a component out of this host, proved by the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from nodeward.facts.autoload import EndlessError
from nodeward.facts.errors import ParseError
from nodeward.facts.exposed import BAD, State
from nodeward.facts.exposure import expose_in
from nodeward.facts.kernel_modules import KernelModules, Variant
from nodeward.facts.module_requests import Component
from nodeward.facts.module_ways import openings

FOLDER = "/etc/modprobe.d"
MOST_ALIASES = 4  # rounds: one request may be let through only when another is not
MOST_LINES = 3  # for one component; what three lines do not stop needs a person


def usual_name(name: str) -> str:
    """Of the file that keeps a component out: it sorts before what people write."""
    return f"00-nodeward-{name}.conf"


def file_name(node: KernelModules, name: str) -> str:
    """A name that sorts before every other, for the first `install` and `softdep` win, and that no
    file has yet: it would be overwritten, or hidden where it lies in a lower folder."""
    taken = {e.name for e in node.entries}
    names = (usual_name(f"{name}{more}") for more in ("", *(f"-{n}" for n in range(2, 1000))))
    file = next(n for n in names if n not in taken and f"!{n}" not in taken)
    others = {e.name for e in node.entries if e.name.endswith(".conf")}
    if any(o < file and not o.startswith("00-nodeward-") for o in others):
        return f"!{file}"
    return file


def fix(node: KernelModules, component: Component, file: str) -> tuple[str, ...]:
    """The fewest lines after which the engine finds the component kept out; () if there are none.

    Modules of its own that are loaded now are taken to be gone, as after a boot. Kept.
    """
    key = ("fix", component.name, file)
    kept = node.memo.get(key)
    if not isinstance(kept, tuple):
        kept = node.memo[key] = _search(node, component, file)
    return kept


def _search(node: KernelModules, component: Component, file: str) -> tuple[str, ...]:
    try:
        return _proved(node, component, file)
    except (ParseError, EndlessError):  # nothing can be proved on a damaged index
        return ()


def _proved(node: KernelModules, component: Component, file: str) -> tuple[str, ...]:
    variants = [v.without(component.modules) for v in node.variants()]
    if not variants:
        return ()
    lines = list(dict.fromkeys(_candidates(variants, component)))
    for count in range(1, MOST_LINES + 1):
        for chosen in combinations(lines, count):
            if holds(node, variants, (component,), f"{FOLDER}/{file}", chosen):
                return chosen
    return _aliased_off(node, variants, component, f"{FOLDER}/{file}")


def _aliased_off(
    node: KernelModules, variants: Sequence[Variant], component: Component, path: str
) -> tuple[str, ...]:
    """Every request that still comes through led to nowhere, then without the needless lines."""
    lines = [f"install {module} /bin/false" for module in component.registers]
    for _ in range(MOST_ALIASES):
        left = {r for v in variants for r in openings(node, v.plus(path, lines), component)}
        left = {f"alias {r} off" for r in left} - set(lines)
        if not left:
            break
        lines += sorted(left)
    if not holds(node, variants, (component,), path, lines):
        return ()
    for line in tuple(lines):
        fewer = [x for x in lines if x != line]
        if fewer and holds(node, variants, (component,), path, fewer):
            lines = fewer
    return tuple(lines)


def holds(
    node: KernelModules,
    variants: Iterable[Variant],
    components: Sequence[Component],
    path: str,
    lines: Sequence[str],
) -> bool:
    """Whether with this one more file every component is kept out, in every variant."""
    for variant in variants:
        if path.rpartition("/")[0] not in variant.conf.dirs:
            return False
        changed = variant.plus(path, lines)
        for component in components:
            state = expose_in(node, changed, component).state
            if state in BAD or state is State.UNKNOWN:
                return False
    return True


def together(
    node: KernelModules, components: Sequence[Component], path: str, lines: Sequence[str]
) -> bool:
    """Whether the lines that were found for each hold for all of them in one file. Kept."""
    key = ("together", path, *lines, *(c.name for c in components))
    kept = node.memo.get(key)
    if not isinstance(kept, bool):
        kept = node.memo[key] = _hold_together(node, components, path, lines)
    return kept


def _hold_together(
    node: KernelModules, components: Sequence[Component], path: str, lines: Sequence[str]
) -> bool:
    modules = tuple(m for c in components for m in c.modules)
    try:
        variants = [v.without(modules) for v in node.variants()]
        return bool(variants) and holds(node, variants, components, path, lines)
    except ParseError:
        return False


def _candidates(variants: Sequence[Variant], component: Component) -> Iterator[str]:
    """What could stop it, first what stops most: the core that all its modules need."""
    for module in _by_reach(variants, component):
        yield f"install {module} /bin/false"
    for module in component.registers:
        yield f"blacklist {module}"
    for module in component.registers:
        yield f"softdep {module} pre:"  # an earlier empty one, or install would be ignored
    if len(component.requests) <= 4:
        for request in component.requests:
            yield f"alias {request.name} off"


def _by_reach(variants: Sequence[Variant], component: Component) -> list[str]:
    """The component's modules: first those that most of the others need, of two the core."""
    needed = dict.fromkeys(component.modules, 0)
    own = dict.fromkeys(component.modules, 0)
    for variant in variants[:1]:
        for module in needed:
            own[module] = len(variant.engine.dependencies(module))
        for module in component.registers:
            for dependency in {module, *variant.engine.dependencies(module)} & set(needed):
                needed[dependency] += 1
    return sorted(needed, key=lambda m: (-needed[m], own[m]))
