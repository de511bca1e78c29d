"""What Prometheus reads."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import promtool
from nodeward.agent.metrics import exposition
from nodeward.agent.spool import Tally
from nodeward.facts.agent import Agent, Kept
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


def test_a_name_that_is_no_text_is_shown_as_in_findings() -> None:
    """A byte that is no UTF-8 is a lone surrogate in our strings, which no encoder takes."""
    rows = [CertificateRow("etcd-server", "/tmp/c\udcff.crt", 1, 1826856000)]
    text = exposition(Agent(), TALLY, {}, rows, 1.5).encode().decode()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    (ends,) = families["nodeward_certificate_not_after_timestamp_seconds"].samples
    assert ends.labels["path"] == r"/tmp/c\xff.crt"


def test_of_a_spool_that_cannot_be_asked_nothing_is_said() -> None:
    text = exposition(Agent(kept=Kept(failing="disk full")), TALLY, {}, CERTIFICATES, 1.5)
    names = {f.name: f for f in text_string_to_metric_families(text)}
    assert names["nodeward_spool_failing"].samples[0].value == 1
    assert "nodeward_spool_reports" not in names


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
