"""The agent as the package's service on a node that has booted, and a real collector beside it."""

import re
from collections.abc import Iterator

import pytest
import yaml

from node import Node
from package.centre import Centre, serving

pytestmark = pytest.mark.root

NAME = "node-a"
PID = "systemctl show nodeward-agent -p MainPID --value"
KUBELET = "/var/lib/kubelet/config.yaml"


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    with serving(tmp_path_factory.mktemp("centre")) as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The node of a test has a name of its own: the collector outlives it."""
    return re.sub(r"[^a-z0-9]+", "-", str(request.node.name))[:60].strip("-")


@pytest.fixture
def served(node: Node, centre: Centre, name: str) -> Node:
    """A node whose agent has been told of the collector and has reported once."""
    report_to(node, centre, name)
    return node


def report_to(node: Node, centre: Centre, name: str) -> None:
    """Do what an operator does to make an installed agent report, and wait until it has."""
    settings = {
        "node": name,
        "cluster": "test",
        "collector": {"urls": [centre.url], "ca": ["/etc/nodeward/ca.pem"]},
    }
    node.write("/etc/nodeward/ca.pem", centre.ca)
    node.write("/etc/nodeward/credentials/join-token", centre.join_token(name))
    node.write("/etc/nodeward/agent.d/10-collector.yaml", yaml.safe_dump(settings))
    node.sh("systemctl start nodeward-agent")
    centre.until(name, "agent.sandbox", "pass")


def test_systemd_is_told_that_it_is_ready_and_the_collector_what_it_sees(
    served: Node, centre: Centre, name: str
) -> None:
    shown = served.sh("systemctl show nodeward-agent -p ActiveState,NRestarts,User,StatusText")
    assert {"ActiveState=active", "NRestarts=0", "User=nodeward"} <= set(shown.splitlines())
    assert served.sh(f"awk '/^CapEff/ {{print $2}}' /proc/$({PID})/status").strip() == (
        f"{1 << 2 | 1 << 19:016x}"  # CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE
    )
    known = centre.client.items("/v1/findings", [("node", name)])
    assert not [f for f in known if f["status"] == "error"]


def test_a_change_of_a_file_becomes_a_change_of_a_finding(
    node: Node, centre: Centre, name: str
) -> None:
    node.sh("/opt/kubelet.sh /opt; /opt/hardened.sh")
    report_to(node, centre, name)
    centre.until(name, "kubelet.authn.anonymous", "pass")
    node.sh("sed -i 's/anonymous: {enabled: false}/anonymous: {enabled: true}/' " + KUBELET)
    finding = centre.until(name, "kubelet.authn.anonymous", "fail", limit_s=20)
    assert "/var/lib/kubelet/config.yaml" in finding["because"]


def test_an_agent_that_hangs_is_killed_and_started_again(
    served: Node, centre: Centre, name: str
) -> None:
    drop_in = "/etc/systemd/system/nodeward-agent.service.d/quick.conf"
    served.write(drop_in, "[Service]\nWatchdogSec=3\nRestartSec=0\n")
    served.sh("systemctl daemon-reload; systemctl restart nodeward-agent")
    served.sh(f"kill -STOP $({PID})")
    served.until("test $(systemctl show nodeward-agent -p NRestarts --value) -ge 1")
    served.until("systemctl is-active nodeward-agent")
    assert "Watchdog timeout" in served.sh("journalctl --sync; journalctl -u nodeward-agent")


def test_a_bad_file_keeps_the_old_settings(served: Node, centre: Centre, name: str) -> None:
    before = served.sh(PID)
    served.write("/etc/nodeward/agent.d/20-wrong.yaml", "lokks: {}\n")
    served.sh("systemctl reload nodeward-agent")
    served.until("journalctl --sync; journalctl -u nodeward-agent | grep -q lokks")
    assert served.sh("systemctl is-active nodeward-agent; " + PID) == f"active\n{before}"


def test_a_wrong_configuration_is_not_tried_again_and_its_file_is_named(node: Node) -> None:
    node.write("/etc/nodeward/agent.d/10-wrong.yaml", "lokks: {}\n")
    node.sh("! systemctl start nodeward-agent")
    shown = node.sh("systemctl show nodeward-agent -p ActiveState,SubState,NRestarts")
    assert set(shown.splitlines()) == {"ActiveState=failed", "SubState=failed", "NRestarts=0"}
    said = node.sh("journalctl --sync; journalctl -u nodeward-agent")
    assert "/etc/nodeward/agent.d/10-wrong.yaml: lokks: unknown key" in said


@pytest.mark.long
def test_a_first_look_later_than_systemds_patience_is_waited_for(node: Node) -> None:
    drop_in = "/etc/systemd/system/nodeward-agent.service.d/quick.conf"
    node.write(drop_in, "[Service]\nTimeoutStartSec=20\n")
    node.write("/etc/nodeward/agent.d/10-late.yaml", "looks: {first_within_s: 86400}\n")
    node.sh("systemctl daemon-reload; systemctl start --no-block nodeward-agent; sleep 25")
    state = "systemctl show nodeward-agent -p SubState,NRestarts,StatusText"
    assert set(node.sh(state).splitlines()) == {
        "SubState=start", "NRestarts=0", "StatusText=the first look is to come",
    }  # fmt: skip


def test_a_sealed_node_is_idle_and_then_a_node_of_its_own(served: Node) -> None:
    key = "sha256sum /var/lib/nodeward/identity/key"
    before = served.sh(key)
    served.sh("! nodeward seal; systemctl stop nodeward-agent; nodeward seal --hold")
    served.sh("! test -e /var/lib/nodeward/identity/key; systemctl start nodeward-agent")
    assert served.sh("systemctl is-active nodeward-agent || true").strip() == "inactive"
    served.sh("rm /etc/nodeward/sealed; systemctl start nodeward-agent")
    served.until(key)
    assert served.sh(key) != before
