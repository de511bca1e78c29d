"""Credentials of system:masters are found wherever they lie; a search that ends early says so."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificate_maker import Authority, key, key_pem, pem, write
from nodeward.agent.runner import Looker
from nodeward.facts.strays import Strays
from nodeward.host import TreeHost
from nodeward.host.admin_search import AdministratorSearch, group_in, homes_of
from nodeward.model import Finding, Seen
from pki_node import PkiNode, client, kubeconfig

MASTERS = ("system:masters",)
BOSS = pem(Authority().issue(client("boss", "system:masters"), key("P-256", 333)))
WORKER = pem(Authority().issue(client("bob", "developers"), key("P-256", 3)))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def judged(node: PkiNode) -> Finding:
    return node.findings(glob="cert.superadmin")["cert.superadmin"]


@pytest.fixture
def node(tmp_path: Path) -> PkiNode:
    return PkiNode(tmp_path / "root").build()


FORMS = {
    "a certificate": BOSS,
    "a bundle in which it is the last": WORKER + BOSS,
    "a Secret": f"kind: Secret\ndata:\n  tls.crt: {encoded(BOSS)}\n",
    "a Secret with folded lines": "kind: Secret\ndata:\n  tls.crt: |\n"
    + textwrap.indent("\n".join(textwrap.wrap(encoded(BOSS), 64)), "    "),
    "JSON": json.dumps({"cert": BOSS}),
}


@pytest.mark.parametrize(
    "place",
    [
        "home/bob/a/b/c/d/boss.crt",
        "srv/data/one/two/boss.pem.bak",
        "opt/installer/secret.yaml",
        "usr/local/etc/x/config",
        "etc/kubernetes/tmp/kubeadm-backup-2026/boss.conf",
        "var/lib/kubelet/old/boss.json",
        "var/lib/ci/agent/boss.cer",
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_it_is_found_in_any_form_and_depth(node: PkiNode, place: str, form: str) -> None:
    write(node.root / "etc/passwd", "ci:x:998:998::/var/lib/ci:/bin/sh\n")
    assert judged(node).status == "pass"
    write(node.root / place, FORMS[form])
    found = judged(node)
    assert found.status == "fail"
    assert found.severity == "low"  # its key is not here
    assert [e.source for e in found.evidence if e.what != "searched"] == [f"/{place}"]


@pytest.mark.parametrize("before", ["", "#", "##"])
def test_a_kubeconfig_in_a_secret_is_looked_into(node: PkiNode, before: str) -> None:
    """Base64 in base64: what stands before decides which letters the inner one becomes."""
    own = key("P-256", 333)
    user = {"client-certificate-data": encoded(BOSS), "client-key-data": encoded(key_pem(own))}
    text = f"{before}\n{kubeconfig(user, {})}"
    write(node.root / "opt/secret.yaml", f"kind: Secret\ndata:\n  value: {encoded(text)}\n", 0o644)
    found = judged(node)
    assert (found.status, found.severity) == ("fail", "critical")
    assert "/opt/secret.yaml" in found.because
    assert "with its key, which everyone can read" in found.because


def test_a_kubeconfig_far_away_is_judged_as_one(node: PkiNode) -> None:
    node.user("", client("boss", "system:masters"), key("P-256", 60), "opt/a/b/c/my.kubeconfig")
    (node.root / "opt/a/b/c/my.kubeconfig").chmod(0o644)
    found = node.findings(glob="cert.*")
    assert found["cert.superadmin"].because.startswith("kubeconfig")
    spread = found["cert.admin-kubeconfig-spread"]
    assert spread.status == "fail"
    assert "/opt/a/b/c/my.kubeconfig" in spread.because


def test_a_pass_says_how_far_the_search_went(node: PkiNode) -> None:
    write(node.root / "opt/x.yaml", "a: 1\n")
    found = judged(node)
    assert found.status == "pass"
    assert " such files among " in found.because
    assert "/opt" in {e.value for e in found.evidence if e.what == "searched"}


def test_what_is_no_certificate_of_theirs_is_left_alone(node: PkiNode) -> None:
    write(node.root / "opt/notes.yaml", "# system:masters is above RBAC\n")
    write(node.root / "opt/bob.crt", WORKER)
    write(node.root / "opt/junk.pem", "-----BEGIN CERTIFICATE-----\n????\n")
    assert judged(node).status == "pass"


def test_pods_and_images_are_not_the_nodes(node: PkiNode) -> None:
    for place in (
        "var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/x/boss.crt",
        "home/bob/.local/share/containers/storage/overlay/1/boss.crt",
        "opt/app/node_modules/x/boss.crt",
    ):
        write(node.root / place, BOSS)
    assert judged(node).status == "pass"


def search(root: Path, entries: int = 1000, files: int = 1000) -> Strays:
    want = AdministratorSearch(("/opt", "/srv"), MASTERS, (), entries, files)
    found = TreeHost(root).ask(want)
    return Strays((), found.folders, found.entries, found.files, found.stopped, found.unseen)


def test_a_search_that_reaches_its_bound_says_where(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"opt/{number}/x.yaml", "a: 1\n")
    assert search(tmp_path).dark == []
    for entries, files in ((9, 1000), (1000, 9)):
        (why,) = search(tmp_path, entries, files).dark
        assert why.startswith("all of it: the search stopped at /opt")


def test_a_bound_is_unknown_unless_something_was_found(
    node: PkiNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.probes.strays.AdministratorSearch", small)
    for number in range(9):
        write(node.root / f"opt/{number}.yaml", "a: 1\n")
    found = judged(node)
    assert found.status == "unknown"
    assert "the search stopped at /" in found.because
    write(node.root / "etc/kubernetes/a.crt", BOSS)
    found = judged(node)
    assert found.status == "fail"
    assert any("the search stopped" in e.value for e in found.evidence)


def small(
    folders: tuple[str, ...], groups: tuple[str, ...], without: tuple[str, ...]
) -> AdministratorSearch:
    return AdministratorSearch(folders, groups, without, most_files=8)


def test_what_lies_deep_is_left_out_first(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / f"opt/a/b/{number}.yaml", "a: 1\n")
    write(tmp_path / "srv/boss.crt", BOSS)
    found = TreeHost(tmp_path).ask(AdministratorSearch(("/opt", "/srv"), MASTERS, most_entries=20))
    assert found.stopped
    assert [row.path for row in found.rows] == ["/srv/boss.crt"]


def test_neither_links_nor_what_is_no_file_lead_it_astray(tmp_path: Path) -> None:
    write(tmp_path / "outside/boss.crt", BOSS)
    root = tmp_path / "root"
    write(root / "opt/a.yaml", "a: 1\n")
    (root / "opt/loop").symlink_to("/opt")
    (root / "opt/out").symlink_to(tmp_path / "outside")
    (root / "opt/boss.crt").symlink_to(tmp_path / "outside/boss.crt")
    os.mkfifo(root / "opt/pipe.conf")
    found = TreeHost(root).ask(AdministratorSearch(("/opt", "/opt/"), MASTERS))
    assert (found.rows, found.files, found.entries) == ((), 1, 5)


def test_other_file_systems_are_left_alone_and_named(tmp_path: Path) -> None:
    write(tmp_path / "opt/nfs/boss.crt", BOSS)
    mounts = "22 1 8:1 / / rw - ext4 /dev/sda rw\n23 22 0:9 / /opt/nfs rw - nfs4 nas:/x rw\n"
    write(tmp_path / "proc/1/mountinfo", mounts)
    found = TreeHost(tmp_path).ask(AdministratorSearch(("/opt",), MASTERS))
    assert (found.rows, found.elsewhere) == ((), ("/opt/nfs: nfs4",))


def test_the_search_adds_nothing_to_watch(node: PkiNode) -> None:
    write(node.root / "opt/a/b/boss.txt.yaml", "a: 1\n")
    traces: dict[type, set[str]] = {}
    looker = Looker(TreeHost(node.root), traces=traces)
    assert isinstance(looker.look(Strays), Seen)
    assert traces[Strays] == set()


def test_homes_are_those_of_people_and_of_services_that_have_one() -> None:
    passwd = (
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/sbin/nologin\n"
        "bin:x:2:2::/bin:/x\nci:x:998:998::/var/lib/ci/:/bin/sh\nodd:x:5:5::/:/x\nbroken\n"
        "nobody:x:65534:65534::relative:/x\n"
    )
    assert list(homes_of(passwd)) == ["/root", "/var/lib/ci"]


@given(st.binary(max_size=400))
def test_no_bytes_are_too_odd_to_look_into(raw: bytes) -> None:
    assert group_in(raw, MASTERS) in ("", "system:masters")
    assert group_in(b"-----BEGIN CERTIFICATE-----" + raw, MASTERS) in ("", "system:masters")
    assert group_in(b"LS0tLS1CRUdJTi" + raw, MASTERS) in ("", "system:masters")


@pytest.mark.root
def test_a_tmp_of_our_services_own_hides_nothing_of_the_hosts(tmp_path: Path) -> None:
    """PrivateTmp= of systemd.exec(5): a folder of /tmp/systemd-private-* is mounted over it."""
    place = tmp_path / "left"
    write(place / "boss.crt", BOSS)
    ours = tmp_path / "systemd-private-x/tmp"
    ours.mkdir(parents=True)
    program = (
        "from nodeward.host import LiveHost;"
        "from nodeward.host.admin_search import AdministratorSearch;"
        f"want = AdministratorSearch(({str(place)!r},), ('system:masters',));"
        f"print(__import__('os').path.exists({str(place)!r}));"
        "print([row.path for row in LiveHost().ask(want).rows if row.group])"
    )
    over = f'mount --bind {ours} {tmp_path.parent} && exec {sys.executable} -c "$1"'
    own_machine = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
    done = subprocess.run(
        [*own_machine, 'unshare --mount sh -c "$1" sh "$2"; exit $?', "sh", over, program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    seen, found = done.stdout.splitlines()
    assert seen == "False"
    assert f"{place}/boss.crt" in found  # with what lies elsewhere on this machine
