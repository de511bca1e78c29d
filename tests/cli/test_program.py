"""The program from outside: what it prints where, its exit codes, its errors in one line."""

import json
import re
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import kubeadm_tree
from child import as_nobody, open_to_all
from nodeward.checks import catalog
from program import environment, nodeward, nodeward_on_terminal

NOW = ("--at", kubeadm_tree.NOW)


def one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.startswith("nodeward: ") and "Traceback" not in text


WRONG = {
    "no such verb": (["nosuch"], "No such command"),
    "no such option": (["scan", "--nosuch"], "No such option"),
    "no such check": (["scan", "--check", "no.such.*"], "no check matches 'no.such.*'"),
    "no such severity": (["scan", "--fail-on", "bad"], "'bad' is not one of"),
    "no time": (["scan", "--at", "yesterday"], "2026-11-22T04:00:00Z is one"),
    "a time out of range": (["scan", "--at", "0001-01-01T00:00:00+23:59"], "RFC 3339"),
    "no such tree": (["scan", "--root", "/no/such"], "does not exist"),
    "two hosts": (["scan", "--root", "/", "--replay", "/etc/hostname"], "exclude each other"),
    "no recording": (["scan", "--replay", "/etc/hostname"], "is no recording of nodeward"),
    "no exceptions": (["scan", "--accept", "/etc/hostname"], "must be a list"),
    "no check to explain": (["explain", "kubelet.anon"], "no check is called 'kubelet.anon'"),
    "nowhere to write": (["record", "/no/such/file"], "cannot write /no/such/file"),
    "no such shell": (["completion", "tcsh"], "'tcsh' is not one of"),
    "escapes": (["scan", "--check", "\x1b[31m"], "\\x1b[31m"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(name: str) -> None:
    args, why = WRONG[name]
    said = nodeward(*args)
    assert said.code == 2
    assert said.out == ""
    assert one_line(said.err), said.err
    assert why in said.err


def test_a_wrong_configuration_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("nonsense: 1\n")
    said = nodeward("scan", env={"NODEWARD_CONFIG": str(tmp_path / "agent.yaml")})
    assert said.code == 2
    assert one_line(said.err), said.err


def test_no_verb_shows_the_verbs() -> None:
    said = nodeward()
    assert said.code == 2
    assert "scan" in said.err + said.out
    assert "Traceback" not in said.err


def test_a_near_miss_is_helped() -> None:
    assert "did you mean kubelet.authn.anonymous?" in nodeward("explain", "kubelet.authn.anon").err


def test_the_json_is_the_contracts(kubeadm_root: Path) -> None:
    said = nodeward("scan", "--root", kubeadm_root, "-o", "json", *NOW)
    assert (said.code, said.err) == (0, "")
    data = json.loads(said.out)
    assert list(data) == [
        "schema", "node", "taken_at", "root", "live", "agent", "inventory", "summary", "findings",
    ]  # fmt: skip
    assert data["schema"] == "nodeward.scan/v1"
    assert data["node"] == "k8s-node1"
    assert data["taken_at"] == "2026-11-22T04:00:00.000Z"
    assert data["root"] == str(kubeadm_root)
    assert data["live"] is False
    assert list(data["agent"]) == ["version", "catalog"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", data["agent"]["catalog"])
    assert list(data["summary"]) == ["pass", "fail", "not-applicable", "unknown", "error"]
    assert sum(data["summary"].values()) == len(data["findings"]) == len(catalog())
    assert {f["check"] for f in data["findings"]} == set(catalog())
    for finding in data["findings"]:
        expected = {"check", "status", "severity", "because", "evidence", "mappings"}
        assert set(finding) - {"remedy"} == expected
        assert finding["because"]
        assert all(set(e) - {"row"} == {"what", "value", "source"} for e in finding["evidence"])
        assert finding["status"] != "fail" or set(finding["remedy"]) == {"text", "steps", "breaks"}


def test_the_recorded_node_is_judged_as_it_is(kubeadm_root: Path) -> None:
    said = nodeward("scan", "--root", kubeadm_root, "-o", "json", *NOW)
    status = {f["check"]: f["status"] for f in json.loads(said.out)["findings"]}
    assert json.loads(said.out)["inventory"]["roles"] == ["control-plane", "etcd"]
    assert json.loads(said.out)["inventory"]["distribution"] == "kubeadm"
    assert status["kubelet.authn.anonymous"] == "pass"
    assert status["kernel.module.dccp"] == "unknown"
    assert status["cert.expiry.apiserver"] == "pass"
    assert not [check for check, s in status.items() if s == "error"]


def test_ndjson_is_a_line_a_finding_that_stands_alone(kubeadm_root: Path) -> None:
    said = nodeward("scan", "--root", kubeadm_root, "-o", "ndjson", *NOW)
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert len(lines) == len(catalog())
    assert {line["node"] for line in lines} == {"k8s-node1"}
    assert {"taken_at", "check", "status"} <= set(lines[0])


def test_a_pipe_gets_plain_columns(kubeadm_root: Path) -> None:
    said = nodeward("scan", "--root", kubeadm_root, *NOW)
    assert "\x1b" not in said.out
    assert all(len(line.split("\t")) == 4 for line in said.out.splitlines())
    assert len(said.out.splitlines()) == len(catalog())


def test_a_terminal_gets_a_page_in_colour(kubeadm_root: Path) -> None:
    said = nodeward_on_terminal("scan", "--root", kubeadm_root, *NOW, columns=72)
    assert said.code == 0
    assert "\x1b[32m✓" in said.out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said.out)
    assert plain.startswith("k8s-node1 · ")
    whole = ("$ ", str(kubeadm_root))  # a command and a path are never broken
    lines = [line for line in plain.splitlines() if not any(w in line for w in whole)]
    assert [line for line in lines if len(line) > 72] == []


def test_no_color_and_force_color_are_honoured(kubeadm_root: Path) -> None:
    scan = ("scan", "--root", kubeadm_root, "--check", "kernel.*", *NOW)
    assert "\x1b" not in nodeward_on_terminal(*scan, env={"NO_COLOR": "1"}).out
    assert "\x1b" not in nodeward_on_terminal(*scan, env={"TERM": "dumb"}).out
    assert "\x1b" in nodeward_on_terminal(*scan, env={"NO_COLOR": ""}).out
    assert "\x1b" in nodeward(*scan, env={"FORCE_COLOR": "1"}).out
    assert "\x1b" not in nodeward(*scan, env={"FORCE_COLOR": "0"}).out
    assert "\x1b" not in nodeward(*scan, env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).out


def test_a_terminal_of_latin_letters_is_no_reason_to_stop(kubeadm_root: Path) -> None:
    said = nodeward_on_terminal(
        "scan", "--root", kubeadm_root, *NOW, env={"PYTHONIOENCODING": "latin-1", "NO_COLOR": "1"}
    )
    assert said.code == 0
    assert "+ kubelet.authn.anonymous" in said.out


def test_a_reader_that_goes_away_is_no_defect_and_no_pass(kubeadm_root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nodeward.cli", "scan", "--root", kubeadm_root, "-o", "json", *NOW],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


def test_an_ordinary_file_tree_is_no_node_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=debian\n")
    said = nodeward_on_terminal("scan", "--root", tmp_path, env={"NO_COLOR": "1"})
    assert "This host is not a Kubernetes node" in said.out


def test_a_defect_is_exit_code_70_and_names_a_file_without_values(tmp_path: Path) -> None:
    """A verb that breaks with a secret in its error."""
    code = (
        "import sys, nodeward.cli.main as m, nodeward.cli.version as v\n"
        "def broken(): raise KeyError('-'.join(('hunter2', 'canary')))\n"
        "v.command.callback = broken\n"
        "sys.argv = ['nodeward', 'version']\n"
        "m.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(TMPDIR=str(tmp_path)), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 70
    assert one_line(done.stderr), done.stderr
    (file,) = tmp_path.glob("nodeward-defect-*.txt")
    assert str(file) in done.stderr
    assert "KeyError" in file.read_text()
    assert "broken" in file.read_text()
    assert "hunter2-canary" not in file.read_text() + done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_recording_replays_to_the_same_report(kubeadm_root: Path, tmp_path: Path) -> None:
    file = tmp_path / "node.json"
    assert nodeward("record", file, "--root", kubeadm_root).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir() if p != kubeadm_root] == ["node.json"]
    first = json.loads(nodeward("scan", "--root", kubeadm_root, "-o", "json", *NOW).out)
    again = json.loads(nodeward("scan", "--replay", file, "-o", "json", *NOW).out)
    assert again == first


def test_a_recording_of_this_machine_replays_to_the_same_findings(tmp_path: Path) -> None:
    """Live: the recorded answers, sockets and processes included, are all that a scan needs."""
    file = tmp_path / "live.json"
    recorded = nodeward("record", file)
    assert recorded.code == 0, recorded.err
    data = json.loads(file.read_text())
    first = nodeward("scan", "--replay", file, "-o", "json")
    again = nodeward("scan", "--replay", file, "-o", "json")
    assert first.code == 0, first.err
    assert first.out == again.out
    assert json.loads(first.out)["taken_at"] == data["taken_at"]
    assert json.loads(first.out)["summary"]["error"] == 0
    assert "not in this recording" not in first.out


def test_a_live_scan_and_its_replay_find_the_same() -> None:
    """What was redacted decides nothing on this machine."""
    from nodeward.agent.scan import scan, select
    from nodeward.host import LiveHost, Recorder
    from nodeward.host.record import dump, load

    recorder = Recorder(LiveHost())
    at = time.time()
    first = scan(recorder, select(()), at=at)
    host, node, _ = load(dump(recorder, node=first.node, taken_at=first.taken_at))
    again = scan(host, select(()), at=at, node=node)
    assert again.findings == first.findings
    assert {**again.inventory, "machine_id": None} == {**first.inventory, "machine_id": None}


def test_a_recording_goes_to_a_pipe_too(kubeadm_root: Path) -> None:
    said = nodeward("record", "-", "--root", kubeadm_root, "--check", "kernel.module.dccp")
    assert json.loads(said.out)["schema"] == "nodeward.recording/v1"
    assert "read it before you share it" in said.err


def test_checks_are_listed_as_the_contract_says() -> None:
    data = json.loads(nodeward("checks", "-o", "json").out)
    assert data["schema"] == "nodeward.checks/v1"
    assert [c["id"] for c in data["checks"]] == list(catalog())
    assert list(data["checks"][0]) == ["id", "title", "severity", "why", "remedy", "mappings"]
    assert len(nodeward("checks").out.splitlines()) == len(catalog())
    assert [c["id"] for c in json.loads(nodeward("checks", "kernel.module.sctp", "-o", "json").out)[
        "checks"
    ]] == ["kernel.module.sctp"]  # fmt: skip


@pytest.mark.parametrize("check", sorted(catalog()))
def test_every_check_can_be_explained(check: str) -> None:
    """In one process for all: the pages are made of the same declarations."""
    from nodeward.cli.explain import command

    said = CliRunner().invoke(command, [check, "--no-look"], env={"FORCE_COLOR": "1"})
    assert said.exit_code == 0, said.output
    assert check in said.output
    assert "https://" in said.output


def test_explain_shows_what_can_be_set() -> None:
    said = nodeward("explain", "host.listeners", "--no-look").out
    assert "- `checks.host.listeners.more`: `[]`" in said
    assert "What can be set" not in nodeward("explain", "kernel.module.dccp", "--no-look").out


def test_explain_shows_this_host_and_where_it_was_read(kubeadm_root: Path) -> None:
    said = nodeward("explain", "kubelet.authn.anonymous", "--root", kubeadm_root)
    assert said.code == 0, said.err
    here = said.out[said.out.index("## In the tree at") :]
    assert "**pass**: " in here
    assert "- /var/lib/kubelet/config.yaml\n" in here
    assert "- /proc/PID/cmdline (7 times)\n" in here
    on_terminal = nodeward_on_terminal(
        "explain", "kubelet.authn.anonymous", "--root", kubeadm_root, columns=70
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal.out)
    assert "**" not in plain
    assert "| --- |" not in plain
    assert (
        max(
            map(
                len,
                (line for line in plain.splitlines() if not re.search(r"http|\$ |/kubeadm", line)),
            )
        )
        <= 70
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_and_checks(shell: str) -> None:
    assert "_NODEWARD_COMPLETE" in nodeward("completion", shell).out


def test_completion_offers_checks() -> None:
    said = nodeward(env={
        "_NODEWARD_COMPLETE": "bash_complete", "COMP_WORDS": "nodeward explain kernel.module.s",
        "COMP_CWORD": "2",
    })  # fmt: skip
    assert "kernel.module.sctp" in said.out
    verbs = nodeward(env={
        "_NODEWARD_COMPLETE": "bash_complete", "COMP_WORDS": "nodeward sc", "COMP_CWORD": "1",
    })  # fmt: skip
    assert verbs.out.strip() == "plain,scan"


def scanned(*args: str | Path) -> Result:
    """In this very process: an ordinary user may not be able to read our interpreter."""
    from nodeward.cli.scan import command

    return CliRunner().invoke(command, [*map(str, args)], standalone_mode=False)


@pytest.mark.root
def test_without_root_what_cannot_be_read_is_unknown_and_says_what_helps(
    kubeadm_root: Path,
) -> None:
    open_to_all(kubeadm_root)
    (kubeadm_root / "var/lib/kubelet/config.yaml").chmod(0o600)
    scan = ("--root", kubeadm_root, *NOW, "-o", "json")
    assert scanned(*scan).return_value == 0  # and all that it needs is imported

    def claim() -> None:
        said = scanned(*scan)
        assert said.return_value == 0, said.output
        data = json.loads(said.output)
        (finding,) = [f for f in data["findings"] if f["check"] == "kubelet.authn.anonymous"]
        assert finding["status"] == "unknown", finding
        assert "EACCES" in finding["because"]
        assert "root" in finding["remedy"]["text"]
        assert data["summary"]["error"] == 0
        assert scanned(*scan, "--strict").return_value == 3

    as_nobody(claim)


@pytest.mark.root
def test_without_root_this_machine_can_be_scanned() -> None:
    assert scanned("-o", "json").return_value == 0

    def claim() -> None:
        said = scanned("-o", "json")
        assert said.return_value == 0, said.output
        data = json.loads(said.output)
        assert data["summary"]["error"] == 0, said.output
        assert len(data["findings"]) == len(catalog())

    as_nobody(claim)


LIGHT = [["version"], ["--help"], ["scan", "--help"], ["completion", "bash"]]
HEAVY = {
    "asyncio", "cryptography", "jinja2", "msgspec", "nodeward.checks", "nodeward.collector",
    "nodeward.facts", "nodeward.probes", "psutil", "pyroute2", "requests", "sqlalchemy", "sqlite3",
    "starlette", "systemd", "uvicorn", "watchdog", "yaml",
}  # fmt: skip


@pytest.mark.parametrize("args", LIGHT, ids=" ".join)
def test_what_looks_at_nothing_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from nodeward.cli.main import main\n"
        "sys.argv = ['nodeward', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], env=environment(), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert not HEAVY & set(done.stderr.split())


def test_a_scan_of_an_idle_host_takes_a_moment() -> None:
    """The goal is a second on the wall, which benchmarks measure; the processor's time, which no
    other test can stretch, catches what goes badly wrong."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert nodeward("scan").code == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
