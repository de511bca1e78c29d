"""Which requests bring a module in: its own, and those of others that draw it along. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nodeward.facts.autoload import Run
from nodeward.facts.kernel_modules import KernelModules, Variant, version
from nodeward.facts.load_switches import switched_off
from nodeward.facts.module_doors import Door
from nodeward.facts.module_index import normal
from nodeward.facts.module_requests import BY_NAME, COMPONENTS, UNDATED, Component, Request


def requests(variant: Variant, component: Component) -> tuple[Request, ...]:
    """The component's requests that this kernel makes of a process without rights."""
    if component.name in UNDATED and BY_NAME[component.name] is component:
        return component.requests
    number = version(variant.tree.release)
    return tuple(r for r in component.requests if r.made_by(number))


class Way(NamedTuple):
    """A request that brings a component in by another's alias. `loads` is False where that cannot
    be told: an install command on the way is not to be followed."""

    door: Door
    run: Run
    module: str
    loads: bool


def other_ways(
    node: KernelModules,
    variant: Variant,
    component: Component,
    asking: frozenset[str] = frozenset(),
) -> Iterator[Way]:
    """What brings a component in besides its own requests; first what takes no user namespace.
    `asking` are components of which this is being asked already. EndlessError."""
    if all(variant.engine.sealed(m) for m in component.registers):
        return
    if component.by_udev and switched_off(node, variant) is not None:
        return
    asking |= {component.name}
    own = {normal(r.name) for r in component.requests}
    for module in component.registers:
        doors = variant.doors.doors(module)
        for door in sorted(doors, key=lambda d: d.request.userns):
            run = variant.engine.run(door.request.name)
            loads = module in run.inserted
            if not (loads or _names(run, component)) or normal(door.request.name) in own:
                continue
            if _there(node, variant, door.asker.after, asking):
                yield Way(door, run, module, loads)


def _names(run: Run, component: Component) -> bool:
    """Whether a command that cannot be followed speaks of the component."""
    return bool(run.unclear) and any(m in e.detail for e in run.events for m in component.modules)


def _there(node: KernelModules, variant: Variant, name: str, asking: frozenset[str]) -> bool:
    """Whether a component whose code must make a request can be in the kernel."""
    if not name:
        return True
    if name in asking:
        return False
    component, engine = BY_NAME[name], variant.engine
    mine = set(component.registers)
    if mine & engine.kernel.live or any(engine.is_builtin(m) for m in mine):
        return True
    runs = [engine.run(r.name) for r in requests(variant, component)]
    if any(run.unclear or mine & set(run.inserted) for run in runs):
        return True
    return next(other_ways(node, variant, component, asking), None) is not None


def openings(node: KernelModules, variant: Variant, component: Component) -> tuple[str, ...]:
    """The requests that load it, its own and those that bring it along. EndlessError."""
    asked = (*requests(variant, component), *component.rarer)
    own = {r.name: variant.engine.run(r.name) for r in asked}
    side = {w.door.request.name: w.run for w in other_ways(node, variant, component)}
    mine = set(component.registers)
    return tuple(name for name, run in (own | side).items() if mine & set(run.inserted))


def opened(node: KernelModules, variant: Variant, module: str) -> str:
    """A request that inserts a module, whoever's it is; "" where none does. EndlessError."""
    engine = variant.engine
    if engine.sealed(module):
        return ""
    for component in COMPONENTS:
        if module not in component.modules:
            continue
        if not _there(node, variant, component.wants, frozenset()):
            continue
        for r in (*requests(variant, component), *component.rarer):
            if module in engine.run(r.name).inserted:
                return r.name
    for door in variant.doors.doors(module):
        name = door.request.name
        if module in engine.run(name).inserted and _there(
            node, variant, door.asker.after, frozenset()
        ):
            return name
    return ""


def untold(variant: Variant, module: str) -> str:
    """Why it cannot be told that no request inserts a module which none is seen to insert; ""
    where it can."""
    engine = variant.engine
    if engine.sealed(module):
        return ""
    own = [c for c in COMPONENTS if module in c.modules]
    runs = [engine.run(r.name) for c in own for r in (*requests(variant, c), *c.rarer)]
    runs += [
        run
        for run in (engine.run(d.request.name) for d in variant.doors.doors(module))
        if any(module in e.detail for e in run.events)
    ]
    return next((run.unclear[0] for run in runs if run.unclear), "")
