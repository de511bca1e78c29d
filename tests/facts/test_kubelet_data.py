"""The tables about kubelets agree with each other, and the small parsers beside them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet_scenarios import DATA
from nodeward.checks.kubelet_differences import differences
from nodeward.facts.errors import ParseError
from nodeward.facts.kubelet import Kubelet, Launch, assemble, config_file
from nodeward.facts.kubelet_answers import KubeletAnswers
from nodeward.facts.kubelet_defaults import DEFAULTS, LEGACY, VALUES, defaults
from nodeward.facts.kubelet_fields import FIELDS, Holds, faults
from nodeward.facts.kubelet_files import READ, WRITE, leaks
from nodeward.facts.kubelet_flags import FIELDS as FLAG_FIELDS
from nodeward.facts.kubelet_limits import parse_swaps
from nodeward.facts.kubelet_releases import END_OF_LIFE, GATES, stage
from nodeward.facts.kubelet_strength import STRONGER
from nodeward.facts.local_addresses import parse_fib_trie, parse_if_inet6
from nodeward.facts.pflags import Kind
from nodeward.facts.pki import Folder, Guard


def test_every_table_speaks_of_fields_that_exist() -> None:
    assert set(DEFAULTS) | set(LEGACY) | VALUES | set(STRONGER) <= set(FIELDS)
    assert {path for path, _ in FLAG_FIELDS.values()} <= set(FIELDS)


def test_a_flag_holds_what_its_field_holds() -> None:
    kinds = {
        Kind.BOOL: {Holds.BOOL},
        Kind.INT: {Holds.NUMBER},
        Kind.TEXT: {Holds.TEXT, Holds.DURATION},
        Kind.LIST: {Holds.LIST},
        Kind.MAP: {Holds.MAP},
        Kind.GATES: {Holds.MAP},
    }
    wrong = [f for f, (path, kind) in FLAG_FIELDS.items() if FIELDS[path].holds not in kinds[kind]]
    assert not wrong


def test_a_default_is_of_its_fields_type() -> None:
    for path, rows in DEFAULTS.items():
        value = {}
        for _, default in rows:
            value = default
            for key in reversed(path.split(".")):
                value = {key: value}
            assert not [f for f in faults(value, None) if f.fatal], path


def test_one_default_for_a_known_version_and_all_for_an_unknown_one() -> None:
    assert defaults("eventRecordQPS", 26) == ((0, 5),)
    assert defaults("eventRecordQPS", 99) == ((27, 50),)
    assert len(defaults("eventRecordQPS", None)) == 2
    assert defaults("no.such", 30) == ((0, None),)


def test_gates_grow_up_in_order_and_releases_end_in_order() -> None:
    for gate in GATES.values():
        ages = [a for a in (gate.alpha, gate.beta, gate.stable) if a is not None]
        assert ages == sorted(ages)
    assert list(END_OF_LIFE.values()) == sorted(END_OF_LIFE.values())
    assert [stage(GATES["KubeletFineGrainedAuthz"], m) for m in (31, 32, 33, 36)] == [
        "", "alpha", "beta", "stable",
    ]  # fmt: skip


def test_a_gate_that_is_gone_is_told_for_the_releases_that_had_it() -> None:
    assert [stage(GATES["TopologyManager"], m) for m in (25, 26, 27, 28, 29)] == [
        "beta", "beta", "stable", "stable", "",
    ]  # fmt: skip
    assert [stage(GATES["UserNamespacesStatelessPodsSupport"], m) for m in (25, 27, 28)] == [
        "alpha", "alpha", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"readonlyPort": 0}, "did you mean readOnlyPort?"),
        ({"authentication": {"anonymus": {}}}, "did you mean anonymous?"),
        ({"anonymous": {"enabled": False}}, "is no field"),
        ({"authentication": True}, "is no branch"),
        ({"maxPods": "110"}, "is no number"),
        ({"maxPods": True}, "is no number"),
        ({"tlsCurvePreferences": []}, "came with 1.36"),
    ],
)
def test_what_is_wrong_with_a_key_is_told(value: dict[str, object], said: str) -> None:
    assert said in "; ".join(f.why for f in faults(value, 35))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.dictionaries(st.sampled_from(["authentication", "anonymous", "x", ""]), inner)
            | st.lists(inner, max_size=2)
        ),
        max_leaves=8,
    )
)
def test_faults_are_found_in_anything(value: object) -> None:
    if isinstance(value, dict):
        list(faults(value, 36))


ROOT = Folder("/", 0o40755, 0, 0)


def guard(
    mode: int, *folders: Folder, uid: int = 0, gid: int = 0, acl: tuple[str, ...] = ()
) -> Guard:
    return Guard(0o100000 | mode, uid, gid, 0.0, acl, (*folders, ROOT))


@pytest.mark.parametrize(
    ("of", "what"),
    [
        (guard(0o600), []),
        (guard(0o640), []),  # the group is root's
        (guard(0o640, gid=7), [READ]),
        (guard(0o660, gid=7), [WRITE]),
        (guard(0o644), [READ]),
        (guard(0o602), [WRITE]),
        (guard(0o666), [WRITE]),
        (guard(0o600, uid=7), [WRITE]),
        (guard(0o666, Folder("/a", 0o40750, 0, 7)), []),
        (guard(0o660, Folder("/a", 0o40750, 0, 7), gid=7), [WRITE]),
        (guard(0o660, Folder("/a", 0o40700, 0, 7), gid=7), []),
        (guard(0o600, Folder("/tmp", 0o41777, 0, 0)), []),  # sticky
        (guard(0o600, Folder("/a", 0o40777, 0, 0)), [WRITE]),
        (guard(0o600, Folder("/a/b", 0o40777, 0, 0), Folder("/a", 0o40700, 0, 0)), []),
        (guard(0o600, Folder("/a", 0o40770, 0, 0, ("user 7: rwx",))), [WRITE]),
        (guard(0o600, Folder("/tmp", 0o41770, 0, 0, ("user 7: rwx",))), []),
        (replace(guard(0o600), ways=(Folder("/a", 0o40777, 0, 0),)), [WRITE]),
        (replace(guard(0o600), ways=(Folder("/tmp", 0o41777, 0, 0),)), []),
        (replace(guard(0o600), ways=(Folder("/tmp/a", 0o120777, 7, 0),)), [WRITE]),
        (guard(0o600, acl=("user 7: rw-",)), [WRITE]),
        (guard(0o600, acl=("user 7: r--",)), [READ]),
    ],
)
def test_what_others_than_root_may_do(of: Guard, what: list[str]) -> None:
    assert sorted({leak.what for leak in leaks(of, owners=True)}) == what or (
        what == [WRITE] and next(leaks(of, owners=True)).what == WRITE
    )


def test_owners_that_mean_nothing_are_not_judged() -> None:
    assert not list(leaks(guard(0o660, uid=7, gid=7), owners=False))


FIB = b"""Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
           |-- 10.0.0.5
              /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
     |-- 8.8.4.4
        /32 host LOCAL
Local:
     |-- 10.0.0.5
        /32 host LOCAL
"""


def test_local_addresses_are_those_that_the_kernel_calls_local() -> None:
    assert parse_fib_trie(FIB) == ("10.0.0.5", "8.8.4.4")
    raw = (
        b"fe800000000000000000000000000001 02 40 20 80     eth0\n"
        + b"0" * 31
        + b"1 01 80 10 80 lo\n"
    )
    assert parse_if_inet6(raw) == ("fe80::1", "::1")


HEADING = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def test_swaps_are_read_by_column() -> None:
    rows = parse_swaps(HEADING + b"/dev/dm-1 partition 1 0 -2\n/swap\\040file file 1 0 -3\n")
    assert [(r.path, r.kind) for r in rows] == [
        ("/dev/dm-1", "partition"),
        ("/swap\\040file", "file"),
    ]
    assert parse_swaps(HEADING) == ()


WORD = st.sampled_from(
    [b"/dev/sda", b"file", b"1", b"\n", b" ", b"\xff", b"", b"fe80", b"|-- 1.2.3.4"]
)


@given(st.lists(WORD, max_size=12).map(b" ".join))
def test_bad_tables_are_parse_errors_and_nothing_else(raw: bytes) -> None:
    for parse in (parse_swaps, parse_if_inet6, parse_fib_trie):
        with contextlib.suppress(ParseError):
            parse(raw)


def recorded(place: Path) -> Kubelet:
    """The kubelet that a recording's arguments and file make."""
    file = place / "config.yaml"
    files = [config_file(str(file), file.read_bytes())] if file.exists() else []
    argv = tuple((place / "cmdline.args.txt").read_text().splitlines())
    return assemble(Launch(argv, "pid 1", 1, "/usr/bin/kubelet", 1.0, "v1.36.2"), files)


@pytest.mark.parametrize("scenario", ["open", "noconfig", "flags-open"])
def test_what_a_recorded_kubelet_says_of_itself_is_what_we_compute(scenario: str) -> None:
    """/configz of a real kubelet, with all that it spells otherwise or fills in."""
    place = DATA / scenario
    kubelet = recorded(place)
    configz = json.loads((place / "anonymous" / "configz.body").read_text())["kubeletconfig"]
    assert list(differences(kubelet, KubeletAnswers(configz=configz))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [("authorization.mode", "Webhook"), ("tlsMinVersion", "VersionTLS10"), ("maxPods", 250),
     ("tlsCipherSuites", ["TLS_RSA_WITH_RC4_128_SHA"]), ("featureGates", {"NodeLogQuery": True}),
     ("streamingConnectionIdleTimeout", "1h0m0s"), ("staticPodPath", "/elsewhere"),
     ("authentication.x509.clientCAFile", "/other.crt")],
)  # fmt: skip
def test_a_field_that_the_kubelet_says_otherwise_is_told(path: str, value: object) -> None:
    place = DATA / "open"
    configz = json.loads((place / "anonymous" / "configz.body").read_text())["kubeletconfig"]
    *parents, last = path.split(".")
    node = configz
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    (found,) = differences(recorded(place), KubeletAnswers(configz=configz))
    assert (found.what, found.source) == (path, "GET /configz")


@pytest.mark.parametrize("scenario", ["open", "noconfig", "flags-open"])
def test_no_key_that_a_real_kubelet_shows_of_itself_is_unknown(scenario: str) -> None:
    place = DATA / scenario / "anonymous" / "configz.body"
    assert list(faults(json.loads(place.read_text())["kubeletconfig"], 36)) == []


WRONG = {
    "registerWithTaints: [{key: a, effect: NoSchedule}, {key: b, efect: X}]": (
        "registerWithTaints.1.efect", "is no field; did you mean effect?", False),
    "logging: {verbosity: 2, vmodule: [{filepattern: a}]}": (
        "logging.vmodule.0.filepattern", "is no field; did you mean filePattern?", False),
    "tracing: {endpoints: x}": (
        "tracing.endpoints", "is no field; did you mean endpoint?", False),
    "featureGates: {NodeSwap: 'true'}": ("featureGates.NodeSwap", "is no bool", True),
    "systemReserved: {cpu: 1}": ("systemReserved.cpu", "is no text", True),
    "clusterDNS: [10]": ("clusterDNS.0", "is no text", True),
}  # fmt: skip


@pytest.mark.parametrize("raw", WRONG)
def test_keys_inside_lists_maps_and_sections_are_known(raw: str) -> None:
    (found,) = faults(config_file("/c", raw.encode()).mapping, 36)
    assert (found.path, found.why, found.fatal) == WRONG[raw]
