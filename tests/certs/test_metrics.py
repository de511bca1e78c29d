"""One line for each certificate in use, and none that comes and goes with a rotation."""

from dataclasses import replace
from pathlib import Path

from certificate_maker import DAY, NOW
from nodeward.agent.runner import Looker
from nodeward.checks.cert_samples import certificate as sample
from nodeward.checks.cert_samples import place, together
from nodeward.facts.pki import Pki
from nodeward.facts.pki_metrics import CertificateRow, certificate_rows
from nodeward.host import TreeHost
from nodeward.model import Seen
from pki_node import NAME, PkiNode, client, server


def rows(root: Path) -> dict[tuple[str, str], CertificateRow]:
    reading = Looker(TreeHost(root)).look(Pki)
    assert isinstance(reading, Seen)
    assert isinstance(reading.fact, Pki)
    found = certificate_rows(reading.fact)
    assert list(found) == sorted(found, key=lambda r: (r.component, r.path))
    return {(r.component, r.path): r for r in found}


def test_every_component_has_a_line(tmp_path: Path) -> None:
    found = rows(PkiNode(tmp_path / "root").build().root)
    names = {component for component, _ in found}
    assert names >= {"apiserver", "etcd-peer", "kubelet-client", "scheduler", "cluster-ca"}
    api = found["apiserver", "/etc/kubernetes/pki/apiserver.crt"]
    assert api.not_after == (NOW + 335 * DAY).timestamp()


def test_a_rotation_moves_a_line_and_adds_none(tmp_path: Path) -> None:
    node = PkiNode(tmp_path / "root").build()
    before = rows(node.root)
    lives = {"not_before": NOW - DAY, "not_after": NOW + 364 * DAY}
    node.kubelet(client(NAME, "system:nodes", **lives), server(NAME, **lives))
    after = rows(node.root)
    assert before.keys() == after.keys()
    current = ("kubelet-client", "/var/lib/kubelet/pki/kubelet-client-current.pem")
    assert after[current].not_after == (NOW + 364 * DAY).timestamp()
    assert replace(after[current], not_before=0, not_after=0) == replace(
        before[current], not_before=0, not_after=0
    )


def test_a_container_that_starts_anew_keeps_its_line() -> None:
    """Its root has another number then."""
    one = sample(age=30, left=335)
    found = [
        certificate_rows(together(place("etcd-server", f"/proc/{pid}/root/certs/x.crt", one)))
        for pid in (812, 977)
    ]
    assert found[0] == found[1]
    assert found[0][0].path == "/certs/x.crt"
