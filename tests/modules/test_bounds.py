"""Configurations and indexes that could keep the judge busy for ever: the answer is `unknown`."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from module_hosts import debian, put
from module_tries import Modules
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.facts.autoload import MOST_CALLS, MOST_FOUND, Modprobe
from nodeward.facts.errors import ParseError
from nodeward.facts.install_command import Unclear, steps
from nodeward.facts.modprobe_conf import Configuration, parse
from nodeward.facts.module_index import Index, Trie
from nodeward.host import TreeHost
from nodeward.model import Finding, Status


def sctp(root: Path) -> Finding:
    return judged(root, "kernel.module.sctp")


def judged(root: Path, check: str) -> Finding:
    (found,) = examine(Looker(TreeHost(root)), select([check]))
    return found


def engine(conf: str) -> Modprobe:
    rules, _ = parse(conf.encode(), "/etc/modprobe.d/a.conf")
    return Modprobe(Index(), Configuration(rules))


FAN = "".join(
    f"install m{i} " + "; ".join([f"/sbin/modprobe m{i + 1}"] * 20) + "\n" for i in range(12)
)


def test_install_commands_that_fan_out_are_followed_only_so_far(tmp_path: Path) -> None:
    run = engine(FAN).run("m0")
    assert len(run.events) <= MOST_CALLS + 1
    assert 0 < len(run.unclear) <= MOST_CALLS + 1
    debian(tmp_path)
    put(tmp_path, {"a.conf": f"{FAN}install sctp /sbin/modprobe m0\n"})
    found = sctp(tmp_path)
    assert found.status is Status.UNKNOWN
    assert "without end" in found.because


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("install sctp /sbin/modprobe m0\n", "install sctp /sbin/modprobe m0"),
        ("alias net-pf-15 m0\nblacklist af_key\n", "blacklist af_key"),
    ],
)
def test_a_line_that_cannot_be_followed_to_its_end_lets_nothing_pass(
    tmp_path: Path, lines: str, told: str
) -> None:
    debian(tmp_path)
    put(tmp_path, {"a.conf": FAN + lines})
    found = judged(tmp_path, "kernel.module.rule-ineffective")
    assert found.status is Status.UNKNOWN
    assert told in found.because
    assert "without end" in found.because
    assert found.evidence[0].what == "line that cannot be followed"


def test_a_line_that_loads_its_module_is_no_line_that_cannot_be_followed(tmp_path: Path) -> None:
    debian(tmp_path)
    put(tmp_path, {"a.conf": "install sctp /sbin/modprobe --ignore-install sctp\n"})
    assert judged(tmp_path, "kernel.module.rule-ineffective").status is Status.PASS


def test_a_name_that_leads_to_thousands_of_modules_is_unknown(tmp_path: Path) -> None:
    lines = "".join(f"alias net-pf-* mod{i}\n" for i in range(50_000))
    run = engine(lines).run("net-pf-21")
    assert len(run.found) == MOST_FOUND
    assert "more than" in run.unclear[0]
    debian(tmp_path)
    put(tmp_path, {"a.conf": lines})
    assert sctp(tmp_path).status is Status.UNKNOWN
    # Each line took as long as a whole verdict when nothing was kept between them.
    found = judged(tmp_path, "kernel.module.rule-ineffective")
    assert found.status is not Status.UNKNOWN


def test_aliases_of_one_name_keep_their_order() -> None:
    lines = "alias a* one\nalias ab two\nalias a* three\nalias ?b four\n"
    assert [f.name for f in engine(lines).lookup("ab")] == ["one", "two", "three", "four"]


@pytest.mark.parametrize("gap", [" ", "\t", "\n"])
def test_a_command_of_blanks_is_read_in_one_go(gap: str) -> None:
    command = "a" + gap * 16_000 + "b"
    for _ in range(20):  # each took half a minute when blanks were looked at again and again
        ((_, first), *_) = steps(command, {})
        assert isinstance(first, Unclear)


def circle() -> bytes:
    """100 KB whose root is its own child 254 times, with a prefix of 301 characters."""
    root = 12
    reference = 0xA0000000 | root  # a prefix and children
    node = b"net_pf_" * 43 + b"\0" + bytes([1, 254]) + struct.pack(">I", reference) * 254
    return (struct.pack(">III", 0xB007F457, 0x00020001, reference) + node).ljust(100_000, b"\1")


def test_an_index_that_leads_in_circles_is_damaged() -> None:
    with pytest.raises(ParseError, match=r"modules\.alias\.bin.*circles"):
        list(Trie(circle(), "modules.alias.bin").plain())


def test_an_index_that_leads_in_circles_is_named_by_the_verdict(tmp_path: Path) -> None:
    folder = debian(tmp_path)
    Modules({"kernel/net/sctp/sctp.ko": ()}).write(folder)
    (folder / "modules.alias.bin").write_bytes(circle())
    put(tmp_path, {"/proc/modules": "sctp 1 0 - Live 0x0\n"})
    assert sctp(tmp_path).status is Status.FAIL  # it is loaded, whatever the index says
    (tmp_path / "proc/modules").write_text("")
    found = sctp(tmp_path)
    assert found.status is Status.UNKNOWN
    assert "modules.alias.bin" in found.because
