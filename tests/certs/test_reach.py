"""Who can read a credential, or put another in its place: modes, owners, access lists, links."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certificate_maker import key, key_pem, pem, traditional_pem, write
from nodeward.facts.access import readers, replaceable
from nodeward.facts.acl import parse_acl
from nodeward.facts.pki import Folder, Guard
from nodeward.host import TreeHost
from nodeward.model import Finding
from nodeward.probes.pki_files import Files
from pki_node import PkiNode, client, encoded, kubeconfig

pytestmark = pytest.mark.root

NOBODY = 0xFFFFFFFF
KEY = "etc/kubernetes/pki/apiserver.key"
CNI = "etc/cni/net.d/calico-kubeconfig"


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


def acl(user: int, rights: int, *, group: int = 0, mask: int = 7) -> bytes:
    """As setfacl -m u:USER:RIGHTS makes it of a file that root alone may use."""
    rows = [(1, 7, NOBODY), (2, rights, user), (4, group, NOBODY), (16, mask, NOBODY),
            (32, 0, NOBODY)]  # fmt: skip
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def set_acl(path: Path, raw: bytes) -> None:
    os.setxattr(path, "system.posix_acl_access", raw)


def judged(node: PkiNode, check: str = "cert.key-perms") -> Finding:
    return node.findings(glob=check)[check]


def linked(node: PkiNode, target: str = "/etc/kubernetes/pki/apiserver-own.key") -> Path:
    """The key lies in root's folder, and what the API server names is a link to it."""
    (node.root / KEY).rename(node.root / target.lstrip("/"))
    link = node.root / "srv/tls/apiserver.key"
    link.parent.mkdir(parents=True)
    for folder in (node.root / "srv", link.parent):
        folder.chmod(0o755)
    link.symlink_to(target)
    node.apiserver["tls-private-key-file"] = "/srv/tls/apiserver.key"
    node.start()
    return link


def test_a_link_in_a_folder_of_root_is_sound(node: PkiNode) -> None:
    linked(node)
    assert judged(node).status == "pass"


OPENED: dict[str, Callable[[Path], object]] = {
    "everyone may write": lambda link: link.parent.chmod(0o777),
    "a group may write": lambda link: link.parent.chmod(0o775),
    "it is a user's": lambda link: os.chown(link.parent, 1000, 0),
    "an access list opens it": lambda link: set_acl(link.parent, acl(1000, 7)),
    "the folder above is a user's": lambda link: os.chown(link.parent.parent, 1000, 0),
}


@pytest.mark.parametrize("spoil", OPENED.values(), ids=OPENED.keys())
def test_who_can_replace_the_link_can_replace_the_key(
    node: PkiNode, spoil: Callable[[Path], object]
) -> None:
    spoil(linked(node))
    found = judged(node)
    assert (found.status, found.severity) == ("fail", "high")
    assert "/srv" in found.because


def test_each_link_of_several_counts(node: PkiNode) -> None:
    link = linked(node)
    (node.root / "opt/hop").mkdir(parents=True)
    (node.root / "opt/hop/key").symlink_to("../end/../end/real.key")
    write(node.root / "opt/end/real.key", traditional_pem(key("P-256", 1)))
    link.unlink()
    link.symlink_to("/opt/hop/key")
    for folder in ("opt", "opt/hop", "opt/end"):
        (node.root / folder).chmod(0o755)
    assert judged(node).status == "pass"
    (node.root / "opt/hop").chmod(0o777)
    assert "/opt/hop (0777)" in judged(node).because


def test_a_folder_that_is_a_link_counts(node: PkiNode) -> None:
    (node.root / "data").mkdir(mode=0o755)
    (node.root / "etc/kubernetes/pki").rename(node.root / "data/pki")
    (node.root / "etc/kubernetes/pki").symlink_to("/data/pki")
    assert judged(node).status == "pass"
    (node.root / "etc/kubernetes").chmod(0o777)
    assert "/etc/kubernetes (0777)" in judged(node).because


def test_a_users_link_in_a_sticky_folder_is_his_to_replace(node: PkiNode) -> None:
    link = linked(node)
    link.parent.chmod(0o1777)
    assert judged(node).status == "pass"
    os.chown(link, 1000, 0, follow_symlinks=False)
    assert "owner 1000" in judged(node).because


def test_links_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/b")
    (tmp_path / "b").symlink_to("/a")
    assert len(list(Files(TreeHost(tmp_path)).links("/a"))) == 40


def test_links_of_a_process_stay_inside_its_root(tmp_path: Path) -> None:
    inside = tmp_path / "proc/7/root/etc"
    inside.mkdir(parents=True)
    (inside / "link").symlink_to("/etc/real")
    (found,) = Files(TreeHost(tmp_path)).links("/proc/7/root/etc/link")
    assert found[:2] == ("/proc/7/root/etc", "/proc/7/root/etc/link")


@pytest.mark.parametrize("rights", [2, 3, 6, 7])
def test_an_access_list_of_a_folder_above_opens_it(node: PkiNode, rights: int) -> None:
    set_acl(node.pki, acl(1000, rights))
    found = judged(node)
    assert (found.status, found.severity) == ("fail", "high")
    assert "user 1000" in found.because


def test_an_access_list_that_lets_only_read_a_folder_opens_nothing(node: PkiNode) -> None:
    set_acl(node.pki, acl(1000, 5))
    assert judged(node).status == "pass"


def test_through_a_closed_folder_comes_whom_its_list_or_group_admits(node: PkiNode) -> None:
    (node.root / KEY).chmod(0o644)
    node.pki.chmod(0o700)
    assert judged(node).severity == "low"
    set_acl(node.pki, acl(1000, 5))
    assert "readable by user 1000" in judged(node).because
    os.removexattr(node.pki, "system.posix_acl_access")
    os.chown(node.pki, 0, 1000)
    node.pki.chmod(0o750)
    assert "readable by group 1000" in judged(node).because


def test_the_files_own_group_is_told_beside_its_access_list(node: PkiNode) -> None:
    os.chown(node.root / KEY, 0, 1000)
    set_acl(node.root / KEY, acl(500, 0, group=4, mask=4))
    assert "group 1000" in judged(node).because


def test_the_mask_takes_from_the_own_group_too() -> None:
    assert parse_acl(acl(500, 4, group=6, mask=4), 1000) == ("user 500: r--", "group 1000: r--")
    assert parse_acl(acl(500, 4, group=6, mask=4)) == ("user 500: r--",)


CLOSED = Guard(0o100644, 0, 0, 0.0, folders=(Folder("/a/b", 0o40700, 0, 0),
                                             Folder("/a", 0o40755, 0, 0)))  # fmt: skip


def test_a_closed_folder_keeps_others_out_of_an_open_one_below(node: PkiNode) -> None:
    open_below = Folder("/a/b/c", 0o40777, 0, 0)
    assert replaceable(replace(CLOSED, folders=(open_below, *CLOSED.folders))) == ()
    assert readers(CLOSED) == ()
    entered = replace(CLOSED, folders=(replace(open_below, path="/a/c"), *CLOSED.folders[1:]))
    assert replaceable(entered) == ("/a/c (0777)",)


@pytest.mark.parametrize("name", ["controller-manager", "scheduler", "admin"])
def test_a_kubeconfig_with_a_key_inside_is_judged_as_a_key(node: PkiNode, name: str) -> None:
    (node.root / f"etc/kubernetes/{name}.conf").chmod(0o644)
    found = judged(node)
    assert (found.status, found.severity) == ("fail", "high")
    assert f"/etc/kubernetes/{name}.conf" in found.because


def test_a_key_inside_whose_certificate_is_a_file_counts_too(node: PkiNode) -> None:
    own = key("P-256", 22)
    write(node.pki / "s.crt", pem(node.cluster.issue(client("system:kube-scheduler"), own)), 0o644)
    user = {"client-certificate": "pki/s.crt", "client-key-data": encoded(key_pem(own))}
    path = write(node.root / "etc/kubernetes/scheduler.conf", kubeconfig(user, {}), 0o604)
    assert "scheduler.conf" in judged(node).because
    path.chmod(0o600)
    assert judged(node).status == "pass"


def test_a_kubeconfig_without_a_key_may_be_read(node: PkiNode) -> None:
    current = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    user = {"client-certificate": current, "client-key": current}
    write(node.root / "etc/kubernetes/kubelet.conf", kubeconfig(user, {}), 0o644)
    assert judged(node).status == "pass"


def home(node: PkiNode) -> Path:
    spec = client("bob", "developers")
    path = node.user("", spec, key("P-256", 61), "home/bob/.kube/config")
    node.open_folders()
    for one in (path, path.parent, path.parent.parent):
        os.chown(one, 1000, 1000)
    return path


def test_a_users_own_credential_in_his_home_is_his(node: PkiNode) -> None:
    path = home(node)
    assert judged(node).status == "pass"
    path.chmod(0o644)
    assert "/home/bob/.kube/config" in judged(node).because


def test_anothers_file_in_a_home_is_told(node: PkiNode) -> None:
    os.chown(home(node), 1001, 1001)
    assert "/home/bob/.kube/config" in judged(node).because


def token(node: PkiNode) -> Path:
    path = write(node.root / "etc/cni/net.d/token", "x.y.z")
    write(node.root / CNI, kubeconfig({"tokenFile": "token"}, {}))
    node.open_folders()
    return path


UNSAFE: dict[str, Callable[[Path], object]] = {
    "0644": lambda path: path.chmod(0o644),
    "0640": lambda path: path.chmod(0o640),
    "an owner": lambda path: os.chown(path, 1000, 0),
    "an access list": lambda path: set_acl(path, acl(1000, 4)),
    "its folder": lambda path: path.parent.chmod(0o777),
}


@pytest.mark.parametrize("spoil", UNSAFE.values(), ids=UNSAFE.keys())
@pytest.mark.parametrize("place", [CNI, "etc/cni/net.d/token"])
def test_a_network_plugins_files_are_roots_alone(
    node: PkiNode, place: str, spoil: Callable[[Path], object]
) -> None:
    token(node)
    assert judged(node, "cert.cni-kubeconfig").status == "unknown"  # the token says no end
    spoil(node.root / place)
    found = judged(node, "cert.cni-kubeconfig")
    assert (found.status, found.severity) == ("fail", "medium")
    assert any(e.source == f"/{place}" for e in found.evidence)


def test_what_is_open_and_cannot_be_read_may_hold_a_key(node: PkiNode) -> None:
    path = write(node.root / "etc/kubernetes/scheduler.conf", "users: [", 0o644)
    found = judged(node)
    assert found.status == "unknown"
    assert "/etc/kubernetes/scheduler.conf" in found.because
    path.chmod(0o600)
    assert judged(node).status == "pass"


def test_an_administrators_token_is_his_credential_too(node: PkiNode) -> None:
    path = node.root / "etc/kubernetes/admin.conf"
    write(path, kubeconfig({"token": "x" * 40}, {}), 0o644)
    found = judged(node, "cert.admin-kubeconfig-spread")
    assert (found.status, found.severity) == ("fail", "high")


def test_an_administrators_kubeconfig_is_as_open_as_the_key_that_it_names(node: PkiNode) -> None:
    own = key("P-256", 71)
    spec = client("boss", "kubeadm:cluster-admins")
    write(node.root / "opt/b.crt", pem(node.cluster.issue(spec, own)))
    path = write(node.root / "opt/b.key", traditional_pem(own), 0o644)
    user = {"client-certificate": "/opt/b.crt", "client-key": "/opt/b.key"}
    write(node.root / "root/.kube/config", kubeconfig(user, {}))
    node.open_folders()
    found = judged(node, "cert.admin-kubeconfig-spread")
    assert (found.status, found.severity) == ("fail", "high")
    assert "/opt/b.key" in found.because
    path.chmod(0o600)
    assert judged(node, "cert.admin-kubeconfig-spread").status == "pass"


@pytest.mark.parametrize("user", [{"token": "x" * 40}, {"username": "a", "password": "b"}])
@pytest.mark.parametrize("place", ["root/.kube/config", "etc/kubernetes/scheduler.conf"])
def test_a_kubeconfig_with_a_token_or_password_is_roots_alone(
    node: PkiNode, place: str, user: dict[str, str]
) -> None:
    path = write(node.root / place, kubeconfig(user, {}))
    assert "with a token or password" in judged(node).because
    path.chmod(0o644)
    node.open_folders()
    found = judged(node)
    assert (found.status, found.severity) == ("fail", "high")
    assert f"/{place}" in found.because
