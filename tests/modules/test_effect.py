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
    ({"a.conf": "blacklist sctp\xa0\n"}, "the name holds a no-break space", "blacklist sctp"),
    ({"a.conf": "blacklist sctp\xa0rds\n"}, "no-break space", "blacklist sctp; blacklist rds"),
    ({"a.conf": "blacklist \u200bsctp\n"}, "zero-width space", "blacklist sctp"),
    ({"a.conf": "install\xa0sctp /bin/false\n"}, "'install<no-break space>sctp'",
     "install sctp /bin/false"),
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


WITHOUT_EFFECT += [
    ({"a.conf": f"{line}\n"}, why, instead)
    for line, why, instead in (
        ("blacklist dccp,sctp", "is one name", "install dccp /bin/false; install sctp /bin/false"),
        ('blacklist "sctp"', "is a part of the name", "blacklist sctp"),
        ("blacklist 'sctp'", "is a part of the name", "blacklist sctp"),
        ("blacklist sctp;", "is a part of the name", "blacklist sctp"),
        ("blacklist sctp#no", "is a part of the name", "blacklist sctp"),
        ("blacklist sctp.ko.xz", "no suffix", "blacklist sctp"),
        ("blacklist kernel/net/sctp/sctp.ko", "without its path", "blacklist sctp"),
        ("blacklist stcp", "one letter away", "blacklist sctp"),
        ("blacklist dccpipv4", "one letter away", "install dccp_ipv4 /bin/false"),
        ("blacklist\u00a0sctp", "kmod knows no", "blacklist sctp"),
        ('install "sctp" /bin/false', "is a part of the name", "install sctp /bin/false"),
        ("install sctp,dccp /bin/false", "is one name", "install sctp /bin/false; install dccp"),
        ("blacklist sctp dccp_ipv4 dccp_ipv6", "only the first name counts",
         "blacklist sctp; blacklist dccp_ipv4; blacklist dccp_ipv6"),
        ("alias sctp off", "by its own name", "install sctp /bin/false"),
        ("alias sc* off", "by its own name", "install sctp /bin/false"),
        ("alias net-pf-2-proto-132 off\nalias net-pf-2-proto-132 sctp", "all aliases of a",
         "install sctp /bin/false"),
        ("alias net-pf-38,net-pf-30 off", "one name", "alias net-pf-38 off; alias net-pf-30 off"),
        ("softdep rds pre: tipc\nsoftdep rds pre: sctp", "only the first softdep", "sorts before"),
        ("softdep sctp tipc", "behind pre: or post:", "softdep sctp pre: tipc"),
        ("Blacklist dccp", "lower case", "install dccp /bin/false"),
        ("blacklist dccp\r", "carriage return", "install dccp /bin/false"),
        ("disable sctp", "kmod knows no", "install sctp /bin/false"),
        ("blacklist dccp_ipv4", "which needs it", "install dccp_ipv4 /bin/false"),
        ("install sctp /bin/false\ninstall udf /sbin/modprobe -i sctp", "gets round it", ""),
        ("alias net-pf-38 af_alg\ninstall net-pf-38 /bin/false", "an alias comes before it", ""),
    )
]  # fmt: skip
WITHOUT_EFFECT += [
    ({"a.cfg": "blacklist dccp\n"}, "end in .conf", "install dccp /bin/false  (in /etc"),
    ({"/proc/cmdline": "modprobe.blacklist=dccp\n"}, "which needs it", "module_blacklist=dccp"),
    ({"/proc/cmdline": "modprobe.blacklist=dccp-ipv4\n"}, "'_' only", "module_blacklist=dccp_ipv4"),
]


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


@pytest.mark.parametrize(
    "files", [f for f, _, _ in WITHOUT_EFFECT if set(f) == {"a.conf"}], ids=lambda f: str(f)[:60]
)
def test_the_lines_that_are_shown_work_when_they_are_written(
    tmp_path: Path, files: dict[str, str]
) -> None:
    """In the place of the line, or where the finding says."""
    debian(tmp_path, upstream=True)
    put(tmp_path, files)
    (line, *_) = judged(tmp_path).evidence
    if "; instead: " not in line.value:
        return
    right = line.value.rpartition("; instead: ")[2].removesuffix(")")
    right, _, where = right.partition("  (")
    lines = right.replace("; ", "\n")
    path = tmp_path / "etc/modprobe.d/a.conf"
    text = path.read_bytes().decode().split("\n")
    at = int(line.source.rpartition(":")[2]) - 1
    if where.startswith("in "):
        put(tmp_path, {"!first.conf": f"{lines}\n"})
    if "backslash" in where:
        text[at - 1] = text[at - 1].rstrip(" \\")
    elif not where or not lines.startswith("softdep"):
        text[at : at + 1] = [] if where else lines.split("\n")
    path.write_text("\n".join(text))
    after = judged(tmp_path)
    assert line.source not in [e.source for e in after.evidence] or after.status is Status.PASS, (
        after.because
    )


def test_busybox_is_shown_what_busybox_knows(tmp_path: Path) -> None:
    debian(tmp_path, upstream=True)
    program(tmp_path, "/usr/bin/busybox", b"\x7fELF..BusyBox v1.36.1 multi-call binary\0")
    (tmp_path / "usr/sbin/modprobe").symlink_to("../bin/busybox")
    put(tmp_path, {"a.conf": "install dccp /bin/false\n"})
    found = judged(tmp_path)
    assert (found.status, found.severity) == (Status.FAIL, "high")
    assert "blacklist dccp_ipv4; blacklist dccp_ipv6" in found.evidence[0].value
    assert "install" not in found.evidence[0].value.rpartition("instead")[2]


@pytest.mark.parametrize(
    "line",
    ["blacklist dccp,sctp", "blacklist sctp*", "blacklist net-pf-2-proto-132", "blacklist stcp",
     "alias sctp off", "install net-pf-* /bin/false", "blacklist kernel/net/sctp/sctp.ko.zst",
     'install "sctp" /bin/false', "Blacklist tipc,sctp", "blacklist tipc sctp"],
)  # fmt: skip
def test_a_line_that_leaves_a_module_open_is_high_however_it_names_it(
    tmp_path: Path, line: str
) -> None:
    debian(tmp_path, upstream=True)
    put(tmp_path, {"a.conf": f"{line}\n"})
    found = judged(tmp_path)
    assert (found.status, found.severity) == (Status.FAIL, "high")
    assert "sctp" in found.evidence[0].value or "net-pf-" in found.evidence[0].value


@pytest.mark.parametrize(
    "word", ["nfs3", "sch_sfz", "econet", "vivid", "sct", "scctpp", "hfs_plus_x", "can1"]
)
def test_a_name_that_only_looks_alike_is_no_mistake(tmp_path: Path, word: str) -> None:
    debian(tmp_path, upstream=True)
    put(tmp_path, {"a.conf": f"blacklist {word}\n"})
    want = Status.FAIL if word == "sct" else Status.PASS
    assert judged(tmp_path).status is want, word


WITH_EFFECT = [
    {"a.conf": "alias net-pf-2-proto-132 off # SCTP\nalias net-pf-21 off\n"},
    {"a.conf": "alias algif-hash off\nalias eth0 e1000\nalias char-major-10-1 psmouse\n"},
    {"a.conf": "install sctp /bin/false\nalias sctp off\nsoftdep sctp pre:\n"},
    {"a.conf": "softdep a pre: b\nsoftdep a pre: b\nblacklist sctp\n"},
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
