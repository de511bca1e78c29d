"""The package's service asks a metadata endpoint with the rights that it has, and with more."""

import threading
from pathlib import Path

import pytest
import yaml

from imds_lab.imitators import Listener
from node import Node
from package.centre import Centre
from package.test_agent_service import centre, name, report_to

pytestmark = pytest.mark.root

__all__ = ["centre", "name"]  # fixtures

POD = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9"
MORE = """[Service]
AmbientCapabilities=CAP_SYS_ADMIN CAP_NET_ADMIN
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN
RestrictNamespaces=net
"""


@pytest.fixture
def imitator(tmp_path: Path) -> Listener:
    """A metadata service on loopback, which the node shares with the tests."""
    listener = Listener("aws-v1", "127.0.0.1:0", tmp_path / "requests")
    threading.Thread(target=listener.serve, daemon=True).start()
    return listener


def test_the_host_is_asked_with_the_shipped_rights_and_pods_with_two_more(
    node: Node, centre: Centre, name: str, imitator: Listener
) -> None:
    port = imitator.sock.getsockname()[1]
    settings = {"metadata": {"cloud": "aws", "endpoints": [f"aws-imds=127.0.0.1:{port}"]}}
    node.write("/etc/nodeward/agent.d/20-metadata.yaml", yaml.safe_dump(settings))
    slice_ = f"kubepods-besteffort-pod{POD}.slice"
    node.sh(f"systemd-run --quiet --slice={slice_} --unit=pod unshare --net sleep 600")
    node.until(f"systemctl status {slice_} | grep -q sleep")
    report_to(node, centre, name)
    assert "v1, without a token" in centre.until(name, "meta.host.reach", "fail")["because"]
    assert "needs CAP_SYS_ADMIN" in centre.until(name, "meta.pod.reach", "unknown")["because"]

    node.write("/etc/systemd/system/nodeward-agent.service.d/pods.conf", MORE)
    node.sh("systemctl daemon-reload; systemctl restart nodeward-agent")
    found = centre.until(name, "meta.pod.reach", "pass")
    assert "none of 1 pod network can use" in found["because"]
    assert centre.until(name, "agent.sandbox", "pass")
