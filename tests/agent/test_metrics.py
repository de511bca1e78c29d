"""What Prometheus reads."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import promtool
from nodeward.agent.metrics import exposition
from nodeward.agent.spool import Tally
from nodeward.facts.agent import Agent
from nodeward.facts.pki_metrics import CertificateRow

CERTIFICATES = [CertificateRow("apiserver", '/etc/"x"\\', 1, 1826856000)]
TALLY = Tally("b", 9, 7, 2, 512, 3, 0, 0)


def test_promtool_has_nothing_to_say() -> None:
    posture = {"a.b": {"status": "fail", "severity": "high"}}
    text = exposition(Agent(), TALLY, posture, CERTIFICATES, 1795320000.1)
    promtool.said_nothing("metrics", text)
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert (family.type == "counter") == family.name.endswith("dropped")


FINDING = st.fixed_dictionaries(
    {"status": st.sampled_from(["pass", "fail", "unknown"]), "severity": st.just("high")}
)


@given(st.dictionaries(st.text(min_size=1, max_size=6), FINDING, max_size=4))
def test_every_check_is_one_series_whatever_its_name(posture: dict[str, Any]) -> None:
    text = exposition(Agent(), TALLY, posture, CERTIFICATES, 1.5)
    families = {f.name: f for f in text_string_to_metric_families(text)}
    shown = {s.labels["check"]: s.labels["status"] for s in families["nodeward_check_info"].samples}
    assert shown == {check: finding["status"] for check, finding in posture.items()}
    assert families["nodeward_spool_dropped"].samples[0].value == 3
    (ends,) = families["nodeward_certificate_not_after_timestamp_seconds"].samples
    assert (ends.labels["path"], ends.value) == ('/etc/"x"\\', 1826856000)
