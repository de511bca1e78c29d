"""Which cloud firmware, kubelet and cloud-init name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts import cloud
from nodeward.facts.endpoints import CLOUDS


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"sys_vendor": "Amazon EC2"}, "aws"),
        ({"product_uuid": "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, "aws"),
        ({"product_uuid": "45E12AEC-DCD1-B213-94ED-012345ABCDEF"}, "aws"),
        ({"product_name": "Google Compute Engine", "sys_vendor": "Google"}, "gce"),
        ({"product_serial": "GoogleCloud-0123"}, "gce"),
        (
            {
                "sys_vendor": "Microsoft Corporation",
                "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77",
            },
            "azure",
        ),
        ({"sys_vendor": "QEMU", "chassis_asset_tag": "OracleCloud.com"}, "oci"),
        ({"product_name": "Alibaba Cloud ECS"}, "alibaba"),
        ({"chassis_asset_tag": "HUAWEICLOUD"}, "openstack"),
        ({"product_name": "OpenStack Nova"}, "openstack"),
        ({"chassis_vendor": "IBM:Cloud Compute Server 1.0:mx2d-4x32"}, "ibm"),
        ({"product_name": "Exoscale Compute Platform"}, "exoscale"),
        ({"sys_vendor": "Akamai"}, "linode"),
        ({"sys_vendor": "Hetzner"}, "hetzner"),
    ],
)
def test_firmware_names_the_cloud(fields: dict[str, str], name: str) -> None:
    sign = cloud.of_firmware(fields)
    assert sign is not None
    assert sign.cloud == name


@pytest.mark.parametrize(
    "fields",
    [
        {"sys_vendor": "Dell Inc.", "product_name": "PowerEdge R650"},
        {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"},
        {"product_uuid": "4c4c4544-0051-5a10-8054-b8c04f343333"},
        {"sys_vendor": "QEMU"},
    ],
)
def test_other_machines_are_in_no_cloud(fields: dict[str, str]) -> None:
    assert cloud.of_firmware(fields) is None


def test_the_uuid_of_a_machine_does_not_leave_it() -> None:
    sign = cloud.of_firmware({"product_uuid": "ec2e1916-9099-7caf-fd21-012345abcdef"})
    assert sign is not None
    assert "9099" not in sign.value


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("aws:///eu-west-1a/i-0123456789", "aws"),
        ("gce://project/zone/name", "gce"),
        ("azure:///subscriptions/x/vm", "azure"),
        ("hcloud://12345", "hetzner"),
        ("kind://docker/kind/kind-control-plane", None),
        ("k3s://node", None),
        ("aws", None),
        ("", None),
    ],
)
def test_a_provider_id_names_the_cloud_by_its_scheme(text: str, name: str | None) -> None:
    sign = cloud.of_provider_id(text, "here")
    assert (sign.cloud if sign else None) == name
    assert sign is None or sign.value.endswith("://")  # what follows is nobody's business


def test_the_last_provider_id_of_a_kubelet_counts() -> None:
    argv = ("kubelet", "--provider-id=gce://a/b/c", "--v=2", "--provider-id", "aws:///a/i-1")
    assert [s.cloud for s in cloud.of_arguments(argv, "pid 7")] == ["aws"]


def test_an_external_cloud_provider_names_none() -> None:
    assert not list(cloud.of_arguments(("kubelet", "--cloud-provider=external"), "pid 7"))


@pytest.mark.parametrize(
    "raw",
    [
        b"kind: KubeletConfiguration\nproviderID: aws:///eu-west-1a/i-0\n",
        b'{"kind": "KubeletConfiguration",\n "providerID": "aws:///eu-west-1a/i-0"}',
    ],
)
def test_a_kubelet_configuration_holds_a_provider_id(raw: bytes) -> None:
    sign = cloud.of_kubelet_config(raw, "/var/lib/kubelet/config.yaml")
    assert sign is not None
    assert sign.cloud == "aws"


@pytest.mark.parametrize(
    ("word", "name"),
    [("aws\n", "aws"), ("oracle", "oci"), ("aliyun", "alibaba"), ("nocloud", None), ("none", None)],
)
def test_cloud_init_names_the_cloud(word: str, name: str | None) -> None:
    sign = cloud.of_cloud_id(word, "/run/cloud-init/cloud-id")
    assert (sign.cloud if sign else None) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("i-0123456789abcdef0\n", "aws"),
        ("ocid1.instance.oc1.iad.anuwcfake", "oci"),
        ("ins-a1b2c3d4", "tencent"),
        ("i-0000002a", None),  # OpenStack's, or EC2's of old
        ("i-bp1abcdefghijklmnopq", None),
        ("1234567890123456789", None),
        ("9d02c3b4-0000-4000-8000-000000000001", None),
        ("iid-local01", None),
        ("", None),
    ],
)
def test_an_instance_id_names_the_cloud_where_its_form_is_one_clouds_own(
    text: str, name: str | None
) -> None:
    sign = cloud.of_instance_id(text, "here")
    assert (sign.cloud if sign else None) == name
    assert sign is None or "abc" not in sign.value


@given(
    st.dictionaries(
        st.sampled_from(cloud.DMI_FIELDS),
        st.sampled_from(["Amazon EC2", "Google", "ec2", "-", "", "OracleCloud.com", "\x1b[2J"]),
    )
)
def test_whatever_the_firmware_says_the_cloud_is_one_that_can_be_asked(
    fields: dict[str, str],
) -> None:
    sign = cloud.of_firmware(fields)
    assert sign is None or sign.cloud in CLOUDS
