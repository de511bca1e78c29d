"""The engine and kmod's own modprobe plan the same for generated configurations.

`modprobe -n -v` prints its whole plan: each module it would insert, each command it would run.
It inserts nothing, and the trees are made of names that no kernel has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from module_tries import Modules
from nodeward.agent.runner import Looker
from nodeward.facts.autoload import Modprobe
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.modprobe_conf import habits
from nodeward.host import TreeHost
from nodeward.model import Seen

RELEASE = "6.1.0-test"
DIRS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/lib/modprobe.d")
NAMES = ("nw_a", "nw_b", "nw_c", "nw_d", "nw_e", "nw_f")
ALIASES = ("net-pf-2-proto-132", "net-pf-2-proto-33-type-6", "net-pf-21", "fs-nw", "crypto-nw")
REQUESTS = (*ALIASES, "nw_a", "nw-f", "nw_gone", "net-pf-2-proto-132-type-1")
MODPROBE = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")

pytestmark = pytest.mark.skipif(
    MODPROBE is None and os.environ.get("CI") != "true", reason="no modprobe here"
)

name = st.sampled_from((*NAMES, "nw-a", "nw-b", "nw_gone", "NW_A"))
pattern = st.sampled_from(
    (*ALIASES, *NAMES, "nw_*", "nw-?", "net-pf-*", "net-pf-2-proto-[0-9]*", "net-pf-2-[!x]*",
     "*", "nw_[ab]", "nw_[", "off", "fs-[a-z]w")
)  # fmt: skip
command = st.sampled_from(
    ("/bin/false", "/bin/true", "/bin/false # why", "/sbin/modprobe -i nw_a", "exit 1", "echo \\x")
)
soft = st.builds(
    lambda words: " ".join(words),
    st.lists(st.one_of(st.sampled_from(("pre:", "post:", "pre")), name, st.sampled_from(ALIASES)),
             max_size=4),
)  # fmt: skip
blank = st.sampled_from((" ", "\t", "  ", " \t", " \\\n "))


@st.composite
def line(draw: st.DrawFn) -> str:
    """One line of modprobe.d, good or spoilt."""
    kind = draw(st.integers(0, 9))
    gap = draw(blank)
    if kind <= 2:
        text = f"blacklist{gap}{draw(st.one_of(name, pattern))}"
    elif kind <= 4:
        text = f"install{gap}{draw(st.one_of(name, pattern))}{draw(blank)}{draw(command)}"
    elif kind == 5:
        text = f"alias{gap}{draw(pattern)} {draw(st.one_of(name, pattern))}"
    elif kind == 6:
        text = f"softdep{gap}{draw(st.one_of(name, pattern))} {draw(soft)}"
    elif kind == 7:
        text = draw(st.sampled_from(("# comment", "#\\", "", "  # x", "\ufeffblacklist nw_a",
                                     "Blacklist nw_a", "install nw_a", "blacklist", "alias x",
                                     "include /x", "softdep nw_a", "options x", "\\")))  # fmt: skip
    elif kind == 8:
        text = f"options{gap}{draw(name)} x=1"
    else:
        text = f"remove {draw(name)} /bin/true"
    lead = draw(st.sampled_from(("", "", "", " ", "\t")))
    tail = draw(st.sampled_from(("", "", "", "", "\r", " # note", " ", "\\")))
    return lead + text + tail


text = st.builds(
    lambda lines, last: "\n".join(lines) + last,
    st.lists(line(), max_size=5),
    st.sampled_from(("\n", "\n", "")),
)
file_name = st.sampled_from(
    ("a.conf", "b.conf", "zz.conf", "x.alias", ".hidden.conf", "c", "d.cfg", "e.conf~", ".conf")
)


@st.composite
def modules(draw: st.DrawFn) -> Modules:
    """A kernel of six modules; each may depend on those before it."""
    paths = {n: f"kernel/net/{n.replace('_', draw(st.sampled_from('_-')))}.ko{x}" for n, x in
             zip(NAMES, draw(st.lists(st.sampled_from(("", ".xz", ".zst", ".gz")), min_size=6,
                                      max_size=6)), strict=True)}  # fmt: skip
    needs: dict[str, tuple[str, ...]] = {}
    for i, one in enumerate(NAMES):
        direct = draw(st.lists(st.sampled_from(NAMES[:i]), max_size=2, unique=True)) if i else []
        closed = list(direct)
        for d in direct:
            closed += [x for x in needs[d] if x not in closed]
        needs[one] = tuple(closed)
    built = draw(st.lists(st.sampled_from(NAMES), max_size=1))
    dep = {paths[n]: tuple(paths[x] for x in needs[n] if x not in built)
           for n in NAMES if n not in built}  # fmt: skip
    rows = st.tuples(st.sampled_from((*ALIASES, "net-pf-*", "net-pf-2-proto-[12]*", "fs-n?")),
                     st.sampled_from(NAMES))  # fmt: skip
    softdep = draw(st.sampled_from(("", "softdep nw_b pre: nw_a\n", "softdep nw_c post: nw_d\n")))
    return Modules(
        dep,
        tuple(draw(st.lists(rows, max_size=6, unique=True))),
        tuple(paths[b] for b in built),
        tuple((a, b) for a in draw(st.lists(st.sampled_from(ALIASES), max_size=1)) for b in built),
        softdep,
    )


files = st.dictionaries(
    st.tuples(st.sampled_from(DIRS), file_name),
    st.one_of(text, text, text, st.sampled_from(("-> /dev/null", "-> /nowhere", "-> ../x", "/"))),
    max_size=4,
)


def build(root: Path, kernel: Modules, conf: dict[tuple[str, str], str]) -> None:
    kernel.write(root / "lib/modules" / RELEASE)
    for folder in DIRS:
        (root / folder.lstrip("/")).mkdir(parents=True)
    for (folder, file), content in conf.items():
        path = root / folder.lstrip("/") / file
        if content == "/":
            path.mkdir()
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_bytes(content.encode())
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/osrelease").write_text(RELEASE + "\n")


def engines(root: Path) -> list[Modprobe]:
    """Ours with the folders given to modprobe: two where a dangling link makes it unknowable."""
    reading = Looker(TreeHost(root)).look(KernelModules)
    assert isinstance(reading, Seen), reading
    assert isinstance(reading.fact, KernelModules)
    node = replace(reading.fact, habits=tuple(replace(h, dirs=DIRS) for h in habits(version())))
    return [v.engine for v in node.variants()]


@cache
def version() -> int:
    """This machine's kmod's."""
    assert MODPROBE is not None
    told = subprocess.run([MODPROBE, "-V"], capture_output=True, text=True, check=True).stdout
    return int(told.split()[2].partition(".")[0])


def planned(modprobe: Modprobe, request: str) -> Iterator[str]:
    """The lines that `modprobe -n -v -- REQUEST` prints, by our plan."""
    for module in modprobe.lookup(request):
        if module.builtin or (module.alias is not None and modprobe.blacklisted(module.name)):
            continue
        for step in modprobe.plan(module):
            if step.module.builtin:
                continue
            rule = None if step.ignore_install else modprobe.install(step.module.name)
            options = "".join(
                f" {r.value}" for r in modprobe.conf.of("options")
                if r.name == step.module.name or (step.module.alias == r.name)
            )  # fmt: skip
            if rule is not None:
                yield f"install {rule.value}{options}"
            elif (path := modprobe.path(step.module.name)) is not None:
                yield f"insmod {path}{options}"


def printed(root: Path, request: str) -> tuple[list[str], int]:
    assert MODPROBE is not None
    folder = f"{root}/lib/modules/{RELEASE}/"
    args = [MODPROBE, "-n", "-v", "-d", str(root), "-S", RELEASE]
    for one in DIRS:
        args += ["-C", f"{root}{one}"]
    done = subprocess.run([*args, "--", request], capture_output=True, env={}, check=False)
    out = done.stdout.decode("utf-8", "surrogateescape").replace(folder, "")
    return out.split("\n"), done.returncode


def shown(line: str) -> str:
    """Our bytes-as-characters as text."""
    return line.encode("latin-1").decode("utf-8", "surrogateescape")


def same(ours: list[str], theirs: list[str]) -> bool:
    def words(lines: list[str]) -> list[str]:
        return [w for w in " ".join(lines).split() if w]

    return words(ours) == words(theirs)


def compare(root: Path, kernel: Modules, conf: dict[tuple[str, str], str]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    build(root, kernel, conf)
    theirs = {request: printed(root, request) for request in REQUESTS}
    tried = [different(ours, theirs) for ours in engines(root)]
    assert [] in tried, tried


def different(ours: Modprobe, theirs: dict[str, tuple[list[str], int]]) -> list[object]:
    """Each request of which we say something else, with what each says."""
    found: list[object] = []
    for request, (lines, rc) in theirs.items():
        mine = [shown(line) for line in planned(ours, request)]
        if not same(mine, lines) or (rc != 0) != (not ours.lookup(request)):
            found.append((request, mine, lines, rc))
    return found


CHECKS_OFF = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, derandomize=True, suppress_health_check=CHECKS_OFF)
@given(kernel=modules(), conf=files)
def test_the_plan_is_modprobes_own(
    tmp_path: Path, kernel: Modules, conf: dict[tuple[str, str], str]
) -> None:
    compare(tmp_path / "root", kernel, conf)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=4000, suppress_health_check=CHECKS_OFF)
@given(kernel=modules(), conf=files)
def test_the_plan_is_modprobes_own_for_thousands(
    tmp_path: Path, kernel: Modules, conf: dict[tuple[str, str], str]
) -> None:
    compare(tmp_path / "root", kernel, conf)
