"""What to write in the place of a line without effect: tried by the engine before it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nodeward.facts.autoload import EndlessError
from nodeward.facts.errors import ParseError
from nodeward.facts.globs import matches
from nodeward.facts.kernel_modules import KernelModules, Variant
from nodeward.facts.line_meaning import REQUESTS
from nodeward.facts.modprobe_conf import COMMAND_LINE, Rule, parse
from nodeward.facts.module_fix import FOLDER, file_name
from nodeward.facts.module_requests import COMPONENTS
from nodeward.facts.module_ways import opened

MOST_MODULES = 8  # one line names more only by a pattern
BY_KERNEL = "module_blacklist="
BY_MODPROBE = "modprobe.blacklist="


class Cure(NamedTuple):
    """Other lines: in the same place, or, with a path, in a file of their own. `note` says where
    to a reader."""

    lines: tuple[str, ...]
    path: str = ""
    note: str = ""

    @property
    def words(self) -> str:
        return "; ".join(self.lines) + self.note


class Useless(NamedTuple):
    """One line without its effect, and why. `modules` are those that its author meant, `cures`
    what may work, the likeliest first."""

    place: str
    text: str
    why: str
    modules: tuple[str, ...]
    cures: tuple[Cure, ...]
    file: str
    number: int


def first_file(node: KernelModules) -> str:
    """A new file that sorts before all others."""
    return f"{FOLDER}/{file_name(node, 'rules')}"


def keeping_out(
    modules: Sequence[str],
    spelled: Sequence[str],
    first: str,
    *,
    busybox: bool,
    path: str = "",
    note: str = "",
) -> tuple[Cure, ...]:
    """What may keep these modules out: first as it was meant, several lines in one text."""
    cures = [Cure(tuple(text.split("\n")), path, note) for text in spelled if text]
    if not modules or len(modules) > MOST_MODULES:
        return tuple(cures)
    if busybox:
        all_of = [m for c in COMPONENTS if set(modules) & set(c.modules) for m in c.registers]
        for names in (modules, (*modules, *all_of)):
            lines = tuple(f"blacklist {m}" for m in dict.fromkeys(names))
            cures.append(Cure(lines, path, note))
        return tuple(dict.fromkeys(cures))
    lines = tuple(f"install {m} /bin/false" for m in modules)
    soft = tuple(f"softdep {m} pre:" for m in modules)
    there = f"  (in {first}, which sorts before all others)"
    return tuple(
        dict.fromkeys(
            (*cures, Cure(lines, path, note), Cure(lines, first, there),
             Cure((*soft, *lines), first, there))
        )
    )  # fmt: skip


def cured(node: KernelModules, line: Useless) -> str:
    """The first that works however this host's modprobe reads its files; "" where none does."""
    try:
        variants = list(node.variants())
        for cure in line.cures:
            if all(works(node, variant, line, cure) for variant in variants):
                return cure.words
    except (EndlessError, ParseError):
        pass
    return ""


def works(node: KernelModules, variant: Variant, line: Useless, cure: Cure) -> bool:
    """Whether with these lines nothing inserts the modules any more; of a softdep, whether it is
    the one that counts."""
    mine = [m for m in line.modules if variant.engine.path(m) is not None]
    if cure.lines[0].startswith(BY_KERNEL):  # the kernel's own, by exact name
        return set(mine) <= set(cure.lines[0].removeprefix(BY_KERNEL).split(","))
    lines = cure.lines
    if line.file == COMMAND_LINE and lines[0].startswith(BY_MODPROBE):
        lines = tuple(f"blacklist {n}" for n in lines[0].removeprefix(BY_MODPROBE).split(","))
    rules, odd = parse("".join(f"{x}\n" for x in lines).encode("latin-1", "replace"), line.file)
    if odd or len(rules) != len(lines) or any(variant.engine.is_builtin(m) for m in line.modules):
        return False
    if cure.path:
        changed = variant.plus(cure.path, lines)
    else:
        changed = variant.instead(line.file, line.number, lines)
    for rule in rules:
        asked = [name for name in REQUESTS if rule.kind == "alias" and matches(rule.name, name)]
        if asked:  # whoever else leads there is another matter
            if any(set(mine) & set(changed.engine.run(name).inserted) for name in asked):
                return False
            mine = []
    return not any(opened(node, changed, module) for module in mine) and all(
        _counts(changed, rule) for rule in rules
    )


def _counts(variant: Variant, rule: Rule) -> bool:
    """Whether a softdep is the first of its module; other rules were judged already."""
    first = variant.conf.first("softdep", rule.name) if rule.kind == "softdep" else rule
    return first is not None and first.value.split() == rule.value.split()
