"""What BusyBox's own modprobe would insert, asked of BusyBox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from module_hosts import put
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.facts.kernel_modules import KernelModules
from nodeward.host import TreeHost
from nodeward.model import Seen, Status

RELEASE = os.uname().release  # BusyBox asks the kernel
FOLDER = f"/lib/modules/{RELEASE}"
NAMES = ("sctp", "rds", "tipc", "crc")
REQUESTS = ("net-pf-2-proto-132", "net-pf-21", "net-pf-30", "net-pf-99")
FILES = ("/etc/modprobe.conf", "/etc/modprobe.d/a.conf", "/etc/modprobe.d/b.cfg",
         "/etc/modprobe.d/sub.d/x.conf", "/etc/other/x.conf", "/etc/other/y",
         "/etc/single")  # fmt: skip
LINES = st.one_of(
    st.sampled_from(NAMES).map("blacklist {}".format),
    st.tuples(st.just("alias"), st.sampled_from(REQUESTS), st.sampled_from(NAMES)).map(" ".join),
    st.sampled_from(("/etc/other", "/etc/other/y", "/etc/single", "/etc/nowhere",
                     "/etc/modprobe.conf", "/etc/modprobe.d/sub.d")).map("include {}".format),
    st.sampled_from(("# include /etc/other", "install sctp /bin/false", "softdep sctp pre: rds",
                     "include", "")),
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("busybox")
    put(at, {
        f"{FOLDER}/modules.dep": "kernel/sctp.ko: kernel/crc.ko\nkernel/crc.ko:\n"
                                 "kernel/rds.ko:\nkernel/tipc.ko:\n",
        f"{FOLDER}/modules.alias": "alias net-pf-2-proto-132 sctp\nalias net-pf-21 rds\n"
                                   "alias net-pf-30 tipc\n",
        f"{FOLDER}/modules.symbols": "",
        **{f"{FOLDER}/kernel/{name}.ko": "" for name in NAMES},
    })  # fmt: skip
    (at / "sbin").mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, at / "sbin/modprobe")
    return at


def configure(root: Path, files: dict[str, str]) -> None:
    shutil.rmtree(root / "etc", ignore_errors=True)
    put(root, {"/etc/modprobe.d/.keep": "", **files})


def theirs(root: Path, request: str) -> set[str]:
    """What BusyBox says it would insert for a request."""
    done = subprocess.run(
        ["chroot", root, "/sbin/modprobe", "-D", request],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return set(re.findall(r"^insmod \S+/(\w+)\.ko", done.stdout, re.MULTILINE))


def look(root: Path) -> KernelModules:
    found = Looker(TreeHost(root)).look(KernelModules)
    assert isinstance(found, Seen)
    assert isinstance(found.fact, KernelModules)
    assert found.fact.helper.kind == "busybox"
    return found.fact


@pytest.mark.root
@pytest.mark.skipif(
    shutil.which("busybox") is None and os.environ.get("CI") != "true", reason="no busybox here"
)
@given(st.dictionaries(st.sampled_from(FILES), st.lists(LINES, max_size=4).map("\n".join)))
@settings(max_examples=60)
def test_our_busybox_inserts_what_busybox_would(root: Path, files: dict[str, str]) -> None:
    configure(root, files)
    (variant,) = look(root).variants()
    assume(not variant.conf.unread)  # where files include each other, BusyBox does not end
    for request in REQUESTS:
        assert set(variant.engine.run(request).inserted) == theirs(root, request), request


def verdict(root: Path, check: str) -> Status:
    (found,) = examine(Looker(TreeHost(root)), select([f"kernel.module.{check}"]))
    return found.status


def test_a_folder_that_is_included_is_read(root: Path) -> None:
    files = {"/etc/modprobe.conf": "include /etc/other\n", "/etc/other/x.conf": "blacklist sctp\n"}
    configure(root, files)
    assert verdict(root, "sctp") is Status.PASS
    assert verdict(root, "rule-ineffective") is Status.PASS
    configure(root, {**files, "/etc/other/y": "blacklist rds\n"})
    assert verdict(root, "rds") is Status.FAIL
    assert verdict(root, "rule-ineffective") is Status.FAIL


def test_an_included_file_that_cannot_be_read_is_unknown(root: Path) -> None:
    configure(root, {"/etc/modprobe.d/a.conf": "include /etc/big\n", "/etc/big": ""})
    os.truncate(root / "etc/big", 17 << 20)  # more than we read
    assert verdict(root, "rule-ineffective") is Status.UNKNOWN
    assert verdict(root, "sctp") is Status.UNKNOWN


def test_files_that_include_each_other_are_named(root: Path) -> None:
    configure(root, {"/etc/modprobe.conf": "include /etc/single\nblacklist sctp\n",
                     "/etc/single": "include /etc/modprobe.conf\n"})  # fmt: skip
    assert theirs(root, "net-pf-21") == set()
    assert verdict(root, "sctp") is Status.UNKNOWN
    assert verdict(root, "rule-ineffective") is Status.UNKNOWN


def test_a_file_that_is_included_twice_is_no_circle(root: Path) -> None:
    configure(root, {"/etc/modprobe.conf": "include /etc/single\ninclude /etc/single\n",
                     "/etc/modprobe.d/a.conf": "include /etc/single\n",
                     "/etc/single": "blacklist sctp\n"})  # fmt: skip
    assert verdict(root, "sctp") is Status.PASS
