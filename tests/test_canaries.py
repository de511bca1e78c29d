"""No secret of a node is ever shown: in no form of a report, no recording, no log, no spool, and
no answer of the collector."""

import json
from pathlib import Path

import pytest

import canaries
import kubeadm_tree
from canaries import Canaries
from centre import Centre
from daemon import Daemon
from nodeward.checks import catalog
from program import nodeward, nodeward_on_terminal

NOW = ("--at", kubeadm_tree.NOW)
FORMS = ("table", "json", "ndjson", "junit", "sarif")


@pytest.fixture(scope="module", params=["whole", "spoiled"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Canaries:
    """The node as it is, and with each file broken right behind its secret."""
    found = canaries.plant(kubeadm_tree.build(tmp_path_factory.mktemp("node") / "root"))
    if request.param == "spoiled":
        canaries.spoil(found)
    return found


def test_there_are_secrets_enough_and_each_is_there_to_be_found(planted: Canaries) -> None:
    assert len(planted.texts) >= 40
    everything = b"".join(
        p.read_bytes() for p in planted.root.rglob("*") if p.is_file() and not p.is_symlink()
    )
    hidden = {"DER", "registry login", "key in a kubeconfig"}  # in binary, in base64
    assert set(planted.found_in(everything)) >= set(planted.texts) - hidden


@pytest.mark.parametrize("form", FORMS)
def test_no_report_shows_one(planted: Canaries, form: str) -> None:
    said = nodeward("scan", "--root", planted.root, "-o", form, *NOW)
    assert said.code == 0, said.err
    assert planted.found_in(said.out + said.err) == []


def test_no_page_on_a_terminal_shows_one(planted: Canaries) -> None:
    said = nodeward_on_terminal("scan", "--root", planted.root, *NOW, columns=500)
    assert planted.found_in(said.out) == []
    assert "error" not in said.out.splitlines()[-2]


def test_a_scan_of_the_mounted_host_shows_none(planted: Canaries) -> None:
    """As in a pod: the host's files at a folder, its processes through psutil."""
    (planted.root / "proc/self").mkdir(exist_ok=True)
    said = nodeward("scan", "-o", "json", env={"NODEWARD_HOST_ROOT": str(planted.root)})
    assert said.code == 0, said.err
    assert planted.found_in(said.out + said.err) == []


def test_no_recording_holds_one(planted: Canaries, tmp_path: Path) -> None:
    file = tmp_path / "recording"
    said = nodeward("record", file, "--root", planted.root)
    assert said.code == 0, said.err
    assert planted.found_in(file.read_bytes()) == []
    assert planted.found_in(said.err) == []


def test_no_explanation_shows_one(planted: Canaries) -> None:
    """Those that read most; each goes through the same door as the report."""
    for check in ("kernel.module.sctp", "kubelet.authn.anonymous"):
        assert check in catalog()
        said = nodeward("explain", check, "--root", planted.root)
        assert planted.found_in(said.out + said.err) == []


def test_no_spool_no_log_and_no_answer_of_the_collector_holds_one(tmp_path: Path) -> None:
    """The whole way: the daemon looks, keeps and sends; people ask the collector for all it has."""
    centre = Centre(tmp_path / "centre")
    (tmp_path / "agent").mkdir()
    daemon = Daemon(tmp_path / "agent", centre.url)
    planted = canaries.plant(daemon.root)
    try:
        centre.start()
        daemon.token = centre.manage("token", "create", "--cluster", "default", "--node", "n1")
        daemon.ca = centre.ca
        daemon.configure()
        daemon.start()
        centre.until(lambda: centre.status() is not None)
        daemon.set_anonymous(True)
        centre.until(lambda: "fail" in centre.changes())
        kinds = ("nodes", "findings", "changes", "checks", "agents", "clusters")
        answers = {kind: json.dumps(centre.rows(kind)) for kind in kinds}
    finally:
        daemon.close()
        centre.stop()
    assert [kind for kind, text in answers.items() if planted.found_in(text)] == []
    assert len(json.loads(answers["findings"])) == len(catalog())
    written = [p for p in tmp_path.rglob("*") if p.is_file() and daemon.root not in p.parents]
    assert {"spool.db", "log"} <= {p.name for p in written}
    assert [p.name for p in written if planted.found_in(p.read_bytes())] == []
