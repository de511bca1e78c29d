"""What keeps pods from asking for modules: real processes under seccomp and in user namespaces."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from child import LIBC, NOBODY
from module_hosts import debian
from nodeward.agent.runner import Looker
from nodeward.checks.module_families import AF_ALG_ALIAS, AF_ALG_DEP, algif, filesystems
from nodeward.checks.module_pods import UsernsParams, userns_vectors
from nodeward.checks.module_terms import SCTP_ALIAS, SCTP_DEP, example_node
from nodeward.checks.modules import SctpParams, dccp, sctp
from nodeward.facts.kernel_guards import ModuleRequests, PodContext, UserNamespaces
from nodeward.facts.kernel_modules import KernelModules, KernelTree, Loaded
from nodeward.facts.pods import Confinement, PodGuards, parse_status, weigh
from nodeward.facts.runtime import Runtime
from nodeward.facts.seccomp_profiles import copy_fail_fixed, keeps_out
from nodeward.host import LiveHost, TreeHost
from nodeward.model import Seen, Severity, Status

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, CLONE_NEWUSER = 22, 38, 0x10000000
SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine(), 0)
WHOLE = b"         0          0 4294967295\n"


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse_sctp() -> None:
    """A seccomp filter as a pod's profile would have it: socket(_, _, IPPROTO_SCTP) is EPERM."""
    code = (
        (0x20, 0, 0, 0),  # the call's number
        (0x15, 0, 3, SOCKET),
        (0x20, 0, 0, 32),  # the low half of the third argument
        (0x15, 0, 1, socket.IPPROTO_SCTP),
        (0x06, 0, 0, 0x00050000 | errno.EPERM),
        (0x06, 0, 0, 0x7FFF0000),  # all else is allowed
    )
    raw = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    program = Program(len(code), ctypes.addressof(raw))
    assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0


def nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def own_users() -> None:
    assert LIBC.unshare(CLONE_NEWUSER) == 0


def filtered() -> None:
    nobody()
    refuse_sctp()


def tries_sctp() -> str:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return "OK"


@contextmanager
def process(*first: Callable[[], None], says: Callable[[], str] = str) -> Iterator[tuple[int, str]]:
    """A child that has done these things and waits: its pid and what it says."""
    told, tell = os.pipe()
    wait, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(release)
            for step in first:
                step()
            os.write(tell, says().encode() + b"\n")
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(tell)
    os.close(wait)
    try:
        yield pid, os.read(told, 100).decode().strip()
    finally:
        os.close(release)
        os.close(told)
        os.waitpid(pid, 0)


def confinement(pid: int) -> Confinement:
    return parse_status(
        Path(f"/proc/{pid}/status").read_bytes(), Path(f"/proc/{pid}/uid_map").read_bytes()
    )


# --- one process -----------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.skipif(not SOCKET, reason="the filter is written for other machines")
def test_a_filter_that_refuses_the_socket_is_seen(tmp_path: Path) -> None:
    with process(filtered, says=tries_sctp) as (pid, said):
        assert said == "EPERM"
        assert confinement(pid) == Confinement(seccomp=True, own_users=False, capabilities=0)


@pytest.mark.root
def test_a_process_without_a_filter_is_seen() -> None:
    with process(nobody) as (pid, _):
        found = confinement(pid)
        assert not found.seccomp
        assert not found.admin
        assert not found.privileged


@pytest.mark.root
def test_root_of_the_host_is_told_from_root_of_a_user_namespace() -> None:
    with process() as (pid, _):
        assert confinement(pid).privileged
    with process(own_users) as (pid, _):
        found = confinement(pid)
        assert found.own_users
        assert found.admin
        assert not found.privileged


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_no_status_breaks_the_reader(status: bytes, uid_map: bytes) -> None:
    parse_status(status, uid_map)


def test_a_kernel_without_seccomp_filters_nothing() -> None:
    assert not parse_status(b"Name:\tx\nCapEff:\t0\n", WHOLE).seccomp


# --- the pods of a node ----------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Puts a process into a pod's cgroup as a kubelet would, and says the pod's uid."""
    at = tmp_path / "cgroup"
    at.mkdir()
    assert os.system(f"mount -t cgroup2 none {at}") == 0
    top = at / f"kubepods-{uuid.uuid4()}"
    made: list[Path] = []

    def put(pid: int) -> str:
        uid = str(uuid.uuid4())
        group = top / f"pod{uid}"
        group.mkdir(parents=True)
        made.append(group)
        (group / "cgroup.procs").write_text(str(pid))
        return uid

    yield put
    for group in (*made, top):
        group.rmdir()
    os.system(f"umount {at}")


@pytest.mark.root
def test_each_pod_is_told_by_the_least_confined_of_its_processes(
    groups: Callable[[int], str], tmp_path: Path
) -> None:
    with process(nobody) as (bare, _), process(filtered) as (safe, _), \
            process(own_users) as (own, _), process() as (root, _):  # fmt: skip
        uids = [groups(pid) for pid in (bare, safe, own, root)]
        found = Looker(LiveHost("/")).look(PodGuards)
        for pid in (bare, safe, own, root):  # out again, so that the groups can go
            (tmp_path / "cgroup/cgroup.procs").write_text(str(pid))
    assert isinstance(found, Seen)
    guards = found.fact
    assert isinstance(guards, PodGuards)
    names = [f"pod {uid}" for uid in uids]
    assert [name in guards.unconfined for name in names] == [True, False, True, False]
    assert [name in guards.filtered for name in names] == [False, True, False, False]
    assert [name in guards.admins for name in names] == [False, False, True, False]
    assert [name in guards.privileged for name in names] == [False, False, False, True]


def test_one_process_without_a_filter_opens_its_pod() -> None:
    pause, app = Confinement(True, False, 0), Confinement(False, False, 0)
    found = weigh([("web/a", pause), ("web/a", app), ("web/b", pause)], complete=True)
    assert found.unconfined == ("web/a",)
    assert found.filtered == ("web/b",)
    assert found.looked_at == 3


# --- what that does to a verdict -------------------------------------------------------------

BARE = PodGuards(unconfined=("web/a",), filtered=("web/b",), looked_at=4)
SAFE = PodGuards(filtered=("web/b",), privileged=("kube-system/proxy",), looked_at=4)
REFUSED = ModuleRequests(True, (PodContext("u:r:container_t:s0", False, ("web/a",)),))
ASKED = ModuleRequests(True, (PodContext("u:r:my_t:s0", True, ("web/b",)),))


@pytest.fixture
def node(tmp_path: Path) -> KernelModules:
    debian(tmp_path, upstream=True)
    found = Looker(TreeHost(tmp_path)).look(KernelModules)
    assert isinstance(found, Seen)
    assert isinstance(found.fact, KernelModules)
    return found.fact


@pytest.mark.parametrize("requests", [None, REFUSED, ASKED])
@pytest.mark.parametrize("pods", [None, PodGuards(), BARE, SAFE])
def test_what_confines_pods_lowers_a_failure_and_never_lifts_it(
    node: KernelModules, requests: ModuleRequests | None, pods: PodGuards | None
) -> None:
    found = dccp(replace(node, requests=requests, pods=pods))
    assert found.status is Status.FAIL
    assert found.severity is (Severity.LOW if requests is REFUSED else None)


def test_the_pods_that_are_left_open_are_named(node: KernelModules) -> None:
    found = dccp(replace(node, requests=ASKED, pods=BARE))
    open_ = {e.value: e.what for e in found.evidence if e.what.startswith("left open")}
    assert open_.keys() == {"web/a", "web/b"}
    assert any("web/b" in e.value and "u:r:my_t:s0" in e.source for e in found.evidence)
    refused = dccp(replace(node, requests=REFUSED))
    assert "SELinux refuses the request to every ordinary pod" in refused.because


def test_where_processes_are_hidden_selinux_lowers_nothing(node: KernelModules) -> None:
    assert dccp(replace(node, requests=replace(REFUSED, complete=False))).severity is None


def test_a_module_that_is_loaded_needs_no_request_that_selinux_could_refuse() -> None:
    node = replace(
        example_node("", SCTP_ALIAS, SCTP_DEP), loaded=(Loaded("sctp", 0, "Live"),),
        requests=REFUSED,
    )  # fmt: skip
    found = sctp(node, SctpParams())
    assert found.severity is None
    assert "SELinux" not in found.because


def runtime(name: str, version: str | None) -> Runtime:
    return Runtime(name, version, f"/usr/bin/{name}", running=True)


@pytest.mark.parametrize(
    ("name", "version", "out"),
    [
        ("containerd", "1.6.20", False),
        ("containerd", "1.7.31", False),
        ("containerd", "1.7.32", True),
        ("containerd", "2.0.8", False),
        ("containerd", "2.1.9", False),
        ("containerd", "2.2.4", True),
        ("containerd", "2.3.0", False),
        ("containerd", "2.4.0", True),
        ("containerd", None, False),
        ("docker", "29.4.2", False),
        ("docker", "29.4.3", True),
        ("cri-o", "1.35.1", False),
    ],
)
def test_which_runtimes_default_filter_keeps_ciphers_out(
    name: str, version: str | None, out: bool
) -> None:
    assert bool(keeps_out(runtime(name, version), "af_alg")) is out


@pytest.mark.parametrize("component", ["dccp", "sctp", "rds", "tipc", "can"])
def test_no_default_filter_keeps_protocols_out(component: str) -> None:
    assert keeps_out(runtime("containerd", "2.4.0"), component) == ""


@pytest.mark.parametrize(
    ("release", "banner", "fixed"),
    [
        ("6.1.170-213.321.amzn2023.x86_64", "", "6.1.170"),
        ("6.1.169-1", "", ""),
        ("6.1.0-56-amd64", "Linux version 6.1.0-56-amd64 (x) #1 SMP Debian 6.1.192-2", "6.1.192"),
        ("6.1.0-40-amd64", "Linux version 6.1.0-40-amd64 (x) #1 SMP Debian 6.1.150-1", ""),
        ("6.1.0-56-amd64", "", ""),
        ("6.8.0-117-generic", "", ""),
        ("5.14.0-611.49.2.el9_7.x86_64", "", ""),
        ("6.17.13", "", ""),
        ("6.19.13-200.fc43.x86_64", "", "6.19.13"),
        ("7.0.0-14-generic", "", "7.0.0"),
        ("7.0.0-rc3", "", ""),
        ("7.1.2", "", "7.1.2"),
        ("nonsense", "", ""),
    ],
)
def test_which_kernels_have_the_fix(release: str, banner: str, fixed: str) -> None:
    assert copy_fail_fixed(release, banner) == fixed


OLD, NEW = runtime("containerd", "1.6.20"), runtime("containerd", "1.7.33")


@pytest.mark.parametrize(
    ("pods", "container_runtime", "release", "severity"),
    [
        (None, None, "6.1.100", None),
        (SAFE, OLD, "6.1.100", None),
        (SAFE, None, "6.1.100", None),
        (BARE, NEW, "6.1.100", None),
        (SAFE, NEW, "6.1.100", Severity.LOW),
        (replace(SAFE, complete=False), NEW, "6.1.100", None),
        (None, None, "6.1.192", Severity.MEDIUM),
        (BARE, NEW, "6.1.192", Severity.MEDIUM),
        (SAFE, NEW, "6.1.192", Severity.LOW),
    ],
)
def test_ciphers_weigh_less_behind_the_runtimes_filter_or_a_mended_kernel(
    pods: PodGuards | None,
    container_runtime: Runtime | None,
    release: str,
    severity: Severity | None,
) -> None:
    node = example_node("", AF_ALG_ALIAS, AF_ALG_DEP)
    tree = KernelTree(release, f"/lib/modules/{release}", node.kernels[0].files)
    found = algif(replace(node, kernels=(tree,), pods=pods, runtime=container_runtime))
    assert found.status is Status.FAIL
    assert found.severity is severity


def test_what_takes_a_user_namespace_is_open_to_pods_that_have_one() -> None:
    node = example_node("", "alias fs-udf udf\n", "kernel/fs/udf.ko:\n")
    users = UserNamespaces(1000)
    closed = filesystems(replace(node, pods=SAFE), users)
    assert "no pod that runs here now can" in closed.because
    own = replace(SAFE, admins=("web/b",))
    found = filesystems(replace(node, pods=own), users)
    assert "no pod that runs here now can" not in found.because
    assert ("left open: a user namespace with rights", "web/b") in {
        (e.what, e.value) for e in found.evidence
    }


def test_no_setting_keeps_a_pod_from_the_user_namespace_that_the_runtime_made() -> None:
    node = example_node("", "alias nfnetlink-subsys-10 nf_tables\n", "kernel/net/nf_tables.ko:\n")
    own = PodGuards(filtered=("web/b",), admins=("web/b",), looked_at=1)
    found = userns_vectors(node, UserNamespaces(clone=False), own, UsernsParams())
    assert found.status is Status.FAIL
    assert "web/b" in found.because
