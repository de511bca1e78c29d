"""The names under which the kernel asks, against aliases that modules of Linux 6.1 carry."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from nodeward.agent.runner import Looker
from nodeward.checks.module_terms import example_node
from nodeward.facts.build_options import BUILT_BY
from nodeward.facts.exposed import State
from nodeward.facts.exposure import expose
from nodeward.facts.kernel_modules import KernelModules, KernelTree
from nodeward.facts.module_requests import BY_NAME, COMPONENTS, Component
from nodeward.host import LiveHost
from nodeward.model import Seen

CARRIED = {
    "atm": ("net-pf-20", "atm"),
    "batman_adv": ("rtnl-link-batadv", "batman_adv"),
    "bonding": ("rtnl-link-bond", "bonding"),
    "cifs": ("fs-smb3", "cifs"),
    "esp6": ("xfrm-type-10-50", "esp6"),
    "freevxfs": ("fs-vxfs", "freevxfs"),
    "ip_set": ("nfnetlink-subsys-6", "ip_set"),
    "mISDN": ("net-pf-34", "mISDN_core"),
    "nfs": ("fs-nfs4", "nfs"),
    "usb_storage": ("usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb_storage"),
    "vxlan": ("rtnl-link-vxlan", "vxlan"),
    "xfrm_user": ("net-pf-16-proto-6", "xfrm_user"),
}


@pytest.mark.parametrize("name", CARRIED)
def test_a_component_is_asked_for_as_its_module_answers(name: str) -> None:
    alias, module = CARRIED[name]
    node = example_node("", f"alias {alias} {module}\n", f"kernel/x/{module}.ko:\n")
    assert expose(node, BY_NAME[name]).state is State.OPEN


def test_an_attached_scsi_stick_brings_usb_storage_along() -> None:
    node = example_node(
        "blacklist usb-storage\n",
        "alias usb:v*p*d*dc*dsc*dp*ic08isc06ip62in* uas\n"
        "alias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb_storage\n",
        "kernel/x/usb-storage.ko:\nkernel/x/uas.ko: kernel/x/usb-storage.ko\n",
    )
    assert expose(node, BY_NAME["usb_storage"]).state is State.PARTLY


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_every_component_has_a_place_where_a_forgotten_file_would_lie(component: Component) -> None:
    assert component.homes
    assert all(home.startswith("kernel/") for home in component.homes)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_a_kernel_without_modules_tells_what_is_built_in_by_its_build_options(
    component: Component,
) -> None:
    option = BUILT_BY[component.name]
    states = []
    for config in ({option: "y"}, {option: "n"}, None):
        tree = KernelTree("6.18.1", "/lib/modules/6.18.1", config=config)
        node = KernelModules(kernels=(tree,), modular=False)
        if component.wants:
            whole = {**(config or {}), BUILT_BY[component.wants]: "y"}
            node = replace(node, kernels=(replace(tree, config=whole if config else None),))
        states.append(expose(node, component).state)
    assert states == [State.BUILT_IN, State.OFF, State.UNKNOWN]


def test_the_options_of_a_build_are_read_where_nothing_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.18.1\n")
    text = b"# CONFIG_IP_SCTP is not set\nCONFIG_SQUASHFS=y\nCONFIG_SQUASHFS_XZ=y\n"
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(text))
    found = Looker(LiveHost(tmp_path)).look(KernelModules)
    assert isinstance(found, Seen)
    node = found.fact
    assert isinstance(node, KernelModules)
    assert not node.modular
    assert expose(node, BY_NAME["squashfs"]).state is State.BUILT_IN
    assert expose(node, BY_NAME["sctp"]).state is State.OFF
    (tmp_path / "proc/config.gz").unlink()
    found = Looker(LiveHost(tmp_path)).look(KernelModules)
    assert isinstance(found, Seen)
    assert isinstance(found.fact, KernelModules)
    assert expose(found.fact, BY_NAME["sctp"]).state is State.UNKNOWN
