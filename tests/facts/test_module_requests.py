"""The names under which the kernel asks, against aliases that modules of Linux 6.1 carry."""

from __future__ import annotations

import pytest

from nodeward.checks.module_terms import example_node
from nodeward.facts.exposure import State, expose
from nodeward.facts.module_requests import BY_NAME, COMPONENTS, Component

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
