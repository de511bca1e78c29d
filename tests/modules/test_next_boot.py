"""What each boot loads by name, on whole trees at rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_hosts import RELEASE, debian, program, put
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.facts.next_boot import on_command_line, parse_list
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

LOADED, KEPT = "kernel.module.already-loaded", "kernel.module.persistence"
LIST = "/etc/modules-load.d/node.conf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    debian(tmp_path, upstream=True)
    return tmp_path


def findings(root: Path) -> dict[str, Finding]:
    rules = [r for r in select(["kernel.module.*"]) if r.id in (LOADED, KEPT)]
    return {f.check: f for f in examine(Looker(TreeHost(root)), rules)}


def test_what_modules_load_d_names_is_loaded_at_each_boot(root: Path) -> None:
    put(root, {LIST: "# for the load balancer\n\n  sctp\n"})
    found = findings(root)[LOADED]
    assert found.status is Status.FAIL
    assert f"{LIST}:3" in found.because
    assert [(e.value, e.source) for e in found.evidence] == [("sctp, by sctp", f"{LIST}:3")]


def test_a_rule_that_the_boot_heeds_keeps_it_out(root: Path) -> None:
    put(root, {LIST: "sctp\n", "x.conf": "blacklist sctp\n"})
    assert {f.status for f in findings(root).values()} == {Status.PASS}
    put(root, {"x.conf": "install sctp /bin/false\n"})
    assert {f.status for f in findings(root).values()} == {Status.PASS}


def test_what_a_listed_module_needs_comes_in_though_it_is_blacklisted(root: Path) -> None:
    put(root, {LIST: "sctp_diag\n", "x.conf": "blacklist sctp\n"})
    found = findings(root)
    assert found[LOADED].status is Status.FAIL
    assert "sctp" in found[LOADED].because
    assert found[KEPT].status is Status.FAIL
    assert "sctp, which" in found[KEPT].because


def test_an_alias_is_followed_as_for_a_request(root: Path) -> None:
    put(root, {LIST: "net-pf-2-proto-132\n"})
    assert findings(root)[LOADED].status is Status.FAIL


def test_a_higher_folders_file_hides_a_lower_ones(root: Path) -> None:
    put(root, {"/usr/lib/modules-load.d/node.conf": "sctp\n", LIST: "overlay\n"})
    assert findings(root)[LOADED].status is Status.PASS
    (root / LIST[1:]).unlink()
    assert findings(root)[LOADED].status is Status.FAIL
    (root / LIST[1:]).symlink_to("/dev/null")
    assert findings(root)[LOADED].status is Status.PASS


def test_what_is_in_run_is_gone_by_the_next_boot(root: Path) -> None:
    put(root, {"/run/modules-load.d/node.conf": "sctp\n", "/etc/modules-load.d/x.list": "sctp\n"})
    assert findings(root)[LOADED].status is Status.PASS


def test_the_kernel_command_line_lists_modules_too(root: Path) -> None:
    put(root, {"/proc/cmdline": "quiet modules-load=overlay,sctp\n"})
    found = findings(root)[LOADED]
    assert found.status is Status.FAIL
    assert "/proc/cmdline" in found.because


def test_a_list_that_cannot_be_read_is_named(root: Path) -> None:
    (root / "etc/modules-load.d").mkdir(parents=True)
    (root / LIST[1:]).symlink_to("node.conf")
    found = findings(root)[LOADED]
    assert found.status is Status.UNKNOWN
    assert LIST in found.because


def test_a_tree_without_an_index_proves_nothing_about_what_is_listed(root: Path) -> None:
    put(root, {LIST: "sctp\n"})
    for file in (root / f"lib/modules/{RELEASE}").glob("modules.*"):
        file.unlink()
    assert findings(root)[LOADED].status is Status.UNKNOWN
    put(root, {LIST: "overlay\n"})
    assert findings(root)[LOADED].status is Status.PASS


def test_a_command_that_cannot_be_followed_is_no_proof(root: Path) -> None:
    put(root, {LIST: "sctp\n", "x.conf": "install sctp /opt/decide\n", "/opt/decide": "?"})
    assert findings(root)[LOADED].status is Status.UNKNOWN


def test_each_spelling_of_the_command_line() -> None:
    raw = b"modules_load=a rd.modules-load=b,,c modules_loads=d rd.modules_load modules-load="
    assert [row.name for row in on_command_line(raw)] == ["a", "b", "c"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"))))
def test_each_line_that_is_no_comment_is_one_name(lines: list[str]) -> None:
    found = list(parse_list("\n".join(lines).encode(), "f"))
    wanted = [(n, x.strip()) for n, x in enumerate(lines, 1) if x.strip()]
    assert [(f.place, f.name) for f in found] == [
        (f"f:{n}", x) for n, x in wanted if not x.startswith(("#", ";"))
    ]


@pytest.mark.parametrize("setting", ["", "/bin/false"])
def test_a_boot_brings_back_a_busybox_that_knows_no_install(root: Path, setting: str) -> None:
    program(root, "/bin/busybox", b"\x7fELF BusyBox v1.36\0")
    put(root, {"/sbin/modprobe": "-> /bin/busybox", "/proc/sys/kernel/modprobe": f"{setting}\n",
               "x.conf": "install sctp /bin/false\ninstall dccp /bin/false\n"})  # fmt: skip
    found = findings(root)[KEPT]
    assert found.status is Status.FAIL
    assert "DCCP, SCTP" in found.because


def test_every_component_that_only_run_keeps_out_is_lost_with_a_boot(root: Path) -> None:
    put(
        root, {"/run/modprobe.d/x.conf": "install algif_aead /bin/false\ninstall esp4 /bin/false\n"}
    )
    found = findings(root)[KEPT]
    assert found.status is Status.FAIL
    assert found.because.startswith("algif_aead, esp4 can be loaded again")
