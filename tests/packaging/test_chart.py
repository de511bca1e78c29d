"""The chart: what it makes is valid, asks for no more than it says, and starts our programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import helm_chart as chart
from nodeward.agent.config import load
from nodeward.agent.settings import settings
from nodeward.facts.kubelet_answers import KubeletPorts
from nodeward.model import Seen

OLDEST_AND_NEWEST = ("1.25", "1.35")


@pytest.mark.parametrize("values", chart.VALUES.values(), ids=chart.VALUES)
@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
def test_every_object_is_what_kubernetes_expects(values: dict[str, Any], version: str) -> None:
    for made in chart.render(values):
        kubernetes_validate.validate(made, version, strict=True)


@pytest.mark.parametrize("values", chart.VALUES.values(), ids=chart.VALUES)
def test_the_schema_takes_our_values(values: dict[str, Any]) -> None:
    jsonschema.validate(chart.merged(chart.defaults(), values), schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"agent": {"hostNetwrok": True}},
        {"image": {"digest": "latest"}},
        {"agent": {"collectorUrl": "http://plain.example.org"}},
        {"collector": {"replicas": 0}},
        {"collector": {"service": {"port": 84430}}},
        {"agent": {"enrolSecret": ""}},
        {"clusterName": ""},
        {"clusterName": "a\nb: c"},
        {"agent": {"collectorUrl": "https://a,https://b"}},
        {"agent": {"collectorUrl": "https:// nonsense"}},
        {"agent": {"enrolSecret": "Not A Name"}},
        {"agent": {"priorityClassName": "a b"}},
        {"agent": {"hostPaths": ["/etc", "/etc"]}},
        {"agent": {"hostPaths": ["/etc/../root"]}},
        {"agent": {"hostPaths": ["/etc/./x"]}},
        {"agent": {"hostPaths": ["//"]}},
        {"agent": {"hostPaths": ["/a:b"]}},
        {"agent": {"config": {"looks": {"interval_s": "1h"}}}},
        {"agent": {"config": {"run_dir": "/run/elsewhere"}}},
        {"collector": {"storage": {"size": "lots"}}},
    ],
)
def test_the_schema_refuses_a_slip(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(chart.merged(chart.defaults(), wrong), schema())


@pytest.mark.parametrize(
    "right",
    [
        {"agent": {"hostPaths": ["/etc", "/var/lib/kubelet", "/opt/.hidden", "/opt/..data/x"]}},
        {"agent": {"collectorUrl": "https://collector.example:8443/behind/a/proxy"}},
        {"agent": {"config": {"looks": {"interval_s": 60}, "metadata": "off"}}},
        {"clusterName": "Production, Zurich 1"},
        {"collector": {"storage": {"size": "1.5Ti"}}},
    ],
)
def test_the_schema_takes_what_is_right(right: dict[str, Any]) -> None:
    jsonschema.validate(chart.merged(chart.defaults(), right), schema())


def schema() -> dict[str, Any]:
    text = (chart.CHART / "values.schema.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ({"hostMetadata": False}, []),
        ({}, ["SETUID", "SETGID"]),
        ({"podNetworks": True}, ["SETUID", "SETGID", "SYS_ADMIN"]),
        ({"firewallRules": True}, ["SETUID", "SETGID", "NET_ADMIN"]),
    ],
)
def test_the_agent_has_the_capabilities_of_the_table_and_no_more(
    values: dict[str, Any], more: list[str]
) -> None:
    pod = chart.one(chart.render({"agent": values}), "DaemonSet", "agent")["spec"]["template"]
    context = pod["spec"]["containers"][0]["securityContext"]
    assert context["capabilities"]["add"] == ["DAC_READ_SEARCH", "SYS_PTRACE", *more]


def test_the_agent_can_write_nothing_of_the_host() -> None:
    pod = chart.one(chart.render(), "DaemonSet", "agent")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["privileged"] is False
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert writable == ["/var/lib/nodeward", "/run/nodeward", "/tmp"]


@pytest.mark.parametrize(("interval_s", "oldest_s"), [(None, 1200), (3600, 11100)])
def test_an_agent_that_looks_no_more_is_started_again(
    interval_s: int | None, oldest_s: int
) -> None:
    """Three intervals and some time for the look: the status file is written by each."""
    config = {} if interval_s is None else {"looks": {"interval_s": interval_s}}
    made = chart.render({"agent": {"config": config}})
    pod = chart.one(made, "DaemonSet", "agent")["spec"]["template"]["spec"]
    command = pod["containers"][0]["livenessProbe"]["exec"]["command"]
    assert command[-1].endswith(f" -lt {oldest_s}")


def test_an_agent_has_no_right_in_the_api_and_no_token_of_it() -> None:
    made = chart.render({"agent": {"podNetworks": True, "firewallRules": True}})
    bound = [s["name"] for o in made for s in o.get("subjects", [])]
    assert bound == ["nw-nodeward-collector"]
    assert not [o for o in made if o["kind"] in ("Role", "ClusterRole")]
    pod = chart.one(made, "DaemonSet", "agent")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False


def test_the_one_right_of_an_agent_is_to_get_the_kubelets_configuration() -> None:
    made = chart.render({"agent": {"configz": True}})
    (role,) = [o for o in made if o["kind"] in ("Role", "ClusterRole")]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes/configz"], "verbs": ["get"]}]
    bound = [o for o in made if o["kind"].endswith("RoleBinding") and "agent" in str(o["subjects"])]
    assert [o["roleRef"]["name"] for o in bound] == [role["metadata"]["name"]]
    assert [s["name"] for s in bound[0]["subjects"]] == ["nw-nodeward-agent"]


@pytest.mark.parametrize("asked", [False, True])
def test_the_token_for_the_kubelet_is_mounted_where_it_is_asked_for(
    asked: bool, tmp_path: Path
) -> None:
    """Of the API's own audience, at the path that the configuration names; else there is none."""
    made = chart.render({"agent": {"configz": asked}})
    file = tmp_path / "agent.yaml"
    file.write_text(chart.one(made, "ConfigMap", "agent")["data"]["agent.yaml"])
    reading = settings(load(str(file), {}), {})[KubeletPorts]
    assert isinstance(reading, Seen)
    ports = reading.fact
    assert isinstance(ports, KubeletPorts)
    pod = chart.one(made, "DaemonSet", "agent")["spec"]["template"]["spec"]
    sources = [s for v in pod["volumes"] for s in v.get("projected", {}).get("sources", [])]
    tokens = [s["serviceAccountToken"] for s in sources if "serviceAccountToken" in s]
    paths = [f"/run/secrets/nodeward/{t['path']}" for t in tokens if "audience" not in t]
    assert paths == ([ports.configz_token_file] if asked else [])
    assert asked == bool(ports.configz_token_file)


def test_the_collector_runs_without_any_right() -> None:
    spec = chart.one(chart.render(), "StatefulSet", "collector")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(
    "values",
    [{"replicas": 2}, {"databaseSecret": "pg"}, {"enabled": False}],
    ids=[
        "two writers of one SQLite",
        "replicas without a shared certificate",
        "agents without a collector",
    ],
)
def test_what_cannot_work_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"needs (collector|agent)\."):
        chart.render({"collector": values})


def test_agents_go_where_the_service_listens(tmp_path: Path) -> None:
    made = chart.render({"collector": {"service": {"port": 443}}})
    file = tmp_path / "agent.yaml"
    file.write_text(chart.one(made, "ConfigMap", "agent")["data"]["agent.yaml"])
    assert load(str(file), {}).collector.urls == ("https://nw-nodeward-collector.nodeward.svc:443",)


@pytest.mark.parametrize(("part", "kind"), [("agent", "DaemonSet"), ("collector", "StatefulSet")])
def test_other_settings_make_other_pods_and_the_same_do_not(part: str, kind: str) -> None:
    """Neither program rereads its file by itself."""
    pods = [
        chart.one(chart.render(values), kind, part)["spec"]["template"]
        for values in (
            {},
            {"agent": {"priorityClassName": ""}, "collector": {"allowFrom": [{"podSelector": {}}]}},
            {part: {"config": {"log": "debug"}}},
        )
    ]
    before, same, other = (pod["metadata"]["annotations"]["checksum/config"] for pod in pods)
    assert before == same != other


def test_no_service_of_the_namespace_can_set_a_setting() -> None:
    """A service named nodeward-x would make variables NODEWARD_X_*."""
    pods = [
        o["spec"]["template"]["spec"] for o in chart.render() if "template" in o.get("spec", {})
    ]
    assert [pod["enableServiceLinks"] for pod in pods] == [False, False]


def test_the_readme_names_every_value() -> None:
    def leaves(values: Any, path: str) -> list[str]:
        if not isinstance(values, dict) or not values:
            return [path]
        return [leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}")]

    named = (chart.CHART / "README.md").read_text()
    for leaf in leaves(chart.defaults(), ""):
        parts = leaf.lstrip(".").split(".")
        rows = [f"| `{'.'.join(parts[:n])}` |" for n in range(1, len(parts) + 1)]
        assert any(row in named for row in rows), leaf


def test_the_agent_accepts_the_configuration_that_the_chart_writes(tmp_path: Path) -> None:
    config = chart.one(chart.render(), "ConfigMap", "agent")
    file = tmp_path / "agent.yaml"
    file.write_text(config["data"]["agent.yaml"])
    loaded = load(str(file), {})
    assert loaded.collector.urls == ("https://nw-nodeward-collector.nodeward.svc:8443",)
    assert loaded.enrol.join_token_file == "/run/secrets/nodeward/join-token"


def test_the_collector_accepts_the_configuration_that_the_chart_writes(tmp_path: Path) -> None:
    from nodeward.collector.settings import load as load_collector

    values = {"collector": {"tlsSecret": "tls"}, "clusterName": "east"}
    file = tmp_path / "collector.yaml"
    file.write_text(
        chart.one(chart.render(values), "ConfigMap", "collector")["data"]["collector.yaml"]
    )
    loaded = load_collector(file, {})
    assert loaded.address == ("0.0.0.0", 8443)
    assert str(loaded.cert_path) == "/run/secrets/tls/tls.crt"
    assert loaded.clusters["east"].service_account == "nodeward:nw-nodeward-agent"


def test_what_is_made_from_the_chart_is_current() -> None:
    """`script/chart` makes both."""
    assert (chart.CHART / "README.md").read_text() == chart.readme()
    kustomize = chart.CHART.parents[1] / "kustomize/base"
    assert (kustomize / "nodeward.yaml").read_text() == chart.base()
    listed = yaml.safe_load((kustomize / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(p.name for p in kustomize.glob("n*.yaml"))
