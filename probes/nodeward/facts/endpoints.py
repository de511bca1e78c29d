"""The metadata endpoints of the clouds: where they are, what is asked of them, what is never asked.

Data only. A request here proves that an endpoint can be reached and returns no credential, no
user data and no value that belongs to the machine beyond its id, which is read and thrown away.
Sources: the documents that nodeward.checks.metadata names, cloud-init's data sources, and the
agents of the clouds (WALinuxAgent, eks-pod-identity-agent, k8s-metadata-proxy).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from nodeward.lazy import dataclass

IMDS_ADDRESS = "169.254.169.254"
_IMDS = f"{IMDS_ADDRESS}:80"


class Kind(StrEnum):
    """What an endpoint is to a pod, and so which rule judges it."""

    IMDS = "metadata service"
    ALTERNATIVE = "other address of the platform"
    FABRIC = "control channel of the platform's agent"
    NAMES = "list of attribute names"
    EXPECTED = "meant for pods"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. Without `method` a TCP connection is made and closed.

    `wants` are the statuses by which a genuine endpoint asks for a token, `denied` those by which
    it says no. `genuine` is a response header (and its value, "" for any) that a genuine endpoint
    sends with 200; `shape` is a pattern its body begins with.
    """

    method: str = ""
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    wants: tuple[int, ...] = ()
    denied: tuple[int, ...] = ()
    genuine: tuple[str, str] | None = None
    shape: str = ""
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.method:
            return "a TCP connection, nothing sent"
        sent = f"{self.method} {self.path}"
        return sent + "".join(f" + `{name}: {value}`" for name, value in self.headers)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`addresses` are the shipped ones, "ADDRESS:PORT". `never` names what is not asked, though
    it is there. With `token`, its answer says whether a session token can be had."""

    name: str
    cloud: str
    kind: Kind
    addresses: tuple[str, ...]
    ask: Ask
    token: Ask | None = None
    never: str = ""
    version_one: bool = False
    """Whether an answer to `ask` means that the version without session tokens is on, where the
    platform has one with them."""


_TTL = "X-aws-ec2-metadata-token-ttl-seconds"
_FLAVOR = ("Metadata-Flavor", "Google")
_ATTRIBUTES = ("kube-env", "kubelet-config", "user-data", "startup-script", "kube-labels",
               "k8s-node-setup-psm1", "common-psm1", "configure-sh", "ssh-keys")  # fmt: skip
SECRET_ATTRIBUTES = frozenset({"kube-env", "kubelet-config", "user-data", "startup-script"})
# An id of a machine is one word with a digit in it; "ok" or a sentence is another's answer.
_WITH_A_NUMBER = r"\A(?=[\w-]*[0-9])[\w-]{1,64}\s*\Z"
_NUMBER = r"\A[0-9]{1,20}\s*\Z"
# Linode answers with the token alone, or with a list of it.
_ONE_WORD = r"\A(\[\s*)?\"?[\w.+/=-]{16,}\"?(\s*\])?\s*\Z"
_INSTANCE_ID = Ask("GET", "/latest/meta-data/instance-id", shape=_WITH_A_NUMBER)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "aws-imds", "aws", Kind.IMDS, (_IMDS, "[fd00:ec2::254]:80"),
        Ask(
            "GET", "/latest/meta-data/", wants=(401,), denied=(403,),
            shape=r"\A(ami-|instance-|hostname|iam/|local-|mac$|placement/)",
        ),
        token=Ask("PUT", "/latest/api/token", ((_TTL, "1"),), denied=(403,), genuine=(_TTL, "")),
        never="iam/security-credentials/, user-data, dynamic/instance-identity/",
        version_one=True,
    ),
    Endpoint(
        "eks-pod-identity", "aws", Kind.EXPECTED, ("169.254.170.23:80", "[fd00:ec2::23]:80"),
        Ask(), never="/v1/credentials",
    ),
    Endpoint(
        "ecs-task-credentials", "aws", Kind.ALTERNATIVE, ("169.254.170.2:80",),
        Ask(), never="/v2/credentials/",
    ),
    Endpoint(
        "gce-metadata", "gce", Kind.IMDS, (_IMDS, "[fd20:ce::254]:80"),
        Ask("GET", "/computeMetadata/v1/instance/id", (_FLAVOR,), genuine=_FLAVOR),
        never="attributes/<name>, service-accounts/*/token, service-accounts/*/identity",
    ),
    Endpoint(
        "gce-attribute-names", "gce", Kind.NAMES, (_IMDS, "[fd20:ce::254]:80"),
        Ask(
            "GET", "/computeMetadata/v1/instance/attributes/", (_FLAVOR,), genuine=_FLAVOR,
            words=_ATTRIBUTES,
        ),
        never="attributes/<name>: of the list, only known names are looked for",
    ),
    Endpoint(
        "azure-imds", "azure", Kind.IMDS, (_IMDS,),
        Ask("GET", "/metadata/versions", (("Metadata", "true"),), shape="apiVersions"),
        never="/metadata/identity/, instance/compute/userData, instance/compute/customData",
    ),
    Endpoint(
        "azure-wireserver", "azure", Kind.FABRIC, ("168.63.129.16:80",),
        Ask("GET", "/?comp=versions", shape="<Versions"),
        never="/machine/?comp=goalstate, certificates",
    ),
    Endpoint(
        "azure-hostgaplugin", "azure", Kind.FABRIC, ("168.63.129.16:32526",),
        Ask("GET", "/versions", shape="20[0-9][0-9]-[01][0-9]-[0-3][0-9]"),
        never="/vmSettings, /extensionArtifact",
    ),
    Endpoint(
        "oci-imds-v2", "oci", Kind.IMDS, (_IMDS, "[fd00:c1::a9fe:a9fe]:80"),
        Ask(
            "GET", "/opc/v2/instance/id", (("Authorization", "Bearer Oracle"),),
            shape=r"\Aocid1\.",
        ),
        never="/opc/v2/identity/, /opc/v2/instance/metadata",
    ),
    Endpoint(
        "oci-imds-v1", "oci", Kind.IMDS, (_IMDS, "[fd00:c1::a9fe:a9fe]:80"),
        Ask("GET", "/opc/v1/instance/id", denied=(404,), shape=r"\Aocid1\."),
        never="/opc/v1/identity/, /opc/v1/instance/metadata", version_one=True,
    ),
    Endpoint(
        "alibaba-metadata", "alibaba", Kind.ALTERNATIVE, ("100.100.100.200:80",),
        Ask(
            "GET", "/latest/meta-data/instance-id", wants=(403,), shape=r"\Ai-[\w-]{1,64}\s*\Z"
        ),
        never="ram/security-credentials/, user-data", version_one=True,
    ),
    Endpoint(
        "openstack-metadata", "openstack", Kind.IMDS, (_IMDS, "[fe80::a9fe:a9fe%*]:80"),
        Ask("GET", "/openstack", shape=r"\A(20[0-9][0-9]-[01][0-9]-[0-3][0-9]|latest)"),
        never="meta_data.json (it may hold admin_pass), user_data, password",
    ),
    Endpoint(
        "digitalocean-metadata", "digitalocean", Kind.IMDS, (_IMDS,),
        Ask("GET", "/metadata/v1/id", shape=_NUMBER),
        never="/metadata/v1.json, user-data",
    ),
    Endpoint(
        "hetzner-metadata", "hetzner", Kind.IMDS, (_IMDS, "[fe80::a9fe:a9fe%*]:80"),
        Ask("GET", "/hetzner/v1/metadata/instance-id", shape=_NUMBER),
        never="/hetzner/v1/userdata",
    ),
    Endpoint(
        "scaleway-metadata", "scaleway", Kind.ALTERNATIVE,
        ("169.254.42.42:80", "[fd00:42::42]:80"), Ask(),
        never="/conf, /user_data",
    ),
    Endpoint(
        "vultr-metadata", "vultr", Kind.IMDS, (_IMDS,),
        Ask("GET", "/v1/instanceid", shape=_WITH_A_NUMBER),
        never="/v1.json, user-data",
    ),
    Endpoint(
        "linode-metadata", "linode", Kind.IMDS, (_IMDS, "[fd00:a9fe:a9fe::1]:80"),
        Ask("PUT", "/v1/token", (("Metadata-Token-Expiry-Seconds", "1"),), shape=_ONE_WORD),
        never="/v1/user-data",
    ),
    Endpoint(
        "exoscale-metadata", "exoscale", Kind.IMDS, (_IMDS,), _INSTANCE_ID,
        never="user-data",
    ),
    Endpoint(
        "cloudstack-metadata", "cloudstack", Kind.IMDS, (_IMDS,), _INSTANCE_ID,
        never="user-data",
    ),
    Endpoint("upcloud-metadata", "upcloud", Kind.IMDS, (_IMDS,), Ask(), never="/metadata/v1"),
    Endpoint(
        "tencent-metadata", "tencent", Kind.ALTERNATIVE, ("169.254.0.23:80",), _INSTANCE_ID,
        never="cam/security-credentials/, user-data",
    ),
    Endpoint(
        "ibm-metadata", "ibm", Kind.IMDS, (_IMDS,), Ask(),
        never="/instance_identity/",
    ),
    Endpoint("any-metadata", "generic", Kind.IMDS, (_IMDS,), Ask(), never="any request"),
)  # fmt: skip

BY_NAME: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
CLOUDS: tuple[str, ...] = tuple(dict.fromkeys(endpoint.cloud for endpoint in ENDPOINTS))


def of_cloud(cloud: str) -> tuple[Endpoint, ...]:
    return tuple(endpoint for endpoint in ENDPOINTS if endpoint.cloud == cloud)


ALWAYS = "`Host` (the address), `Connection: close`, `Accept: */*`, a PUT `Content-Length: 0`"


def sent_table() -> str:
    """Markdown: every request that can be sent, and what never is."""
    lines = ["| cloud | to | sent, once | never asked |", "| --- | --- | --- | --- |"]
    for endpoint in ENDPOINTS:
        asks = "; ".join(str(ask) for ask in _asks(endpoint))
        where = ", ".join(endpoint.addresses)
        lines.append(f"| {endpoint.cloud} | {where} | {asks} | {endpoint.never} |")
    lines += ["", f"Beside what the table says, a request has: {ALWAYS}. Nothing else is sent."]
    return "\n".join(lines)


def _asks(endpoint: Endpoint) -> Iterator[Ask]:
    yield endpoint.ask
    if endpoint.token is not None:
        yield endpoint.token
