"""Files with which no kubelet starts: what is in them is in force nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import HEAD, Host, Run
from nodeward.agent.scan import scan, select
from nodeward.facts.kubejson import parse_object
from nodeward.facts.kubelet import config_file, refused
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

CONFIG, DROPIN = "/var/lib/kubelet/config.yaml", "/d/1.conf"
WORDS = ("kubelet", f"--config={CONFIG}", "--config-dir=/d")
TYPE = '"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"'


def findings(config: str, folder: Path, dropin: str = HEAD) -> dict[str, Finding]:
    files = {CONFIG: config, DROPIN: dropin}
    host = Host(files, (Run("/opt/v1.36.2/kubelet", WORDS),))
    root = kubelet_hosts.build(host, folder / "host")
    found = scan(TreeHost(root), select(["kubelet.*"]), at=kubelet_hosts.BOOT + 3600).findings
    return {str(f.check): f for f in found}


@pytest.mark.parametrize(
    "text",
    [
        "authentication: [x]", "readOnlyPort: '0'", "readOnlyPort: 1.5", "readOnlyPort: 1e21",
        "readOnlyPort: 2147483648", "podPidsLimit: 9223372036854775808", "syncFrequency: 5x",
        "syncFrequency: ''", "featureGates: {NodeSwap: 1}", "registerWithTaints: {}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", [CONFIG, DROPIN])
def test_beside_a_value_of_a_wrong_type_nothing_is_judged(
    text: str, where: str, tmp_path: Path
) -> None:
    bad = f"{HEAD}{text}\n"
    found = findings(bad, tmp_path) if where == CONFIG else findings(HEAD, tmp_path, bad)
    assert found["kubelet.config.ignored-field"].status is Status.FAIL
    for check in ("authz.mode", "authn.anonymous", "event-qps", "port.readonly"):
        one = found[f"kubelet.{check}"]
        assert one.status is Status.UNKNOWN, one.because
        assert "no kubelet starts with it" in one.because


@pytest.mark.parametrize(
    "text", ["readOnlyPort: 1e4", "readOnlyPort: 10000.0", "podPidsLimit: 9e9"]
)
def test_a_whole_number_with_an_exponent_is_one(text: str, tmp_path: Path) -> None:
    found = findings(f"{HEAD}{text}\n", tmp_path)
    assert found["kubelet.config.ignored-field"].status is Status.PASS
    opened = text.startswith("readOnlyPort")
    readonly = found["kubelet.port.readonly"]
    assert readonly.status is (Status.FAIL if opened else Status.PASS)
    assert ("readOnlyPort is 10000" in readonly.because) is opened


def test_in_json_it_is_none(tmp_path: Path) -> None:
    found = findings(f'{{{TYPE}, "readOnlyPort": 1e4}}', tmp_path)
    assert found["kubelet.port.readonly"].status is Status.UNKNOWN
    assert found["kubelet.config.ignored-field"].status is Status.FAIL


def test_yaml_in_braces_is_no_json(tmp_path: Path) -> None:
    found = findings(f" {{{TYPE}, readOnlyPort: 0}}", tmp_path)
    assert found["kubelet.authn.anonymous"].status is Status.UNKNOWN
    assert "no JSON" in found["kubelet.authn.anonymous"].because
    assert (
        findings(f" {{{TYPE}}}\n", tmp_path / "x")["kubelet.authn.anonymous"].status is Status.PASS
    )


def test_an_object_that_json_names_twice_is_read_into_one(tmp_path: Path) -> None:
    twice = '"authentication": {"anonymous": {"enabled": true}}, "authentication": {"webhook": {}}'
    found = findings(f"{{{TYPE}, {twice}}}", tmp_path)
    assert found["kubelet.authn.anonymous"].status is Status.FAIL
    assert "put together" in found["kubelet.config.ignored-field"].because


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": {"b": 1, "c": 1}, "a": {"b": 2}}', {"a": {"b": 2, "c": 1}}),
        (b'{"a": {"b": 1}, "a": null}', {"a": {"b": 1}}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{\n\t"a":\t"\\/y"}\n', {"a": "/y"}),
    ],
)
def test_json_is_read_as_go_reads_it(text: bytes, value: object) -> None:
    assert parse_object(text, "f").value == value


@pytest.mark.parametrize(
    ("version", "starts"), [(28, True), (29, False), (31, False), (36, False), (None, True)]
)
def test_a_key_given_twice_in_a_drop_in_stops_a_kubelet_from_1_29_on(
    version: int | None, starts: bool
) -> None:
    raw = f"{HEAD}readOnlyPort: 10255\nreadOnlyPort: 0\n".encode()
    one = config_file("/d/1.conf", raw, dropin=True)
    assert (refused(one, version, True) == "") is starts
    assert refused(config_file("/c", raw), version, True) == ""


def test_and_so_does_one_that_a_merge_has_given(tmp_path: Path) -> None:
    merged = "authentication:\n  anonymous: {<<: &x {enabled: true}, enabled: false}\n"
    found = findings(HEAD, tmp_path, HEAD + merged)
    assert found["kubelet.authn.anonymous"].status is Status.UNKNOWN
    assert "no kubelet starts with it" in found["kubelet.config.ignored-field"].because


def test_a_merge_after_its_own_key_wins(tmp_path: Path) -> None:
    merged = "x: &open {enabled: true}\nauthentication:\n  anonymous:\n    enabled: false\n"
    found = findings(f"{HEAD}{merged}    <<: *open\n", tmp_path)
    assert found["kubelet.authn.anonymous"].status is Status.FAIL
