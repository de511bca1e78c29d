"""Which cloud a machine belongs to, told by its firmware and files alone: no packet is sent.

The firmware's words are those that cloud-init's ds-identify goes by
(https://github.com/canonical/cloud-init/blob/main/tools/ds-identify); a provider id is what a
cloud controller gives a node (https://kubernetes.io/docs/reference/node/node-status/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from nodeward.lazy import dataclass, pattern
from nodeward.model import Fact

DMI = "/sys/class/dmi/id"
DMI_FIELDS = (
    "sys_vendor",
    "product_name",
    "product_uuid",
    "product_serial",
    "chassis_asset_tag",
    "chassis_vendor",
    "board_vendor",
    "bios_vendor",
)
HYPERVISOR_UUID = "/sys/hypervisor/uuid"
INSTANCE_ID = "/var/lib/cloud/data/instance-id"
CLOUD_IDS = ("/run/cloud-init/cloud-id", "/var/lib/cloud/data/cloud-id")


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that tells the cloud: what it says, and where it was read."""

    cloud: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Cloud(Fact):
    """`name` is one of facts.metadata.CLOUDS, None where no sign names one.

    `signs` are all that name a cloud, the firmware's first: it is what no file can change.
    `looked` are the places that could be read and name none. Both empty: nothing here could tell.
    """

    name: str | None
    signs: tuple[Sign, ...] = ()
    looked: tuple[str, ...] = ()

    @property
    def could_tell(self) -> bool:
        return bool(self.signs or self.looked)


# field, how the text is compared, the text, cloud. The first that fits decides.
_EQUALS, _STARTS = "equals", "starts"
_DMI_SAYS: tuple[tuple[str, str, str, str], ...] = (
    ("chassis_asset_tag", _EQUALS, "7783-7084-3265-9085-8269-3286-77", "azure"),
    ("chassis_asset_tag", _EQUALS, "OracleCloud.com", "oci"),
    ("chassis_asset_tag", _EQUALS, "OpenTelekomCloud", "openstack"),
    ("chassis_asset_tag", _EQUALS, "SAP CCloud VM", "openstack"),
    ("chassis_asset_tag", _EQUALS, "HUAWEICLOUD", "openstack"),
    ("chassis_asset_tag", _EQUALS, "Samsung Cloud Platform", "openstack"),
    ("chassis_asset_tag", _EQUALS, "OpenStack Nova", "openstack"),
    ("chassis_asset_tag", _EQUALS, "OpenStack Compute", "openstack"),
    ("chassis_vendor", _STARTS, "IBM:Cloud Compute Server", "ibm"),
    ("product_name", _EQUALS, "Google Compute Engine", "gce"),
    ("product_serial", _STARTS, "GoogleCloud-", "gce"),
    ("product_name", _EQUALS, "Alibaba Cloud ECS", "alibaba"),
    ("product_name", _EQUALS, "OpenStack Nova", "openstack"),
    ("product_name", _EQUALS, "OpenStack Compute", "openstack"),
    ("product_name", _STARTS, "Exoscale", "exoscale"),
    ("product_name", _STARTS, "CloudStack", "cloudstack"),
    ("sys_vendor", _EQUALS, "Amazon EC2", "aws"),
    ("sys_vendor", _EQUALS, "DigitalOcean", "digitalocean"),
    ("sys_vendor", _EQUALS, "Hetzner", "hetzner"),
    ("sys_vendor", _EQUALS, "Vultr", "vultr"),
    ("sys_vendor", _EQUALS, "UpCloud", "upcloud"),
    ("sys_vendor", _EQUALS, "Scaleway", "scaleway"),
    ("sys_vendor", _EQUALS, "Linode", "linode"),
    ("sys_vendor", _EQUALS, "Akamai", "linode"),
    ("sys_vendor", _STARTS, "Tencent Cloud", "tencent"),
    ("sys_vendor", _STARTS, "Apache Software Foundation", "cloudstack"),
)
# EC2 on Xen puts "ec2" before the uuid; SMBIOS may print the first group byte-swapped.
_EC2_UUID = pattern(r"^(?:ec2|[0-9a-f]{4}2[0-9a-f]ec-)", re.IGNORECASE)

# What cloud-init calls a data source, and what a provider id starts with.
_CLOUD_INIT: Mapping[str, str] = {
    "aws": "aws", "ec2": "aws", "gce": "gce", "azure": "azure", "oracle": "oci",
    "aliyun": "alibaba", "openstack": "openstack", "digitalocean": "digitalocean",
    "hetzner": "hetzner", "vultr": "vultr", "scaleway": "scaleway", "upcloud": "upcloud",
    "exoscale": "exoscale", "cloudstack": "cloudstack", "akamai": "linode", "ibm": "ibm",
}  # fmt: skip
_PROVIDERS: Mapping[str, str] = {
    "aws": "aws", "gce": "gce", "azure": "azure", "oci": "oci", "alicloud": "alibaba",
    "openstack": "openstack", "digitalocean": "digitalocean", "hcloud": "hetzner",
    "vultr": "vultr", "scaleway": "scaleway", "upcloud": "upcloud", "linode": "linode",
    "exoscale": "exoscale", "external-cloudstack": "cloudstack", "qcloud": "tencent",
    "ibm": "ibm",
}  # fmt: skip
_PROVIDER_ID = pattern(r"^([a-z-]+)://")
_CONFIG_LINE = pattern(
    rb"^[ \t]*[\"']?providerID[\"']?[ \t]*:[ \t]*[\"']?([a-z-]+://)", re.MULTILINE
)


def of_firmware(fields: Mapping[str, str]) -> Sign | None:
    """What the files of /sys/class/dmi/id say, by their names."""
    for field, how, text, cloud in _DMI_SAYS:
        value = fields.get(field, "")
        if value == text or (how == _STARTS and value.startswith(text)):
            return Sign(cloud, value, f"{DMI}/{field}")
    if _EC2_UUID.match(fields.get("product_uuid", "")):
        # The rest of the uuid names the machine: it is nobody's business.
        return Sign("aws", fields["product_uuid"][:3] + "...", f"{DMI}/product_uuid")
    return None


def of_hypervisor(uuid: str) -> Sign | None:
    """/sys/hypervisor/uuid of a Xen guest."""
    return Sign("aws", "ec2...", HYPERVISOR_UUID) if uuid.lower().startswith("ec2") else None


def of_provider_id(text: str, source: str) -> Sign | None:
    """A kubelet's --provider-id or providerID. Only the scheme is kept."""
    scheme = _PROVIDER_ID.match(text)
    cloud = _PROVIDERS.get(scheme[1]) if scheme else None
    return Sign(cloud, f"{scheme[1]}://", source) if scheme and cloud else None


def of_kubelet_config(raw: bytes, source: str) -> Sign | None:
    """The same in a KubeletConfiguration, YAML or JSON."""
    line = _CONFIG_LINE.search(raw)
    return of_provider_id(line[1].decode("ascii"), source) if line else None


def of_cloud_id(text: str, source: str) -> Sign | None:
    """What cloud-init found at boot; it may say "nocloud" or "none"."""
    word = text.strip().lower().removesuffix("-local")
    cloud = _CLOUD_INIT.get(word)
    return Sign(cloud, word, source) if cloud else None


# Only what no other cloud gives out: 8 digits after "i-" may be OpenStack's as well as EC2's,
# and numbers and uuids are anybody's.
_INSTANCE_IDS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (pattern(r"i-[0-9a-f]{17}"), "aws", "i-..."),
    (pattern(r"ocid1\.instance\.[\w.-]+"), "oci", "ocid1.instance..."),
    (pattern(r"ins-[0-9a-z]{8}"), "tencent", "ins-..."),
)


def of_instance_id(text: str, source: str) -> Sign | None:
    """The machine's id as cloud-init was told it, by its form. The id itself is not kept."""
    for form, cloud, kept in _INSTANCE_IDS:
        if form.fullmatch(text.strip()):
            return Sign(cloud, kept, source)
    return None


def of_arguments(argv: tuple[str, ...], source: str) -> Iterator[Sign]:
    """--provider-id and the in-tree --cloud-provider of a kubelet; the last one counts."""
    for flag in ("--provider-id", "--cloud-provider"):
        value = _last(argv, flag)
        if value is None:
            continue
        sign = of_provider_id(value if "://" in value else f"{value}://", f"{source} {flag}")
        if sign:
            yield sign


def _last(argv: tuple[str, ...], flag: str) -> str | None:
    found = None
    for word, after in zip(argv, (*argv[1:], ""), strict=True):
        if word.startswith(f"{flag}="):
            found = word.partition("=")[2]
        elif word == flag:
            found = after
    return found
