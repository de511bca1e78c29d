"""Kubelets and files that are not as they should be: a reason, never a guess, never a hang."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import HEAD, Host, Run
from nodeward.agent.scan import scan, select
from nodeward.checks.kubelet_drift import drift
from nodeward.checks.kubelet_ports import read_only
from nodeward.checks.kubelet_samples import answers, listener
from nodeward.facts.kubelet import Launch, example
from nodeward.facts.listeners import Listeners
from nodeward.facts.processes import Process, Processes
from nodeward.host import HostError, LiveHost, MissingError, TreeHost
from nodeward.model import Finding, Severity, Status, Unreadable
from nodeward.probes.kubelet import read
from nodeward.probes.kubelet_process import find

V136 = "/opt/v1.36.2/kubelet"
CONFIG = "/etc/kubelet.yaml"
WITH_CONFIG = Run(V136, ("kubelet", f"--config={CONFIG}"))
CLOSED = HEAD + "readOnlyPort: 0\n"
OPEN = "authentication: {anonymous: {enabled: true}}\n"


def judge(root: Path, check: str = "kubelet.authn.anonymous") -> Finding:
    report = scan(TreeHost(root), select([check]), at=kubelet_hosts.BOOT + 3600)
    return report.findings[0]


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("kubelet: working hard",),
        ("",) * 9,
        (" " * 30,),
        ("x" * 30,),
        ("",),
        ("kubelet --root-dir=/var/lib/kubelet",),
        ("kubelet: serving", "-dir=/x"),
    ],
    ids=[
        "empty",
        "a title",
        "zeros",
        "blanks",
        "one other word",
        "one empty word",
        "a title that is a path",
        "a title and what it left",
    ],
)
def test_overwritten_arguments_are_unknown(argv: tuple[str, ...], tmp_path: Path) -> None:
    host = Host({}, (Run(V136, argv),))
    found = judge(kubelet_hosts.build(host, tmp_path / "host"))
    if argv == ("",):  # as good as a kubelet without arguments
        assert found.status is Status.FAIL
    else:
        assert found.status is Status.UNKNOWN
        assert "/proc/812/cmdline" in found.because


def test_the_files_of_the_process_itself_are_its_own(tmp_path: Path) -> None:
    """/proc/self is that of whoever looks; a descriptor cannot be read again."""
    words = ("kubelet", "--config=/proc/self/cwd/c.yaml")
    files = {"/work/c.yaml": HEAD + OPEN, "/proc/self/cwd/c.yaml": CLOSED}
    host = Host(files, (Run(V136, words, cwd="/work"),))
    root = kubelet_hosts.build(host, tmp_path / "host")
    assert judge(root).status is Status.FAIL
    descriptor = Run(V136, ("kubelet", "--config=/dev/stdin"))
    root = kubelet_hosts.build(Host({"/dev/stdin": CLOSED}, (descriptor,)), tmp_path / "other")
    assert judge(root).status is Status.UNKNOWN


def test_a_kubelet_under_another_name_beside_one_is_judged_too(tmp_path: Path) -> None:
    other = Run(
        "/opt/kubelet-1.36.2", ("kubelet", "--node-ip=10.0.0.1", "--anonymous-auth"), pid=800
    )
    host = Host({CONFIG: CLOSED}, (WITH_CONFIG, other))
    found = judge(kubelet_hosts.build(host, tmp_path / "host"))
    assert found.status is Status.FAIL
    assert "pid 800" in found.because


@pytest.mark.parametrize(
    ("uid", "pid", "network", "there"),
    [
        (0, 0, "net:[1]", True),
        (1000, 0, "net:[1]", False),
        (1000, 800, "net:[1]", True),
        (1000, 0, "net:[2]", True),
    ],
    ids=["root", "another user", "that holds a port", "in a network that cannot be read"],
)
def test_a_process_of_another_user_that_holds_no_port_only_bears_the_name(
    uid: int, pid: int, network: str, there: bool, tmp_path: Path
) -> None:
    for one, net in ((1, "net:[1]"), (800, network)):
        (tmp_path / f"proc/{one}/ns").mkdir(parents=True)
        (tmp_path / f"proc/{one}/ns/net").symlink_to(net)
    words = ("kubelet", "--anonymous-auth")
    rows = (Process(800, 1, "kubelet", "/tmp/x/kubelet", words, 1.0, uid),)
    listeners = Listeners((listener(22, pid=7), listener(10250, pid=pid or 7)), "sock_diag")
    if there:
        assert [p.pid for p in find(TreeHost(tmp_path), Processes(rows), listeners)] == [800]
    else:
        with pytest.raises(HostError):
            find(TreeHost(tmp_path), Processes(rows), listeners)


TABLE = (
    "  sl  local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n"
    "   0: 00000000:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4711 1\n"
)


@pytest.mark.parametrize("listens", [True, False])
def test_in_a_network_of_its_own_it_is_one_if_it_listens_there(
    listens: bool, tmp_path: Path
) -> None:
    """That of a rootless kind node does; what any pod can start under this name does not."""
    for pid, network in ((1, "net:[1]"), (800, "net:[2]")):
        (tmp_path / f"proc/{pid}/ns").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/ns/net").symlink_to(network)
    (tmp_path / "proc/800/net").mkdir()
    (tmp_path / "proc/800/net/tcp").write_text(TABLE if listens else TABLE.splitlines()[0] + "\n")
    (tmp_path / "proc/800/fd").mkdir()
    (tmp_path / "proc/800/fd/3").symlink_to("socket:[4711]")
    rows = (Process(800, 1, "kubelet", "/x/kubelet", ("kubelet", "--anonymous-auth"), 1.0, 1000),)
    listeners = Listeners((listener(22, pid=7),), "sock_diag")
    if listens:
        assert [p.pid for p in find(TreeHost(tmp_path), Processes(rows), listeners)] == [800]
    else:
        with pytest.raises(MissingError):
            find(TreeHost(tmp_path), Processes(rows), listeners)


def huge(place: Path) -> None:
    place.touch()
    os.truncate(place, 100 << 20)


def fifo(place: Path) -> None:
    os.mkfifo(place)


def folder(place: Path) -> None:
    place.mkdir()


def loop(place: Path) -> None:
    place.symlink_to(place.name)


def bomb(place: Path) -> None:
    lines = [b"a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [
        b"%c: &%c [%s]" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
    ]
    place.write_bytes(b"\n".join(lines))


def deep(place: Path) -> None:
    place.write_bytes(b"a: " + b"[" * 100_000)


def binary(place: Path) -> None:
    place.write_bytes(bytes(range(256)) * 100)


def listed(place: Path) -> None:
    place.write_text("- readOnlyPort: 0\n")


def missing(place: Path) -> None:
    pass


@pytest.mark.parametrize(
    "make",
    [huge, fifo, folder, loop, bomb, deep, binary, listed, missing],
    ids=lambda m: m.__name__,
)
def test_a_file_that_cannot_be_read_is_unknown_and_named(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    root = kubelet_hosts.build(Host({"/etc/x": ""}, (WITH_CONFIG,)), tmp_path / "host")
    make(root / CONFIG.lstrip("/"))
    found = judge(root)
    assert found.status is Status.UNKNOWN
    assert CONFIG in found.because


@pytest.mark.parametrize("check", ["kubelet.static-pod-path", "kubelet.file.ca-perms"])
def test_a_place_that_such_a_file_may_name_is_not_taken_for_none(
    check: str, tmp_path: Path
) -> None:
    root = kubelet_hosts.build(Host({"/etc/x": ""}, (WITH_CONFIG,)), tmp_path / "host")
    found = judge(root, check)
    assert found.status is Status.UNKNOWN
    assert CONFIG in found.because


def test_the_files_of_every_kubelet_are_judged(tmp_path: Path) -> None:
    other = "/srv/other.yaml"
    runs = (WITH_CONFIG, Run(V136, ("kubelet", f"--config={other}"), pid=900))
    host = Host({CONFIG: CLOSED, other: CLOSED}, runs, modes={CONFIG: 0o600, other: 0o666})
    found = judge(kubelet_hosts.build(host, tmp_path / "host"), "kubelet.file.config-perms")
    assert found.status is Status.FAIL
    assert other in found.because


def test_a_flag_is_judged_even_where_the_file_cannot_be_read(tmp_path: Path) -> None:
    run = Run(V136, ("kubelet", f"--config={CONFIG}", "--anonymous-auth=true"))
    found = judge(kubelet_hosts.build(Host({}, (run,)), tmp_path / "host"))
    assert found.status is Status.FAIL


def test_too_many_drop_ins_are_unknown(tmp_path: Path) -> None:
    run = Run(V136, ("kubelet", f"--config={CONFIG}", "--config-dir=/etc/d"))
    files = {CONFIG: CLOSED, **{f"/etc/d/{n:04}.conf": HEAD for n in range(1001)}}
    found = judge(kubelet_hosts.build(Host(files, (run,)), tmp_path / "host"))
    assert found.status is Status.UNKNOWN
    assert "/etc/d" in found.because


@pytest.mark.parametrize(
    ("place", "extra", "status"),
    [
        ("/etc/d", {}, Status.UNKNOWN),
        ("/etc/d", {"/etc/d": HEAD + OPEN}, Status.PASS),
        ("/etc/d.conf", {"/etc/d.conf": HEAD + OPEN}, Status.FAIL),
        ("/etc/d.conf", {"/etc/d.conf": "->/etc/open", "/etc/open": HEAD + OPEN}, Status.FAIL),
    ],
    ids=["missing", "a file of another name", "a file", "a link to a file"],
)
def test_what_stands_for_a_folder_of_drop_ins_is_read_by_its_name(
    place: str, extra: dict[str, str], status: Status, tmp_path: Path
) -> None:
    """filepath.WalkDir shows the root itself, whatever it is."""
    run = Run(V136, ("kubelet", f"--config={CONFIG}", f"--config-dir={place}"))
    found = judge(kubelet_hosts.build(Host({CONFIG: CLOSED, **extra}, (run,)), tmp_path / "host"))
    assert found.status is status


@pytest.mark.parametrize(("given", "status"), [("/etc/d", "fail"), ("/etc/d/", "pass")])
def test_a_drop_in_folder_that_is_a_link_is_not_entered(
    given: str, status: str, tmp_path: Path
) -> None:
    """filepath.WalkDir looks at its root by lstat; a slash at the end leads through the link."""
    run = Run(V136, ("kubelet", f"--config={CONFIG}", f"--config-dir={given}"))
    opened = HEAD + "authentication: {anonymous: {enabled: true}}\n"
    closed = HEAD + "authentication: {anonymous: {enabled: false}}\n"
    files = {CONFIG: opened, "/srv/d/1.conf": closed, "/etc/d": "->/srv/d"}
    root = kubelet_hosts.build(Host(files, (run,)), tmp_path / "host")
    assert judge(root).status == status
    order = judge(root, "kubelet.config.dropin-order")
    assert order.status == status
    assert ("a link is not followed" in order.because) == (status == "fail")


@pytest.mark.parametrize("below", ["", "sub/"])
def test_a_drop_in_that_was_removed_after_the_start_is_noticed(below: str, tmp_path: Path) -> None:
    run = Run(V136, ("kubelet", f"--config={CONFIG}", "--config-dir=/etc/d"))
    files = {CONFIG: CLOSED, "/etc/d/1.conf": HEAD, f"/etc/d/{below}2.conf": HEAD}
    root = kubelet_hosts.build(Host(files, (run,)), tmp_path / "host")
    started = kubelet_hosts.BOOT + kubelet_hosts.STARTED_TICKS // 100
    for folder in ("etc/d", f"etc/d/{below}"):
        os.utime(root / folder, (started - 60, started - 60))
    assert judge(root, "kubelet.config.drift").status is Status.PASS
    (root / "etc/d" / f"{below}2.conf").unlink()
    os.utime(root / "etc/d" / below, (started + 60, started + 60))
    found = judge(root, "kubelet.config.drift")
    assert (found.status, found.severity) == (Status.FAIL, Severity.LOW)
    assert f"/etc/d/{below} had a file removed" in found.because


def test_what_k3s_writes_at_its_own_start_is_no_change(tmp_path: Path) -> None:
    root = kubelet_hosts.build(kubelet_hosts.k3s_132(), tmp_path / "host")
    folder = root / "var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
    moment = kubelet_hosts.BOOT + 100
    for place in (folder / "00-k3s-defaults.conf", folder):
        os.utime(place, (moment, moment))
    assert judge(root, "kubelet.config.drift").status is Status.PASS
    os.utime(folder / "20-cli-config-dir/10-mine.conf", (moment + 60, moment + 60))
    assert judge(root, "kubelet.config.drift").status is Status.FAIL


def test_of_two_kubelets_the_worse_one_is_reported(tmp_path: Path) -> None:
    runs = (
        WITH_CONFIG,
        Run(V136, ("kubelet", f"--config={CONFIG}", "--anonymous-auth=true"), pid=900),
    )
    found = judge(kubelet_hosts.build(Host({CONFIG: CLOSED}, runs), tmp_path / "host"))
    assert found.status is Status.FAIL
    assert "pid 900" in found.because
    assert "2 kubelets run here" in found.because
    assert [e.source for e in found.evidence if e.what.startswith("pass of")] == [
        "kubelet (pid 812)"
    ]


def hold_10250(root: Path, pid: int) -> Path:
    """As if this process listened there."""
    place = root / "proc" / str(pid)
    (place / "net").mkdir()
    zeros = "00000000:00000000 00:00000000 00000000 0 0"
    row = f"0: 00000000:280A 00000000:0000 0A {zeros} 7 1"
    (place / "net/tcp").write_text(f"  sl  local_address ...\n{row}\n")
    (place / "fd").mkdir()
    (place / "fd/3").symlink_to("socket:[7]")
    return root


OPEN_BY_FLAG = (f"--config={CONFIG}", "--anonymous-auth=true")


@pytest.mark.parametrize(
    "run",
    [
        Run("/opt/v1.18.2/hyperkube", ("/hyperkube", "kubelet", *OPEN_BY_FLAG)),
        Run("/opt/v1.18.2/hyperkube", ("/usr/local/bin/kubelet", *OPEN_BY_FLAG)),
    ],
    ids=["its first word", "its name"],
)
def test_hyperkube_is_a_kubelet_where_it_is_called_as_one(run: Run, tmp_path: Path) -> None:
    found = judge(kubelet_hosts.build(Host({CONFIG: CLOSED}, (run,)), tmp_path / "host"))
    assert found.status is Status.FAIL
    assert "--anonymous-auth" in found.because


def test_hyperkube_is_none_where_it_is_another_component(tmp_path: Path) -> None:
    run = Run("/opt/v1.18.2/hyperkube", ("/hyperkube", "kube-proxy", "--config=/p.yaml"))
    root = kubelet_hosts.build(Host({}, (run,)), tmp_path / "host")
    assert judge(root).status is Status.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("argv", "without_port"),
    [
        (("agent", *OPEN_BY_FLAG), Status.FAIL),
        (("agent", "--node-ip=10.0.0.1", "--anonymous-auth=true"), Status.UNKNOWN),
    ],
    ids=["its file is a KubeletConfiguration", "flags of a kubelet"],
)
def test_a_kubelet_under_another_name_is_found_by_its_arguments_or_its_port(
    argv: tuple[str, ...], without_port: Status, tmp_path: Path
) -> None:
    root = kubelet_hosts.build(Host({CONFIG: CLOSED}, (Run("/opt/x/agent", argv),)), tmp_path / "h")
    assert judge(root).status is without_port
    found = judge(hold_10250(root, 812))
    assert found.status is Status.FAIL
    assert "--anonymous-auth" in found.because


def test_a_kubelet_whose_file_has_its_version_in_its_name_is_one(tmp_path: Path) -> None:
    run = Run("/opt/kubelet-1.36.2", ("kubelet", "--fail-swap-on=false", "--anonymous-auth=true"))
    found = judge(kubelet_hosts.build(Host({}, (run,)), tmp_path / "host"))
    assert found.status is Status.FAIL
    assert "argument 2 of pid 812" in found.because


def test_without_sockets_another_program_with_its_flags_may_be_one(tmp_path: Path) -> None:
    run = Run("/opt/node-agent", ("node-agent", "--fail-swap-on=false"))
    found = judge(kubelet_hosts.build(Host({}, (run,)), tmp_path / "host"))
    assert found.status is Status.UNKNOWN
    assert "node-agent (pid 812) has flags of a kubelet" in found.because


@pytest.mark.parametrize("argv", [("server", "--config=/etc/s.yaml"), ()], ids=["another", "empty"])
def test_who_holds_the_kubelets_port_and_is_not_known_leaves_it_unknown(
    argv: tuple[str, ...], tmp_path: Path
) -> None:
    root = kubelet_hosts.build(Host({}, (Run("/usr/bin/server", argv),)), tmp_path / "host")
    found = judge(hold_10250(root, 812))
    assert found.status is Status.UNKNOWN
    assert "server (pid 812) holds it" in found.because


def test_a_kubelet_of_a_node_inside_a_container_is_judged_as_what_it_is(tmp_path: Path) -> None:
    inner = Run(V136, ("kubelet", f"--config={CONFIG}", "--anonymous-auth=true"), pid=900)
    root = kubelet_hosts.build(Host({CONFIG: CLOSED}, (WITH_CONFIG, inner)), tmp_path / "host")
    for pid, network in ((1, "net:[1]"), (812, "net:[1]"), (900, "net:[2]")):
        place = root / "proc" / str(pid) / "ns" / "net"
        place.parent.mkdir(parents=True)
        place.symlink_to(network)
    found = judge(root)
    assert found.status is Status.FAIL
    assert found.because.startswith("kubelet (pid 900, in a network of its own): ")
    assert [e.source for e in found.evidence if e.what.startswith("pass of")] == [
        "kubelet (pid 812)"
    ]


def test_the_units_of_the_host_are_not_those_of_a_node_inside_a_container(tmp_path: Path) -> None:
    words = ("kubelet", f"--config={CONFIG}")
    unit = f"[Service]\nExecStart={V136} --config={CONFIG} --node-ip=10.0.0.5\n"
    runs = (
        Run(V136, (*words, "--node-ip=10.0.0.5"), pid=812),
        Run(V136, (*words, "--runtime-cgroups=/x"), pid=900),
    )
    files = {CONFIG: CLOSED, "/etc/systemd/system/kubelet.service": unit}
    root = kubelet_hosts.build(Host(files, runs), tmp_path / "host")
    for pid, network in ((1, "net:[1]"), (812, "net:[1]"), (900, "net:[2]")):
        place = root / "proc" / str(pid) / "ns" / "net"
        place.parent.mkdir(parents=True)
        place.symlink_to(network)
    found = scan(TreeHost(root), select(["kubelet.config.drift"]), at=kubelet_hosts.BOOT + 7200)
    assert "would be given otherwise" not in found.findings[0].because


def test_a_second_kubelet_of_which_nothing_can_be_told_is_unknown_by_its_name(
    tmp_path: Path,
) -> None:
    gone = Run(V136, ("kubelet: working",), pid=900)
    found = judge(kubelet_hosts.build(Host({CONFIG: CLOSED}, (WITH_CONFIG, gone)), tmp_path / "h"))
    assert found.status is Status.UNKNOWN
    assert found.because.startswith("kubelet (pid 900): could not look at /proc/900/cmdline")


@pytest.mark.parametrize(
    ("config", "status"), [(CLOSED, Status.UNKNOWN), (HEAD + OPEN, Status.FAIL)]
)
def test_of_a_kubelet_that_is_gone_while_we_look_it_is_not_told_whether_it_had_read_its_file(
    config: str, status: Status, tmp_path: Path
) -> None:
    root = kubelet_hosts.build(Host({CONFIG: config}, (WITH_CONFIG,)), tmp_path / "host")
    for name in ("environ", "cwd", "status", "stat"):
        (root / "proc/812" / name).unlink()
    found = judge(root)
    assert found.status is status
    assert f"when it started is not known, nor whether {CONFIG} is older" in found.because
    assert judge(root, "kubelet.config.drift").status is Status.UNKNOWN


def test_a_file_changed_after_the_start_is_judged_and_reported_as_drift(tmp_path: Path) -> None:
    root = kubelet_hosts.build(Host({CONFIG: HEAD + OPEN}, (WITH_CONFIG,)), tmp_path / "host")
    later = kubelet_hosts.BOOT + 1000
    os.utime(root / CONFIG.lstrip("/"), (later, later))
    found, drift = judge(root), judge(root, "kubelet.config.drift")
    assert (found.status, drift.status) == (Status.FAIL, Status.FAIL)
    assert "from its next restart" in found.because
    assert CONFIG in drift.because


def test_a_file_with_an_old_date_put_in_place_later_is_told(tmp_path: Path) -> None:
    """mv and cp -p keep the time of change; only the inode's own tells, on a running host."""
    root = kubelet_hosts.build(Host({CONFIG: CLOSED}), tmp_path / "host")
    config = root / CONFIG.lstrip("/")
    os.utime(config, (1000, 1000))
    started = config.stat().st_ctime - 100
    launch = Launch(WITH_CONFIG.argv, "pid 812", 812, V136, started, "v1.36.2")
    live, rest = read(LiveHost(root), launch), read(TreeHost(root), launch)
    nothing = Unreadable("ports", "offline")
    assert drift(rest, nothing).status is Status.PASS  # the tree was unpacked just now
    found = drift(live, nothing)
    assert (found.status, found.severity) == (Status.FAIL, Severity.LOW)
    assert CONFIG in found.because


def test_a_unit_that_differs_from_the_process_is_drift(tmp_path: Path) -> None:
    unit = f"[Service]\nExecStart={V136} --config={CONFIG} --read-only-port=10255\n"
    host = Host({CONFIG: CLOSED, "/etc/systemd/system/kubelet.service": unit}, (WITH_CONFIG,))
    found = judge(kubelet_hosts.build(host, tmp_path / "host"), "kubelet.config.drift")
    assert found.status is Status.FAIL
    assert "--read-only-port=10255 is new" in found.because


def test_the_service_to_restart_is_the_one_the_kubelet_runs_in(tmp_path: Path) -> None:
    unit = "[Service]\nExecStart=/usr/local/bin/rke2 agent\n"
    files = {
        "/etc/systemd/system/rke2-agent.service": unit,
        "/proc/812/cgroup": "0::/system.slice/rke2-agent.service\n",
    }
    root = kubelet_hosts.build(Host(files, (Run(V136, ("kubelet", "--v=2")),)), tmp_path / "host")
    found = judge(root)
    assert found.remedy is not None
    assert found.remedy.steps == ("systemctl restart rke2-agent.service",)
    assert judge(root, "kubelet.config.drift").status is Status.PASS  # not compared with rke2's own


UNITS = {
    "[Service]\nExecStart=/bin/sh -c 'exec kubelet'\n": Status.UNKNOWN,
    "[Service]\nExecStart=/usr/bin/kubelet 'open\n": Status.UNKNOWN,
    "[Service]\nExecStart=/usr/bin/kubelet\nExecStart=\n": Status.UNKNOWN,
    "[Service]\nEnvironmentFile=/etc/none\nExecStart=/usr/bin/kubelet $A\n": Status.UNKNOWN,
    "[Service]\nEnvironmentFile=-/etc/none\nExecStart=/usr/bin/kubelet $A\n": Status.FAIL,
    "[Service]\nExecStart=/usr/bin/kubelet \\\n  # a comment\n  --anonymous-auth=false\n": (
        Status.PASS
    ),
    '[Service]\nEnvironment="A=--anonymous-auth=false -v=2" B=x\nExecStart=-kubelet $A ${B} $C\n': (
        Status.PASS
    ),
}


@pytest.mark.parametrize("unit", UNITS, ids=range(len(UNITS)))
def test_what_a_unit_would_start(unit: str, tmp_path: Path) -> None:
    host = Host({"/etc/systemd/system/kubelet.service": unit})
    assert judge(kubelet_hosts.build(host, tmp_path / "host")).status is UNITS[unit]


def test_a_binary_that_no_unit_starts_is_unknown(tmp_path: Path) -> None:
    root = kubelet_hosts.build(Host({"/usr/bin/kubelet": ""}), tmp_path / "host")
    assert judge(root).status is Status.UNKNOWN


def test_an_empty_tree_has_no_kubelet(tmp_path: Path) -> None:
    root = kubelet_hosts.build(Host({"/etc/hostname": "n1\n"}), tmp_path / "host")
    assert judge(root).status is Status.NOT_APPLICABLE


def test_a_credential_in_an_address_or_header_is_never_shown(tmp_path: Path) -> None:
    url = "http://me:s3cret-1@10.0.0.1/pods?token=s3cret-2"
    header = ("--manifest-url-header=Authorization:Bearer=s3cret-3", "--manifest-url-header")
    run = Run(V136, ("kubelet", f"--config={CONFIG}", f"--manifest-url={url}"))
    unit = f"[Service]\nExecStart={V136} --config={CONFIG} {header[0]} {header[1]} X:s3cret-4\n"
    host = Host({CONFIG: CLOSED, "/etc/systemd/system/kubelet.service": unit}, (run,))
    root = kubelet_hosts.build(host, tmp_path / "host")
    report = scan(TreeHost(root), select(["kubelet.*"]), at=kubelet_hosts.BOOT + 3600)
    found = {str(f.check): f for f in report.findings}
    assert [f for f in report.findings if "s3cret" in repr(f)] == []
    assert found["kubelet.static-pod-url"].status is Status.FAIL
    assert found["kubelet.config.drift"].status is Status.FAIL


def test_a_closed_port_passes_and_says_that_its_setting_could_not_be_told() -> None:
    broken = example("--config=/k.yaml", "readOnlyPort: [")
    found = read_only(broken, answers())
    assert found.status is Status.PASS
    assert "readOnlyPort could not be told" in found.because
