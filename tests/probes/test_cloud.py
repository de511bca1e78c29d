"""The cloud of a machine is read from its files."""

from pathlib import Path

import pytest

from nodeward.facts.cloud import Cloud
from nodeward.host import TreeHost
from nodeward.model import Absent
from nodeward.probes.cloud import read_cloud


def cloud_of(root: Path, *, live: bool = True) -> Cloud:
    found = read_cloud.read(TreeHost(root, live=live), Absent("/proc"))
    assert isinstance(found, Cloud)
    return found


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_firmware_is_believed_before_files(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/dmi/id/sys_vendor", "Amazon EC2\n")
    write(tmp_path, "run/cloud-init/cloud-id", "gce\n")
    found = cloud_of(tmp_path)
    assert found.name == "aws"
    assert [s.cloud for s in found.signs] == ["aws", "gce"]


def test_a_machine_without_firmware_table_is_told_by_cloud_init(tmp_path: Path) -> None:
    write(tmp_path, "run/cloud-init/cloud-id", "hetzner\n")
    assert cloud_of(tmp_path).name == "hetzner"


def test_firmware_that_names_no_cloud_was_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/dmi/id/sys_vendor", "Dell Inc.\n")
    found = cloud_of(tmp_path)
    assert found.name is None
    assert found.could_tell


def test_the_form_of_the_instance_id_is_the_last_that_is_asked(tmp_path: Path) -> None:
    write(tmp_path, "var/lib/cloud/data/instance-id", "i-0123456789abcdef0\n")
    assert cloud_of(tmp_path).name == "aws"
    write(tmp_path, "run/cloud-init/cloud-id", "openstack\n")
    assert cloud_of(tmp_path).name == "openstack"


def test_an_instance_id_of_no_clouds_form_tells_nothing(tmp_path: Path) -> None:
    write(tmp_path, "var/lib/cloud/data/instance-id", "1234\n")
    assert not cloud_of(tmp_path).could_tell


def test_a_machine_that_says_nothing_cannot_be_told(tmp_path: Path) -> None:
    assert not cloud_of(tmp_path).could_tell


def test_a_kubeadm_node_at_rest_is_in_no_cloud(kubeadm_root: Path) -> None:
    found = cloud_of(kubeadm_root, live=False)
    assert found.name is None
    assert found.could_tell


@pytest.mark.parametrize("path", ["var/lib/kubelet/config.yaml"])
def test_the_kubelet_configuration_is_asked(tmp_path: Path, path: str) -> None:
    write(tmp_path, path, "providerID: openstack:///8f\n")
    assert cloud_of(tmp_path).name == "openstack"
