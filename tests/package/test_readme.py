"""README's ways onto a node and into an image, line by line as they stand there."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from node import Node
from package.centre import Centre
from package.test_agent_service import centre, name
from readme import block, commands

pytestmark = pytest.mark.root

__all__ = ["centre", "name"]  # fixtures


def test_the_package_is_installed_as_the_readme_says_and_the_agent_reports(
    bare_node: Node, deb: Path, centre: Centre, name: str
) -> None:
    lines = commands("README.md", "**On a node, as a Debian package**")
    assert len(lines) <= 5
    assert lines.pop(0) == "script/deb"  # the fixture
    settings = yaml.safe_load(block("docs/deb.md", "`join-token` is what", "yaml"))
    settings |= {"cluster": "test", "node": name}
    settings["collector"]["urls"] = [centre.url]
    bare_node.write("/root/nodeward/10-collector.yaml", yaml.safe_dump(settings))
    bare_node.write("/root/nodeward/join-token", centre.join_token(name))
    bare_node.write("/root/nodeward/collector-ca.pem", centre.ca)
    bare_node.sh(f"cd /root/nodeward; mkdir dist; cp /mnt/{deb.name} dist")
    bare_node.sh("cd /root/nodeward\n" + "\n".join(lines))
    centre.until(name, "agent.sandbox", "pass")


@pytest.mark.parametrize("profile", ["hardened", "mis-hardened"])
def test_an_image_is_baked_as_the_readme_says_unless_it_is_bad(
    bare_node: Node, deb: Path, profile: str
) -> None:
    lines = commands("README.md", "**In a node image**")
    assert len(lines) <= 5
    bare_node.sh(f"/opt/kubelet.sh /opt; /opt/{profile}.sh; cd /root; cp /mnt/{deb.name} .")
    done = bare_node.run("sh", "-ec", "cd /root\n" + "\n".join(lines), check=False)
    assert done.returncode == (0 if profile == "hardened" else 1), done.stdout + done.stderr
    report = ElementTree.fromstring(bare_node.sh("cat /root/nodeward.xml"))
    failed = {
        case.get("name") for case in report.iter("testcase") if case.find("failure") is not None
    }
    assert ("kubelet.authn.anonymous" in failed) is (profile == "mis-hardened")
    assert bare_node.sh("ls /var/lib/nodeward").strip() == ""
