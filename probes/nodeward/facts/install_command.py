"""What an `install` command of modprobe.d does, as far as its text tells.

kmod runs it with system(3). Only shapes that people write are understood: false, true, exit N,
modprobe and insmod, joined by ";", "&&" and "||". All else is Unclear, and never taken for a block.

A modprobe that the kernel starts (kernel/umh.c) has no open file: an `echo` fails there, and so
does a command with 2>&1. Measured with dash, bash and busybox.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping

from nodeward.lazy import dataclass, pattern

FALSE = frozenset({"false", "/bin/false", "/usr/bin/false"})
PRINTS = frozenset({"echo", "/bin/echo", "/usr/bin/echo", "printf", "/usr/bin/printf"})
TRUE = frozenset({"true", ":", "/bin/true", "/usr/bin/true", "logger", "/usr/bin/logger"}) | PRINTS
MODPROBE = frozenset({"modprobe", "/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe",
                      "/usr/bin/modprobe"})  # fmt: skip
INSMOD = frozenset({"insmod", "/sbin/insmod", "/usr/sbin/insmod"})
SHELLS = frozenset({"sh", "/bin/sh", "/usr/bin/sh", "bash", "/bin/bash", "/usr/bin/bash"})
PATH = ("/sbin", "/usr/sbin", "/bin", "/usr/bin")  # what the kernel gives its helper
LONGEST = 16384  # characters; nobody writes such a command to block a module
SPECIAL = frozenset({":", "exec", "exit"})  # where these cannot redirect, a POSIX shell ends
OUTPUTS = frozenset({"1", "2"})
NO_OUTPUTS: frozenset[str] = frozenset()
_REDIRECT = pattern(r"(?:([12]?)>>?\s*(?:&([12])|/dev/null)|<\s*/dev/null)(?=[\s;&|]|$)")
_JOINT = pattern(r"(;|&&|\|\||\n)\s*")
_QUOTED = pattern(r"'[^']*'|\"[^\"]*\"")
_HIDE = {ord(char): 0xE000 + i for i, char in enumerate(";&|<>")}
_SHOW = {0xE000 + i: char for i, char in enumerate(";&|<>")}
_STRANGE = pattern(r"[|&;<>()$`{}*?\[\]!]")


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends with this status and does nothing else; None: with that of the step before.
    `final` ends the whole command."""

    status: int | None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Modprobe:
    """Calls modprobe for these names; `ignore_install` covers the named ones only."""

    names: tuple[str, ...]
    ignore_install: bool
    blacklist: bool


@dataclass(frozen=True, slots=True)
class Unclear:
    """Not understood, or not knowable from here."""

    why: str


Step = Exit | Modprobe | Unclear
Joint = str


def steps(
    command: str, programs: Mapping[str, bool], outputs: frozenset[str] = OUTPUTS
) -> tuple[tuple[Joint, Step], ...]:
    """The command as (";", "&&" or "||", step). `programs` says which absolute paths exist,
    `outputs` which of the descriptors 1 and 2 are open: none where the kernel calls."""
    if len(command) > LONGEST:
        return ((";", Unclear(f"a command of {len(command)} characters")),)
    text = _uncommented(command.replace("$CMDLINE_OPTS", " "))
    if programs.get("/bin/sh") is False:
        return ((";", Exit(127)),)
    if re.search(
        r"(?:^|[;&|\s])(?:if|for|while|case|function|trap|set|eval|test|\[)(?:\s|$)", text
    ):
        return ((";", Unclear("a shell script")),)
    if "\\" in text and ("'" in text or '"' in text):
        return ((";", Unclear("a backslash beside quotes")),)
    text = _hidden(text)
    if "'" in (bare := _QUOTED.sub("", text)) or '"' in bare:
        return ((";", Exit(2)),)  # the shell's syntax error: it runs nothing
    found: list[tuple[Joint, Step]] = []
    parts = _JOINT.split(text.strip(" \t\n"))
    for joint, part in zip([";", *parts[1::2]], parts[::2], strict=True):
        if part.strip(" \t"):
            step, after = _redirected(part, programs, outputs)
            if after != outputs and joint in ("&&", "||"):
                step = Unclear("exec opens files only where what stands before it says so")
            found.append((";" if joint == "\n" else joint, step))
            outputs = after
    return tuple(found) or ((";", Exit(0)),)


def _redirected(
    part: str, programs: Mapping[str, bool], outputs: frozenset[str]
) -> tuple[Step, frozenset[str]]:
    """A command with its redirections, and what is open after it: `exec` alone keeps its own."""
    bare = _REDIRECT.sub(" ", part)
    inside = set(outputs)
    for found in _REDIRECT.finditer(part):
        if found[0].startswith("<"):
            continue
        if found[2] and found[2] not in inside:  # the shell runs nothing then
            return Exit(2, final=not SPECIAL.isdisjoint(bare.split()[:1])), outputs
        inside.add(found[1] or "1")
    step = _step(bare, programs, frozenset(inside))
    return step, frozenset(inside) if bare.split() == ["exec"] else outputs


def _hidden(text: str) -> str:
    """With what would join commands put out of sight where it stands in quotes."""
    return _QUOTED.sub(lambda found: found[0].translate(_HIDE), text)


def _uncommented(command: str) -> str:
    """Without a shell comment: "#" at the beginning of a word, outside of quotes."""
    quote = ""
    for i, char in enumerate(command):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (i == 0 or command[i - 1] in " \t;&|"):
            return command[:i]
    return command


def _step(part: str, programs: Mapping[str, bool], outputs: frozenset[str]) -> Step:
    try:
        words = [word.translate(_SHOW) for word in shlex.split(part)]
    except ValueError:
        return Exit(2)  # the shell's syntax error
    if not words:
        return Exit(None)
    if words == ["exec"]:
        return Exit(0)  # only its redirections: the shell goes on
    if words[0] == "exec":
        after = _plain(words[1:], part, programs, outputs)
        return (
            Exit(after.status, final=True)
            if isinstance(after, Exit)
            else Unclear("exec of another program")
        )
    return _plain(words, part, programs, outputs)


def _plain(
    words: list[str], part: str, programs: Mapping[str, bool], outputs: frozenset[str]
) -> Step:
    """A command and its arguments; `part` is its text."""
    if words[0] in SHELLS and words[1:2] == ["-c"] and len(words) == 3:
        inner = steps(words[2], programs, outputs)
        if len(inner) != 1:
            return Unclear("a shell within a shell")
        only = inner[0][1]
        return Exit(only.status or 0) if isinstance(only, Exit) else only
    if _STRANGE.search(part):
        return Unclear(f"the shell is asked for more than plain commands: {part[:60]!r}")
    return _program(words, programs, outputs)


def _program(words: list[str], programs: Mapping[str, bool], outputs: frozenset[str]) -> Step:
    program = words[0]
    if program == "exit":
        return _exit(words)
    if program in FALSE:
        return Exit(1)
    if program in MODPROBE:
        return _modprobe(words[1:])
    if program in INSMOD and len(words) > 1:
        return Unclear("insmod loads a file by its path")
    if "\r" in program or programs.get(program) is False:
        return Exit(127)  # no such program
    if program in PRINTS and "1" not in outputs and words[1:] != _silent(program):
        return Exit(1)
    if program in TRUE:
        return Exit(0)
    if program.startswith("/") or program in programs:
        return Unclear(f"what {program!r} does is not known")
    return Unclear(f"what {program!r} does is not known")


def _silent(program: str) -> list[str]:
    """The arguments for which nothing is printed."""
    return [""] if program.endswith("printf") else ["-n"]


def _exit(words: list[str]) -> Step:
    if len(words) == 1:
        return Exit(None, final=True)
    if not words[1].isdecimal():  # a carriage return makes it so
        return Exit(2, final=True)
    return Exit(int(words[1]) & 0xFF, final=True)


def _modprobe(arguments: list[str]) -> Step:
    ignore = blacklist = every = False
    names: list[str] = []
    last = arguments.index("--") if "--" in arguments else len(arguments)
    for word in arguments[:last]:
        if word in ("-i", "--ignore-install"):
            ignore = True
        elif word in ("-b", "--use-blacklist"):
            blacklist = True
        elif word in ("-a", "--all"):
            every = True
        elif word in ("-q", "--quiet", "-s", "--syslog", "-v", "--verbose"):
            continue
        elif word in ("-n", "--dry-run", "--show", "-c", "--showconfig", "-V", "--version"):
            return Exit(0)
        elif word.startswith("-"):
            return Unclear(f"modprobe {word}")
        else:
            names.append(word)
    names += arguments[last + 1 :]
    if not names:
        return Exit(1)
    return Modprobe(tuple(names if every else names[:1]), ignore, blacklist)


def shellish(text: str) -> bool:
    """Whether a text that a command takes in could make the shell do more."""
    return _STRANGE.search(text) is not None


def paths(command: str) -> frozenset[str]:
    """The absolute paths whose existence decides what the command does."""
    return frozenset(
        word
        for word in re.split(r"[\s;&|'\"]+", command)
        if word.startswith("/") and "\r" not in word
    )


def play(
    found: tuple[tuple[Joint, Step], ...], modprobe: Callable[[Modprobe], bool | None]
) -> tuple[bool | None, tuple[str, ...]]:
    """Run the steps as a shell would: (succeeded, what stays unclear). None: not known.

    `modprobe` plays one call and says whether it would return 0.
    """
    status: bool | None = True
    unclear: list[str] = []
    for joint, step in found:
        if joint == "&&" and status is False:
            continue
        if joint == "||" and status is True:
            continue
        match step:
            case Exit(code, final):
                status = status if code is None else code == 0
                if final:
                    break
            case Modprobe():
                status = modprobe(step)
            case Unclear(why):
                unclear.append(why)
                status = None
    return status, tuple(unclear)


def loads_nothing(found: tuple[tuple[Joint, Step], ...]) -> bool:
    """Whether no step can load a module."""
    return all(isinstance(step, Exit) for _, step in found)


def calls(found: tuple[tuple[Joint, Step], ...]) -> Iterator[Modprobe]:
    """The calls of modprobe among the steps."""
    return (step for _, step in found if isinstance(step, Modprobe))
