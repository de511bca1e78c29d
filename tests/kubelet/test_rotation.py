"""The two checks that speak of a stalled rotation say the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeward.checks.cert_expiry import ExpiryLimits
from nodeward.checks.cert_rotation import rotation_stalled
from nodeward.checks.cert_samples import NOW, certificate, pki
from nodeward.checks.kubelet_tls import CURRENT, rotate_client
from nodeward.facts.kubeconfig import ComponentKubeconfigs, Kubeconfig, User
from nodeward.facts.kubelet import example
from nodeward.facts.pki import ComponentPki
from nodeward.model import Absent

KUBELET = example("--config=/c --kubeconfig=/k.conf", "rotateCertificates: true")
CONFIGS = ComponentKubeconfigs(
    (Kubeconfig("/k.conf", users=(User("node", certificate_file=CURRENT),)),)
)


@given(st.integers(0, 400), st.integers(-40, 365), st.floats(0.1, 0.99))
def test_both_say_the_same(age: int, left: int, stalled: float) -> None:
    node = pki("kubelet-client", CURRENT, certificate(age=age, left=left))
    limits = ExpiryLimits(stalled=stalled)
    own = ComponentPki(node.pems, node.uses, node.distribution)
    ours = rotate_client(KUBELET, Absent("ports"), CONFIGS, own, NOW, limits)
    theirs = rotation_stalled(node, NOW, limits)
    assert ours.status == theirs.status
    assert theirs.because.split(": ", 1)[-1] in f"{ours.because} {ours.evidence}"
