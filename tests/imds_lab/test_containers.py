"""The same questions from inside real containers."""

from typing import Any

import pytest

from imds_lab.scenarios import HOP, IMDS, TOKEN, nft_forward, on_aws, play

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def node() -> dict[str, Any]:
    scenario = on_aws(
        "aws-v2-hop1",
        names=["default/web", "prod/db"],
        on_host=["kube-system/proxy"],
        # The bridge's second address belongs to the first pod, the third to the second.
        rules=[nft_forward("ip saddr 10.244.9.3 ip daddr 169.254.169.254 reject")],
    )
    return play({"node": scenario}, "imds_lab.containers")["node"]


def test_each_container_is_a_pod_by_its_name(node: dict[str, Any]) -> None:
    assert sorted(node["pods"]) == ["default/web", "prod/db"]


def test_a_container_on_a_cni_bridge_is_a_hop_away(node: dict[str, Any]) -> None:
    assert node["host"][f"aws-imds {IMDS}"] == TOKEN
    assert node["pods"]["default/web"][f"aws-imds {IMDS}"] == HOP


def test_a_rule_for_one_containers_address_meets_it_alone(node: dict[str, Any]) -> None:
    assert node["pods"]["prod/db"][f"aws-imds {IMDS}"] == "refused"


def test_requests_come_from_the_containers_own_addresses(node: dict[str, Any]) -> None:
    sources = {r["from"] for r in node["requests"] if r["raw"].startswith("PUT")}
    assert sources == {"172.31.0.10", "10.244.9.2"}


def test_a_container_in_the_hosts_network_is_listed_apart(node: dict[str, Any]) -> None:
    evidence = node["findings"]["meta.pod.reach"]["evidence"]
    apart = [e["value"] for e in evidence if e["what"] == "pods in the host's network"]
    assert apart == ["kube-system/proxy"]
