"""Patterns, indexes and commands, each against the program or library that defines them."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from module_hosts import INDEX
from module_tries import Modules, trie
from nodeward.facts import install_command as command
from nodeward.facts.errors import ParseError
from nodeward.facts.globs import matches
from nodeward.facts.kernel_modules import parse_build_options, parse_proc_modules, parse_sysctl
from nodeward.facts.modprobe_conf import (
    DIRS_28,
    Entry,
    Habits,
    configure,
    module_blacklist,
    parse,
    parse_command_line,
    soft_dependencies,
)
from nodeward.facts.module_index import Table, Trie, normal, parse_alias, parse_dep, read_index

LIBC = ctypes.CDLL(None)
word = st.text("ab_-[]!^*?\\x", max_size=8)


@settings(max_examples=400)
@given(pattern=word, name=st.text("ab_-x", max_size=6))
def test_patterns_match_as_fnmatch_does(pattern: str, name: str) -> None:
    if normal(pattern) is None or pattern.endswith("\\") or "\\" in pattern.partition("[")[2]:
        return  # kmod refuses the first; the rest has no meaning in a module's name
    theirs = LIBC.fnmatch(pattern.encode(), name.encode(), 0) == 0
    assert matches(pattern, name) == theirs


rows = st.lists(
    st.tuples(st.text("abc_*?", min_size=1, max_size=6), st.sampled_from("mno")), max_size=12
)


@settings(max_examples=300)
@given(rows=rows, name=st.text("abc_", max_size=6))
def test_a_trie_answers_as_the_table_it_was_made_of(rows: list[tuple[str, str]], name: str) -> None:
    made, table = Trie(trie(rows), "x.bin"), Table(tuple(rows))
    assert made.match(name) == table.match(name)
    assert made.get(name) == table.get(name)
    assert sorted(made.plain()) == sorted(table.plain())


LINES = st.lists(
    st.tuples(st.sampled_from(("alias", "install", "softdep")),
              st.sampled_from(("a", "ab", "a*", "?b", "[ab]b", "b")), st.sampled_from(("x", "y")))
    .map(" ".join),
    max_size=5,
)  # fmt: skip


@given(LINES, LINES, LINES, st.sampled_from(("a", "ab", "b", "bb")))
def test_a_file_more_counts_as_if_it_had_been_there(
    first: list[str], more: list[str], last: list[str], name: str
) -> None:
    def entry(path: str, lines: list[str]) -> Entry:
        return Entry(f"/etc/modprobe.d/{path}", data="".join(f"{x}\n" for x in lines).encode())

    ends, folders = [entry("a.conf", first), entry("z.conf", last)], Habits(DIRS_28)
    whole = configure([*ends, entry("m.conf", more)], folders)
    made = configure(ends, folders).plus("/etc/modprobe.d/m.conf", more)
    assert made.rules == whole.rules
    for kind in ("alias", "install", "softdep"):
        assert list(made.matching(kind, name)) == list(whole.matching(kind, name))
        assert made.first(kind, name) == whole.first(kind, name)
        assert made.names(kind) == whole.names(kind)


@given(st.lists(st.lists(st.sampled_from(("a", "ab", "b", "a/b")), max_size=4), max_size=6))
def test_the_values_that_name_a_word_are_found_in_both_forms(lines: list[list[str]]) -> None:
    made = [(f"k{i}", f"kernel/m{i}.ko: {' '.join(words)}") for i, words in enumerate(lines)]
    for word in ("a", "ab", "b", "a/b"):
        want = sorted({v for (_, v), words in zip(made, lines, strict=True) if word in words})
        assert sorted(set(Table(tuple(made)).naming(word))) == want
        found = Trie(trie(made), "x.bin").naming(word)
        assert sorted({v[v.index("kernel/") :] for v in found}) == want


@given(raw=st.binary(max_size=120), name=st.text("abc", max_size=4))
def test_no_bytes_break_a_trie(raw: bytes, name: str) -> None:
    for data in (raw, trie([("abc", "m"), ("ab*", "n")])[: len(raw)],
                 trie([("abc", "m"), ("ab*", "n")])[:12] + raw):  # fmt: skip
        try:
            made = Trie(data, "x.bin")
            made.get(name)
            made.match(name)
            list(itertools.islice(made.plain(), 100))
            list(itertools.islice(made.naming(name), 100))
        except ParseError as exc:
            assert exc.what == "x.bin"  # noqa: PT017  the error is what is judged


def test_the_texts_of_a_real_kernel_are_read_whole() -> None:
    index = read_index({p.name: p.read_bytes() for p in INDEX.iterdir()})
    assert index.text
    assert index.alias.match("net_pf_2_proto_132") == ("sctp",)
    assert set(index.alias.match("net_pf_40")) == {
        "hv_sock", "vmw_vsock_vmci_transport", "vsock_loopback"
    }  # fmt: skip
    assert index.dep.get("dccp_ipv6") == (
        "kernel/net/dccp/dccp_ipv6.ko: kernel/net/dccp/dccp_ipv4.ko kernel/net/dccp/dccp.ko"
    )
    assert index.builtin.get("unix") is not None
    assert index.alias_line("net_pf_2_proto_132", "sctp") == 1 + (
        (INDEX / "modules.alias").read_text().splitlines().index("alias net-pf-2-proto-132 sctp")
    )


@given(st.binary(max_size=300))
def test_no_bytes_break_the_text_parsers(raw: bytes) -> None:
    parse(raw, "x.conf")
    parse_dep(raw)
    parse_alias(raw)
    parse_command_line(raw)
    module_blacklist(raw)
    parse_proc_modules(raw)
    parse_build_options(raw, ["MODULES"])
    list(parse_sysctl(raw))


def test_only_the_kernels_own_words_are_parameters() -> None:
    raw = (
        b'quiet module_blacklist=a,b "modprobe.blacklist=c,d-e" module-blacklist=dccp'
        b" -- module_blacklist=x\n"
    )
    assert module_blacklist(raw) == ("dccp",)
    assert [r.name for r in parse_command_line(raw)] == ["c", "d-e"]


def test_soft_dependencies_before_a_word_with_a_colon_count_for_nothing() -> None:
    assert soft_dependencies("x pre: a b post: c") == (("a", "b"), ("c",))


def test_a_build_option_is_found_at_the_start_of_a_line_only() -> None:
    raw = b"# CONFIG_MODULES=y is asked\nCONFIG_MODULES=m\nCONFIG_MODULE_SIG=y"
    assert parse_build_options(raw, ["MODULES", "MODULE_SIG", "GONE"]) == {
        "MODULES": "m", "MODULE_SIG": "y", "GONE": "n"
    }  # fmt: skip


# --- install commands, against a shell ---------------------------------------------------------

part = st.sampled_from(
    ("/bin/false", "false", "/bin/true", "true", ":", "exit 0", "exit 3", "exit", "echo x",
     "/no/such/program", "modprobe -i a", "/sbin/modprobe -q --ignore-install b", "modprobe -a c d",
     "modprobe", "exec /bin/false", '"exec" /bin/false', "'exec' sh -c 'exit 3'", "exec",
     "exec >/dev/null", "sh -c 'exit 4'",
     "echo 'a; modprobe b'", 'echo "a && b" > /dev/null', "echo 'x",
     "/bin/false\r", "/bin/true >/dev/null 2>&1", "/bin/echo x >&2", "echo x 2>/dev/null", "echo",
     "printf ''", "echo -n", "modprobe -i a 2>&1", "modprobe -i b 2>&1 >/dev/null", ": 1>&2",
     "exec 2>&1", "sh -c 'echo x'", "exit 3 >&2", "printf x >/dev/null", "true >&1")
)  # fmt: skip
joint = st.sampled_from(("; ", " && ", " || ", ";", "&&"))


@st.composite
def shell(draw: st.DrawFn) -> str:
    """A few commands and what joins them, sometimes with a comment behind."""
    text = draw(part)
    for _ in range(draw(st.integers(0, 3))):
        text += draw(joint) + draw(part)
    return text + draw(st.sampled_from(("", "", " # why", " $CMDLINE_OPTS")))


@settings(max_examples=240, derandomize=True)
@given(text=shell(), works=st.booleans(), by_kernel=st.booleans())
def test_install_commands_do_what_a_shell_does(
    tmp_path_factory: pytest.TempPathFactory, text: str, works: bool, by_kernel: bool
) -> None:
    """At a terminal, and where the kernel has started modprobe without any open file."""
    folder = tmp_path_factory.mktemp("sh")
    calls = _stub(folder, works=works)
    script = text.replace("/sbin/modprobe", str(folder / "modprobe"))
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env={"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(calls), "CMDLINE_OPTS": ""},
        capture_output=True, check=False, preexec_fn=_close_all if by_kernel else None,
    )  # fmt: skip
    seen: list[str] = []

    def modprobe(call: command.Modprobe) -> bool:
        seen.extend(call.names)
        return works

    programs = {p: os.path.exists(p) for p in command.paths(text)} | {"/bin/sh": True}
    outputs = command.NO_OUTPUTS if by_kernel else command.OUTPUTS
    ok, unclear = command.play(command.steps(text, programs, outputs), modprobe)
    assume(not (by_kernel and "exec >" in text and unclear))  # opened under a condition
    assert not unclear, text
    assert ok == (done.returncode == 0), (text, done)
    assert seen == calls.read_text().split()


def _close_all() -> None:
    for descriptor in range(3):
        os.close(descriptor)


def _stub(folder: Path, *, works: bool) -> Path:
    calls = folder / "calls"
    calls.touch()
    stub = folder / "modprobe"
    stub.write_text(
        "#!/bin/sh\nall=; names=\n"
        'for a; do case "$a" in -a) all=1;; -*) ;; *) names="$names $a";; esac; done\n'
        '[ -n "$names" ] || exit 1\n'
        'set -- $names; [ -n "$all" ] || set -- "$1"\necho "$@" >>"$CALLS"\n'
        f"exit {0 if works else 1}\n"
    )
    stub.chmod(0o755)
    return calls


@pytest.mark.parametrize(
    "text",
    ["/usr/bin/logger2 x", "if true; then exit 1; fi", "cat /etc/passwd | sh", "insmod /x.ko",
     'sh -c "false; modprobe -i sctp"', "sh -c 'true && modprobe -i sctp'",
     "bash -c '/bin/false || modprobe -i sctp'", "echo \\' ; modprobe -i sctp #'",
     "`modprobe sctp`", "exec modprobe -i sctp", "/bin/false &>/dev/null && modprobe -i sctp",
     "'exec' $X /bin/false", "$(echo false)", "modprobe -C /x sctp", "test -e /x && exit 1"],
)  # fmt: skip
def test_what_cannot_be_followed_is_said_to_be_unclear(text: str) -> None:
    programs = dict.fromkeys(command.paths(text), True)
    _, unclear = command.play(command.steps(text, programs), lambda call: True)
    assert unclear


def test_without_a_shell_every_command_fails() -> None:
    assert command.play(command.steps("/bin/true", {"/bin/sh": False}), lambda c: True)[0] is False


def test_binary_and_text_indexes_of_one_kernel_agree(tmp_path: Path) -> None:
    made = Modules(
        {"kernel/net/a.ko.zst": ("kernel/lib/b-c.ko.zst",), "kernel/lib/b-c.ko.zst": ()},
        (("net-pf-2-*", "a"), ("net-pf-[12]-x", "b_c")),
        ("kernel/fs/d.ko",),
        (("fs-d", "d"),),
    )
    made.write(tmp_path)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    tries = read_index(files)
    texts = read_index({k: v for k, v in files.items() if not k.endswith(".bin")})
    assert not tries.text
    for name in ("a", "b_c", "d", "gone", "net_pf_2_x", "net_pf_1_x", "fs_d"):
        for table in ("dep", "alias", "builtin", "builtin_alias"):
            ours, other = getattr(tries, table), getattr(texts, table)
            assert ours.get(name) == other.get(name)
            assert ours.match(name) == other.match(name)


def test_an_option_behind_two_dashes_is_a_name() -> None:
    assert command.steps("/sbin/modprobe -i sctp -- -n", {}) == (
        (";", command.Modprobe(("sctp",), True, False)),
    )
