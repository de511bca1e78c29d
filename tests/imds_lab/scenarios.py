"""What stands in the lab, and what must be seen there, cell by cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Nothing listens there: whoever obeyed it would see no cloud at all.
PROXIES = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
ROOT = Path(__file__).parent.parent.parent

Results = dict[str, dict[str, Any]]

IMDS = "169.254.169.254:80"
OPEN, TOKEN, WANTED = "open", "v2 token obtainable", "answers, wants a token"
HOP, DENIED, CONCEALED = (
    "v2 token refused by hop limit",
    "answers, denies",
    "answered by the platform's proxy for pods",
)
REFUSED, RESET, UNREACHABLE, TIMEOUT = "refused", "reset", "unreachable", "timed out"
SILENT, INTERCEPTED = "connected, no answer", "intercepted"
LONGER = "a list longer than what is read of it"

WEB, API, DB = {"name": "default/web"}, {"name": "default/api"}, {"name": "prod/db"}
ONE = [WEB]

AWS6 = "[fd00:ec2::254]:80"
AWS_CLOSED = ["169.254.170.23", "fd00:ec2::23", "169.254.170.2"]


def aws(
    four: str, six: str = REFUSED, *, rest: str = REFUSED, rest6: str = REFUSED
) -> dict[str, str]:
    """The row of one place on AWS, all five cells of it."""
    return {
        f"aws-imds {IMDS}": four,
        f"aws-imds {AWS6}": six,
        "eks-pod-identity 169.254.170.23:80": rest,
        "eks-pod-identity [fd00:ec2::23]:80": rest6,
        "ecs-task-credentials 169.254.170.2:80": rest,
    }


def on_aws(service: str, **more: Any) -> dict[str, Any]:
    return {
        "params": {"cloud": "aws"},
        "services": [[service, IMDS]],
        "closed": [*AWS_CLOSED, "fd00:ec2::254"],
        "pods": ONE,
        **more,
    }


def nft_forward(*rules: str) -> list[str]:
    body = "\n".join(rules)
    hook = "type filter hook forward priority 0;"
    table = f"table inet guard {{\nchain pods {{\n{hook}\n{body}\n}}\n}}\n"
    return ["nft", "-f", "-", table]


def nft_output(*rules: str) -> list[str]:
    body = "\n".join(rules)
    table = (
        f"table inet own {{\nchain out {{\ntype filter hook output priority 0;\n{body}\n}}\n}}\n"
    )
    return ["nft", "-f", "-", table]


def drop(way: str, source: str, target: str, port: str, action: str = "DROP") -> list[str]:
    """A rule in the form in which AKS blocks its addresses."""
    line = f"-I FORWARD 1 -s {source} -d {target} -p tcp -m tcp --dport {port} -j {action}"
    return [way, "-w", *line.split()]


AZURE = {
    "params": {"cloud": "azure"},
    "services": [
        ["azure", IMDS],
        ["wireserver", "168.63.129.16:80"],
        ["hostgaplugin", "168.63.129.16:32526"],
    ],
}
GCE = {"params": {"cloud": "gce"}, "closed": ["fd20:ce::254"], "pods": ONE}
OCI6 = "[fd00:c1::a9fe:a9fe]:80"


def azure_row(imds: str, wire: str, plugin: str) -> dict[str, str]:
    return {
        f"azure-imds {IMDS}": imds,
        "azure-wireserver 168.63.129.16:80": wire,
        "azure-hostgaplugin 168.63.129.16:32526": plugin,
    }


def gce_row(cell: str, six: str = REFUSED, names: str = "") -> dict[str, str]:
    return {
        f"gce-metadata {IMDS}": cell,
        "gce-metadata [fd20:ce::254]:80": six,
        f"gce-attribute-names {IMDS}": names or cell,
        "gce-attribute-names [fd20:ce::254]:80": six,
    }


def oci_row(v1: str, *, v1_six: str = REFUSED) -> dict[str, str]:
    return {
        f"oci-imds-v2 {IMDS}": OPEN,
        f"oci-imds-v2 {OCI6}": REFUSED,
        f"oci-imds-v1 {IMDS}": v1,
        f"oci-imds-v1 {OCI6}": v1_six,
    }


def linode_row(cell: str) -> dict[str, str]:
    return {
        f"linode-metadata {IMDS}": cell,
        "linode-metadata [fd00:a9fe:a9fe::1]:80": REFUSED,
    }


def odd(service: str) -> dict[str, Any]:
    """A place where 169.254.169.254 is no metadata service."""
    return {
        "params": {"cloud": "digitalocean"},
        "services": [[service, IMDS]],
        "pods": ONE,
    }


CONCEALING = [
    "nft", "-f", "-",
    "table ip conceal {\nchain pre {\ntype nat hook prerouting priority -100;\n"
    'iifname != "ens5" ip daddr 169.254.169.254 tcp dport 80 dnat to 10.244.1.1:988\n}\n}\n',
]  # fmt: skip


SCENARIOS: dict[str, dict[str, Any]] = {
    "aws v1": on_aws("aws-v1"),
    "aws v2, hop limit 1": on_aws(
        "aws-v2-hop1", services=[["aws-v2-hop1", IMDS], ["aws-v2-hop1", AWS6]],
        closed=AWS_CLOSED, on_host=["kube-system/kube-proxy", "default/own"],
    ),
    "aws v2, hop limit 2, rules": on_aws(
        "aws-v2-hop2",
        services=[["aws-v2-hop2", IMDS], ["aws-v2-hop2", AWS6]],
        closed=AWS_CLOSED,
        pods=[WEB, API, DB, {"name": "prod/cache", "ipv6": False}, {"name": "prod/both"}],
        rules=[
            nft_forward(
                'iifname "veth2" ip daddr 169.254.169.254 reject with icmpx admin-prohibited',
                'iifname "veth5" ip daddr 169.254.0.0/16 tcp dport 80 reject with tcp reset',
                'iifname "veth5" ip6 daddr fd00:ec2::/64 drop',
            ),
            drop("iptables-nft", "10.244.3.2", "169.254.169.254/32", "80"),
        ],
    ),
    "aws, iptables-legacy": on_aws(
        "aws-v1", rules=[drop("iptables-legacy", "10.244.1.2", "169.254.169.254/32", "80")]
    ),
    "aws, the node's own processes kept off": on_aws(
        "aws-v1", rules=[nft_output("ip daddr 169.254.169.254 meta skuid != 0 reject")],
        on_host=["default/own"],
    ),
    "aws, a pod's own rule about users": on_aws(
        "aws-v1",
        pods=[WEB, DB],
        # What is let through is the uid that nodeward says it takes, in the first pod alone.
        pod_rules={
            "default/web": nft_output("meta nfproto ipv4 meta skuid != 61183 reject")[-1],
            "prod/db": nft_output("meta nfproto ipv4 meta skuid 61183 reject")[-1],
        },
    ),
    "aws, told by cloud-init": on_aws(
        "aws-v2-hop1", params={}, files={"/run/cloud-init/cloud-id": "aws\n"}
    ),
    "aws, no pods": on_aws("aws-v1", pods=[], on_host=["default/own"]),
    "no cloud": on_aws("aws-v1", params={}),
    "switched off": on_aws("aws-v1", params={"cloud": "aws", "enabled": "off"}),
    "generic": on_aws("tarpit", params={"cloud": "generic"}),
    "elsewhere": on_aws(
        "aws-v1", services=[["aws-v1", "172.31.0.77:8080"]],
        params={"cloud": "aws", "endpoints": ["aws-imds=172.31.0.77:8080"]},
    ),
    "gce": {**GCE, "services": [["gce", IMDS]]},
    "gce, many names, over IPv6 too": {
        "params": {"cloud": "gce"}, "pods": ONE,
        "services": [["gce-many", IMDS], ["gce-many", "[fd20:ce::254]:80"]],
    },
    # What GKE does on a node: pods are sent to a proxy of the node, the node's own are not.
    "gke": {
        **GCE, "services": [["gce", IMDS]], "node_services": [["gke", "10.244.1.1:988"]],
        "rules": [CONCEALING],
    },
    # The older proxy hides names, and hands on all else.
    "gke, older concealment": {
        **GCE, "services": [["gce", IMDS]], "node_services": [["gke-old", "10.244.1.1:988"]],
        "rules": [CONCEALING],
    },
    "azure": {
        **AZURE,
        "pods": [WEB, DB],
        "rules": [
            drop("iptables-nft", "10.244.2.2", "168.63.129.16/32", "80"),
            drop("iptables-nft", "10.244.2.2", "168.63.129.16/32", "32526"),
            drop("iptables-nft", "10.244.2.2", "169.254.169.254/32", "80"),
        ],
    },
    "azure, half": {
        **AZURE,
        "pods": ONE,
        "rules": [drop("iptables-nft", "10.244.1.2", "168.63.129.16/32", "80")],
    },
    "oci, v1 off": {
        "params": {"cloud": "oci"}, "services": [["oci-v1-off", IMDS]],
        "closed": ["fd00:c1::a9fe:a9fe"], "pods": ONE,
    },
    "oci, v1 on": {
        "params": {"cloud": "oci"}, "services": [["oci-v1-on", IMDS]],
        "closed": ["fd00:c1::a9fe:a9fe"], "pods": ONE,
    },
    "alibaba": {
        "params": {"cloud": "alibaba"}, "services": [["alibaba", "100.100.100.200:80"]],
        "pods": [WEB, DB],
        # The usual rule, which does not meet this address.
        "rules": [nft_forward("ip daddr 169.254.0.0/16 drop")],
    },
    "alibaba, hardened": {
        "params": {"cloud": "alibaba"}, "services": [["alibaba-hardened", "100.100.100.200:80"]],
        "pods": ONE,
    },
    # Whoever says 404 to everything has not switched the first version off.
    "oci, another's answers": {
        "params": {"cloud": "oci"}, "services": [["nothing-here", IMDS]],
        "closed": ["fd00:c1::a9fe:a9fe"], "pods": ONE,
    },
    "aws, another takes every connection": on_aws(
        "captive-page",
        services=[["captive-page", IMDS], ["captive-page", "169.254.170.2:80"]],
    ),
    "linode, another's answers": {
        "params": {"cloud": "linode"}, "services": [["yes-to-all", IMDS]],
        "closed": ["fd00:a9fe:a9fe::1"], "pods": ONE,
    },
    "linode": {
        "params": {"cloud": "linode"}, "services": [["linode", IMDS]],
        "closed": ["fd00:a9fe:a9fe::1"], "pods": ONE,
    },
    "openstack": {"params": {"cloud": "openstack"}, "services": [["openstack", IMDS]], "pods": ONE},
    # A link-local address of IPv6 is the node's neighbour, and no pod's.
    "openstack, over IPv6": {
        "params": {"cloud": "openstack"}, "pods": ONE, "closed": ["169.254.169.254"],
        "services": [["openstack", "[fe80::a9fe:a9fe%eth0]:80"]],
    },
    **{
        name: odd(name)
        for name in (
            "captive-redirect", "captive-page", "captive-login", "tarpit", "reset", "drip-head",
            "drip-body", "endless-head", "endless-body", "no-http", "close",
        )
    },
}  # fmt: skip

ELSEWHERE = {k: v for k, v in aws(OPEN).items() if not k.startswith("aws-imds")} | {
    "aws-imds 172.31.0.77:8080": OPEN
}
_DO = f"digitalocean-metadata {IMDS}"
_ODD = {
    "captive-redirect": INTERCEPTED,
    "captive-page": INTERCEPTED,
    "captive-login": INTERCEPTED,
    "tarpit": SILENT,
    "reset": RESET,
    "drip-head": SILENT,
    "drip-body": SILENT,
    "endless-head": INTERCEPTED,
    "endless-body": INTERCEPTED,
    "no-http": INTERCEPTED,
    "close": RESET,
}

# scenario -> the host's row, the pods' rows
MATRIX: dict[str, tuple[dict[str, str], dict[str, dict[str, str]]]] = {
    "aws v1": (aws(OPEN), {"default/web": aws(OPEN)}),
    "aws v2, hop limit 1": (aws(TOKEN, TOKEN), {"default/web": aws(HOP, HOP)}),
    "aws v2, hop limit 2, rules": (
        aws(TOKEN, TOKEN),
        {
            "default/web": aws(TOKEN, TOKEN),
            "default/api": aws(UNREACHABLE, TOKEN),
            "prod/db": aws(TIMEOUT, TOKEN),
            "prod/cache": aws(TOKEN, UNREACHABLE, rest6=UNREACHABLE),
            "prod/both": aws(REFUSED, TIMEOUT, rest6=TIMEOUT),
        },
    ),
    "aws, iptables-legacy": (aws(OPEN), {"default/web": aws(TIMEOUT)}),
    "aws, the node's own processes kept off": (aws(REFUSED), {"default/web": aws(OPEN)}),
    "aws, a pod's own rule about users": (
        aws(OPEN),
        {"default/web": aws(OPEN), "prod/db": aws(REFUSED)},
    ),
    "aws, told by cloud-init": (aws(TOKEN), {"default/web": aws(HOP)}),
    "aws, no pods": (aws(OPEN), {}),
    "no cloud": ({}, {}),
    "switched off": ({}, {}),
    "generic": ({f"any-metadata {IMDS}": OPEN}, {"default/web": {f"any-metadata {IMDS}": OPEN}}),
    "elsewhere": (ELSEWHERE, {"default/web": ELSEWHERE}),
    "gce": (gce_row(OPEN), {"default/web": gce_row(OPEN)}),
    "gce, many names, over IPv6 too": (
        gce_many := {
            **gce_row(OPEN, OPEN, LONGER),
            "gce-attribute-names [fd20:ce::254]:80": LONGER,
        },
        {"default/web": gce_many},
    ),
    "gke": (gce_row(OPEN), {"default/web": gce_row(CONCEALED)}),
    "gke, older concealment": (gce_row(OPEN), {"default/web": gce_row(OPEN)}),
    "azure": (
        azure_row(OPEN, OPEN, OPEN),
        {
            "default/web": azure_row(OPEN, OPEN, OPEN),
            "prod/db": azure_row(TIMEOUT, TIMEOUT, TIMEOUT),
        },
    ),
    "azure, half": (
        azure_row(OPEN, OPEN, OPEN),
        {"default/web": azure_row(OPEN, TIMEOUT, OPEN)},
    ),
    "oci, v1 off": (oci_row(DENIED), {"default/web": oci_row(DENIED)}),
    "oci, v1 on": (oci_row(OPEN), {"default/web": oci_row(OPEN)}),
    "alibaba": (
        {"alibaba-metadata 100.100.100.200:80": OPEN},
        {
            "default/web": {"alibaba-metadata 100.100.100.200:80": OPEN},
            "prod/db": {"alibaba-metadata 100.100.100.200:80": OPEN},
        },
    ),
    "alibaba, hardened": (
        {"alibaba-metadata 100.100.100.200:80": WANTED},
        {"default/web": {"alibaba-metadata 100.100.100.200:80": WANTED}},
    ),
    "oci, another's answers": (
        oci_other := {**oci_row(DENIED), f"oci-imds-v2 {IMDS}": INTERCEPTED},
        {"default/web": oci_other},
    ),
    "aws, another takes every connection": (
        aws_other := {**aws(INTERCEPTED), "ecs-task-credentials 169.254.170.2:80": INTERCEPTED},
        {"default/web": aws_other},
    ),
    "linode, another's answers": (
        linode_row(INTERCEPTED),
        {"default/web": linode_row(INTERCEPTED)},
    ),
    "linode": (linode_row(OPEN), {"default/web": linode_row(OPEN)}),
    "openstack, over IPv6": (
        {
            f"openstack-metadata {IMDS}": REFUSED,
            "openstack-metadata [fe80::a9fe:a9fe%*]:80": OPEN,
        },
        {
            "default/web": {
                f"openstack-metadata {IMDS}": REFUSED,
                "openstack-metadata [fe80::a9fe:a9fe%*]:80": TIMEOUT,
            }
        },
    ),
    "openstack": (
        {
            f"openstack-metadata {IMDS}": OPEN,
            "openstack-metadata [fe80::a9fe:a9fe%*]:80": TIMEOUT,
        },
        {
            "default/web": {
                f"openstack-metadata {IMDS}": OPEN,
                "openstack-metadata [fe80::a9fe:a9fe%*]:80": TIMEOUT,
            }
        },
    ),
    **{name: ({_DO: cell}, {"default/web": {_DO: cell}}) for name, cell in _ODD.items()},
}


def play(scenarios: Mapping[str, Mapping[str, Any]], program: str = "imds_lab.lab") -> Results:
    """Play scenarios, each in a node of its own, and return what each saw, by name."""
    order = {name: {"program": program, **scenario} for name, scenario in scenarios.items()}
    paths = os.pathsep.join(str(ROOT / part) for part in ("probes", "agent", "collector", "tests"))
    done = subprocess.run(
        [sys.executable, "-m", "imds_lab.nodes"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "NODEWARD_METADATA": "auto", **PROXIES},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout)
    return results
