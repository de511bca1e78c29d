"""A kubelet of no known version is judged by every merge rule that its environment allows."""

from __future__ import annotations

import pytest

from nodeward.checks import catalog
from nodeward.facts.kubelet import Kubelet, example
from nodeward.model import CheckId, Example, Status, Unreadable, Verdict, decide

HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
OFFLINE = Unreadable("ports", "offline")
WORDS = "--config=/c --config-dir=/d"


def judge(check: str, kubelet: Kubelet) -> Verdict:
    rule = catalog()[CheckId(check)]
    return decide(rule, Example(Status.PASS, (kubelet, OFFLINE)).readings(rule.needs))


def untold(config: str, dropin: str) -> Kubelet:
    return example(WORDS, config, {"1.conf": HEAD + dropin}, version=None, gate=True)


@pytest.mark.parametrize(
    ("check", "config", "dropin", "status"),
    [
        ("event-qps", "{}", "", Status.PASS),
        ("tls.ciphers", "tlsCipherSuites: [TLS_RSA_WITH_AES_128_CBC_SHA]", "tlsCipherSuites: []",
         Status.FAIL),
        ("authn.anonymous", "{}", "authentication: {anonymous: {enabled: true}}", Status.FAIL),
        ("authn.anonymous", "authentication: {anonymous: {enabled: true}}",
         "authentication: {anonymous: {enabled: false}}", Status.UNKNOWN),
        ("port.readonly", "readOnlyPort: 10255", "readOnlyPort: 0", Status.UNKNOWN),
    ],
)  # fmt: skip
def test_where_all_agree_that_is_the_verdict(
    check: str, config: str, dropin: str, status: Status
) -> None:
    verdict = judge(f"kubelet.{check}", untold(config, dropin))
    assert verdict.status is status, verdict.because
    assert "Unknown(" not in verdict.because
    if status is Status.UNKNOWN:
        assert "by the merge rules of 1.28" in verdict.because
        assert "the version of this kubelet is not known" in verdict.because


def test_what_all_agree_in_comes_from_where_today_has_it() -> None:
    verdict = judge("kubelet.image-gc", untold("{}", ""))
    assert verdict.status is Status.PASS
    assert "1.28" not in verdict.because
