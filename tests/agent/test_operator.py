"""What an operator does by hand: doctor, seal, config check, npd-check."""

from __future__ import annotations

import json
import os
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from child import as_nobody
from nodeward.agent.clock import moment
from nodeward.agent.config import Config, SpoolBounds, from_tree
from nodeward.agent.doctor import examine
from nodeward.agent.identity import Identity
from nodeward.agent.locks import RESIDENT, locked, take
from nodeward.agent.seal import BusyError, seal
from nodeward.agent.session import Session
from nodeward.agent.sign import Health, Sign
from nodeward.agent.spool import Spool
from nodeward.agent.status_names import METRICS_FILE, STATUS_FILE
from nodeward.cli.main import cli
from nodeward.cli.npd_check import short
from nodeward.facts.agent import SCHEMA, Agent, Sandbox, Spending, Standing, Watch
from readme import block


def run(*args: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, args, env=environment, standalone_mode=False)


def config(tmp_path: Path, **more: Any) -> Config:
    tree = {"state_dir": str(tmp_path / "state"), "run_dir": str(tmp_path / "run"), **more}
    return from_tree(tree, {})


def signs(settings: Config, what: str) -> list[Sign]:
    return [sign for sign in examine(settings) if sign.what == what]


def test_doctor_reaches_the_collector_through_the_pinned_authority(
    tmp_path: Path, authority: Callable[[str], Any], serve: Any, new_stand: Any
) -> None:
    good, other = authority("good"), authority("other")
    served = serve(new_stand(), good.context)
    stand = next(served)
    found = [
        signs(config(tmp_path, collector={"urls": [stand.url], "ca": [str(ca.file)]}), "collector")[
            0
        ]
        for ca in (good, other)
    ]
    served.close()
    # A 501: the stand answers POST only. That it answered is what counts here.
    assert "CERTIFICATE_VERIFY_FAILED" not in found[0].seen
    assert found[1].health is Health.BAD
    assert found[1].advice.startswith("collector.ca does not hold")


ANSWERS: dict[str, tuple[int, bytes, Health, str]] = {
    "a collector": (200, b"ok\n", Health.GOOD, "ready"),
    "one that is not ready": (
        503, b'{"error": {"code": "database", "message": "the database does not answer"}}',
        Health.BAD, "the database does not answer"),
    "a page to log in at": (200, b"<html>log in</html>", Health.BAD, "not from a collector"),
    "a balancer": (502, b"", Health.BAD, "not from a collector"),
    "a way elsewhere": (302, b"", Health.BAD, "not from a collector"),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_doctor_knows_a_collector_from_what_answers_in_its_place(tmp_path: Path, case: str) -> None:
    status, content, health, seen = ANSWERS[case]

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        (sign,) = signs(config(tmp_path, collector={"urls": [url]}), "collector")
        server.shutdown()
    assert (sign.health, seen in sign.seen) == (health, True)


def test_doctor_says_what_to_do_about_a_collector_that_is_away(tmp_path: Path) -> None:
    away = config(tmp_path, collector={"urls": ["http://127.0.0.1:9"]})
    assert signs(away, "collector")[0].advice == "is it up, and may this node reach it?"


def test_doctor_tells_what_waits(tmp_path: Path) -> None:
    settings = config(tmp_path)
    spool = Spool(Path(settings.state_dir), SpoolBounds(), moment)
    spool.put({"node": "n"}, {"a": {"check": "a", "status": "pass", "severity": "low",
                                    "because": "x"}}, whole=True)  # fmt: skip
    spool.close()
    (sign,) = signs(settings, "spool")
    assert (sign.health, sign.seen.split(" of ")[0]) == (Health.GOOD, "1 reports")


def test_doctor_sees_a_state_folder_that_others_may_read(tmp_path: Path) -> None:
    settings = config(tmp_path)
    Path(settings.state_dir).mkdir(mode=0o755)
    assert signs(settings, "state")[0].advice == f"chmod 0700 {settings.state_dir}"


def test_doctor_survives_a_spool_that_is_none(tmp_path: Path) -> None:
    settings = config(tmp_path)
    Path(settings.state_dir).mkdir(mode=0o700)
    Path(settings.state_dir, "spool.db").write_bytes(b"x" * 5000)
    assert signs(settings, "spool")[0].health is Health.BAD


def status(settings: Config, at: float, **parts: Any) -> None:
    """What the running agent last said of itself."""
    agent = Agent(**parts)
    Path(settings.run_dir).mkdir(exist_ok=True)
    said = {"schema": SCHEMA, "at": at, **asdict(agent)}
    Path(settings.run_dir, STATUS_FILE).write_text(json.dumps(said))


SAID: dict[str, tuple[dict[str, Any], str, Health, str]] = {
    "watches": ({"watch": Watch(lost=("fs.inotify.max_user_watches is used up",))},
                "watches", Health.WORSE, "nodeward explain agent.watch.degraded"),
    "sandbox": ({"sandbox": Sandbox(hidden=("/usr/lib/modules",))},
                "sandbox", Health.BAD,
                "take out the option that hides it: InaccessiblePaths=, BindPaths=, ProcSubset="),
    "rights": ({"sandbox": Sandbox(missing=("CAP_SYS_PTRACE",))}, "rights", Health.WORSE,
               "run it as root, or give the unit AmbientCapabilities=CAP_SYS_PTRACE"),
    "namespaces": ({"sandbox": Sandbox(foreign=("net",))}, "namespaces", Health.WORSE,
                   "set hostNetwork: true"),
    "budget": ({"spending": Spending(throttled=True)},
               "budget", Health.WORSE, "nodeward explain agent.budget"),
    "conflict": ({"standing": Standing(conflict="403 other-node")},
                 "identity", Health.BAD, "nodeward explain agent.identity.conflict"),
    "stranger": ({"standing": Standing()}, "identity", Health.WORSE,
                 "a join token is needed, see below"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_doctor_passes_on_what_the_agent_says_of_itself(tmp_path: Path, case: str) -> None:
    parts, what, health, advice = SAID[case]
    settings = config(tmp_path)
    status(settings, time.time(), **parts)
    assert (health, advice) in [(sign.health, sign.advice) for sign in signs(settings, what)]


def test_doctor_tells_an_agent_that_stands_still_from_a_clock_that_was_set_back(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path)
    found = []
    for age in (0, 10_000, -10_000):
        status(settings, time.time() - age)
        found += [s for s in examine(settings) if s.what in ("daemon", "clock")]
    assert [(s.what, s.health) for s in found] == [
        ("daemon", Health.GOOD), ("daemon", Health.BAD), ("clock", Health.WORSE),
    ]  # fmt: skip


@pytest.mark.parametrize(("ahead_s", "health"), [(0, Health.GOOD), (900, Health.WORSE)])
def test_doctor_compares_the_clock_with_the_collectors(
    tmp_path: Path, stand: Any, monkeypatch: pytest.MonkeyPatch, ahead_s: int, health: Health
) -> None:
    ours = SimpleNamespace(time=lambda: time.time() + ahead_s)
    monkeypatch.setattr("nodeward.agent.reach.time", ours)
    (sign,) = signs(config(tmp_path, collector={"urls": [stand.url]}), "clock")
    assert sign.health is health


def test_doctor_says_which_namespaces_are_not_the_hosts(tmp_path: Path) -> None:
    links = tmp_path / "host/proc/1/ns"
    links.mkdir(parents=True)
    (links / "net").symlink_to("net:[1]")
    (links / "pid").symlink_to(os.readlink("/proc/self/ns/pid"))
    found = signs(config(tmp_path, host_root=str(tmp_path / "host")), "namespaces")
    assert [(s.seen, s.advice) for s in found] == [
        ("net: not the host's for us", "set hostNetwork: true")
    ]


@pytest.mark.root
def test_doctor_says_which_rights_are_missing(tmp_path: Path) -> None:
    def claim() -> None:
        advice = signs(config(tmp_path), "rights")[0].advice
        assert "AmbientCapabilities=CAP_DAC_READ_SEARCH CAP_SYS_PTRACE" in advice

    as_nobody(claim)


def test_the_bundle_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(
        f"state_dir: {tmp_path}/state\nrun_dir: {tmp_path}/run\n"
        "collector: {proxy: 'http://user:hunter2@proxy:3128'}\n"
    )
    identity = Identity(tmp_path / "state/identity", "m")
    seed = json.loads((tmp_path / "state/identity/key").read_text())["seed"]
    identity.keep_session(Session("a", "s", "c2Vzc2lvbiBrZXk=", "b", 1e9))
    bundle = tmp_path / "b.tar.gz"
    run("doctor", "--config", str(tmp_path / "agent.yaml"), "--bundle", str(bundle))
    with tarfile.open(bundle) as tar:
        texts = {name: tar.extractfile(name).read().decode() for name in tar.getnames()}  # type: ignore[union-attr]
    assert {"nodeward/doctor.json", "nodeward/surroundings.json", "nodeward/config.json"} <= set(
        texts
    )
    for text in texts.values():
        assert seed not in text
        assert "c2Vzc2lvbiBrZXk=" not in text
        assert "hunter2" not in text
    assert bundle.stat().st_mode & 0o777 == 0o600


def test_a_bundle_takes_the_place_of_a_file_that_others_may_read(tmp_path: Path) -> None:
    bundle, file = tmp_path / "bundle.tar.gz", tmp_path / "agent.yaml"
    bundle.write_text("old")
    bundle.chmod(0o644)
    file.write_text(f"state_dir: {tmp_path}/state\n")
    run("doctor", "--config", str(file), "--bundle", str(bundle))
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert tarfile.is_tarfile(bundle)


@pytest.mark.parametrize(
    ("days", "health"), [(400, Health.GOOD), (10, Health.WORSE), (-1, Health.BAD)]
)
def test_doctor_says_until_when_an_authority_is_trusted(
    tmp_path: Path, days: int, health: Health
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=100)).not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path / "ca.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    (sign,) = signs(config(tmp_path, collector={"ca": [str(file)]}), "TLS")
    assert sign.health is health


@pytest.mark.parametrize("content", [None, b"", b"hello", b"-----BEGIN CERTIFICATE-----\n"])
def test_doctor_says_that_a_ca_file_is_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    away = config(tmp_path, collector={"urls": ["https://127.0.0.1:9"], "ca": [str(file)]})
    (sign,) = signs(away, "TLS")
    assert (sign.health, sign.advice) == (Health.BAD, "set collector.ca")


def test_doctor_tells_a_proxy_that_is_away_from_a_collector(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        collector={"urls": ["https://127.0.0.1:9"], "proxy": "http://u:hunter2@127.0.0.1:9"},
    )
    (sign,) = signs(settings, "collector")
    assert sign.advice == "is the proxy 127.0.0.1 up, and may it go there?"
    assert "hunter2" not in sign.seen


def test_doctor_misses_the_metrics_of_a_service_that_may_not_write_them(tmp_path: Path) -> None:
    settings = config(tmp_path, metrics={"textfile": str(tmp_path)})
    (sign,) = signs(settings, "metrics")
    assert "is not there" in sign.seen
    assert "ReadWritePaths=" in sign.advice
    (tmp_path / METRICS_FILE).touch()
    (sign,) = signs(settings, "metrics")
    assert sign.health is Health.GOOD


def test_seal_wipes_what_is_the_node_s_own_and_nothing_else(tmp_path: Path) -> None:
    state = tmp_path / "var/lib/nodeward"
    Spool(state, SpoolBounds(), moment).close()
    Identity(state / "identity", "m")
    (state / "spool.db.corrupt").touch()
    (state / "kept").touch()
    (tmp_path / "run/nodeward").mkdir(parents=True)
    (tmp_path / "run/nodeward/agent.json").touch()
    seal(tmp_path, "/var/lib/nodeward", "/run/nodeward", hold=False)
    assert [path.name for path in state.iterdir()] == ["kept"]
    assert not list((tmp_path / "run/nodeward").iterdir())
    assert not (tmp_path / "etc/nodeward/sealed").exists()


def test_seal_says_when_there_was_nothing(tmp_path: Path) -> None:
    (tmp_path / "var/lib/nodeward").mkdir(parents=True)
    assert seal(tmp_path, "/var/lib/nodeward", "/run/nodeward", hold=False) == []
    assert not list((tmp_path / "var/lib/nodeward").iterdir())


def test_seal_can_hold_the_service_back(tmp_path: Path) -> None:
    seal(tmp_path, "/var/lib/nodeward", "/run/nodeward", hold=True)
    assert (tmp_path / "etc/nodeward/sealed").exists()


def test_seal_refuses_while_a_worker_or_an_agent_is_there(tmp_path: Path) -> None:
    state = tmp_path / "state"
    Spool(state, SpoolBounds(), moment).close()
    with locked(state), pytest.raises(BusyError):
        seal(tmp_path, "/state", "/run", hold=False)
    held = take(state, RESIDENT, shared=True)
    with pytest.raises(BusyError):
        seal(tmp_path, "/state", "/run", hold=False)
    assert (state / "spool.db").exists()
    os.close(held)
    seal(tmp_path, "/state", "/run", hold=False)
    assert not list(state.iterdir())


@pytest.mark.parametrize("link", ["var", "var/lib", "var/lib/nodeward", "etc", "etc/nodeward"])
def test_seal_of_an_image_follows_no_link_out_of_it(tmp_path: Path, link: str) -> None:
    """In the image the link leads to a folder of the image; we have one of that name too."""
    image, ours = tmp_path / "image", tmp_path / "ours"
    theirs = image / str(ours).lstrip("/")
    for name in ("var/lib/nodeward", "etc/nodeward"):
        led = name.startswith(link)
        for there in (ours, theirs) if led else (image,):
            folder = there / (Path(name).relative_to(link) if led else name)
            folder.mkdir(parents=True)
            (folder / "spool.db").touch()
    (image / link).parent.mkdir(parents=True, exist_ok=True)
    (image / link).symlink_to(ours)
    before = sorted(ours.rglob("*"))
    removed = seal(image, "/var/lib/nodeward", "/run/nodeward", hold=True)
    assert "spool.db" in {path.name for path in removed}
    assert sorted(ours.rglob("*")) == before
    assert len(list(image.rglob("sealed"))) == 1


def test_config_check_names_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("nod: a\nlooks: {interval_s: x}\n")
    result = run("config", "check", str(file))
    assert result.exception is not None
    assert "looks.interval_s: must be a number" in result.output + str(result.exception)
    file.write_text("node: a\n")
    assert run("config", "check", str(file)).exception is None


WRONG = {
    'node: "a/b\\n"': "node must be a host's name",
    "collector: {ca: [/nope.pem]}": "collector.ca: /nope.pem: No such file",
    "collector: {ca: [/dev/null]}": "collector.ca: /dev/null holds no certificate",
}


@pytest.mark.parametrize("text", WRONG)
def test_config_check_sees_what_no_collector_will_take(tmp_path: Path, text: str) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    result = run("config", "check", str(file))
    assert WRONG[text] in result.output + str(result.exception)


def test_config_check_does_not_wait_for_a_fifo(tmp_path: Path) -> None:
    folder = tmp_path / "agent.d"
    folder.mkdir()
    os.mkfifo(folder / "x.yaml")
    file = tmp_path / "agent.yaml"
    file.write_text("node: a\n")
    result = run("config", "check", str(file))
    assert "x.yaml: not a regular file" in result.output + str(result.exception)


def test_a_check_as_a_plugin_of_node_problem_detector(tmp_path: Path) -> None:
    """Statuses 0, 1 and 2, and one line of at most 80 characters."""
    status = tmp_path / "run/nodeward/agent.json"
    status.parent.mkdir(parents=True)
    found = []
    for lost in ([], ["x" * 200]):
        status.write_text(json.dumps({"schema": "nodeward.agent/v1", "watch": {"lost": lost}}))
        found.append(run("npd-check", "agent.watch.degraded", NODEWARD_HOST_ROOT=str(tmp_path)))
    status.write_text("{")
    found.append(run("npd-check", "agent.watch.degraded", NODEWARD_HOST_ROOT=str(tmp_path)))
    assert [result.return_value for result in found] == [0, 1, 2]
    assert all(len(r.stdout.splitlines()) == 1 for r in found)
    assert all(len(r.stdout.strip()) <= 80 for r in found)


def test_the_detectors_configuration_in_the_document_is_one_that_it_takes() -> None:
    """By Validate() of its pkg/custompluginmonitor/types/config.go."""
    written = json.loads(block("docs/agent.md", "## Node-problem-detector", "json"))
    assert written["plugin"] == "custom"
    preset = {c["type"] for c in written["conditions"] if c["reason"] and c["message"]}
    for rule in written["rules"]:
        assert rule["type"] == "temporary" or rule["condition"] in preset
        verb, check = rule["args"]
        assert verb == "npd-check"
        assert run("explain", check).exception is None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_detector_gets_what_it_shows_whole(text: str) -> None:
    shown = short(text).encode()
    assert len(shown) <= 80
    assert shown.decode().removesuffix("...") == text[: len(shown.decode().removesuffix("..."))]


def test_the_plugin_takes_one_check() -> None:
    assert run("npd-check", "agent.*").exception is not None
