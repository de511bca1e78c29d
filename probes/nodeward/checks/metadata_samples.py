"""Parts of the truth tables of the checks about the metadata service, and their sources."""

from __future__ import annotations

from nodeward.facts.cloud import Cloud, Sign
from nodeward.facts.endpoints import BY_NAME
from nodeward.facts.firewall import NodeRules
from nodeward.facts.metadata import (
    Cell,
    HostReach,
    Metadata,
    Outcome,
    Place,
    PodReach,
)
from nodeward.facts.podnet import Pod, PodNetwork, PodNetworks
from nodeward.model import (
    Example,
    Source,
    Status,
    Unreadable,
)

SAC = Source(
    "Securing a Cluster: restricting cloud metadata API access",
    "https://kubernetes.io/docs/tasks/administer-cluster/securing-a-cluster/#restricting-cloud-metadata-api-access",
)
EC2 = Source(
    "Amazon EC2: use IMDS, session tokens and the hop limit",
    "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html",
)


def on_cloud(name: str) -> Cloud:
    return Cloud(name, (Sign(name, name, "/sys/class/dmi/id/sys_vendor"),))


def cell_of(
    outcome: Outcome,
    name: str = "aws-imds",
    *,
    token_given: bool = False,
    plain_refused: bool = False,
) -> Cell:
    address = BY_NAME[name].addresses[0]
    return Cell(name, address, outcome, token_given=token_given, plain_refused=plain_refused)


WEB = Pod("2b7e9a40-0000-4000-8000-000000000001", "default", "web")
NO_RULES = NodeRules()
NET = PodNetworks((PodNetwork(4026532001, (4711,), (WEB,)),))
NO_RIGHT = Unreadable("the pods' networks", "needs CAP_SYS_ADMIN to enter them")


def reach_of(*cells: Cell) -> PodReach:
    return PodReach((Place((str(WEB),), 4026532001, cells),))


def from_pods(
    cloud: str, *cells: Cell, host: HostReach | None = None
) -> tuple[Cloud, PodNetworks, PodReach, HostReach, NodeRules]:
    return on_cloud(cloud), NET, reach_of(*cells), host or HostReach(), NO_RULES


def not_asked(cloud: str = "aws") -> tuple[Example, ...]:
    """The rows that every rule about pods' reach has alike."""
    here, none = on_cloud(cloud), HostReach()
    return (
        Example(
            Status.UNKNOWN,
            (here, PodNetworks(), PodReach(), none, NO_RULES),
            "no pod with a network of its own: there is nothing to ask from",
        ),
        Example(Status.UNKNOWN, (here, NET, NO_RIGHT, none, NO_RULES), "needs CAP_SYS_ADMIN"),
        Example(
            Status.UNKNOWN,
            (
                here,
                NET,
                PodReach((Place((str(WEB),), 1, (), "the pod is gone"),)),
                none,
                NO_RULES,
            ),
            "a pod's network went away while it was asked",
        ),
        Example(
            Status.UNKNOWN,
            (Cloud(None), PodNetworks(), PodReach(), none, NO_RULES),
            "the cloud cannot be told: nothing is sent",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (Cloud(None, (), ("/sys/class/dmi/id",)), PodNetworks(), PodReach(), none, NO_RULES),
            "no cloud is recognised: nothing is sent",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (here, NET, PodReach(), none, NO_RULES, Metadata(enabled="off")),
            "switched off: nothing is sent",
        ),
    )
