"""The checks on whole trees, as `nodeward scan` sees them: at rest, live, and replayed."""

from __future__ import annotations

import json
import lzma
import os
from pathlib import Path

import pytest

from module_hosts import RELEASE, debian, program, put
from module_scenarios import scenarios
from module_tries import Modules, trie
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import scan, select
from nodeward.facts.exposed import BAD, State
from nodeward.facts.exposure import expose
from nodeward.facts.kernel_modules import KernelModules
from nodeward.facts.module_fix import file_name, fix
from nodeward.facts.module_requests import COMPONENTS, DCCP, SCTP
from nodeward.host import Host, LiveHost, Recorder, Replay, TreeHost
from nodeward.model import Finding, Seen, Severity, Status

PAGE = """# DCCP is unlikely to be needed, has had multiple serious
# vulnerabilities, and is not well-maintained.
blacklist dccp

# SCTP is not used in most Kubernetes clusters, and has also had
# vulnerabilities in the past.
blacklist sctp
"""


def findings(host: Host | Path, glob: str = "kernel.*") -> dict[str, Finding]:
    host = TreeHost(host) if isinstance(host, Path) else host
    rules = [r for r in select([glob]) if r.id.startswith(("kernel.module.", "kernel.lockdown",
                                                           "kernel.taint"))]  # fmt: skip
    return {f.check: f for f in examine(Looker(host), rules)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node whose kernel autoloads DCCP, as upstream's does."""
    debian(tmp_path, upstream=True)
    return tmp_path


def test_the_kubernetes_pages_two_lines_fail_for_dccp_and_hold_for_sctp(root: Path) -> None:
    put(root, {"kubernetes-blacklist.conf": PAGE})
    found = findings(root)
    dccp, sctp = found["kernel.module.dccp"], found["kernel.module.sctp"]
    assert dccp.status is Status.FAIL
    assert dccp.severity is Severity.HIGH
    assert "net-pf-2-proto-33-type-6" in dccp.because
    places = {e.source for e in dccp.evidence}
    assert "/etc/modprobe.d/kubernetes-blacklist.conf:3" in places
    assert f"/lib/modules/{RELEASE}/modules.alias:2406" in places
    assert sctp.status is Status.PASS
    assert "/etc/modprobe.d/kubernetes-blacklist.conf:7" in sctp.because
    lines = found["kernel.module.rule-ineffective"]
    assert lines.status is Status.FAIL
    assert lines.severity is Severity.HIGH
    assert [e.source for e in lines.evidence] == ["/etc/modprobe.d/kubernetes-blacklist.conf:3"]


def test_debians_own_kernel_passes_for_dccp_because_nothing_asks_for_it(tmp_path: Path) -> None:
    debian(tmp_path)
    found = findings(tmp_path)["kernel.module.dccp"]
    assert found.status is Status.PASS
    assert "no request" in found.because
    assert "root can still load it" in found.because


def test_the_fix_that_a_failure_shows_turns_it_to_pass(root: Path) -> None:
    put(root, {"kubernetes-blacklist.conf": PAGE, "sctp.conf": "softdep sctp pre: tipc\n"})
    for check, finding in findings(root, "kernel.module.*").items():
        if finding.status is not Status.FAIL or finding.remedy is None:
            continue
        for step in finding.remedy.steps:
            assert os.system(step.replace("'/etc/", f"'{root}/etc/")) == 0, check
    after = findings(root, "kernel.module.*")
    bad = [c for c, f in after.items() if f.status is Status.FAIL]
    assert set(bad) <= {"kernel.module.rule-ineffective"}, {c: after[c].because for c in bad}


def test_a_fix_beats_a_softdep_that_cancels_install(root: Path) -> None:
    put(root, {"sctp.conf": "softdep sctp pre: dccp_ipv4\ninstall sctp /bin/false\n"})
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.FAIL
    assert found.remedy is not None
    assert "/etc/modprobe.d/00-nodeward-sctp.conf" in found.remedy.text
    lines = findings(root)["kernel.module.rule-ineffective"]
    assert any("softdep cancels it" in e.value for e in lines.evidence)


def test_a_softdep_is_a_side_door(root: Path) -> None:
    put(root, {"x.conf": "blacklist dccp_ipv4\nblacklist dccp_ipv6\nsoftdep sctp pre: dccp_ipv4\n"})
    found = findings(root)["kernel.module.dccp"]
    assert found.status is Status.FAIL
    assert "net-pf-2-proto-132" in found.because


def test_a_partial_block_is_medium(root: Path) -> None:
    put(root, {"x.conf": "blacklist dccp_ipv4\n"})
    found = findings(root)["kernel.module.dccp"]
    assert (found.status, found.severity) == (Status.FAIL, Severity.MEDIUM)
    assert "net-pf-10-proto-33-type-6" in found.because


def test_a_command_that_cannot_be_followed_is_never_a_pass(root: Path) -> None:
    put(root, {"x.conf": "install sctp /usr/local/bin/ask-me\n"})
    program(root, "/usr/local/bin/ask-me")
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.UNKNOWN
    assert "ask-me" in found.because


def test_a_false_in_the_background_is_no_block(root: Path) -> None:
    """`&>` sends both streams away in bash; dash runs the command in the background, and the
    redirection alone succeeds."""
    put(root, {"x.conf": "install sctp /bin/false &>/dev/null && /sbin/modprobe -i sctp\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.FAIL


def test_a_quoted_exec_is_an_exec(root: Path) -> None:
    put(
        root,
        {
            "x.conf": 'install sctp "exec" /bin/false\n',
            "y.conf": "alias net-pf-30 tipc\ninstall tipc exec; modprobe -i tipc\n",
        },
    )
    found = findings(root)
    assert found["kernel.module.sctp"].status is Status.PASS
    assert found["kernel.module.tipc"].status is Status.FAIL


def test_two_kernels_in_a_tree_are_judged_and_the_worse_is_named(root: Path) -> None:
    (root / "proc/sys/kernel/osrelease").unlink()
    Modules({"kernel/net/sctp/sctp.ko": ()}).write(root / "lib/modules/6.12.0-other")
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.FAIL
    assert any(RELEASE in e.source for e in found.evidence)


def test_a_tree_without_a_kernel_is_unknown_and_offline(tmp_path: Path) -> None:
    put(tmp_path, {"kubernetes-blacklist.conf": PAGE})
    for check in ("kernel.module.dccp", "kernel.module.sctp", "kernel.module.rule-ineffective"):
        found = findings(tmp_path)[check]
        assert found.status is Status.UNKNOWN
        assert "offline" in found.because


def test_a_replay_says_what_the_tree_said(root: Path) -> None:
    put(root, {"kubernetes-blacklist.conf": PAGE, "caf\u00e9.conf": "Install sctp /bin/false\n"})
    recorder = Recorder(TreeHost(root))
    first = findings(recorder)
    log = json.loads(json.dumps(recorder.log))
    assert findings(Replay(log, live=False, root=str(root))) == first


def test_the_running_machine_can_be_judged() -> None:
    report = scan(LiveHost("/"), select(["kernel.module.*"]), at=0.0)
    assert {f.status for f in report.findings} <= {Status.PASS, Status.FAIL, Status.UNKNOWN,
                                                   Status.NOT_APPLICABLE}  # fmt: skip


# --- what stops all loads --------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "/no/such/program", "/bin/false", "/bin/true"])
def test_no_program_to_call_is_a_block(root: Path, value: str) -> None:
    put(root, {"/proc/sys/kernel/modprobe": f"{value}\n"})
    assert findings(root)["kernel.module.dccp"].status is Status.PASS
    assert findings(root)["kernel.module.persistence"].status is Status.FAIL


def test_a_setting_in_sysctl_d_lasts(root: Path) -> None:
    put(root, {"/proc/sys/kernel/modprobe": "\n", "/etc/sysctl.d/x.conf": "kernel.modprobe =\n"})
    assert findings(root)["kernel.module.persistence"].status is Status.PASS


@pytest.mark.parametrize(
    ("files", "status"),
    [({"/usr/lib/systemd/systemd-sysctl": "ELF"}, Status.FAIL),
     ({"/usr/lib/systemd/systemd-sysctl": "ELF",
       "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf"}, Status.PASS),
     ({"/usr/sbin/sysctl": "ELF"}, Status.PASS),
     ({}, Status.UNKNOWN),
     ({"/etc/sysctl.d/x.conf": "kernel.modprobe =\n"}, Status.PASS)],
    ids=["systemd", "systemd and the link", "procps", "nobody knows", "in both"],
)  # fmt: skip
def test_who_reads_the_old_sysctl_file_decides(
    root: Path, files: dict[str, str], status: Status
) -> None:
    put(root, {"/proc/sys/kernel/modprobe": "\n", "/etc/sysctl.conf": "kernel.modprobe =\n"})
    put(root, files)
    found = findings(root)["kernel.module.persistence"]
    assert found.status is status, found.because
    if status is not Status.PASS:
        assert "/etc/sysctl.conf" in found.because


def test_a_modprobe_of_another_path_at_the_next_boot_is_a_modprobe(root: Path) -> None:
    program(root, "/usr/bin/kmod", b"\x7fELF\0kmod version 34\0")
    (root / "usr/sbin/modprobe").symlink_to("../bin/kmod")
    put(root, {"/proc/sys/kernel/modprobe": "\n",
               "/etc/sysctl.d/x.conf": "kernel.modprobe = /usr/sbin/modprobe\n"})  # fmt: skip
    assert findings(root)["kernel.module.persistence"].status is Status.FAIL
    (root / "etc/sysctl.d/x.conf").write_text("kernel.modprobe = /no/such/program\n")
    assert findings(root)["kernel.module.persistence"].status is Status.PASS


def test_a_rule_that_is_a_link_into_run_is_lost(root: Path) -> None:
    put(root, {"/run/rules": "install sctp /bin/false\n", "y.conf": "-> /run/rules"})
    assert findings(root)["kernel.module.sctp"].status is Status.PASS
    assert findings(root)["kernel.module.persistence"].status is Status.FAIL


def test_modules_disabled_is_a_block_until_the_next_boot(root: Path) -> None:
    put(root, {"/proc/sys/kernel/modules_disabled": "1\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.PASS
    assert findings(root)["kernel.module.persistence"].status is Status.FAIL


def test_a_script_that_is_called_false_may_load_what_it_likes(root: Path) -> None:
    program(root, "/opt/false", b'#!/bin/sh\nexec /sbin/modprobe "$@"\n')
    put(root, {"/proc/sys/kernel/modprobe": "/opt/false\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.UNKNOWN
    program(root, "/opt/false", b"\x7fELF")
    assert findings(root)["kernel.module.sctp"].status is Status.PASS


def test_a_stick_with_a_driver_of_its_own_brings_usb_storage_along(root: Path) -> None:
    """blacklist is for a module's own aliases only, and ums-realtek needs usb-storage."""
    folder, home = root / f"lib/modules/{RELEASE}", "kernel/drivers/usb/storage"
    dep, alias = folder / "modules.dep", folder / "modules.alias"
    lines = f"{home}/usb-storage.ko:\n{home}/ums-realtek.ko: {home}/usb-storage.ko\n"
    dep.write_text(lines + dep.read_text())
    stick = "alias usb:v0BDAp0184d*dc*dsc*dp*ic*isc*ip*in* ums_realtek\n"
    generic = "alias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb_storage\n"
    alias.write_text(generic + stick + alias.read_text())
    put(
        root,
        {f"/lib/modules/{RELEASE}/{home}/{name}.ko": "" for name in ("usb-storage", "ums-realtek")},
    )
    others = "".join(f"install {m} /bin/false\n" for m in ("squashfs", "udf", "cifs", "nfs"))
    put(root, {"x.conf": f"blacklist usb_storage\n{others}"})
    found = findings(root)["kernel.module.filesystems"]
    assert "usb-storage (can be loaded in part)" in found.because
    assert "one for ums-realtek" in found.because
    put(root, {"y.conf": "blacklist ums_realtek\n"})
    assert findings(root)["kernel.module.filesystems"].status is Status.PASS


def test_a_program_that_may_not_be_executed_is_a_block(root: Path) -> None:
    program(root, "/opt/modprobe", mode=0o644)
    put(root, {"/proc/sys/kernel/modprobe": "/opt/modprobe\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.PASS


def test_a_program_that_nobody_knows_is_unknown(root: Path) -> None:
    program(root, "/opt/modprobe")
    put(root, {"/proc/sys/kernel/modprobe": "/opt/modprobe\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.UNKNOWN


def test_a_program_that_others_may_write_is_high(root: Path) -> None:
    program(root, "/opt/modprobe", mode=0o777)
    put(root, {"/proc/sys/kernel/modprobe": "/opt/modprobe\n"})
    found = findings(root)["kernel.module.autoload-switch"]
    assert (found.status, found.severity) == (Status.FAIL, Severity.HIGH)


@pytest.mark.root
def test_a_program_that_another_user_owns_is_high(root: Path) -> None:
    program(root, "/opt/modprobe")
    put(root, {"/proc/sys/kernel/modprobe": "/opt/modprobe\n"})
    assert findings(root)["kernel.module.autoload-switch"].status is Status.PASS
    os.chown(root / "opt/modprobe", 1000, 1000)
    assert findings(root)["kernel.module.autoload-switch"].status is Status.FAIL
    os.chown(root, 1000, 1000)  # unpacked by an ordinary user
    assert findings(root)["kernel.module.autoload-switch"].status is Status.PASS


def test_a_link_in_a_folder_that_others_may_write_is_high(root: Path) -> None:
    program(root, "/usr/sbin/modprobe")
    put(root, {"/opt/x/modprobe": "-> /sbin/modprobe",
               "/proc/sys/kernel/modprobe": "/opt/x/modprobe\n"})  # fmt: skip
    assert findings(root)["kernel.module.autoload-switch"].status is Status.PASS
    (root / "opt/x").chmod(0o777)
    found = findings(root)["kernel.module.autoload-switch"]
    assert found.status is Status.FAIL
    assert "may write to /opt/x" in found.because


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_program_that_others_may_put_there_is_high_and_no_block(root: Path, mode: int) -> None:
    put(root, {"/proc/sys/kernel/modprobe": "/opt/x/modprobe\n", "/opt/x/README": ""})
    assert findings(root)["kernel.module.autoload-switch"].status is Status.PASS
    assert findings(root)["kernel.module.sctp"].status is Status.PASS
    (root / "opt/x").chmod(mode)
    assert findings(root)["kernel.module.autoload-switch"].status is Status.FAIL
    assert findings(root)["kernel.module.sctp"].status is Status.UNKNOWN


def test_a_program_that_others_may_make_executable_is_high(root: Path) -> None:
    program(root, "/opt/modprobe", mode=0o666)
    put(root, {"/proc/sys/kernel/modprobe": "/opt/modprobe\n"})
    assert findings(root)["kernel.module.autoload-switch"].status is Status.FAIL


def test_a_kernel_that_calls_no_helper_is_a_block(root: Path) -> None:
    put(root, {f"/boot/config-{RELEASE}": "CONFIG_STATIC_USERMODEHELPER=y\n"
                                          'CONFIG_STATIC_USERMODEHELPER_PATH=""\n'})  # fmt: skip
    assert findings(root)["kernel.module.sctp"].status is Status.PASS


def test_a_kernel_that_calls_another_helper_is_unknown(root: Path) -> None:
    put(root, {f"/boot/config-{RELEASE}": "CONFIG_STATIC_USERMODEHELPER=y\n"
               'CONFIG_STATIC_USERMODEHELPER_PATH="/sbin/usermode-helper"\n'})  # fmt: skip
    assert findings(root)["kernel.module.sctp"].status is Status.UNKNOWN


def test_a_loaded_module_fails_whatever_the_rules_say(root: Path) -> None:
    put(root, {"x.conf": "install sctp /bin/false\n",
               "/proc/modules": "sctp 1 2 - Live 0x0\n"})  # fmt: skip
    assert findings(root)["kernel.module.sctp"].status is Status.FAIL
    assert findings(root)["kernel.module.already-loaded"].status is Status.FAIL


def test_a_built_in_module_fails_and_says_that_no_rule_helps(root: Path) -> None:
    with (root / f"lib/modules/{RELEASE}/modules.builtin").open("a") as file:
        file.write("kernel/net/sctp/sctp.ko\n")
    put(root, {"x.conf": "blacklist sctp\n"})
    found = findings(root)
    assert found["kernel.module.sctp"].status is Status.FAIL
    assert "built into the kernel" in found["kernel.module.sctp"].because
    assert "built into the kernel" in found["kernel.module.rule-ineffective"].because
    remedy = found["kernel.module.sctp"].remedy
    assert remedy is not None
    assert "cannot be kept out by a file" in remedy.text


def test_a_file_that_is_gone_and_one_the_index_forgot(root: Path) -> None:
    (root / f"lib/modules/{RELEASE}/kernel/net/sctp/sctp.ko").unlink()
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.PASS
    assert "not on the disk" in found.because
    forget(root, "dccp")
    found = findings(root)["kernel.module.dccp"]
    assert found.status is Status.UNKNOWN
    assert "dccp" in found.because
    assert "modules.dep does not name it" in found.because
    (root / f"lib/modules/{RELEASE}/modules.dep.bin").write_bytes(trie(()))
    found = findings(root)["kernel.module.dccp"]
    assert found.status is Status.PASS
    assert "depmod was not run" in found.because


def forget(root: Path, *words: str) -> None:
    """The texts of the index without what names one of these."""
    for name in ("modules.dep", "modules.alias"):
        path = root / f"lib/modules/{RELEASE}/{name}"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(x for x in lines if not any(w in x for w in words)))


def test_a_module_whose_need_depmod_did_not_find_is_refused_by_the_kernel(root: Path) -> None:
    """As after `rm dccp_ipv4.ko; depmod`: dccp_ipv6 stays in the index, without its dependency."""
    for name in ("modules.dep", "modules.alias"):
        path = root / f"lib/modules/{RELEASE}/{name}"
        lines = path.read_text().splitlines()
        kept = [x for x in lines if not x.startswith("kernel/net/dccp/dccp_ipv4.ko:")]
        kept = [x.replace(" kernel/net/dccp/dccp_ipv4.ko", "") for x in kept]
        path.write_text("\n".join(x for x in kept if not x.endswith(" dccp_ipv4")) + "\n")
    found = findings(root)["kernel.module.dccp"]
    assert found.status is Status.PASS
    assert "it needs dccp_ipv4, which is not there" in found.because


def test_a_symbol_in_a_softdep_is_a_side_door(root: Path) -> None:
    put(root, {"x.conf": "blacklist sctp\nsoftdep af_alg pre: symbol:sctp_do_peeloff\n"})
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.FAIL
    assert "net-pf-38" in found.because


def test_a_module_outside_of_the_kernels_folder_is_found(root: Path) -> None:
    """depmod writes an absolute path for what its `external` setting brings."""
    folder = root / f"lib/modules/{RELEASE}"
    put(root, {"/opt/kmods/sctp.ko": ""})
    for name in ("modules.dep", "modules.alias"):
        text = (folder / name).read_text().replace("kernel/net/sctp/sctp.ko", "/opt/kmods/sctp.ko")
        (folder / name).write_text(text)
    (folder / "kernel/net/sctp/sctp.ko").unlink()
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.FAIL
    assert any(e.source == "/opt/kmods/sctp.ko" for e in found.evidence)


def test_a_tree_without_a_shell_proves_no_block(root: Path) -> None:
    (root / "usr/bin/sh").unlink()
    put(root, {"x.conf": "install sctp /sbin/modprobe -i sctp\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.FAIL
    (root / "etc/modprobe.d/x.conf").write_text("install sctp /bin/false\n")
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.PASS
    assert "taken for granted" in found.because
    assert "/bin/sh is there" in found.because


@pytest.mark.parametrize("name", ["modules.dep", "modules.alias"])
@pytest.mark.parametrize("how", ["cut", "empty", "noise"])
def test_a_damaged_text_index_is_unknown_and_named(root: Path, name: str, how: str) -> None:
    path = root / f"lib/modules/{RELEASE}/{name}"
    whole = path.read_bytes()
    noise = lzma.compress(bytes(range(256)) * 50) + b"\n"
    path.write_bytes({"cut": whole[: whole.index(b"sctp")], "empty": b"", "noise": noise}[how])
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.UNKNOWN
    assert name in found.because


@pytest.mark.parametrize(
    ("config", "status"), [("CONFIG_IP_SCTP=y\n", Status.FAIL),
                           ("# CONFIG_IP_SCTP is not set\n", Status.PASS), ("", Status.UNKNOWN)]
)  # fmt: skip
def test_what_is_built_in_is_told_by_the_build_where_the_index_does_not(
    tmp_path: Path, config: str, status: Status
) -> None:
    folder = tmp_path / "lib/modules/6.12.1"
    Modules({"kernel/net/tipc/tipc.ko": ()}).write(folder)
    for path in folder.glob("modules.builtin*"):
        path.unlink()
    put(tmp_path, {"/boot/config-6.12.1": config} if config else {})
    assert findings(tmp_path)["kernel.module.sctp"].status is status


def test_every_protocol_that_the_index_forgot_is_named(root: Path) -> None:
    forget(root, "rds", "tipc", " diag\n")
    found = findings(root, "kernel.module.*")
    for name in ("rds", "tipc"):
        assert found[f"kernel.module.{name}"].status is Status.UNKNOWN
        assert f"{name}.ko is on the disk" in found[f"kernel.module.{name}"].because


@pytest.mark.parametrize("name", ["modules.dep", "modules.alias"])
def test_a_text_that_ends_between_two_lines_before_what_is_judged_is_no_pass(
    root: Path, name: str
) -> None:
    """Nothing in the text tells that lines are missing; the other text, or the disk, does."""
    put(root, {"x.conf": "alias net-pf-2-proto-132 off\nalias net-pf-10-proto-132 off\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.PASS
    path = root / f"lib/modules/{RELEASE}/{name}"
    lines = path.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.rstrip().endswith(" sctp")
              or line.startswith("kernel/net/sctp/sctp.ko"))  # fmt: skip
    path.write_text("".join(lines[:at]))
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.UNKNOWN
    assert name in found.because


def test_a_list_of_what_is_built_in_that_was_cut_off_hides_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules/6.12.1"
    Modules({"kernel/net/tipc/tipc.ko": ()}, (("net-pf-30", "tipc"),),
            ("kernel/net/sctp/sctp.ko",)).write(folder, binary=False)  # fmt: skip
    (folder / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (folder / "modules.builtin.modinfo").write_bytes(b"ext4.license=GPL\0sctp.license=GPL\0")
    found = findings(tmp_path)["kernel.module.sctp"]
    assert found.status is Status.FAIL
    assert "built into the kernel" in found.because


@pytest.mark.parametrize("binary", [True, False], ids=["tries", "texts"])
@pytest.mark.parametrize("name", ["modules.dep", "modules.alias"])
def test_zeros_in_an_index_are_damage(tmp_path: Path, name: str, *, binary: bool) -> None:
    """modprobe finds nothing in them, and says nothing."""
    folder = tmp_path / "lib/modules/6.1.0"
    paths = {f"kernel/net/{m}.ko": () for c in COMPONENTS for m in c.modules}
    aliases = [(r.name, c.registers[0]) for c in COMPONENTS for r in c.requests]
    order = [m for c in COMPONENTS for m in c.modules]
    aliases.sort(key=lambda row: order.index(row[1]))
    Modules(paths, tuple(aliases)).write(folder, binary=binary, text=not binary)
    path = folder / (f"{name}.bin" if binary else name)
    whole = path.read_bytes()
    for at in range(8, len(whole), len(whole) // 25):
        for end in (at + 512, len(whole)):
            path.write_bytes((whole[:at] + bytes(end - at) + whole[end:])[: len(whole)])
            found = findings(tmp_path, "kernel.module.sctp")["kernel.module.sctp"]
            assert found.status in (Status.UNKNOWN, Status.FAIL), (at, end, found.because)
            if found.status is Status.UNKNOWN:
                assert name in found.because


@pytest.mark.parametrize(
    ("check", "file"),
    [
        ("legacy-families", "kernel/net/can/can.ko"),
        ("legacy-families", "kernel/drivers/isdn/mISDN/mISDN_core.ko.xz"),
        ("filesystems", "kernel/drivers/usb/storage/usb-storage.ko"),
        ("filesystems", "kernel/fs/smb/client/cifs.ko.zst"),
        ("ipsec-rxrpc", "kernel/net/ipv4/esp4.ko"),
        ("userns-vectors", "kernel/net/sched/sch_cake.ko"),
        ("algif", "kernel/crypto/algif_aead.ko"),
        ("vsock", "kernel/net/vmw_vsock/vsock.ko"),
    ],
)
def test_a_group_names_what_the_index_forgot(tmp_path: Path, check: str, file: str) -> None:
    tree = Modules({"kernel/lib/libcrc32c.ko": ()}, ())
    tree.write(tmp_path / "lib/modules/6.12.1")
    put(tmp_path, {f"/lib/modules/6.12.1/{file}": ""})
    found = findings(tmp_path, "kernel.module.*")[f"kernel.module.{check}"]
    assert found.status is Status.PASS
    assert file in found.because
    assert "depmod was not run" in found.because


# --- other distributions' shapes -------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst", ".gz"])
@pytest.mark.parametrize("binary", [True, False])
def test_compressed_modules_and_both_kinds_of_index(
    tmp_path: Path, suffix: str, binary: bool
) -> None:
    tree = Modules(
        {f"kernel/net/sctp/sctp.ko{suffix}": (f"kernel/lib/libcrc32c.ko{suffix}",),
         f"kernel/lib/libcrc32c.ko{suffix}": ()},
        (("net-pf-2-proto-132", "sctp"), ("net-pf-10-proto-132", "sctp")),
    )  # fmt: skip
    tree.write(tmp_path / "usr/lib/modules/6.12.1", binary=binary, text=not binary)
    (tmp_path / "lib").symlink_to("usr/lib")
    assert findings(tmp_path)["kernel.module.sctp"].status is Status.FAIL
    put(tmp_path, {"x.conf": "install sctp /bin/false\n"})
    assert findings(tmp_path)["kernel.module.sctp"].status is Status.PASS


def test_an_ostree_layout_has_its_kernel_under_usr_lib(tmp_path: Path) -> None:
    tree = Modules({"kernel/net/sctp/sctp.ko.xz": ()}, (("net-pf-2-proto-132", "sctp"),))
    tree.write(tmp_path / "usr/lib/modules/6.9.7-200.fc40.x86_64")
    put(tmp_path, {"/usr/lib/modprobe.d/sctp-blacklist.conf": "blacklist sctp\n"})
    found = findings(tmp_path)["kernel.module.sctp"]
    # Whether /usr/lib/modprobe.d is read depends on a kmod that is not in the tree.
    assert found.status is Status.FAIL
    put(tmp_path, {"sctp.conf": "blacklist sctp\n"})
    assert findings(tmp_path)["kernel.module.sctp"].status is Status.PASS


def test_busybox_knows_no_install(root: Path) -> None:
    program(root, "/usr/bin/busybox", b"\x7fELF..BusyBox v1.36.1 multi-call binary\0")
    (root / "usr/sbin/modprobe").symlink_to("../bin/busybox")
    put(root, {"x.conf": "install sctp /bin/false\nblacklist dccp_ipv4\nblacklist dccp_ipv6\n"})
    found = findings(root)
    assert found["kernel.module.sctp"].status is Status.FAIL
    assert found["kernel.module.dccp"].status is Status.PASS
    assert "BusyBox modprobe knows no install" in found["kernel.module.rule-ineffective"].because


def test_a_kmod_that_tells_its_folders_is_taken_at_its_word(root: Path) -> None:
    text = (
        b"\x7fELF\0kmod version 29\0/etc/modprobe.d\0/run/modprobe.d\0/usr/local/lib/modprobe.d\0"
    )
    program(root, "/usr/bin/kmod", text)
    (root / "usr/sbin/modprobe").symlink_to("../bin/kmod")
    put(root, {"/usr/lib/modprobe.d/x.conf": "blacklist sctp\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.PASS  # /lib is /usr/lib here


def test_unmerged_usr_is_told_from_lib(tmp_path: Path) -> None:
    debian(tmp_path, merged=False)
    text = (
        b"\x7fELF\0kmod version 30\0/etc/modprobe.d\0/run/modprobe.d\0/usr/local/lib/modprobe.d\0"
    )
    program(tmp_path, "/bin/kmod", text)
    (tmp_path / "sbin/modprobe").symlink_to("/bin/kmod")
    put(tmp_path, {"/usr/lib/modprobe.d/x.conf": "blacklist sctp\n"})
    found = findings(tmp_path)
    assert found["kernel.module.sctp"].status is Status.FAIL
    lines = found["kernel.module.rule-ineffective"]
    assert "does not read /usr/lib/modprobe.d" in lines.because


def test_a_kernel_before_4_17_loads_sctp_for_sock_diag_too(tmp_path: Path) -> None:
    tree = Modules(
        {"kernel/net/sctp/sctp.ko": (),
         "kernel/net/sctp/sctp_diag.ko": ("kernel/net/sctp/sctp.ko",)},
        (("net-pf-2-proto-132", "sctp"), ("net-pf-16-proto-4-type-2-132", "sctp_diag")),
    )  # fmt: skip
    put(tmp_path, {"x.conf": "blacklist sctp\n"})
    tree.write(tmp_path / "lib/modules/3.10.0-1160.el7.x86_64")
    found = findings(tmp_path)["kernel.module.sctp"]
    assert found.status is Status.FAIL
    assert "sock_diag" in found.because
    os.rename(tmp_path / "lib/modules/3.10.0-1160.el7.x86_64", tmp_path / "lib/modules/5.14.0")
    assert findings(tmp_path)["kernel.module.sctp"].status is Status.PASS


# --- bad input -------------------------------------------------------------------------------


def test_an_unreadable_file_makes_the_verdict_unknown_and_is_named(root: Path) -> None:
    os.mkfifo(root / "etc/modprobe.d/pipe.conf")
    for check in ("kernel.module.sctp", "kernel.module.dccp"):
        found = findings(root)[check]
        assert found.status is Status.UNKNOWN
        assert "/etc/modprobe.d/pipe.conf" in found.because


@pytest.mark.parametrize("cut", [0, 5, 11, 12, 40, 200, 1000])
@pytest.mark.parametrize("name", ["modules.dep.bin", "modules.alias.bin", "modules.builtin.bin"])
def test_a_cut_index_is_unknown_or_judged_right_never_a_crash(
    tmp_path: Path, name: str, cut: int
) -> None:
    tree = Modules(
        {f"kernel/net/{n}/{n}.ko": () for n in ("sctp", "tipc", "rds", "dccp")},
        (("net-pf-2-proto-132", "sctp"), ("net-pf-30", "tipc")),
        ("kernel/fs/ext4.ko", "kernel/fs/xfs.ko"),
    )
    folder = tmp_path / "lib/modules/6.1.0"
    tree.write(folder)
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    found = findings(tmp_path)["kernel.module.sctp"]
    if cut < len(whole):
        assert found.status in (Status.UNKNOWN, Status.FAIL)
        if found.status is Status.UNKNOWN:
            assert name in found.because
    assert all(f.status is not Status.ERROR for f in findings(tmp_path).values())


def test_garbage_for_every_file_is_never_a_defect(root: Path) -> None:
    noise = lzma.compress(bytes(range(256)) * 50)
    for path in (root / f"lib/modules/{RELEASE}").glob("modules.*"):
        path.write_bytes(noise)
    (root / "etc/modprobe.d/noise.conf").write_bytes(noise)
    put(root, {"/proc/sys/kernel/modprobe": "x"})
    for name in ("proc/modules", "proc/cmdline", "proc/sys/kernel/tainted",
                 "proc/sys/kernel/modules_disabled"):  # fmt: skip
        (root / name).write_bytes(noise)
    assert [f for f in findings(root).values() if f.status is Status.ERROR] == []


def test_a_folder_without_an_index_is_never_a_pass(root: Path) -> None:
    """An image's kernel may have its modules mounted at boot."""
    for path in (root / f"lib/modules/{RELEASE}").iterdir():
        if path.is_file():
            path.unlink()
    found = findings(root, "kernel.module.*")
    for name in ("dccp", "sctp", "rds", "algif", "legacy-families"):
        assert found[f"kernel.module.{name}"].status is Status.UNKNOWN
        assert "no index" in found[f"kernel.module.{name}"].because


def test_what_is_built_in_is_so_without_its_trie(root: Path) -> None:
    folder = root / f"lib/modules/{RELEASE}"
    Modules({"kernel/net/tipc/tipc.ko": ()}).write(folder)
    (folder / "modules.builtin.bin").unlink()
    (folder / "modules.builtin").write_text("kernel/net/sctp/sctp.ko\n")
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.FAIL
    assert "built into the kernel" in found.because


def test_a_line_that_only_some_kmod_reads_is_no_pass(root: Path) -> None:
    """A link that leads nowhere hides the vendor's file from kmod up to 33, or does not."""
    put(root, {"x.conf": "-> /nowhere",
               "/usr/lib/modprobe.d/x.conf": "install sctp /bin/false\n"})  # fmt: skip
    found = findings(root)["kernel.module.rule-ineffective"]
    assert found.status is Status.UNKNOWN
    assert "/usr/lib/modprobe.d/x.conf:1" in found.because


def test_a_load_in_quotes_is_no_pass(root: Path) -> None:
    put(root, {"x.conf": 'install sctp sh -c "/bin/false; modprobe -i sctp"\n'})
    assert findings(root)["kernel.module.sctp"].status is Status.UNKNOWN


@pytest.mark.parametrize(
    "text",
    ["".join(f"alias x{i}-* m{i}\nsoftdep m{i} pre: m{i + 1}\n" for i in range(25_000)),
     "".join(f"install m{i}* /bin/false\n" for i in range(10_000)),
     "".join(f"install m{i} /bin/false\n" for i in range(10_000)),
     "install " + "*" * 200 + "z /bin/false\ninstall " + "*a" * 100_000 + " /bin/false\n",
     "blacklist sctp" + "\\\n" * 500_000 + "\n"],
    ids=["patterns", "install patterns", "installs", "stars", "joined"],
)  # fmt: skip
def test_what_is_very_long_is_judged(root: Path, text: str) -> None:
    put(root, {"x.conf": text})
    found = findings(root)["kernel.module.sctp"]
    assert found.status is (Status.PASS if text.startswith("blacklist") else Status.FAIL)


@pytest.mark.parametrize(
    "text",
    ["".join(f"softdep sctp{i or ''} pre: sctp{i + 1}\nalias sctp{i + 1} sctp{i + 1}\n"
             for i in range(5_000)),
     "install sctp " + "true;" * 200_000 + "modprobe -i sctp\n"],
    ids=["softdeps", "command"],
)  # fmt: skip
def test_what_is_too_long_to_follow_is_unknown(root: Path, text: str) -> None:
    put(root, {"x.conf": text})
    assert findings(root)["kernel.module.sctp"].status is Status.UNKNOWN


def test_circles_of_aliases_softdeps_and_commands_end(root: Path) -> None:
    put(root, {"x.conf": "alias net-pf-2-proto-132 a\nalias a net-pf-2-proto-132\n"
                         "softdep sctp pre: dccp_ipv4\nsoftdep dccp_ipv4 pre: sctp\n"
                         "install tipc /sbin/modprobe tipc\n"
                         "alias net-pf-30 tipc\n"})  # fmt: skip
    found = findings(root)
    assert all(f.status is not Status.ERROR for f in found.values())
    assert found["kernel.module.tipc"].status is Status.UNKNOWN


def test_very_long_files_and_lines_are_read(root: Path) -> None:
    many = "".join(f"blacklist nothing_{i}\n" for i in range(50_000))
    put(root, {"long.conf": many + "# " + "x" * 1_000_000 + "\ninstall sctp /bin/false\n"})
    found = findings(root)["kernel.module.sctp"]
    assert found.status is Status.PASS
    assert "/etc/modprobe.d/long.conf:50002" in found.because


def test_a_trie_that_leads_in_circles_is_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules/6.1.0"
    Modules({"kernel/net/sctp/sctp.ko": ()}, (("net-pf-2-proto-132", "sctp"),)).write(folder)
    raw = bytearray((folder / "modules.alias.bin").read_bytes())
    root_offset = int.from_bytes(raw[8:12], "big")
    node = len(raw)
    raw += b"**" + (0x20000000 | node).to_bytes(4, "big")
    raw[8:12] = (0x20000000 | node).to_bytes(4, "big")
    assert root_offset
    (folder / "modules.alias.bin").write_bytes(raw)
    found = findings(tmp_path)["kernel.module.sctp"]
    assert found.status is Status.UNKNOWN
    assert "circles" in found.because


@pytest.mark.parametrize("seed", range(4))
def test_a_fix_is_found_for_every_generated_configuration_and_blocks(
    tmp_path: Path, seed: int
) -> None:
    made = [s for s in scenarios(seed, 24) if not s.sysctl and not s.prepare and not s.command_line]
    for i, scenario in enumerate(made):
        root = tmp_path / str(i)
        debian(root, upstream=True)
        put(root, {p: t for p, t in scenario.files.items() if t is not None and "RELEASE" not in p})
        node = look(root)
        for component in (DCCP, SCTP):
            file = file_name(node, component.name)
            lines = fix(node, component, file)
            assert lines, (scenario, component.name)
            put(root, {f"/etc/modprobe.d/{file}": "".join(f"{line}\n" for line in lines)})
        for component in (DCCP, SCTP):
            after = expose(look(root), component)
            assert after.state not in (*BAD, State.UNKNOWN), (scenario, after)


def look(root: Path) -> KernelModules:
    reading = Looker(TreeHost(root)).look(KernelModules)
    assert isinstance(reading, Seen)
    assert isinstance(reading.fact, KernelModules)
    return reading.fact


def test_options_that_the_shell_would_read_leave_a_command_unclear(root: Path) -> None:
    put(root, {"a.conf": "install sctp /bin/false $CMDLINE_OPTS\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.PASS
    put(root, {"b.conf": "options sctp ; /sbin/modprobe -i sctp\n"})
    assert findings(root)["kernel.module.sctp"].status is Status.UNKNOWN
