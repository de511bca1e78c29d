"""Pods are told by the cgroups of their processes, and their networks by inode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.errors import ParseError
from nodeward.facts.podnet import (
    Member,
    Pod,
    group,
    names_of,
    parse_cgroup,
    parse_inode,
)

UID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
UNDER = UID.replace("-", "_")
STATIC = "0123456789abcdef0123456789abcdef"
CID = "f" * 64


@pytest.mark.parametrize(
    ("raw", "uid"),
    [
        (f"0::/kubepods.slice/kubepods-pod{UNDER}.slice/cri-containerd-{CID}.scope\n", UID),
        (
            f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDER}.slice"
            f"/crio-{CID}.scope\n",
            UID,
        ),
        (f"0::/kubepods/burstable/pod{UID}/{CID}\n", UID),
        (f"0::/kubepods/pod{STATIC}/{CID}\n", STATIC),
        (f"12:cpu,cpuacct:/\n4:memory:/kubepods/besteffort/pod{UID}/{CID}\n0::/\n", UID),
        (
            f"11:pids:/system.slice/containerd.service/kubepods-burstable-pod{UNDER}.slice"
            f":cri-containerd:{CID}\n",
            UID,
        ),
        (
            f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDER}.slice"
            f"/cri-containerd-{CID}.scope\n",
            UID,
        ),
        (f"0::/../../kubepods.slice/kubepods-pod{UNDER}.slice/cri-containerd-{CID}.scope", UID),
        (f"0::/../../pod{UID}/{CID}", UID),  # seen from another pod of the same class
        (f"0::/../../../burstable/pod{UID}/{CID}", UID),
        (f"0::/../../pod{STATIC}/{CID}", STATIC),
        (f"0::/../x/pod{UID}/{CID}", None),
        (f"0::/kubepods/besteffort/pod{UID}", UID),
        ("0::/system.slice/kubelet.service\n", None),
        ("0::/kubepods.slice\n", None),
        (f"0::/user.slice/pod{UID}/x\n", None),
        (f"4:memory:/kubepods\n0::/user/pod{UID}\n", None),
        (f"0::/kubepods/pod{UID}0/x\n", None),
        ("", None),
    ],
)
def test_the_pod_of_a_process(raw: str, uid: str | None) -> None:
    assert parse_cgroup(raw.encode()) == uid


@given(st.lists(st.sampled_from(["kubepods", "/pod", "-pod", UID, UNDER, "\n", "0::", ".slice"])))
def test_any_cgroup_is_a_pods_or_none(words: list[str]) -> None:
    assert parse_cgroup("".join(words).encode()) in (UID, None)


def test_a_log_folder_names_the_pod() -> None:
    names = names_of([f"default_web-0_{UID}", "odd", "a_b", "a_b_c_d", "__"])
    assert names == {UID: Pod(UID, "default", "web-0")}


def test_the_inode_of_a_namespace() -> None:
    assert parse_inode("net:[4026531840]") == 4026531840


@pytest.mark.parametrize("text", ["", "net:[]", "mnt:[1]", "net:[1]x", "/dev/null"])
def test_another_link_is_a_parse_error(text: str) -> None:
    with pytest.raises(ParseError):
        parse_inode(text)


WEB, DB, OWN = Pod("1", "default", "web"), Pod("2", "prod", "db"), Pod("3", "kube-system", "p")


def test_one_network_is_one_entry_whoever_is_in_it() -> None:
    members = [Member(pid, WEB, 7) for pid in (30, 10, 40, 20)] + [Member(50, DB, 8)]
    found = group(members, 1, complete=True)
    assert [(n.inode, n.pids, str(n)) for n in found.networks] == [
        (7, (10, 20, 30), "default/web"),
        (8, (50,), "prod/db"),
    ]


def test_pods_in_the_hosts_network_stand_apart() -> None:
    found = group([Member(10, OWN, 1), Member(11, WEB, 7)], 1, complete=True)
    assert found.on_host == (OWN,)
    assert [str(n) for n in found.networks] == ["default/web"]


def test_a_network_that_may_not_be_read_is_hidden_not_absent() -> None:
    found = group([Member(10, WEB, None)], 1, complete=True)
    assert found.hidden == (WEB,)
    assert found.networks == ()
