"""What the host and every pod get of imitated clouds, cell by cell, and what was sent for it."""

from pathlib import Path
from typing import Any

import pytest

from imds_lab.imitators import FORBIDDEN
from imds_lab.scenarios import AWS6, IMDS, MATRIX, SCENARIOS, play
from nodeward.collector.page.matrix import matrix
from nodeward.facts.endpoints import BY_NAME, Kind

pytestmark = pytest.mark.root

NODE = "172.31.0.10"
ON_AWS = [name for name in SCENARIOS if name.startswith("aws")]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    before = packets()
    found = play(SCENARIOS)
    assert packets() == before, "something was sent from the namespace in which the tests run"
    return found


def packets() -> list[str]:
    """The counters of every interface here."""
    return Path("/proc/self/net/dev").read_text().splitlines()[2:]


def finding(result: dict[str, Any], check: str) -> Any:
    return result["findings"][check]


def status(result: dict[str, Any], check: str) -> str:
    return str(finding(result, check)["status"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_matrix_is_as_the_network_is(results: dict[str, Any], name: str) -> None:
    host, pods = MATRIX[name]
    assert results[name]["host"] == host
    assert results[name]["pods"] == pods
    assert results[name]["problems"] == {}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_draws_what_was_found(results: dict[str, Any], name: str) -> None:
    host, pods = MATRIX[name]
    real = {f"pod {pod}": row for pod, row in pods.items()} | {"host": host}
    drawn = matrix(list(results[name]["findings"].values()))
    cells = drawn.cells if drawn else {}
    for place, row in cells.items():
        assert row.items() <= real[place].items()
    asked = {place for place, row in real.items() if any(judged(e) for e in row)}
    assert {p for p, row in cells.items() if any(judged(e) for e in row)} == asked
    for place in asked:
        assert {e for e in real[place] if judged(e)} <= cells[place].keys()


def judged(endpoint: str) -> bool:
    """Whether it is the metadata service itself, by `NAME ADDRESS`."""
    return BY_NAME[endpoint.partition(" ")[0]].kind is Kind.IMDS


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_path_is_asked_that_could_hold_a_secret(results: dict[str, Any], name: str) -> None:
    for request in results[name]["requests"]:
        line = request["raw"].partition("\r\n")[0]
        assert not FORBIDDEN.search(line), line


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_asked_twice(results: dict[str, Any], name: str) -> None:
    asked = [(r["at"], r["from"], r["raw"]) for r in results[name]["requests"]]
    assert len(asked) == len(set(asked))


def test_each_place_asks_each_question_once(results: dict[str, Any]) -> None:
    requests = results["aws v1"]["requests"]
    lines = [(r["from"], r["raw"].partition(" HTTP")[0]) for r in requests if r["at"] == IMDS]
    assert sorted(lines) == [
        ("10.244.1.2", "GET /latest/meta-data/"),
        ("10.244.1.2", "PUT /latest/api/token"),
        (NODE, "GET /latest/meta-data/"),
        (NODE, "PUT /latest/api/token"),
    ]


def test_a_token_is_asked_for_one_second_and_never_used(results: dict[str, Any]) -> None:
    for name in ON_AWS:
        for request in results[name]["requests"]:
            assert "x-aws-ec2-metadata-token:" not in request["raw"].lower()
            if request["raw"].startswith("PUT"):
                assert "X-aws-ec2-metadata-token-ttl-seconds: 1\r\n" in request["raw"]


def test_no_redirect_is_followed(results: dict[str, Any]) -> None:
    assert len(results["captive-redirect"]["requests"]) == 2  # the host and one pod, once each


@pytest.mark.parametrize("name", ["no cloud", "switched off"])
def test_where_no_cloud_is_known_nothing_is_sent(results: dict[str, Any], name: str) -> None:
    assert results[name]["requests"] == []
    verdicts = {f["status"] for f in results[name]["findings"].values()}
    assert verdicts <= {"not-applicable", "unknown", "pass"}
    assert status(results[name], "meta.pod.reach") in ("not-applicable", "unknown")
    assert status(results[name], "meta.host.reach") in ("not-applicable", "unknown")


def test_a_machine_that_does_not_tell_its_cloud_says_how_to_name_it(
    results: dict[str, Any],
) -> None:
    because = finding(results["no cloud"], "meta.pod.reach")["because"]
    assert "nothing was sent" in because
    assert "metadata.cloud" in because


def test_the_cloud_is_told_without_a_packet(results: dict[str, Any]) -> None:
    assert results["aws, told by cloud-init"]["cloud"] == "aws"


def test_a_node_without_pods_proves_nothing(results: dict[str, Any]) -> None:
    found = finding(results["aws, no pods"], "meta.pod.reach")
    assert found["status"] == "unknown"
    assert "no pod with a network of its own" in found["because"]


@pytest.mark.parametrize(
    ("name", "check", "wanted"),
    [
        ("aws v1", "meta.imdsv1", "fail"),
        ("aws v1", "meta.pod.reach", "fail"),
        ("aws v1", "meta.hop-limit", "pass"),  # v1 is open, and the token still ends at the node
        ("aws v1", "meta.host.reach", "fail"),
        ("aws v2, hop limit 1", "meta.imdsv1", "pass"),
        ("aws v2, hop limit 1", "meta.hop-limit", "pass"),
        ("aws v2, hop limit 1", "meta.pod.reach", "pass"),
        ("aws v2, hop limit 1", "meta.hostnetwork", "fail"),
        ("aws v2, hop limit 2, rules", "meta.hop-limit", "fail"),
        ("aws v2, hop limit 2, rules", "meta.pod.reach", "fail"),
        ("aws v2, hop limit 2, rules", "meta.hostnetwork", "pass"),
        ("aws, iptables-legacy", "meta.pod.reach", "pass"),
        ("aws, the node's own processes kept off", "meta.host.reach", "pass"),
        ("aws, the node's own processes kept off", "meta.hostnetwork", "pass"),
        ("aws, no pods", "meta.imdsv1", "fail"),
        ("gce", "meta.pod.reach", "fail"),
        ("gce", "meta.attributes-names", "fail"),
        ("gce", "meta.imdsv1", "not-applicable"),
        ("gce, many names, over IPv6 too", "meta.attributes-names", "unknown"),
        ("oci, another's answers", "meta.imdsv1", "unknown"),
        ("oci, another's answers", "meta.pod.reach", "unknown"),
        ("aws, another takes every connection", "meta.alt-endpoints", "unknown"),
        ("aws, another takes every connection", "meta.pod.reach", "unknown"),
        ("linode, another's answers", "meta.pod.reach", "unknown"),
        ("linode", "meta.pod.reach", "fail"),
        ("gke", "meta.pod.reach", "pass"),
        ("gke", "meta.attributes-names", "pass"),
        ("gke, older concealment", "meta.pod.reach", "fail"),
        ("gke, older concealment", "meta.attributes-names", "pass"),
        ("azure", "meta.azure-wireserver", "fail"),
        ("azure, half", "meta.azure-wireserver", "fail"),
        ("oci, v1 off", "meta.imdsv1", "pass"),
        ("oci, v1 off", "meta.pod.reach", "fail"),
        ("oci, v1 on", "meta.imdsv1", "fail"),
        ("alibaba", "meta.alt-endpoints", "fail"),
        ("alibaba, hardened", "meta.imdsv1", "pass"),
        ("openstack", "meta.pod.reach", "fail"),
        ("openstack, over IPv6", "meta.pod.reach", "pass"),
        ("openstack, over IPv6", "meta.host.reach", "fail"),
        ("captive-page", "meta.pod.reach", "unknown"),
        ("tarpit", "meta.pod.reach", "unknown"),
        ("endless-body", "meta.pod.reach", "unknown"),
        ("reset", "meta.pod.reach", "pass"),
        ("aws v1", "meta.rule-coverage", "not-applicable"),
        ("aws v2, hop limit 2, rules", "meta.rule-coverage", "fail"),
        ("azure", "meta.rule-coverage", "fail"),  # default/web is not met by the rules
        ("azure, half", "meta.rule-coverage", "fail"),
        ("alibaba", "meta.rule-coverage", "not-applicable"),
        ("gke", "meta.rule-coverage", "pass"),
    ],
)
def test_the_verdict_follows_from_the_matrix(
    results: dict[str, Any], name: str, check: str, wanted: str
) -> None:
    assert status(results[name], check) == wanted, finding(results[name], check)["because"]


def test_a_finding_names_the_pods_and_the_address_family(results: dict[str, Any]) -> None:
    because = finding(results["aws v2, hop limit 2, rules"], "meta.pod.reach")["because"]
    assert because.startswith(
        "4 of 5 pod networks can use aws-imds over IPv4 and IPv6: default/api"
    )


def test_a_finding_names_the_rules_that_block_and_their_conditions(
    results: dict[str, Any],
) -> None:
    evidence = finding(results["aws v2, hop limit 2, rules"], "meta.pod.reach")["evidence"]
    rules = {
        (e["value"], e["source"].partition(" handle")[0]) for e in evidence if "rule" in e["what"]
    }
    four, six = f"aws-imds {IMDS}", f"aws-imds {AWS6}"
    assert rules == {
        (f"{four}: reject where iifname veth2", "inet guard pods"),
        (f"{four}: reject where iifname veth5", "inet guard pods"),
        (f"{four}: drop where saddr 10.244.3.2", "ip filter FORWARD"),
        (f"{six}: drop where iifname veth5", "inet guard pods"),
        (
            "ecs-task-credentials 169.254.170.2:80: reject where iifname veth5",
            "inet guard pods",
        ),
    }


def test_a_rule_of_the_older_iptables_is_named_too(results: dict[str, Any]) -> None:
    evidence = finding(results["aws, iptables-legacy"], "meta.pod.reach")["evidence"]
    rules = [(e["value"], e["source"]) for e in evidence if e["what"] == "rule in forward"]
    assert rules == [
        (
            f"aws-imds {IMDS}: drop where saddr 10.244.1.2",
            "ip filter (legacy) FORWARD handle 1",
        )
    ]


def test_a_rule_that_sends_pods_to_a_proxy_is_named(results: dict[str, Any]) -> None:
    evidence = finding(results["gke"], "meta.pod.reach")["evidence"]
    rules = [e["value"] for e in evidence if e["what"] == "rule in prerouting"]
    assert rules == [f"gce-metadata {IMDS}: dnat where iifname != ens5"]


def test_the_route_to_an_endpoint_is_told(results: dict[str, Any]) -> None:
    evidence = finding(results["aws v1"], "meta.pod.reach")["evidence"]
    routes = {e["value"] for e in evidence if e["what"] == "route of the node"}
    assert "169.254.169.254: unicast via 172.31.0.1 dev ens5" in routes


def test_a_rule_of_the_nodes_own_output_is_named(results: dict[str, Any]) -> None:
    found = finding(results["aws, the node's own processes kept off"], "meta.host.reach")
    rules = [e["value"] for e in found["evidence"] if e["what"] == "rule in output"]
    assert rules == [f"aws-imds {IMDS}: reject where skuid != 0"]


def test_pods_in_the_hosts_network_are_listed_apart(results: dict[str, Any]) -> None:
    evidence = finding(results["aws v2, hop limit 1"], "meta.pod.reach")["evidence"]
    apart = [e["value"] for e in evidence if e["what"] == "pods in the host's network"]
    assert apart == ["default/own, kube-system/kube-proxy"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_time_is_bounded_whatever_answers(results: dict[str, Any], name: str) -> None:
    # Two places one after the other, 1 s each, and much room for a busy machine.
    assert results[name]["seconds"] < 30
    assert results[name]["rss_kib"] < 96 * 1024
