"""Where k3s, RKE2 and k0s keep what they make, moved or not, and what is left at the old place."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificate_maker import DAY, NOW, Authority, Spec, key, key_pem, pem, write
from kubeadm_tree import add_process
from nodeward.agent.scan import scan, select
from nodeward.facts.supervisors import ConfigFile, Home, Homes, Start, home_of
from nodeward.host import TreeHost
from nodeward.model import Finding


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/stat", f"btime {int((NOW - 300 * DAY).timestamp())}\n")
    add_process(tmp_path, 1, ["init"], exe="/sbin/init")
    return tmp_path


def findings(root: Path, *globs: str) -> dict[str, Finding]:
    report = scan(TreeHost(root), select(globs or ("cert.expiry.*",)), at=NOW.timestamp())
    return {f.check: f for f in report.findings}


def expired(root: Path, *paths: str) -> None:
    spec = Spec(not_before=NOW - 400 * DAY, not_after=NOW - 5 * DAY)
    for path in paths:
        write(root / path.lstrip("/"), pem(Authority().issue(spec, key("P-256", 1))))


UNIT = "[Service]\nExecStart=/usr/local/bin/{}\n"
MOVED = [
    ("k3s", "k3s", "k3s server --data-dir /data/x", "", ""),
    ("k3s", "k3s", "k3s server", "data-dir: /data/x\n", ""),
    ("k3s", "k3s-agent", "k3s agent", "", "K3S_DATA_DIR=/data/x"),
    ("rke2", "rke2-server", "rke2 server", "data-dir: /data/x/\n", ""),
    ("rke2", "rke2-agent", "rke2 agent --data-dir=/data/x", "", ""),
    ("k0s", "k0sworker", "k0s worker -d --data-dir=/data/x", "", ""),
]
CLIENT = {
    "k3s": "agent/client-kubelet.crt",
    "rke2": "agent/client-kubelet.crt",
    "k0s": "kubelet/pki/kubelet-client-current.pem",
}


@pytest.mark.parametrize(("program", "unit", "start", "config", "variable"), MOVED)
@pytest.mark.parametrize("runs", [True, False])
def test_a_moved_data_directory_is_looked_into(
    root: Path, program: str, unit: str, start: str, config: str, variable: str, *, runs: bool
) -> None:
    text = UNIT.format(start) + (f"Environment={variable}\n" if variable else "")
    write(root / f"etc/systemd/system/{unit}.service", text)
    if config:
        write(root / f"etc/rancher/{program}/config.yaml", config)
    if runs:  # it has written a title over its arguments
        add_process(root, 7, [" ".join(start.split()[:2])], exe=f"/usr/local/bin/{program}")
    expired(root, f"/data/x/{CLIENT[program]}")
    found = findings(root)["cert.expiry.kubelet-client"]
    assert found.status == "fail"
    assert f"/data/x/{CLIENT[program]}" in found.because
    assert "not in use" not in found.because


def test_what_is_left_where_it_was_before_is_not_in_use(root: Path) -> None:
    write(root / "etc/systemd/system/k3s.service", UNIT.format("k3s server --data-dir=/data/x"))
    add_process(root, 7, ["/usr/local/bin/k3s server"], exe="/usr/local/bin/k3s")
    expired(root, "/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt")
    found = findings(root)["cert.expiry.apiserver"]
    assert (found.status, found.severity) == ("fail", "low")
    assert "nothing uses it" in found.because


def test_a_k3s_that_nothing_starts_any_more_uses_nothing(root: Path) -> None:
    """Its folder is left on a node that kubeadm has taken over."""
    add_process(
        root, 7, ["kubelet", "--kubeconfig=/etc/kubernetes/kubelet.conf"], exe="/bin/kubelet"
    )
    expired(root, "/var/lib/rancher/k3s/server/tls/client-supervisor.crt",
            "/var/lib/rancher/k3s/server/tls/client-admin.crt")  # fmt: skip
    assert findings(root)["cert.expiry.admin"].severity == "low"


def test_arguments_that_are_shown_count_where_there_is_no_unit(root: Path) -> None:
    """In a container: no systemd."""
    add_process(root, 7, ["k3s", "server", "--data-dir", "/data/x"], exe="/bin/k3s")
    expired(root, "/data/x/server/tls/serving-kube-apiserver.crt")
    assert findings(root)["cert.expiry.apiserver"].severity == "critical"


def test_a_data_directory_that_cannot_be_told_lets_nothing_pass(root: Path) -> None:
    write(root / "etc/systemd/system/k3s.service", UNIT.format("k3s server"))
    write(root / "etc/rancher/k3s/config.yaml", "data-dir: [\n")
    add_process(root, 7, ["/usr/local/bin/k3s server"], exe="/usr/local/bin/k3s")
    found = findings(root)["cert.expiry.apiserver"]
    assert found.status == "unknown"
    assert "/etc/rancher/k3s/config.yaml" in found.because


def test_everything_below_the_moved_directory_is_known(root: Path) -> None:
    """Tokens and keys as well as certificates."""
    write(root / "etc/systemd/system/k3s.service", UNIT.format("k3s server --data-dir=/data/x"))
    write(root / "data/x/server/token", "K10aa::server:bb", 0o644)
    write(root / "data/x/server/tls/client-ca.key", key_pem(key("P-256", 2)), 0o644)
    for folder in (root, *root.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o755)
    found = findings(root, "cert.node-secret-files", "cert.key-perms")
    assert "/data/x/server/token" in found["cert.node-secret-files"].because
    assert "/data/x/server/tls/client-ca.key" in found["cert.key-perms"].because


def test_k0s_may_keep_its_kubelet_elsewhere() -> None:
    words = ("worker", "--kubelet-root-dir=/k/", "--data-dir=/d")
    assert home_of(Start("u", words, program="k0s"), runs=True, unit="u").kubelet == "/k"
    plain = home_of(Start("u", ("worker",), program="k0s"), runs=True, unit="u")
    assert (plain.data, plain.kubelet) == ("/var/lib/k0s", "/var/lib/k0s/kubelet")


def test_the_command_line_goes_before_the_files_and_those_before_the_environment() -> None:
    files = (ConfigFile("a", {"data-dir": "/1"}), ConfigFile("b", {"data-dir": "/2"}))
    variables = {"K3S_DATA_DIR": "/3"}
    assert Start("u", ("server", "-d", "/0"), files, variables).data == "/0"
    assert Start("u", ("server",), files, variables).data == "/2"
    assert Start("u", ("server",), (), variables).data == "/3"
    assert Start("u", ("server",), program="rke2").data == "/var/lib/rancher/rke2"


def test_the_home_of_a_path_is_the_nearest_above_it() -> None:
    homes = Homes((Home("k3s", "/d"), Home("rke2", "/d/r")))
    assert [h.program if (h := homes.of(p)) else "" for p in ("/d/x", "/d/r/x", "/dx")] == [
        "k3s",
        "rke2",
        "",
    ]


def test_a_k3s_in_a_container_is_none_of_this_node(root: Path) -> None:
    """k3d beside a kubelet: its network is another, and so are its files."""
    add_process(root, 7, ["kubelet"], exe="/usr/bin/kubelet")
    add_process(root, 8, ["/bin/k3s server"], exe="/bin/k3s")
    for pid, network in ((1, 10), (7, 10), (8, 20)):
        namespaces = root / f"proc/{pid}/ns"
        namespaces.mkdir(exist_ok=True)
        (namespaces / "net").unlink(missing_ok=True)
        (namespaces / "net").symlink_to(f"net:[{network}]")
    expired(root, "/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt")
    found = findings(root)["cert.expiry.apiserver"]
    assert (found.status, found.severity) == ("fail", "low")
