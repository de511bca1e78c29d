"""Lines of modprobe configuration that do not do what their author believed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from nodeward.facts.autoload import Modprobe, Program
from nodeward.facts.busybox_conf import OLD_FILE
from nodeward.facts.exposure import requests
from nodeward.facts.globs import WILD
from nodeward.facts.install_command import Unclear, steps
from nodeward.facts.kernel_modules import KernelModules, Variant
from nodeward.facts.modprobe_conf import (
    BOM,
    COMMAND_LINE,
    KEYWORDS,
    Entry,
    Kind,
    Oddity,
    Rule,
    blacklist_words,
    is_config,
    module_blacklist,
    parse,
)
from nodeward.facts.module_requests import COMPONENTS

BLOCKS = ("blacklist", "install")
# Whoever names a file so knows that it is not read.
INERT = (".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-bak", ".rpmsave", ".rpmnew", ".rpmorig",
         ".ucf-old", ".ucf-dist", ".bak", ".old", ".orig", ".disabled", ".off", ".save", ".example",
         "~", ".swp", ".md", ".txt")  # fmt: skip
MOST_LINES = 5000  # of one host; beyond it nobody reads on
JUDGED = {m for c in COMPONENTS for m in c.modules}


class Useless(NamedTuple):
    """One line without its effect, why, and what to write instead. `modules` are those that
    its author meant."""

    place: str
    text: str
    why: str
    instead: str
    modules: tuple[str, ...] = ()


def useless(node: KernelModules, variant: Variant) -> tuple[Useless, ...]:
    """All such lines under one way of reading, first those about a module that is judged. Kept."""
    key = ("useless", variant.tree.release, variant.tree.folder, variant.habits)
    kept = node.memo.get(key)
    if not isinstance(kept, tuple):
        every = _useless(node, variant)
        first = [line for line in every if not JUDGED.isdisjoint(line.modules)]
        rest = [line for line in every if JUDGED.isdisjoint(line.modules)]
        kept = node.memo[key] = (*first, *rest[:MOST_LINES])
    return kept


def _useless(node: KernelModules, variant: Variant) -> list[Useless]:
    return [
        *_thrown_away(variant),
        *_not_read(node, variant),
        *_masked(variant),
        *_rules(node, variant),
        *_on_command_line(node, variant),
    ]


# --- lines that kmod does not take at all ----------------------------------------------------


def _thrown_away(variant: Variant) -> Iterator[Useless]:
    for odd in variant.conf.odd:
        yield Useless(f"{odd.file}:{odd.line}", odd.text.strip(), odd.why, mended(odd), _meant(odd))


def mended(odd: Oddity) -> str:
    """The line as its author probably meant it; "" when nobody can tell."""
    words = odd.text.removeprefix(BOM).split()
    if not words:
        return ""
    word = words[0].lower()
    if word == "install" and len(words) == 2:
        return f"install {words[1]} /bin/false"
    if word in KEYWORDS and len(words) > 1:
        return " ".join([word, *words[1:]])
    return ""


def _meant(odd: Oddity) -> tuple[str, ...]:
    words = odd.text.removeprefix(BOM).split()
    return (words[1].replace("-", "_"),) if len(words) > 1 else ()


# --- files that kmod does not read -----------------------------------------------------------


def _not_read(node: KernelModules, variant: Variant) -> Iterator[Useless]:
    for entry in node.entries:
        why = _why_not(node, variant, entry)
        if not why or entry.name.endswith(INERT):
            continue
        for rule in _blocks(entry):
            right = f"{_folder(entry)}/{entry.name.strip('.').partition('.')[0]}.conf"
            yield Useless(
                rule.place,
                rule.text.strip(),
                why,
                f"{rule.text.strip()}  (in {right})",
                (rule.name,),
            )


def _folder(entry: Entry) -> str:
    top, _, rest = entry.folder.partition("/modprobe.d")
    return f"{top}/modprobe.d" if rest or top != "/etc" else "/etc/modprobe.d"


def _why_not(node: KernelModules, variant: Variant, entry: Entry) -> str:
    if entry.kind is not Kind.FILE or not entry.data or entry.path in variant.conf.read:
        return ""
    if entry.path == OLD_FILE:
        return f"kmod does not read {OLD_FILE}"
    if entry.folder.endswith("/modprobe.d") and entry.folder not in variant.habits.dirs:
        return f"this modprobe does not read {entry.folder}"
    if "/modprobe.d/" in entry.folder:
        return "modprobe does not look into a folder inside modprobe.d"
    if is_config(entry.name, alias_files=variant.habits.alias_files):
        return ""
    if entry.name.startswith("."):
        return "modprobe does not read a file whose name begins with a dot"
    return "modprobe reads only files that end in .conf"


def _blocks(entry: Entry) -> Iterator[Rule]:
    rules, _ = parse(entry.data or b"", entry.path)
    return (rule for rule in rules if rule.kind in BLOCKS)


def _masked(variant: Variant) -> Iterator[Useless]:
    """Rules of a file that another hides, unless the rules that count say the same."""
    known = {(r.kind, r.name) for r in variant.conf.rules}
    for masked in variant.conf.masked:
        for rule in _blocks(masked.entry):
            if (rule.kind, rule.name) not in known:
                why = f"{masked.by} hides this file, because it has the same name"
                yield Useless(
                    rule.place, rule.text.strip(), why,
                    f"{rule.text.strip()}  (in a file of another name)", (rule.name,),
                )  # fmt: skip


# --- rules that kmod takes, and that have no effect ------------------------------------------


def _rules(node: KernelModules, variant: Variant) -> Iterator[Useless]:
    engine = variant.engine
    opened = _opened(variant)
    aliased = Aliased(variant)
    for rule in variant.conf.rules:
        if rule.file.startswith(variant.tree.folder + "/"):
            continue  # modules.softdep is depmod's
        if rule.kind == "blacklist":
            why, instead = _blacklist(engine, rule, opened, aliased)
        elif rule.kind == "install":
            why, instead = _install(node, engine, rule)
        else:
            continue
        if why:
            yield Useless(rule.place, rule.text.strip(), why, instead, (rule.name,))


def _opened(variant: Variant) -> dict[str, str]:
    """Modules of our components that a request still inserts -> the request."""
    found: dict[str, str] = {}
    for component in COMPONENTS:
        for request in requests(variant, component):
            for module in variant.engine.run(request.name).inserted:
                found.setdefault(module, request.name)
    return found


class Aliased:
    """Whether any alias leads to a module, asked of the text of modules.alias."""

    def __init__(self, variant: Variant) -> None:
        self._lines = variant.index.lines
        self._config = {r.value for r in variant.conf.of("alias")}

    def __call__(self, module: str) -> bool | None:
        """None when there is no text to look into."""
        if module in self._config:
            return True
        if not self._lines:
            return None
        return module.encode("latin-1", "replace") in _targets(self._lines)


@lru_cache(maxsize=2)
def _targets(lines: bytes) -> frozenset[bytes]:
    """The modules that modules.alias names. Kept, for it is large and seldom changes."""
    text = lines.replace(b"-", b"_")
    # The first line is depmod's comment.
    words = (text.partition(b"\n")[2] if text.startswith(b"#") else text).split()
    if len(words) % 3 == 0 and words[::3].count(b"alias") * 3 == len(words):
        return frozenset(words[2::3])
    return frozenset(row.rpartition(b" ")[2] for row in text.split(b"\n"))


def _blacklist(
    engine: Modprobe, rule: Rule, opened: dict[str, str], aliased: Aliased
) -> tuple[str, str]:
    name = rule.name
    if rule.file == COMMAND_LINE and "-" in name:
        return ("modprobe.blacklist= takes names with '_' only",
                f"modprobe.blacklist={name.replace('-', '_')}")  # fmt: skip
    spoilt = _spoilt(engine, name)
    if spoilt:
        return spoilt[0], f"blacklist {spoilt[1]}" if spoilt[1] else ""
    if not WILD.isdisjoint(name):
        return "blacklist takes no patterns: the name must be exactly the module's", (
            f"install {name} /bin/false"
        )
    if engine.is_builtin(name):
        return f"{name} is built into the kernel", ""
    if engine.path(name) is None:
        targets = [f.name for f in engine.lookup(name) if f.alias is not None]
        if targets:
            return (f"{name} is an alias, and blacklist wants the module's own name",
                    f"blacklist {targets[0]}")  # fmt: skip
        return "", ""  # no such module in this kernel: nothing to keep out
    if name in opened:
        return _still(engine, name, opened[name]), f"install {name} /bin/false"
    if aliased(name) is False:
        return ("no alias leads to it: it comes as a dependency or by its own name, and blacklist"
                " applies to neither"), f"install {name} /bin/false"  # fmt: skip
    return "", ""


def _still(engine: Modprobe, name: str, request: str) -> str:
    """Why a blacklisted module comes all the same."""
    found = engine.lookup(request)
    if any(f.name == name and f.alias is None for f in found):
        return f"{request} is the module's own name to modprobe, and blacklist is for aliases only"
    for module in found:
        if name in engine.dependencies(module.name):
            return f"{request} loads {module.name}, which needs it: blacklist is no help there"
    return f"{request} brings it along, and blacklist is for a module's own aliases only"


def _spoilt(engine: Modprobe, name: str) -> tuple[str, str] | None:
    """A name that is almost a module's: (why, the module)."""
    if "\r" in name or BOM in name or "\xa0" in name:
        clean = name.replace("\r", "").replace(BOM, "").replace("\xc2\xa0", "")
        return "the name ends in a carriage return or an invisible character", clean
    lower = name.lower()
    if name != lower and engine.path(name) is None and engine.path(lower) is not None:
        return "names of modules are case-sensitive", lower
    if name.endswith(".ko") and engine.path(name) is None:
        return "a module's name has no suffix", name.removesuffix(".ko")
    return None


def _install(node: KernelModules, engine: Modprobe, rule: Rule) -> tuple[str, str]:
    if engine.program is Program.BUSYBOX:
        return "BusyBox modprobe knows no install", f"blacklist {rule.name}"
    spoilt = _spoilt(engine, rule.name)
    if spoilt and spoilt[1]:
        return spoilt[0], f"install {spoilt[1]} {rule.value}"
    first = engine.conf.first("install", rule.name) or rule
    if first is not rule and first.value.split() != rule.value.split():
        return f"the first install counts, and that is {first.place}", (
            f"(take {first.place} away, or put this line into a file that sorts before it)"
        )
    if engine.is_builtin(rule.name):
        return f"{rule.name} is built into the kernel", ""
    if not WILD.isdisjoint(rule.name):
        return _install_pattern(rule)
    pre, post = engine.soft(rule.name)
    soft = engine.softdep(rule.name)
    if (pre or post) and soft is not None:
        return (f"a softdep cancels it: {soft.text.strip()!r} in {soft.place}",
                f"softdep {rule.name} pre:  (in a file that sorts before)")  # fmt: skip
    return "", ""


def _install_pattern(rule: Rule) -> tuple[str, str]:
    if rule.name.startswith(("net_pf_", "fs_", "char_major_")):
        return (f"an install pattern is held against modules' names, not against"
                f" requests such as {rule.name}",
                f"alias {rule.name.replace('_', '-')} off")  # fmt: skip
    return "", ""


def unfollowed(variant: Variant) -> Iterator[Useless]:
    """Install lines that may keep a module out or not: what their command does cannot be told. One
    that calls modprobe or insmod is there to load its module, and keeps nothing out."""
    engine = variant.engine
    if engine.program is Program.BUSYBOX:
        return
    for rule in variant.conf.of("install"):
        if engine.path(rule.name) is None and WILD.isdisjoint(rule.name):
            continue
        if "modprobe" in rule.value or "insmod" in rule.value:
            continue
        first = engine.conf.first("install", rule.name) or rule
        for _, step in steps(rule.value, engine.programs) if first is rule else ():
            if isinstance(step, Unclear):
                instead = f"install {rule.name} /bin/false"
                yield Useless(rule.place, rule.text.strip(), step.why, instead, (rule.name,))
                break


def _on_command_line(node: KernelModules, variant: Variant) -> Iterator[Useless]:
    """module_blacklist= compares exactly; only "_" names exist."""
    words = list(blacklist_words(node.command_line))
    for name in module_blacklist(node.command_line):
        if "-" in name and variant.engine.path(name.replace("-", "_")) is not None:
            yield Useless(
                COMMAND_LINE, words[-1], "the kernel compares exactly, and its names have '_'",
                f"module_blacklist={name.replace('-', '_')}", (name.replace("-", "_"),),
            )  # fmt: skip
    if len(words) > 1:
        yield Useless(
            COMMAND_LINE, words[0], "of several module_blacklist= only the last counts",
            "module_blacklist= once, with all names",
        )  # fmt: skip
