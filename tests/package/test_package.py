"""The Debian package on a node that has booted: what it brings, and what it leaves."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from node import ROOT, Node

pytestmark = pytest.mark.root

UNITS = ("nodeward-agent.service", "nodeward-scan.service", "nodeward-scan.timer")
COLLECTOR = "/etc/systemd/system/nodeward-collector.service"  # no part of the package
# Tenths of systemd-analyze's points; a unit without any sandbox has 96.
MOST_EXPOSED = {"nodeward-agent.service": 26, "nodeward-scan.service": 26, COLLECTOR: 20}

FILES = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log \
  -o -path /var/lib/dpkg -o -path /var/cache -o -path /var/lib/systemd \) -prune -o \
  -not -name __pycache__ -not -name '*.pyc' -not -name '*-' -print | sort
"""


def test_an_installed_agent_is_idle_until_it_is_configured(node: Node) -> None:
    state = node.sh("systemctl show nodeward-agent -p ActiveState,ConditionResult,UnitFileState")
    assert sorted(state.split()) == [
        "ActiveState=inactive",
        "ConditionResult=no",
        "UnitFileState=enabled",
    ]
    assert "inactive" in node.sh("systemctl is-active nodeward-scan.timer || true")


def test_systemd_has_nothing_to_say_about_the_units(node: Node) -> None:
    node.write(COLLECTOR, (ROOT / "systemd/nodeward-collector.service").read_text())
    for unit in (*UNITS, COLLECTOR):
        done = node.run("systemd-analyze", "verify", "--man=no", unit)
        assert (done.stdout, done.stderr) == ("", "")
    for drop_in in sorted((ROOT / "systemd" / "drop-ins").iterdir()):
        node.write(f"/etc/systemd/system/nodeward-agent.service.d/{drop_in.name}",
                   drop_in.read_text())  # fmt: skip
    done = node.run("systemd-analyze", "verify", "--man=no", "nodeward-agent.service")
    assert (done.stdout, done.stderr) == ("", "")


def test_the_sandboxes_are_tight(node: Node) -> None:
    node.write(COLLECTOR, (ROOT / "systemd/nodeward-collector.service").read_text())
    node.sh("systemctl daemon-reload")
    for unit, limit in MOST_EXPOSED.items():
        name = unit.rpartition("/")[2]
        node.run("systemd-analyze", "security", "--no-pager", f"--threshold={limit}", name)


def test_secrets_and_state_are_closed_to_others(node: Node) -> None:
    found = node.sh("stat -c '%a %U %n' /etc/nodeward/* /var/lib/nodeward")
    assert found.splitlines() == [
        "755 root /etc/nodeward/agent.d",
        "644 root /etc/nodeward/agent.yaml",
        "700 root /etc/nodeward/credentials",
        "700 nodeward /var/lib/nodeward",
    ]


def test_kernel_modules_are_seen_from_inside_the_sandbox(node: Node) -> None:
    """ProtectKernelModules=yes would show an empty folder: every module would seem unloadable."""
    node.write("/usr/lib/modules/6.1.0-1-test/modules.dep", "")
    for unit in ("nodeward-agent", "nodeward-scan"):
        node.write(
            f"/etc/systemd/system/{unit}.service.d/look.conf",
            "[Unit]\nConditionPathExistsGlob=\n[Service]\nType=oneshot\nWatchdogSec=0\n"
            "ExecStart=\nExecStart=ls /usr/lib/modules\nSyslogIdentifier=looker\n",
        )
        node.sh(f"systemctl daemon-reload; systemctl start {unit}")
        assert "6.1.0-1-test" in node.sh(
            f"journalctl --sync; journalctl -t looker -u {unit} -o cat"
        )


KEPT = """\
import json, sqlite3
db = sqlite3.connect("/var/lib/nodeward/spool.db")
for check, finding in db.execute("SELECT check_id, finding FROM latest"):
    print(check, json.loads(finding)["status"])
"""


# Some kernels that run tests have no modules at all, so nothing is asked of them here.
HIDDEN = {
    "ProtectKernelModules=yes": ("/usr/lib/modules", "agent.sandbox", "fail"),
    "InaccessiblePaths=/etc/kubernetes": ("/etc/kubernetes", "cert.ca-key-on-node", "unknown"),
    "TemporaryFileSystem=/var/lib/kubelet": (
        "/var/lib/kubelet", "kubelet.authn.anonymous", "unknown"),
    "BindReadOnlyPaths=/srv:/opt": ("/opt", "agent.sandbox", "fail"),
    "ProcSubset=pid": ("/proc/*", "kernel.module.autoload-switch", "unknown"),
}  # fmt: skip


def test_what_a_drop_in_hides_is_unknown_and_the_agent_says_why(node: Node) -> None:
    """The trap: options that rate better, and under which what is judged seems not to be there."""
    node.sh("/opt/kubelet.sh /opt; /opt/hardened.sh")
    node.sh("mkdir -p /usr/lib/modules/$(uname -r)/kernel; depmod")
    node.write(
        "/etc/systemd/system/nodeward-agent.service.d/tighter.conf",
        "[Service]\n" + "\n".join(HIDDEN) + "\n",
    )
    node.write("/etc/nodeward/agent.d/10-here.yaml", "cluster: test\n")
    node.sh("systemctl daemon-reload; systemctl start nodeward-agent")
    status = dict(line.split(" ") for line in node.run("python3", "-c", KEPT).stdout.splitlines())
    said = node.run("nodeward", "doctor", check=False).stdout
    for path, check, wanted in HIDDEN.values():
        assert status[check] == wanted, check
        assert f"{path} is hidden from the agent" in said


def test_rights_in_a_user_namespace_are_none_on_the_host(node: Node) -> None:
    node.write(
        "/etc/systemd/system/nodeward-agent.service.d/users.conf", "[Service]\nPrivateUsers=yes\n"
    )
    node.write("/etc/nodeward/agent.d/10-here.yaml", "cluster: test\n")
    node.sh("systemctl daemon-reload; systemctl start nodeward-agent")
    assert "agent.sandbox fail" in node.run("python3", "-c", KEPT).stdout.splitlines()
    said = node.run("nodeward", "doctor", check=False).stdout
    assert "user: not the host's for the agent" in said
    assert "not held by the agent: CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE" in said


def test_the_shipped_sandbox_hides_nothing_and_wants_no_folder_of_credentials(node: Node) -> None:
    node.write("/etc/nodeward/agent.d/10-here.yaml", "cluster: test\n")
    node.sh("rm -r /etc/nodeward/credentials; systemctl start nodeward-agent")
    assert "agent.sandbox pass" in node.run("python3", "-c", KEPT).stdout.splitlines()


ENTER = """\
import os
from nodeward.host import rights
fd = os.open(open("/run/pod").read().strip(), os.O_RDONLY)
rights.enter_network(fd)
rights.drop_all()
print("inside", os.listdir("/proc/self/net").count("tcp"), len(open("/proc/net/dev").readlines()))
"""


@pytest.mark.parametrize("drop_in", [True, False])
def test_the_networks_of_pods_can_be_entered_with_the_drop_in_and_not_without(
    node: Node, drop_in: bool
) -> None:
    folder = "/etc/systemd/system/nodeward-agent.service.d"
    if drop_in:
        node.sh(f"mkdir -p {folder}; cp /usr/share/nodeward/drop-ins/50-netns.conf {folder}")
    node.sh(
        "systemd-run -q --unit=pod unshare --net sleep 300;"
        "echo /proc/$(systemctl show pod -p MainPID --value)/ns/net >/run/pod; chmod 644 /run/pod"
    )
    node.write("/srv/enter.py", ENTER)
    node.write(
        f"{folder}/look.conf",
        "[Unit]\nConditionPathExistsGlob=\n[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\n"
        "ExecStart=\nExecStart=/usr/bin/python3 -I /srv/enter.py\nSyslogIdentifier=looker\n",
    )
    node.sh(
        "chmod 755 /srv; chmod 644 /srv/enter.py;"
        "systemctl daemon-reload; systemctl start nodeward-agent || :"
    )
    said = node.sh("journalctl --sync; journalctl -t looker -o cat")
    # Two lines of heading and one interface: the network of `unshare` has nothing but lo.
    assert ("inside 1 3" in said) is drop_in, said


def test_metrics_reach_the_folder_of_node_exporter_with_the_drop_in(node: Node) -> None:
    folder = "/var/lib/prometheus/node-exporter"
    drop_ins = "/etc/systemd/system/nodeward-agent.service.d"
    node.write("/etc/nodeward/agent.d/10-metrics.yaml", f"metrics: {{textfile: {folder}}}\n")
    node.sh(
        f"mkdir -p {folder} {drop_ins}; chgrp nodeward {folder}; chmod g+w {folder};"
        "systemctl start nodeward-agent"
    )
    node.until("journalctl --sync; journalctl -u nodeward-agent | grep -q 'could not be written'")
    assert "nodeward.prom is not there" in node.run("nodeward", "doctor", check=False).stdout
    node.sh(
        f"cp /usr/share/nodeward/drop-ins/50-textfile.conf {drop_ins};"
        "systemctl daemon-reload; systemctl restart nodeward-agent"
    )
    assert "nodeward_findings" in node.sh(f"cat {folder}/nodeward.prom")


def test_one_look_without_a_daemon_goes_to_the_journal(node: Node) -> None:
    node.sh("systemctl start nodeward-scan")
    lines = node.sh("journalctl --sync; journalctl -t nodeward-scan --no-pager -o cat").splitlines()
    judged = [json.loads(line)["check"] for line in lines if line.startswith("{")]
    checks = json.loads(node.sh("nodeward checks -o json"))["checks"]
    assert sorted(judged) == sorted(check["id"] for check in checks)


def test_every_verb_has_a_page_and_completion_knows_the_verbs(node: Node) -> None:
    pages = node.sh("ls /usr/share/man/man1 | grep nodeward").split()
    assert {"nodeward.1.gz", "nodeward-scan.1.gz", "nodeward-explain.1.gz"} <= set(pages)
    offered = node.sh(
        "_NODEWARD_COMPLETE=bash_complete COMP_WORDS='nodeward sc' COMP_CWORD=1 nodeward"
    )
    assert offered.split() == ["plain,scan"]


def test_the_bill_of_materials_names_what_the_package_depends_on(deb: Path) -> None:
    text = deb.with_suffix(".cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    bill = json.loads(text)
    assert bill["metadata"]["component"]["name"] == "nodeward"
    named = {part["name"] for part in bill["components"]}
    assert {"python3", "python3-psutil", "python3-cryptography", "python3-yaml"} <= named


def test_removal_keeps_what_purge_takes(bare_node: Node, deb: Path) -> None:
    bare_node.sh("mkdir -p /var/lib/prometheus/node-exporter")
    before = bare_node.sh(FILES)
    bare_node.sh(f"dpkg -i /mnt/{deb.name}")
    bare_node.write("/etc/nodeward/agent.d/10.yaml", "collector: {}\n")
    bare_node.write("/var/lib/nodeward/spool.db", "")
    drop_ins, metrics = (
        "/etc/systemd/system/nodeward-agent.service.d", "/var/lib/prometheus/node-exporter"
    )  # fmt: skip
    bare_node.sh(
        f"mkdir {drop_ins}; cp /usr/share/nodeward/drop-ins/* {drop_ins}; mkdir -p {metrics};"
        f"echo >{metrics}/nodeward.prom; systemctl enable --now nodeward-scan.timer"
    )
    bare_node.sh("nodeward version; dpkg -r nodeward")
    assert "nodeward" not in bare_node.sh("systemctl list-units --all --failed --plain")
    bare_node.sh(f"! test -e {metrics}/nodeward.prom")
    bare_node.sh("test -e /var/lib/nodeward/spool.db && test -e /etc/nodeward/agent.d/10.yaml")
    bare_node.sh("dpkg -P nodeward")
    assert bare_node.sh(FILES) == before
    assert "nodeward" not in bare_node.sh("cat /etc/passwd /etc/group")
