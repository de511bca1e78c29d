"""What modprobe and the kernel would do with a request for a module. Pure.

The order of the look-up, blacklist (only for a module found through an alias, by exact name),
install commands, soft dependencies that cancel them, and what stops on an error are those of kmod
(libkmod/libkmod-module.c: kmod_module_new_from_lookup, kmod_module_probe_insert_module), which
runs as `modprobe -q -- NAME` for the kernel (kernel/module/kmod.c). What the kernel then refuses
is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from nodeward.facts import install_command as command
from nodeward.facts.modprobe_conf import Configuration, Rule, soft_dependencies
from nodeward.facts.module_index import Index, module_name, normal
from nodeward.facts.module_requests import NEEDS
from nodeward.lazy import dataclass

DEEPEST = 8  # nested calls of modprobe by install commands; more is a loop
MOST_STEPS = 2000  # soft dependencies can fan out
MOST_NESTED = 100  # and can be chained
MOST_CALLS = 200  # of modprobe in one run; install commands can fan out too
MOST_FOUND = 256  # modules that one name leads to; no kernel's index has so many


Steps = tuple[tuple[command.Joint, command.Step], ...]


class EndlessError(Exception):
    """Soft dependencies fan out or are chained further than we follow."""


class Program(StrEnum):
    """What kernel.modprobe leads to."""

    KMOD = "kmod"
    BUSYBOX = "BusyBox"


class Found(NamedTuple):
    """One module that a name leads to. `alias` is None when it was asked for by its own name:
    then blacklist does not apply. `place` is where the alias stands."""

    name: str
    alias: str | None = None
    place: str = ""
    builtin: bool = False


class Planned(NamedTuple):
    """One entry of kmod's probe list."""

    module: Found
    required: bool
    ignore_install: bool


class Does(StrEnum):
    """What one step of a run comes to."""

    INSERT = "inserts"
    REFUSED = "refused"
    RUNS = "runs"
    BLACKLISTED = "blacklisted"
    IN_KERNEL = "already there"
    NOTHING = "leads to no module"


class Event(NamedTuple):
    """One step: what is done to which module, why, and the line that decides it."""

    does: Does
    module: str
    detail: str = ""
    place: str = ""


@dataclass
class Run:
    """What a request comes to. `unclear` is not empty when an install command does something
    that its text does not tell: then nothing is proved by what is not inserted. `endless`: because
    it leads further than we follow."""

    request: str
    events: list[Event] = field(default_factory=list)
    inserted: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    found: tuple[Found, ...] = ()
    touched: set[str] = field(default_factory=set)  # every module that was considered
    calls: int = 0
    ok: bool | None = True
    endless: bool = False
    outputs: frozenset[str] = command.NO_OUTPUTS  # of the modprobe: the kernel's has none open

    def gives_up(self, why: str) -> None:
        self.unclear.append(why)
        self.endless = True


@dataclass(frozen=True)
class Kernel:
    """What the kernel itself would say to the insertion of a module.

    `live` are the loaded modules; `refuses(name)` is why it would refuse one, or "".
    """

    live: frozenset[str] = frozenset()
    refuses: Callable[[str, str], str] = lambda name, path: ""
    gone: frozenset[str] = frozenset()  # module files that the index names and the disk has not


@dataclass(frozen=True)
class Modprobe:
    """One modprobe program with its configuration and one kernel's index."""

    index: Index
    conf: Configuration
    kernel: Kernel = field(default_factory=Kernel)
    program: Program = Program.KMOD
    programs: Mapping[str, bool] = field(default_factory=dict)
    folder: str = ""
    ignores: bool | None = None  # `ignoring`, where it is known already
    _runs: dict[str, Run] = field(default_factory=dict, repr=False, compare=False)
    _soft: dict[str, tuple[list[Found], list[Found]]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _steps: dict[tuple[str, frozenset[str]], Steps] = field(
        default_factory=dict, repr=False, compare=False
    )

    def changed(self, conf: Configuration, names: frozenset[str], request: str = "") -> Modprobe:
        """The same under another configuration that differs in rules for these modules only, and
        in an alias for one request: what has nothing to do with them is not played again."""
        gone = set(self.concerned(names, request))
        kept = {r: run for r, run in self._runs.items() if r not in gone}
        return replace(self, conf=conf, ignores=self.ignoring, _runs=kept, _soft={})

    def concerned(self, names: frozenset[str], request: str = "") -> list[str]:
        """The requests played so far that have to do with these modules, and the request."""
        return [
            r for r, run in self._runs.items()
            if r == request or not names.isdisjoint(run.touched)
        ]  # fmt: skip

    # --- looking a name up ---------------------------------------------------------------

    def lookup(self, given: str) -> tuple[Found, ...]:
        """The modules a name leads to; the first table that knows it decides."""
        name = normal(given)
        if name is None:
            return ()
        if self.program is Program.BUSYBOX:
            return self._busybox(name)
        for table in (self._by_config, self._by_name, self._by_symbol, self._by_command,
                      self._by_alias, self._by_builtin, self._by_builtin_alias):  # fmt: skip
            found = table(name)
            if found:
                return found
        return ()

    def _busybox(self, name: str) -> tuple[Found, ...]:
        """BusyBox takes the aliases of its configuration, and those of the index besides when one
        of them leads to no module (modutils/modprobe.c: num_unresolved_deps)."""
        found = self._by_config(name)
        if found and all(self.path(f.name) is not None for f in found):
            return found
        if not found:
            return self._by_name(name) or self._by_alias(name)
        return found + self._by_alias(name)

    def _by_config(self, name: str) -> tuple[Found, ...]:
        return tuple(
            Found(r.value, r.name, r.place, self.is_builtin(r.value))
            for r in islice(self.conf.matching("alias", name), MOST_FOUND + 1)
        )

    def _by_name(self, name: str) -> tuple[Found, ...]:
        if ":" in name or self.index.dep.get(name) is None:
            return ()
        return (Found(name, None, "", self.is_builtin(name)),)

    def _by_symbol(self, name: str) -> tuple[Found, ...]:
        if not name.startswith("symbol:"):
            return ()
        return self._aliased(name, self.index.symbols.match(name), "modules.symbols")

    def _by_command(self, name: str) -> tuple[Found, ...]:
        if any(name in self.conf.names(kind) for kind in ("install", "remove")):
            return (Found(name, None, "", self.is_builtin(name)),)
        return ()

    def _by_alias(self, name: str) -> tuple[Found, ...]:
        return self._aliased(name, self.index.alias.match(name), "modules.alias")

    def _aliased(self, name: str, modules: tuple[str, ...], file: str) -> tuple[Found, ...]:
        place = f"{self.folder}/{file}"
        return tuple(Found(m, name, place, self.is_builtin(m)) for m in modules)

    def _by_builtin(self, name: str) -> tuple[Found, ...]:
        return (Found(name, None, "", True),) if self.is_builtin(name) else ()

    def _by_builtin_alias(self, name: str) -> tuple[Found, ...]:
        found = self.index.builtin_alias.match(name)
        place = f"{self.folder}/modules.builtin.modinfo"
        return tuple(Found(m, name, place, True) for m in found)

    def is_builtin(self, name: str) -> bool:
        """Whether modules.builtin names it."""
        return self.index.builtin.get(name) is not None

    def path(self, name: str) -> str | None:
        """The module's file under the index's folder; None when modules.dep does not know it."""
        line = self.index.dep.get(name)
        return None if line is None else line.partition(":")[0]

    def dependencies(self, name: str) -> tuple[str, ...]:
        """In the order of insertion: the line of modules.dep backwards."""
        line = self.index.dep.get(name)
        if line is None:
            return ()
        return tuple(module_name(path) for path in reversed(line.partition(":")[2].split()))

    def _listed(self, name: str) -> tuple[str, ...]:
        """The dependencies that modprobe tries: none at all when the file of one is not there."""
        if self.kernel.gone:
            line = self.index.dep.get(name) or ""
            if not self.kernel.gone.isdisjoint(line.partition(":")[2].split()):
                return ()
        return self.dependencies(name)

    # --- the rules of the configuration --------------------------------------------------

    def install(self, name: str) -> Rule | None:
        """The first install rule whose pattern matches a module's name."""
        if self.program is Program.BUSYBOX:
            return None
        return self.conf.first("install", name)

    def blacklisted(self, name: str) -> Rule | None:
        """The blacklist rule with exactly this name."""
        return self._blacklist.get(name)

    @cached_property
    def _blacklist(self) -> Mapping[str, Rule]:
        return {r.name: r for r in reversed(self.conf.of("blacklist"))}

    def softdep(self, name: str) -> Rule | None:
        """The first softdep rule whose pattern matches."""
        return self.conf.first("softdep", name)

    def soft(self, name: str) -> tuple[list[Found], list[Found]]:
        """What its softdep rule brings before and after it. Any makes its install rule void."""
        if name not in self._soft:
            rule = self.softdep(name) if self.program is Program.KMOD else None
            pre, post = soft_dependencies(rule.value) if rule is not None else ((), ())
            self._soft[name] = (
                [m for n in pre for m in self.lookup(n)],
                [m for n in post for m in self.lookup(n)],
            )
        return self._soft[name]

    def sealed(self, name: str) -> bool:
        """Whether no request of any name can insert it: an install rule that loads nothing stands
        in its way, and nothing makes modprobe ignore that."""
        rule = self.install(name)
        if rule is None or self.ignoring or any(self.soft(name)):
            return False
        return command.loads_nothing(self.steps(rule))

    def steps(self, rule: Rule, outputs: frozenset[str] = command.OUTPUTS) -> Steps:
        """What the command of an install rule does. Kept: few commands stand in many rules."""
        if "$CMDLINE_OPTS" in rule.value and self._shellish:
            return ((";", command.Unclear("an options line that the shell would read")),)
        key = rule.value, outputs
        if key not in self._steps:
            self._steps[key] = command.steps(rule.value, self.programs, outputs)
        return self._steps[key]

    @cached_property
    def _shellish(self) -> bool:
        """Whether kmod would put shell code into a command, in the place of $CMDLINE_OPTS."""
        return any(command.shellish(rule.value) for rule in self.conf.of("options"))

    @cached_property
    def ignoring(self) -> bool:
        """Whether an install command may call modprobe so that it ignores another."""
        if self.ignores is not None:
            return self.ignores
        return any(
            isinstance(step, command.Unclear)
            or (isinstance(step, command.Modprobe) and step.ignore_install)
            for rule in self.conf.of("install")
            for _, step in self.steps(rule)
        )

    # --- kmod's probe list ---------------------------------------------------------------

    def plan(self, module: Found, *, ignore_install: bool = False) -> tuple[Planned, ...]:
        """kmod_module_get_probe_list: dependencies, each with its soft ones, then the module.

        EndlessError when that is more than we follow."""
        needed: set[tuple[str, str | None]] = {(d, None) for d in self._listed(module.name)}
        needed.add((module.name, module.alias))
        seen: set[tuple[str, str | None]] = set()
        out: list[tuple[Found, bool]] = []

        def visit(m: Found, ignore: bool, depth: int) -> None:
            if (m.name, m.alias) in seen:
                return
            if len(out) > MOST_STEPS or depth > MOST_NESTED:
                raise EndlessError
            seen.add((m.name, m.alias))
            for name in self._listed(m.name):
                fill(Found(name, None, "", self.is_builtin(name)), depth)
            if ignore:
                out.append((m, True))
            else:
                fill(m, depth)

        def fill(m: Found, depth: int) -> None:
            pre, post = self.soft(m.name)
            for soft in pre:
                visit(soft, False, depth + 1)
            out.append((m, bool(pre or post)))
            for soft in post:
                visit(soft, False, depth + 1)

        visit(module, ignore_install, 0)
        # `ignorecmd` and `required` belong to the module, not to its place in the list: the
        # last visit decides the first.
        last = {(m.name, m.alias): ignore for m, ignore in out}
        return tuple(Planned(m, (m.name, m.alias) in needed, last[m.name, m.alias]) for m, _ in out)

    # --- playing it ----------------------------------------------------------------------

    def run(self, request: str) -> Run:
        """Play `modprobe -q -- REQUEST` from the kernel's present state. Kept: ask as you like."""
        if request not in self._runs:
            self._runs[request] = self._play(Run(request))
        return self._runs[request]

    def follow(self, rule: Rule) -> Run:
        """Play the command of an install rule alone."""
        run = Run(rule.name)
        run.ok = self._command(run, rule, 0)
        return run

    def play(self, name: str, *, ignore_install: bool = False, blacklist: bool = False) -> Run:
        """The same for a call by hand: `modprobe [-i] [-b] NAME`."""
        run = Run(name, outputs=command.OUTPUTS)
        return self._play(run, ignore_install=ignore_install, blacklist=blacklist)

    def _play(self, run: Run, *, ignore_install: bool = False, blacklist: bool = False) -> Run:
        run.found = self.lookup(run.request)[:MOST_FOUND]
        run.ok = self._call(run, run.request, ignore=ignore_install, blacklist=blacklist, depth=0)
        return run

    def _call(
        self, run: Run, name: str, *, ignore: bool, blacklist: bool, depth: int
    ) -> bool | None:
        run.calls += 1
        if depth > DEEPEST or run.calls > MOST_CALLS:
            if run.calls <= MOST_CALLS + 1:  # said once
                run.gives_up(f"install commands call each other without end ({name})")
            return None
        found = self.lookup(name)
        if not found:
            run.events.append(Event(Does.NOTHING, name))
            return False
        if self.program is Program.BUSYBOX:
            found = found[::-1]
        ok: bool | None = True
        for module in found[:MOST_FOUND]:
            run.touched.add(module.name)
            ok = self._insert(run, module, ignore=ignore, blacklist=blacklist, depth=depth)
        if len(found) > MOST_FOUND:
            run.gives_up(f"{name} leads to more than {MOST_FOUND} modules")
            return None
        return ok

    def _there(self, run: Run, module: Found) -> bool:
        return module.builtin or module.name in self.kernel.live or module.name in run.inserted

    def _insert(
        self, run: Run, module: Found, *, ignore: bool, blacklist: bool, depth: int
    ) -> bool | None:
        if self._there(run, module):
            run.events.append(Event(Does.IN_KERNEL, module.name, "", module.place))
            return True
        rule = self.blacklisted(module.name)
        if rule is not None and (module.alias is not None or blacklist):
            run.events.append(Event(Does.BLACKLISTED, module.name, rule.shown, rule.place))
            return True
        ok: bool | None = True
        try:
            plan = self.plan(module, ignore_install=ignore)
        except EndlessError:
            run.gives_up(f"the soft dependencies of {module.name} lead too far to follow")
            return None
        run.touched.update(step.module.name for step in plan)
        for step in plan:
            done = self._step(run, step, depth)
            if done is False and step.required:
                return False
            if done is None:
                ok = None
        return ok

    def _step(self, run: Run, step: Planned, depth: int) -> bool | None:
        """One entry of the list: True done, False failed, None not known."""
        name = step.module.name
        if self._there(run, step.module):
            return True
        rule = None if step.ignore_install else self.install(name)
        if rule is None:
            return self._into_kernel(run, step.module)
        run.events.append(Event(Does.RUNS, name, rule.shown, rule.place))
        return self._command(run, rule, depth)

    def _command(self, run: Run, rule: Rule, depth: int) -> bool | None:
        def nested(call: command.Modprobe) -> bool | None:
            done: bool | None = True
            for name in call.names:
                done = self._call(
                    run, name, ignore=call.ignore_install, blacklist=call.blacklist, depth=depth + 1
                )
            return done

        ok, unclear = command.play(self.steps(rule, run.outputs), nested)
        run.unclear += [f"{why} ({rule.place})" for why in unclear]
        return ok

    def _into_kernel(self, run: Run, module: Found) -> bool:
        path = self.path(module.name)
        why = self._refusal(run, module.name, path)
        if why:
            run.events.append(Event(Does.REFUSED, module.name, why))
            return False
        run.inserted.append(module.name)
        run.events.append(Event(Does.INSERT, module.name, path or "", module.place))
        return True

    def _refusal(self, run: Run, name: str, path: str | None) -> str:
        if path is None:
            return "no such module"
        for needed in (*self.dependencies(name), *NEEDS.get(name, ())):
            if not self._there(run, Found(needed, None, "", self.is_builtin(needed))):
                return f"it needs {needed}, which is not there"
        return self.kernel.refuses(name, path)
