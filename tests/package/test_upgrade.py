"""From a build before to this one and back, on a node whose agent is at work."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from node import ROOT, Node
from package import builds
from package.centre import Centre
from package.test_agent_service import KUBELET, PID, centre, name, report_to

pytestmark = pytest.mark.root

__all__ = ["centre", "name"]  # fixtures

CONFFILE = "/etc/nodeward/agent.yaml"
EDIT = "\n# Ours.\nlooks: {interval_s: 240}\n"
AWAY = "/etc/nodeward/agent.d/20-away.yaml"
CHECK = "kubelet.authn.anonymous"
STATUS = "/run/nodeward/agent.json"
SENT = f"import json; assert json.load(open('{STATUS}'))['spool']['depth'] == 0"
KEEPS = f"""import json, sqlite3
db = sqlite3.connect("file:/var/lib/nodeward/spool.db?mode=ro", uri=True)
row = db.execute("SELECT finding FROM latest WHERE check_id = '{CHECK}'").fetchone()
assert json.loads(row[0])["status"] == "{{status}}"
"""
KEPT = (
    f"sha256sum {CONFFILE} /etc/nodeward/agent.d/*;"
    'grep -o \'"seed": "[^"]*\' /var/lib/nodeward/identity/key | sha256sum'
)


def test_an_upgrade_replaces_a_conffile_that_nobody_touched_and_leaves_the_agent_idle(
    bare_node: Node, deb: Path, older_deb: Path
) -> None:
    bare_node.sh(f"dpkg -i /media/{older_deb.name}")
    assert bare_node.sh(f"cat {CONFFILE}").startswith(builds.OLD_COMMENT)
    bare_node.sh(f"dpkg -i /mnt/{deb.name}")
    assert bare_node.sh(f"cat {CONFFILE}") == (ROOT / "packaging/deb/agent.yaml").read_text()
    assert bare_node.sh("ls /etc/nodeward").split() == ["agent.d", "agent.yaml", "credentials"]
    assert bare_node.sh("systemctl is-active nodeward-agent || :").strip() == "inactive"


@pytest.mark.parametrize("up", [True, False], ids=["upgrade", "downgrade"])
def test_what_waits_while_the_build_changes_still_arrives(
    bare_node: Node, centre: Centre, name: str, deb: Path, older_deb: Path, up: bool
) -> None:
    now, then = f"/mnt/{deb.name}", f"/media/{older_deb.name}"
    before, after = (then, now) if up else (now, then)
    _change_builds(bare_node, centre, name, before, after)
    assert bare_node.sh("nodeward version").strip() == ("0.1.0" if up else "0.0.9")


@pytest.mark.long
def test_a_build_of_some_time_ago_can_be_upgraded(
    bare_node: Node, centre: Centre, name: str, deb: Path, shelf: Path, tmp_path: Path
) -> None:
    """The last tag's, or that of a hundred commits ago."""
    ago = builds.some_time_ago()
    if ago is None:
        pytest.skip("this clone has no history")
    before = builds.of_commit(ago, tmp_path / "before")
    (shelf / before.name).write_bytes(before.read_bytes())
    _change_builds(bare_node, centre, name, f"/media/{before.name}", f"/mnt/{deb.name}")


def _change_builds(node: Node, centre: Centre, name: str, before: str, after: str) -> None:
    """Let changes wait for a collector that is away, go from one build to the other, and see that
    nothing of the operator's and nothing of the spool was lost."""
    node.sh(f"dpkg -i {before}; /opt/kubelet.sh /opt; /opt/hardened.sh")
    node.write(CONFFILE, node.sh(f"cat {CONFFILE}") + EDIT)
    report_to(node, centre, name)
    centre.until(name, CHECK, "pass")
    collector = {"urls": ["https://127.0.0.1:1"], "timeout_s": 1}
    node.write(AWAY, yaml.safe_dump({"collector": collector}))
    node.sh("systemctl reload nodeward-agent")
    node.until(
        "journalctl --sync; journalctl -u nodeward-agent | grep -q 'failed=https://127.0.0.1:1'"
    )
    for value, status in (("true", "fail"), ("false", "pass")):
        # In one step and with the old time: of a file that is newer than the kubelet nobody can
        # tell what is in force.
        node.sh(
            f"sed 's/anonymous: {{.*}}/anonymous: {{enabled: {value}}}/' {KUBELET} >{KUBELET}.new;"
            f" chmod --reference={KUBELET} {KUBELET}.new; touch -r {KUBELET} {KUBELET}.new;"
            f" mv {KUBELET}.new {KUBELET}"
        )
        node.until(f"python3 -c {shlex.quote(KEEPS.format(status=status))}")
    kept, process = node.sh(KEPT), node.sh(PID)
    boot = _spool(node)["boot"]

    node.sh("rm /etc/nodeward/credentials/join-token")
    node.sh(f"dpkg --force-confold -i {after}")
    node.until("systemctl is-active nodeward-agent")
    assert node.sh(PID) != process
    assert node.sh(KEPT) == kept

    node.sh(f"rm {AWAY}; systemctl restart nodeward-agent")
    node.until(f"python3 -c {shlex.quote(SENT)}", limit_s=120)
    changes = centre.client.items("/v1/changes", [("node", name), ("check", CHECK)])
    assert [change["new"]["status"] for change in changes] == ["pass", "fail"]
    spool = _spool(node)
    assert (spool["boot"], spool["dropped"], spool["set_aside"]) == (boot, 0, 0)


def _spool(node: Node) -> dict[str, int | str]:
    found: dict[str, int | str] = json.loads(node.sh(f"cat {STATUS}"))["spool"]
    return found
