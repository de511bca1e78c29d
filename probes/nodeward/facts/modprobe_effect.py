"""Lines of modprobe configuration that do not do what their author believed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from nodeward.facts.autoload import Does, Found, Modprobe, Program
from nodeward.facts.busybox_conf import OLD_FILE
from nodeward.facts.globs import WILD, matches
from nodeward.facts.install_command import Unclear, loads_nothing
from nodeward.facts.invisible import bare, shown
from nodeward.facts.kernel_modules import KernelModules, Variant
from nodeward.facts.line_cures import Cure, Useless, first_file, keeping_out
from nodeward.facts.line_meaning import REQUESTS, Reader, words_of
from nodeward.facts.modprobe_conf import (
    COMMAND_LINE,
    CONTINUES,
    KEYWORDS,
    Entry,
    Kind,
    Oddity,
    Rule,
    blacklist_words,
    is_config,
    module_blacklist,
    parse,
    soft_dependencies,
)
from nodeward.facts.module_doors import JUDGED
from nodeward.facts.module_ways import opened, untold

BLOCKS = ("blacklist", "install")
# Whoever names a file so knows that it is not read.
INERT = (".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-bak", ".rpmsave", ".rpmnew", ".rpmorig",
         ".ucf-old", ".ucf-dist", ".bak", ".old", ".orig", ".disabled", ".off", ".save", ".example",
         "~", ".swp", ".md", ".txt")  # fmt: skip
MOST_LINES = 5000  # of one host; beyond it nobody reads on


def useless(node: KernelModules, variant: Variant) -> tuple[Useless, ...]:
    """All such lines under one way of reading, first those about a module that is judged.
    EndlessError."""
    return _judged(node, variant).useless


def unfollowed(node: KernelModules, variant: Variant) -> tuple[Useless, ...]:
    """Lines that may keep a module out or not, with why that cannot be told. EndlessError."""
    return _judged(node, variant).unfollowed


class _Lines(NamedTuple):
    useless: tuple[Useless, ...]
    unfollowed: tuple[Useless, ...]


def _judged(node: KernelModules, variant: Variant) -> _Lines:
    """Both, from one look. Kept."""
    key = ("lines", variant.tree.release, variant.tree.folder, variant.habits)
    kept = node.memo.get(key)
    if not isinstance(kept, _Lines):
        judge = _Judge(node, variant)
        every = judge.all()
        first = [line for line in every if not JUDGED.isdisjoint(line.modules)]
        rest = [line for line in every if JUDGED.isdisjoint(line.modules)]
        dark = dict.fromkeys((*_unfollowed(variant), *judge.dark))
        kept = node.memo[key] = _Lines((*first, *rest[:MOST_LINES]), tuple(dark))
    return kept


class _Judge:
    """Judges the lines of one host under one way of reading. `dark`: those that `all` found no
    fault with, and of which it cannot be told whether they have an effect."""

    def __init__(self, node: KernelModules, variant: Variant) -> None:
        self.node, self.variant = node, variant
        self.engine: Modprobe = variant.engine
        self.reader = Reader(variant.engine, variant.index)
        self.busybox = variant.engine.program is Program.BUSYBOX
        self.first = first_file(node)
        self.aliased = Aliased(variant)
        self.dark: list[Useless] = []
        self._unsure = ""  # why the rule that is looked at may have no effect
        self._opened: dict[str, tuple[str, str]] = {}
        self._competing: dict[str, Sequence[tuple[Found, frozenset[str]]]] = {}

    def all(self) -> list[Useless]:
        return [*self.thrown_away(), *self.not_read(), *self.masked(), *self.rules(),
                *self.on_command_line()]  # fmt: skip

    def opened(self, module: str) -> str:
        """The request that inserts a module all the same."""
        if module not in self._opened:
            request = opened(self.node, self.variant, module)
            self._opened[module] = request, "" if request else untold(self.variant, module)
        request, why = self._opened[module]
        self._unsure = self._unsure or why
        return request

    def line(
        self, rule: Rule | Oddity, why: str, modules: Sequence[str], *spelled: str, path: str = "",
        note: str = "",
    ) -> Useless:  # fmt: skip
        """A line without effect, with what is to be tried in its place: first as it was meant."""
        known = tuple(dict.fromkeys(modules))
        cures = keeping_out(known, spelled, self.first, busybox=self.busybox, path=path, note=note)
        return Useless(f"{rule.file}:{rule.line}" if rule.line else rule.file, shown(rule.text),
                       why, known, cures, rule.file, rule.line)  # fmt: skip

    # --- lines that kmod does not take at all --------------------------------------------

    def thrown_away(self) -> Iterator[Useless]:
        for odd in self.variant.conf.odd:
            words = words_of(bare(odd.text))
            right = mended(odd)
            if words and right.startswith(("install", "softdep", "alias", "options", "remove")):
                words = words[:1]
            note = "  (and no backslash on the line before)" if odd.why == CONTINUES else ""
            yield self.line(odd, odd.why, self.reader.modules(words), right, note=note)

    # --- files that kmod does not read ---------------------------------------------------

    def not_read(self) -> Iterator[Useless]:
        for entry in self.node.entries:
            why = _why_not(self.variant, entry)
            if not why or entry.name.endswith(INERT):
                continue
            right = f"{_folder(entry)}/{entry.name.strip('.').partition('.')[0]}.conf"
            for rule in _blocks(entry):
                yield self.line(rule, why, self.meant(rule), bare(rule.text), path=right,
                                note=f"  (in {right})")  # fmt: skip

    def masked(self) -> Iterator[Useless]:
        """Rules of a file that another hides, unless the rules that count say the same."""
        known = {(r.kind, r.name) for r in self.variant.conf.rules}
        for masked in self.variant.conf.masked:
            for rule in _blocks(masked.entry):
                if (rule.kind, rule.name) not in known:
                    why = f"{masked.by} hides this file, because it has the same name"
                    note = "  (in a file of another name)"
                    yield self.line(
                        rule, why, self.meant(rule), bare(rule.text), path=self.first, note=note
                    )

    def meant(self, rule: Rule) -> tuple[str, ...]:
        """The modules that a rule is about."""
        words = words_of(rule.text)
        return self.reader.modules(words if rule.kind == "blacklist" else words[:1])

    # --- rules that kmod takes, and that have no effect ----------------------------------

    def rules(self) -> Iterator[Useless]:
        judges = {"blacklist": self.blacklist, "install": self.install, "alias": self.alias,
                  "softdep": self.softdep}  # fmt: skip
        for rule in self.variant.conf.rules:
            if rule.kind in judges and not rule.file.startswith(self.variant.tree.folder + "/"):
                self._unsure = ""
                found = judges[rule.kind](rule)  # modules.softdep is depmod's
                if found is not None:
                    yield found
                elif self._unsure:
                    self.dark.append(self.line(rule, self._unsure, self.meant(rule)))

    def misread(self, rule: Rule) -> Useless | None:
        """A name that means something else to kmod than to its author."""
        words = words_of(rule.text)
        if rule.kind != "blacklist":
            words = words[:1]
        if not words:
            return None
        meant = self.reader.read(words[0])
        ends = rule.value if rule.kind == "install" else "off"
        form = {"install": f"install {{}} {ends}", "alias": f"alias {{}} {ends}"}.get(
            rule.kind, "blacklist {}"
        )
        if meant.wrong:
            spelled = (form.format(name) for name in meant.names)
            return self.line(rule, meant.wrong, meant.modules, "\n".join(spelled))
        more = [m for w in words[1:] for m in self.reader.read(w).modules if self.reader.known(m)]
        if more:
            text = "\n".join(f"blacklist {m}" for m in (*meant.modules, *more))
            why = f"only the first name counts: what stands behind {words[0]} is not read"
            return self.line(rule, why, (*meant.modules, *more), text)
        return None

    def blacklist(self, rule: Rule) -> Useless | None:
        name = rule.name
        if rule.file == COMMAND_LINE and "-" in name:
            right = name.replace("-", "_")
            why = "modprobe.blacklist= takes names with '_' only"
            right_ones = (f"modprobe.blacklist={right}", f"module_blacklist={right}")
            return self.line(rule, why, (right,), *right_ones)
        if rule.file != COMMAND_LINE and (found := self.misread(rule)):
            return found
        if not WILD.isdisjoint(name):
            why = "blacklist takes no patterns: the name must be exactly the module's"
            return self.line(rule, why, self.reader.led(name), f"install {name} /bin/false")
        if self.engine.is_builtin(name):
            return self.line(rule, f"{name} is built into the kernel", (name,))
        if self.engine.path(name) is None:
            led = self.reader.led(name)
            why = f"{name} is an alias, and blacklist wants the module's own name"
            text = "\n".join(f"blacklist {m}" for m in led)
            return self.line(rule, why, led, text) if led else None  # else nothing to keep out
        request = self.opened(name)
        spelled = f"module_blacklist={name}" if rule.file == COMMAND_LINE else ""
        if request:
            return self.line(rule, _still(self.engine, name, request), (name,), spelled)
        if self.aliased(name) is False and not self.engine.sealed(name):
            why = ("no alias leads to it: it comes as a dependency or by its own name, and"
                   " blacklist applies to neither")  # fmt: skip
            return self.line(rule, why, (name,), spelled)
        return None

    def install(self, rule: Rule) -> Useless | None:
        name = rule.name
        if self.busybox:
            return self.line(rule, "BusyBox modprobe knows no install", self.meant(rule))
        if found := self.misread(rule):
            return found
        first = self.engine.conf.first("install", name) or rule
        if first is not rule and first.value.split() != rule.value.split():
            why = f"the first install counts, and that is {first.place}"
            note = f"  (in a file that sorts before {first.file}, or take {first.place} away)"
            return self.line(rule, why, self.meant(rule), bare(rule.text), path=self.first,
                             note=note)  # fmt: skip
        if self.engine.is_builtin(name):
            return self.line(rule, f"{name} is built into the kernel", (name,))
        if not WILD.isdisjoint(name):
            return self.install_pattern(rule)
        soft = self.engine.softdep(name)
        if any(self.engine.soft(name)) and soft is not None:
            why = f"a softdep cancels it: {soft.shown!r} in {soft.place}"
            return self.line(rule, why, (name,), f"softdep {name} pre:", path=self.first,
                             note="  (in a file that sorts before)")  # fmt: skip
        if not self.reader.known(name):
            return self.install_name(rule)
        if loads_nothing(self.engine.steps(rule)) and (request := self.opened(name)):
            why = f"{request} gets round it: an install command calls modprobe so that it ignores"
            return self.line(rule, f"{why} this rule", (name,))
        return None

    def install_pattern(self, rule: Rule) -> Useless | None:
        """A pattern of requests: of modules' names it matches none."""
        if not rule.name.startswith(("net_pf_", "fs_", "char_major_")):
            return None
        why = (f"an install pattern is held against modules' names, not against requests such as"
               f" {rule.name}")  # fmt: skip
        return self.line(rule, why, self.reader.led(rule.name),
                         f"alias {rule.name.replace('_', '-')} off")  # fmt: skip

    def install_name(self, rule: Rule) -> Useless | None:
        """For a request and not a module: it counts where no alias knows the name."""
        if next(self.engine.conf.matching("alias", rule.name), None) is None:
            return None
        run = self.engine.run(rule.name)
        if any(e.does is Does.RUNS and e.place == rule.place for e in run.events):
            return None
        mine = tuple(m for m in run.inserted if any(f.name == m for f in run.found))
        if not mine:
            return None
        why = f"an alias comes before it: {run.found[0].place} leads {rule.name} to {mine[0]}"
        return self.line(rule, why, mine, f"blacklist {mine[0]}")

    def alias(self, rule: Rule) -> Useless | None:
        """One to a module that there is not, as `off`, is there to keep something out."""
        if not leads_nowhere(self.engine, rule):
            return None
        words = words_of(rule.text)
        found = self.misread(rule)
        if found is not None and not self.reader.led(rule.name):
            return found
        more = [m for w in words[2:] for m in self.reader.read(w).modules if self.reader.known(m)]
        if more:
            why = (
                f"an alias takes one name and one module: what stands behind {words[1]} is not read"
            )
            return self.line(rule, why, more)
        return next(filter(None, (self.alias_of(rule, m) for m in self.reader.read(words[0]).modules
                                  if self.reader.known(m))), None)  # fmt: skip

    def alias_of(self, rule: Rule, module: str) -> Useless | None:
        """An alias that leads nowhere, for one of the modules it was to keep out."""
        if matches(rule.name, module):
            request = self.opened(module)
            why = f"it catches only who asks for {module} by its own name: {request} still loads it"
            return self.line(rule, why, (module,)) if request else None
        for other, inserted in self.competing(rule.name):
            if module in inserted:
                why = f"all aliases of a name count, and {other.place} leads it to {other.name}"
                return self.line(rule, why, (other.name,))
        return None

    def competing(self, pattern: str) -> Sequence[tuple[Found, frozenset[str]]]:
        """The requests of a pattern that an alias brings something in for: which one, and all that
        comes. Kept: thousands of lines may have the same name."""
        if pattern not in self._competing:
            found = []
            for name in [n for n in REQUESTS if matches(pattern, n)] or [pattern]:
                run = self.engine.run(name)
                inserted = frozenset(run.inserted)
                other = next((f for f in run.found if f.name in inserted), None)
                if other is not None:
                    found.append((other, inserted))
            self._competing[pattern] = found
        return self._competing[pattern]

    def softdep(self, rule: Rule) -> Useless | None:
        """What a softdep ties to a module is not to be judged; whether it is read at all is."""
        if self.busybox:
            return None
        pre, post = soft_dependencies(rule.value)
        if not pre and not post and not {"pre:", "post:"} & set(rule.value.split()):
            text = f"softdep {rule.name} pre: {rule.value}"
            return self.line(rule, "no module stands behind pre: or post:", (), text)
        first = self.engine.conf.first("softdep", rule.name) or rule
        if first is rule or first.value.split() == rule.value.split():
            return None
        if not any(soft_dependencies(first.value)):  # it is there to take the others' effect away
            return None
        blocks = (rule.name,) if not pre and not post else ()  # so that an install rule counts
        note = f"  (in a file that sorts before {first.file}, or take {first.place} away)"
        return self.line(rule, f"only the first softdep of a module counts: {first.place}", blocks,
                         bare(rule.text), path=self.first, note=note)  # fmt: skip

    def on_command_line(self) -> Iterator[Useless]:
        """module_blacklist= compares exactly; only "_" names exist."""
        words = list(blacklist_words(self.node.command_line))
        for name in module_blacklist(self.node.command_line):
            right = name.replace("-", "_")
            if "-" in name and self.engine.path(right) is not None:
                yield self.line(
                    Oddity(COMMAND_LINE, 0, words[-1], ""),
                    "the kernel compares exactly, and its names have '_'", (right,),
                    f"module_blacklist={right}",
                )  # fmt: skip
        if len(words) > 1:
            lost = [n for word in words[:-1] for n in word.partition("=")[2].split(",")]
            kept = module_blacklist(self.node.command_line)
            yield self.line(
                Oddity(COMMAND_LINE, 0, words[0], ""),
                "of several module_blacklist= only the last counts: write it once, with all names",
                self.reader.modules(n for n in lost if n not in kept),
                "module_blacklist=" + ",".join(dict.fromkeys((*lost, *kept))),
            )  # fmt: skip


def leads_nowhere(engine: Modprobe, rule: Rule) -> bool:
    """Whether an alias is there to keep something out: to `off`, or what else is no module."""
    known = engine.path(rule.value) is not None or engine.is_builtin(rule.value)
    return not known and rule.value not in engine.conf.names("install")


def mended(odd: Oddity) -> str:
    """The line as its author probably meant it; "" when nobody can tell."""
    words = bare(odd.text).split()
    if not words:
        return ""
    word = words[0].lower()
    if word == "install" and len(words) == 2:
        return f"install {words[1]} /bin/false"
    if word in KEYWORDS and len(words) > 1:
        return " ".join([word, *words[1:]])
    return ""


def _folder(entry: Entry) -> str:
    top, _, rest = entry.folder.partition("/modprobe.d")
    return f"{top}/modprobe.d" if rest or top != "/etc" else "/etc/modprobe.d"


def _why_not(variant: Variant, entry: Entry) -> str:
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


def _still(engine: Modprobe, name: str, request: str) -> str:
    """Why a blacklisted module comes all the same."""
    found = engine.lookup(request)
    if any(f.name == name and f.alias is None for f in found):
        return f"{request} is the module's own name to modprobe, and blacklist is for aliases only"
    for module in found:
        if name in engine.dependencies(module.name):
            return f"{request} loads {module.name}, which needs it: blacklist is no help there"
    return f"{request} brings it along, and blacklist is for a module's own aliases only"


def _unfollowed(variant: Variant) -> Iterator[Useless]:
    """Install lines whose command cannot be told. One that calls modprobe or insmod is there to
    load its module, and keeps nothing out, unless that leads too far to know."""
    engine = variant.engine
    if engine.program is Program.BUSYBOX:
        return
    for rule in variant.conf.of("install"):
        if engine.path(rule.name) is None and WILD.isdisjoint(rule.name):
            continue
        if (engine.conf.first("install", rule.name) or rule) is not rule:
            continue
        if why := _why_dark(engine, rule):
            cures = (Cure((f"install {rule.name} /bin/false",)),)
            yield Useless(rule.place, rule.shown, why, (rule.name,), cures, rule.file, rule.line)


def _why_dark(engine: Modprobe, rule: Rule) -> str:
    if "modprobe" in rule.value or "insmod" in rule.value:
        run = engine.follow(rule)
        return run.unclear[-1] if run.endless else ""
    steps = (step for _, step in engine.steps(rule))
    return next((step.why for step in steps if isinstance(step, Unclear)), "")
