"""What an operator does by hand: doctor, seal, config check, npd-check."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nodeward.agent.clock import moment
from nodeward.agent.config import Config, SpoolBounds, from_tree
from nodeward.agent.doctor import Health, Sign, examine
from nodeward.agent.identity import Identity
from nodeward.agent.seal import BusyError, seal
from nodeward.agent.spool import Spool, locked
from nodeward.cli.main import cli


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


def test_the_bundle_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(
        f"state_dir: {tmp_path}/state\nrun_dir: {tmp_path}/run\n"
        "collector: {proxy: 'http://user:hunter2@proxy:3128'}\n"
    )
    Identity(tmp_path / "state/identity", "m")
    seed = json.loads((tmp_path / "state/identity/key").read_text())["seed"]
    bundle = tmp_path / "b.tar.gz"
    run("doctor", "--config", str(tmp_path / "agent.yaml"), "--bundle", str(bundle))
    with tarfile.open(bundle) as tar:
        texts = {name: tar.extractfile(name).read().decode() for name in tar.getnames()}  # type: ignore[union-attr]
    assert {"nodeward/doctor.json", "nodeward/surroundings.json", "nodeward/config.json"} <= set(
        texts
    )
    for text in texts.values():
        assert seed not in text
        assert "hunter2" not in text
    assert bundle.stat().st_mode & 0o777 == 0o600


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


def test_seal_can_hold_the_service_back(tmp_path: Path) -> None:
    seal(tmp_path, "/var/lib/nodeward", "/run/nodeward", hold=True)
    assert (tmp_path / "etc/nodeward/sealed").exists()


def test_seal_refuses_while_the_agent_works(tmp_path: Path) -> None:
    state = tmp_path / "state"
    Spool(state, SpoolBounds(), moment).close()
    with locked(state), pytest.raises(BusyError):
        seal(tmp_path, "/state", "/run", hold=False)
    assert (state / "spool.db").exists()


def test_config_check_names_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("nod: a\nlooks: {interval_s: x}\n")
    result = run("config", "check", str(file))
    assert result.exception is not None
    assert "looks.interval_s: must be a number" in result.output + str(result.exception)
    file.write_text("node: a\n")
    assert run("config", "check", str(file)).exception is None


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


def test_the_plugin_takes_one_check() -> None:
    assert run("npd-check", "agent.*").exception is not None
