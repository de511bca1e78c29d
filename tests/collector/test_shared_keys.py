"""One key on two nodes: what is told of it, and to whom."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from nodeward.facts.named_keys import NamedKey


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _told(*keys: NamedKey) -> dict[str, Any]:
    pieces = [key.evidence() for key in keys]
    return {
        "check": "cert.shared-key",
        "status": "pass",
        "severity": "medium",
        "because": f"{len(keys)} keys, each under one name",
        "evidence": [{"what": p.what, "value": p.value, "source": p.source} for p in pieces],
    }


def _key(name: str, component: str, *, private: bool = True, place: str = "/srv/x") -> NamedKey:
    return NamedKey(_hash(name), component, place, private)


def _node(
    collector: Any, name: str, *keys: NamedKey, cluster: str = "east", plane: bool = False
) -> Any:
    agent = collector.agent(name, cluster)
    roles = ["control-plane" if plane else "worker"]
    told = _told(*keys)
    assert agent.full(told, inventory={"roles": roles}).ok
    agent.seq, agent.findings = 1, {told["check"]: told}
    return agent


def _shared(collector: Any, token: str | None = None, **filters: str) -> list[Any]:
    """Once the collector has folded all that it was sent."""
    collector.fold()
    rows: list[Any] = collector.items("/v1/shared-keys", token, **filters)
    return rows


def _readings(collector: Any, token: str | None = None, **filters: str) -> dict[str, str]:
    return {row["component"]: row["reading"] for row in _shared(collector, token, **filters)}


CA = _key("ca", "cluster-ca", private=False)
CA_KEY = _key("ca", "cluster-ca")
SIGNER = _key("sa", "service-account")


def test_what_the_nodes_of_one_cluster_share_is_expected(collector: Any) -> None:
    _node(collector, "cp1", CA_KEY, SIGNER, plane=True)
    _node(collector, "cp2", CA_KEY, SIGNER, plane=True)
    _node(
        collector, "w1", _key("ca", "cluster-root-ca", private=False), _key("w1", "kubelet-client")
    )
    _node(collector, "w2", CA, _key("w2", "kubelet-client"))
    assert _shared(collector) == []
    assert _readings(collector, reading="all") == {
        "cluster-ca": "expected", "service-account": "expected",
    }  # fmt: skip
    by_name = {row["component"]: row for row in _shared(collector, reading="expected")}
    assert by_name["cluster-ca"]["nodes"] == 4
    assert by_name["cluster-ca"]["private"] == 2


def test_a_kubelets_key_on_two_nodes_is_a_clone(collector: Any) -> None:
    for name in ("w1", "w2"):
        _node(collector, name, _key("image", "kubelet-client", place="/var/lib/kubelet/pki/c.pem"))
    (row,) = _shared(collector)
    assert row["reading"] == "clone"
    assert row["key"] == f"sha256:{_hash('image')}"
    assert row["because"].startswith("2 nodes have one kubelet-client key")
    assert [one["node"] for one in row["on"]] == ["w1", "w2"]
    assert {one["place"] for one in row["on"]} == {"/var/lib/kubelet/pki/c.pem"}


def test_an_authority_of_two_clusters_is_told(collector: Any) -> None:
    _node(collector, "cp1", CA_KEY, plane=True)
    _node(collector, "w1", CA, cluster="west")
    assert _readings(collector) == {"cluster-ca": "two-clusters"}


def test_who_only_trusts_an_authority_makes_no_second_cluster_of_it(collector: Any) -> None:
    """A company's authority for servers, and a kubeconfig for another cluster's API."""
    company = _key("company", "oidc-ca", private=False)
    _node(collector, "cp1", CA_KEY, company, plane=True)
    _node(collector, "cp2", CA_KEY, company, plane=True)
    foreign = _key("ca", "cluster-root-ca", private=False)
    _node(collector, "w1", foreign, company, cluster="west")
    assert _shared(collector) == []


def test_an_authoritys_private_key_on_a_worker_is_told(collector: Any) -> None:
    _node(collector, "cp1", CA_KEY, plane=True)
    _node(collector, "w1", CA_KEY)
    (row,) = _shared(collector)
    assert row["reading"] == "signer-on-worker"
    assert row["because"].endswith("lies on 2 nodes, 1 of them no control plane")


def test_an_administrators_copied_key_is_told(collector: Any) -> None:
    _node(collector, "cp1", _key("admin", "admin"), plane=True)
    _node(collector, "w1", _key("admin", "copy", place="/home/bob/.kube/config (user admin)"))
    assert [row["reading"] for row in _shared(collector)] == ["copied"]


def test_what_a_distribution_copies_to_each_control_plane_is_expected(collector: Any) -> None:
    openshift = "/etc/kubernetes/static-pod-resources/kube-apiserver-certs/secrets/x/tls.key"
    keys = (
        _key("os", "apiserver", place=openshift),
        _key("etcd", "apiserver-etcd-client"),
    )
    _node(collector, "cp1", *keys, plane=True)
    _node(collector, "cp2", *keys, plane=True)
    assert _shared(collector) == []
    _node(collector, "w1", *keys)
    assert set(_readings(collector).values()) == {"copied"}


def test_who_sees_one_cluster_is_told_of_nothing_in_another(collector: Any) -> None:
    for cluster in ("east", "west"):
        _node(collector, "n1", CA_KEY, _key("image", "kubelet-client"), cluster=cluster, plane=True)
    _node(collector, "n2", _key("w", "kubelet-client"), CA, cluster="west")
    _node(collector, "n3", _key("w", "kubelet-client"), cluster="west")
    assert _readings(collector) == {"cluster-ca": "two-clusters", "kubelet-client": "clone"}
    east = collector.access("east", cluster="east")
    assert _shared(collector, east, reading="all") == []
    assert _shared(collector, east, reading="all", cluster="west") == []
    west = collector.access("west", cluster="west")
    rows = _shared(collector, west, reading="all")
    assert {row["component"]: row["reading"] for row in rows} == {
        "cluster-ca": "expected", "kubelet-client": "clone",
    }  # fmt: skip
    assert {one["cluster"] for row in rows for one in row["on"]} == {"west"}
    assert all(row["clusters"] == 1 for row in rows)


def test_a_filter_leaves_the_keys_of_a_cluster_or_a_node_with_all_that_share_them(
    collector: Any,
) -> None:
    _node(collector, "a", _key("one", "kubelet-client"))
    _node(collector, "b", _key("one", "kubelet-client"), cluster="west")
    _node(collector, "c", _key("two", "kubelet-server"), cluster="west")
    _node(collector, "d", _key("two", "kubelet-server"), cluster="west")
    (row,) = _shared(collector, cluster="east")
    assert {one["cluster"] for one in row["on"]} == {"east", "west"}
    assert _readings(collector, node="c") == {"kubelet-server": "clone"}


def test_a_key_that_was_replaced_or_whose_node_retired_is_shared_no_more(collector: Any) -> None:
    one = _node(collector, "w1", _key("image", "kubelet-client"))
    _node(collector, "w2", _key("image", "kubelet-client"))
    _node(collector, "w3", _key("image", "kubelet-client"))
    assert _shared(collector)[0]["nodes"] == 3
    assert one.delta(_told(_key("own", "kubelet-client"))).ok
    assert _shared(collector)[0]["nodes"] == 2
    assert collector.post("/v1/nodes/east/w3/retire").ok
    assert _shared(collector) == []


def test_a_report_about_something_else_changes_no_keys(collector: Any) -> None:
    one = _node(collector, "w1", _key("image", "kubelet-client"))
    _node(collector, "w2", _key("image", "kubelet-client"))
    other = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}
    assert one.delta(other).ok
    assert _readings(collector) == {"kubelet-client": "clone"}


def test_pages_follow_each_other(collector: Any) -> None:
    keys = [_key(f"k{i}", "kubelet-client", place=f"/srv/{i}") for i in range(7)]
    for name in ("w1", "w2"):
        _node(collector, name, *keys, CA_KEY)
    whole = [row["key"] for row in _shared(collector)]
    assert len(set(whole)) == 8
    page = collector.get("/v1/shared-keys", limit=3).json()
    seen = [row["key"] for row in page["items"]]
    while page["next"]:
        page = collector.get("/v1/shared-keys", limit=3, cursor=page["next"]).json()
        seen += [row["key"] for row in page["items"]]
    assert seen == whole
    assert collector.get("/v1/shared-keys", reading="nonsense").status_code == 400
    assert collector.get("/v1/shared-keys", cursor="WzEsMiwieHgiXQ").status_code == 400


def test_sql_joins_what_nodes_hold(collector: Any) -> None:
    for name in ("w1", "w2"):
        _node(collector, name, _key("image", "kubelet-client"))
    _shared(collector)
    sql = (
        "SELECT key, count(*) AS nodes FROM node_key WHERE private AND component LIKE 'kubelet-%'"
        " GROUP BY key HAVING count(*) > 1"
    )
    assert collector.post("/v1/query", {"sql": sql}).json()["rows"] == [[_hash("image"), 2]]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sql_on_keys_keeps_to_the_askers_clusters(collector: Any) -> None:
    for cluster in ("east", "west"):
        _node(collector, "n1", _key(cluster, "kubelet-client"), cluster=cluster)
    _shared(collector)
    token = collector.access("east", cluster="east")
    got = collector.post("/v1/query", {"sql": "SELECT DISTINCT cluster FROM node_key"}, token)
    assert got.json()["rows"] == [["east"]]
