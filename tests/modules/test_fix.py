"""The file that a failure shows: applied to the host, it does what the remedy says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from module_hosts import debian, put
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

FALSE = "install {} /bin/false\n"


def judged(root: Path, check: str) -> Finding:
    (found,) = examine(Looker(TreeHost(root)), select([f"kernel.module.{check}"]))
    return found


def mended(root: Path, check: str) -> Finding:
    """The finding after its steps were taken."""
    found = judged(root, check)
    assert found.status is Status.FAIL
    assert found.remedy is not None
    assert found.remedy.steps
    for step in found.remedy.steps:
        assert os.system(step.replace("'/etc/", f"'{root}/etc/")) == 0
    return judged(root, check)


@pytest.mark.parametrize("check", ["sctp", "algif", "legacy-families", "ipsec-rxrpc"])
def test_the_general_fix_and_that_of_this_host_have_one_file(tmp_path: Path, check: str) -> None:
    debian(tmp_path)
    here = judged(tmp_path, check).remedy
    (rule,) = select([f"kernel.module.{check}"])
    assert here is not None
    assert here.steps[0].rpartition("> ")[2].strip("'") == rule.remedy.steps[0].rpartition("> ")[2]


@pytest.mark.parametrize("folder", ["/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d"])
def test_a_file_of_that_name_keeps_its_rules(tmp_path: Path, folder: str) -> None:
    debian(tmp_path)
    put(tmp_path, {f"{folder}/00-nodeward-algif.conf": FALSE.format("algif_aead")})
    assert mended(tmp_path, "algif").status is Status.PASS


def test_a_link_of_that_name_is_not_written_through(tmp_path: Path) -> None:
    debian(tmp_path)
    put(tmp_path, {"00-nodeward-sctp.conf": "-> /dev/null"})
    assert mended(tmp_path, "sctp").status is Status.PASS
    assert (tmp_path / "etc/modprobe.d/00-nodeward-sctp.conf").is_symlink()


def test_a_request_with_an_install_of_its_own_is_led_to_nowhere(tmp_path: Path) -> None:
    debian(tmp_path)
    put(tmp_path, {"a.conf": "install net-pf-2-proto-132 /sbin/modprobe -i sctp\n"})
    assert mended(tmp_path, "sctp").status is Status.PASS


def test_where_nothing_is_proved_to_help_no_file_is_shown(tmp_path: Path) -> None:
    debian(tmp_path)
    put(tmp_path, {"!.conf": "alias net-pf-*-proto-132* sctp\nsoftdep sctp pre: dccp\n",
                   "!a.conf": "install off /sbin/modprobe -i sctp\n"})  # fmt: skip
    found = judged(tmp_path, "sctp")
    assert found.status is Status.FAIL
    assert found.remedy is not None
    if not found.remedy.steps:
        assert "No file that was tried" in found.remedy.text
    else:
        assert mended(tmp_path, "sctp").status is Status.PASS
