"""Lines of modprobe.d that do nothing: each kind is named, with the line that would work."""

from __future__ import annotations

from pathlib import Path

import pytest

from module_hosts import debian, program, put
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.host import TreeHost
from nodeward.model import Finding, Status


def judged(root: Path) -> Finding:
    (found,) = examine(Looker(TreeHost(root)), select(["kernel.module.rule-ineffective"]))
    return found


WITHOUT_EFFECT = [
    ({"a.conf": "blacklist dccp\n"}, "needs it", "install dccp /bin/false"),
    ({"a.conf": "blacklist algif_aead\n"}, "own name", "install algif_aead /bin/false"),
    ({"a.conf": "blacklist sctp*\n"}, "takes no patterns", "install sctp* /bin/false"),
    ({"a.conf": "blacklist net-pf-2-proto-132\n"}, "is an alias", "blacklist sctp"),
    ({"a.conf": "blacklist sctp\r\n"}, "carriage return", "blacklist sctp"),
    ({"a.conf": "blacklist SCTP\n"}, "case-sensitive", "blacklist sctp"),
    ({"a.conf": "blacklist sctp.ko\n"}, "no suffix", "blacklist sctp"),
    ({"a.conf": "Blacklist sctp\n"}, "lower case", "blacklist sctp"),
    ({"a.conf": "\ufeffblacklist sctp\n"}, "byte order mark", "blacklist sctp"),
    ({"a.conf": "install sctp\n"}, "no command", "install sctp /bin/false"),
    ({"a.conf": "disable sctp\n"}, "kmod knows no 'disable'", ""),
    ({"a.conf": "include /etc/other\n"}, "no longer reads", ""),
    ({"a.conf": "# note \\\nblacklist sctp\n"}, "continues the comment", "blacklist sctp"),
    ({"a.conf": "blacklist unix\n"}, "built into the kernel", ""),
    ({"a.conf": "install net-pf-* /bin/false\n"}, "against modules' names", "alias net-pf-* off"),
    ({"a.conf": "install sctp /bin/true\n", "b.conf": "install sctp /bin/false\n"},
     "the first install counts, and that is /etc/modprobe.d/a.conf:1", "take"),
    ({"a.conf": "install sctp /bin/false\nsoftdep sctp pre: tipc\n"}, "softdep cancels it",
     "softdep sctp pre:"),
    ({"a.cfg": "blacklist sctp\n"}, "end in .conf", "/etc/modprobe.d/a.conf"),
    ({"nosuffix": "blacklist sctp\n"}, "end in .conf", "/etc/modprobe.d/nosuffix.conf"),
    ({".a.conf": "blacklist sctp\n"}, "begins with a dot", "/etc/modprobe.d/a.conf"),
    ({"sub.d/a.conf": "blacklist sctp\n"}, "folder inside", "/etc/modprobe.d/a.conf"),
    ({"/etc/modprobe.conf": "blacklist sctp\n"}, "does not read /etc/modprobe.conf", "blacklist"),
    ({"/usr/lib/modprobe.d/a.conf": "blacklist sctp\n", "a.conf": "# mine\n"},
     "/etc/modprobe.d/a.conf hides this file", "of another name"),
    ({"/proc/cmdline": "modprobe.blacklist=dccp-ipv4\n"}, "'_' only", "dccp_ipv4"),
    ({"/proc/cmdline": "module_blacklist=dccp-ipv4\n"}, "compares exactly", "dccp_ipv4"),
    ({"/proc/cmdline": "module-blacklist=sctp,dccp-ipv4\n"}, "compares exactly", "dccp_ipv4"),
    ({"/proc/cmdline": "module_blacklist=sctp module_blacklist=dccp\n"}, "only the last", "once"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "why", "instead"), WITHOUT_EFFECT, ids=lambda x: str(x)[:60])
def test_a_line_without_effect_is_named(
    tmp_path: Path, files: dict[str, str], why: str, instead: str
) -> None:
    debian(tmp_path, upstream=True)
    put(tmp_path, files)
    found = judged(tmp_path)
    assert found.status is Status.FAIL
    assert why in found.because + "".join(e.value for e in found.evidence)
    assert instead in "".join(e.value for e in found.evidence)


WITH_EFFECT = [
    {"a.conf": "blacklist sctp # why\n"},
    {"a.conf": "  install\tsctp  /bin/false\n"},
    {"a.conf": "install sctp /bin/false\r\n"},
    {"a.conf": "install \\\n sctp /bin/false"},
    {"a.conf": "install sctp* /bin/false\n"},
    {"a.conf": "alias net-pf-2-proto-132 off\nblacklist dccp-ipv4\nblacklist dccp-ipv6\n"},
    {"a.conf": "blacklist no_such_module\nblacklist radeonfb\n"},
    {"a.conf": "install net-pf-2-proto-132 /bin/false\n"},
    {"a.conf": "install sctp /bin/false\n", "b.conf": "install sctp /bin/false\n"},
    {"a.conf": "options sctp x=1\nsoftdep a pre: b\nremove sctp /bin/true\n",
     "b.conf": "blacklist sctp"},
    {"a.conf.dpkg-old": "blacklist dccp\n", "README": "see\n", "b.conf": "blacklist sctp\n"},
    {"/usr/lib/modprobe.d/a.conf": "blacklist sctp\n", "a.conf": "blacklist sctp\n"},
    {"/proc/cmdline": "module_blacklist=dccp,sctp modprobe.blacklist=sctp\n"},
]  # fmt: skip


@pytest.mark.parametrize("files", WITH_EFFECT, ids=lambda x: str(x)[:60])
def test_lines_that_work_are_left_in_peace(tmp_path: Path, files: dict[str, str]) -> None:
    debian(tmp_path, upstream=True)
    put(tmp_path, files)
    found = judged(tmp_path)
    assert found.status in (Status.PASS, Status.NOT_APPLICABLE), found.because


@pytest.mark.parametrize("command", ["/opt/guard", "if true; then false; fi", "$GUARD", "(exit 1)"])
def test_a_command_that_cannot_be_followed_is_not_said_to_work(
    tmp_path: Path, command: str
) -> None:
    debian(tmp_path, upstream=True)
    put(tmp_path, {"a.conf": f"blacklist sctp\ninstall dccp {command}\n"})
    program(tmp_path, "/opt/guard")
    found = judged(tmp_path)
    assert found.status is Status.UNKNOWN
    assert "/etc/modprobe.d/a.conf:2" in found.because
    assert "install dccp /bin/false" in found.evidence[0].value


def test_a_line_that_is_there_to_load_its_module_keeps_nothing_out(tmp_path: Path) -> None:
    debian(tmp_path)
    line = "install sctp /sbin/modprobe -i sctp && { /opt/tune; }\n"
    put(tmp_path, {"a.conf": line, "b.conf": "install dccp /bin/false\n"})
    assert judged(tmp_path).status is Status.PASS


def test_a_line_that_was_to_keep_something_else_out_is_low(tmp_path: Path) -> None:
    debian(tmp_path)
    put(tmp_path, {"a.conf": "install sctp /bin/false\nblacklist unix\n"})
    found = judged(tmp_path)
    assert (found.status, found.severity) == (Status.FAIL, "low")


def test_debians_own_files_are_in_order(tmp_path: Path) -> None:
    debian(tmp_path)
    put(tmp_path, {"/usr/lib/modprobe.d/fb.conf": "# No framebuffers\nblacklist radeonfb\n\n"})
    put(tmp_path, {"/usr/lib/modprobe.d/aliases.conf": "alias char-major-10-1 psmouse\n"})
    assert judged(tmp_path).status is Status.PASS


def test_a_line_that_leaves_something_open_is_found_behind_thousands_of_others(
    tmp_path: Path,
) -> None:
    debian(tmp_path, upstream=True)
    put(tmp_path, {"a.conf": "nonsense here\n" * 5001 + "blacklist dccp\n"})
    found = judged(tmp_path)
    assert (found.status, found.severity) == (Status.FAIL, "high")
    assert "/etc/modprobe.d/a.conf:5002" in found.because
