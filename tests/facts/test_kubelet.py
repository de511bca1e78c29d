"""The configuration in force: of all sources the strongest wins, in every order."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.facts.kubelet import Setting, Unknown, example
from nodeward.facts.kubelet_merge import Layer, Rules, rules_for

HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
ANONYMOUS = "authentication.anonymous.enabled"
FIELDS = {
    "readOnlyPort": ("--read-only-port={}", "readOnlyPort: {}"),
    "authentication.anonymous.enabled": (
        "--anonymous-auth={}", "authentication: {{anonymous: {{enabled: {}}}}}",
    ),
    "authorization.mode": ("--authorization-mode={}", "authorization: {{mode: {}}}"),
    "protectKernelDefaults": ("--protect-kernel-defaults={}", "protectKernelDefaults: {}"),
}  # fmt: skip
VALUES = {
    "readOnlyPort": st.sampled_from([0, 10255, 10300]),
    "authentication.anonymous.enabled": st.booleans(),
    "authorization.mode": st.sampled_from(["Webhook", "AlwaysAllow"]),
    "protectKernelDefaults": st.booleans(),
}


def text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


FILE_DEFAULT: dict[str, object] = {
    "readOnlyPort": 0,
    "authentication.anonymous.enabled": False,
    "authorization.mode": "Webhook",
    "protectKernelDefaults": False,
}
FLAG_DEFAULT = FILE_DEFAULT | {
    "readOnlyPort": 10255,
    "authentication.anonymous.enabled": True,
    "authorization.mode": "AlwaysAllow",
}
DROPINS = ("10.conf", "15.conf", "20.conf")
OTHER = "15.conf"
VERSIONS = ("v1.28.4", "v1.30.1", "v1.31.2", "v1.32.0", "v1.36.2")


@st.composite
def sources(draw: st.DrawFn) -> tuple[str, dict[str, object], list[str]]:
    """A field, what some of the sources say of it, and the arguments in any order. Of a flag that
    is given twice "flag" is the last; without "file" in it the kubelet may have no --config.
    15.conf speaks of another field."""
    path = draw(st.sampled_from(sorted(FIELDS)))
    names = draw(st.sets(st.sampled_from(["file", *DROPINS, "flag"])))
    said: dict[str, object] = {
        name: None if name == OTHER else draw(VALUES[path]) for name in sorted(names)
    }
    words = ["--config-dir=/d", "--v=2"]
    if "file" in said or draw(st.booleans()):
        words.append("--config=/c")
    if "flag" in said:
        words.append(FIELDS[path][0].format(text(said["flag"])))
    words = draw(st.permutations(words))
    if "flag" in said and draw(st.booleans()):
        words.insert(0, FIELDS[path][0].format(text(draw(VALUES[path]))))
    return path, said, words


def strongest(
    path: str, said: dict[str, object], *, has_config: bool, rules: Rules
) -> tuple[object, str]:
    """What must be in force, and the name of who says so, told source by source."""
    if "flag" in said:
        return said["flag"], FIELDS[path][0].partition("=")[0]
    default = FILE_DEFAULT[path]
    value, who = (default, "default") if has_config else (FLAG_DEFAULT[path], "default")
    if "file" in said:
        value, who = said["file"], "config.yaml"
    for name in sorted(n for n in said if n.endswith(".conf")):
        found = default if name == OTHER else said[name]  # which 1.28 fills in
        if found if rules is Rules.MERGO else name != OTHER:
            value, who = found, name
    return value, who


@given(sources(), st.sampled_from(VERSIONS))
def test_the_strongest_source_wins(
    given_: tuple[str, dict[str, object], list[str]], version: str
) -> None:
    path, said, words = given_
    setting, rules = _in_force(path, said, words, version)
    wanted, who = strongest(path, said, has_config="--config=/c" in words, rules=rules[0])
    assert setting.value == wanted
    assert who in setting.source


@given(sources())
def test_of_an_unknown_version_it_is_what_every_generation_gives(
    given_: tuple[str, dict[str, object], list[str]],
) -> None:
    path, said, words = given_
    setting, rules = _in_force(path, said, words, None)
    has_config = "--config=/c" in words
    every = [strongest(path, said, has_config=has_config, rules=r)[0] for r in rules]
    if len(set(every)) == 1:
        assert setting.value == every[0]
    else:
        assert isinstance(setting.value, Unknown)
        assert set(setting.value.among) == set(every)


def _in_force(
    path: str, said: dict[str, object], words: list[str], version: str | None
) -> tuple[Setting, tuple[Rules, ...]]:
    line = FIELDS[path][1]
    config = None
    if "--config=/c" in words:
        config = line.format(text(said["file"])) if "file" in said else "{}"
    dropins = {
        name: HEAD + ("maxPods: 7" if name == OTHER else line.format(text(said[name])))
        for name in sorted(said)
        if name in DROPINS
    }
    found = example(" ".join(words), config, dropins, version=version, gate=True)
    return found.get(path), rules_for(found.minor, True)


@pytest.mark.parametrize(
    "order", list(permutations(["--v=2", "--anonymous-auth=true", "--port=1"]))
)
def test_the_order_of_different_flags_does_not_matter(order: tuple[str, ...]) -> None:
    found = example(" ".join(order))
    assert found.get("authentication.anonymous.enabled").value is True
    assert found.get("port").value == 1


def test_gates_are_merged_key_by_key_and_the_flag_wins() -> None:
    found = example(
        "--config=/c --feature-gates=A=true,B=false --feature-gates=C=true",
        "featureGates: {A: false, D: true}",
    )
    assert found.get("featureGates").value == {"A": True, "B": False, "C": True, "D": True}


def test_lists_by_flag_replace_those_of_the_file() -> None:
    found = example(
        "--config=/c --tls-cipher-suites=A,B --tls-cipher-suites=C", "tlsCipherSuites: [D]"
    )
    assert found.get("tlsCipherSuites").value == ["A", "B", "C"]


DROPIN = {"1.conf": "authentication: {anonymous: {enabled: false}}\nresolvConf: /x\nmaxPods: 7"}
OPEN = "authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}\nresolvConf: /y"


@pytest.mark.parametrize(
    ("version", "anonymous", "webhook", "resolv"),
    [
        ("v1.28.4", True, True, "/x"),  # false does not override, a default does
        ("v1.30.4", False, False, "/y"),  # resolvConf has another name inside
        ("v1.32.4", False, False, "/x"),
    ],
)
def test_three_generations_of_merging(
    version: str, anonymous: bool, webhook: bool, resolv: str
) -> None:
    found = example("--config=/c --config-dir=/d", OPEN, DROPIN, version=version, gate=True)
    assert found.get("authentication.anonymous.enabled").value is anonymous
    assert found.get("authentication.webhook.enabled").value is webhook
    assert found.get("resolvConf").value == resolv
    assert found.get("maxPods").value == 7


def test_null_deletes_only_by_the_rules_of_today() -> None:
    dropin = {"1.conf": "readOnlyPort: null"}
    for version, value in (("v1.30.0", 10255), ("v1.32.0", 0)):
        found = example(
            "--config=/c --config-dir=/d", "readOnlyPort: 10255", dropin, version=version
        )
        assert found.get("readOnlyPort").value == value


def test_an_unknown_version_is_judged_by_every_rule_that_may_apply() -> None:
    assert rules_for(None, None) == tuple(Rules)
    assert rules_for(None, False) == (Rules.INTERNAL, Rules.PATCH)  # 1.28 refuses without its gate
    found = example("--config=/c --config-dir=/d", OPEN, DROPIN, version=None, gate=True)
    value = found.get("authentication.anonymous.enabled").value
    assert isinstance(value, Unknown)
    assert "the merge rules of 1.28" in value.why
    assert found.get("maxPods").value == 7  # all agree


def test_before_the_file_the_legacy_defaults_and_after_it_its_own() -> None:
    bare, filed = example("--v=1"), example("--config=/c", "{}")
    assert bare.get("readOnlyPort").layer is Layer.LEGACY
    assert filed.get("readOnlyPort").layer is Layer.DEFAULT
    assert (bare.get("readOnlyPort").value, filed.get("readOnlyPort").value) == (10255, 0)


def test_a_null_in_a_drop_in_takes_a_legacy_default_away() -> None:
    """The merge comes before defaulting, which then gives the file's default."""
    found = example("--config-dir=/d", None, {"1.conf": HEAD + "readOnlyPort: null"})
    assert found.get("readOnlyPort").value == 0


def test_a_zero_in_the_file_is_filled_with_the_default_where_the_field_is_no_pointer() -> None:
    found = example("--config=/c", "healthzPort: 0\nstreamingConnectionIdleTimeout: 0s\nport: 0")
    assert found.get("healthzPort").value == 0
    assert found.get("streamingConnectionIdleTimeout").value == "4h"
    assert found.get("port").value == 10250


def test_a_default_that_changed_needs_the_version() -> None:
    values = [example("--config=/c", "{}", version=v).get("eventRecordQPS").value
              for v in ("v1.26.9", "v1.27.0", "v1.40.0")]  # fmt: skip
    assert values == [5, 50, 50]
    assert isinstance(
        example("--config=/c", "{}", version=None).get("eventRecordQPS").value, Unknown
    )


def test_what_cannot_be_read_hides_all_but_the_flags() -> None:
    found = example("--config=/c --read-only-port=0", "a: [")
    assert found.get("readOnlyPort").value == 0
    assert isinstance(found.get("authorization.mode").value, Unknown)


def test_a_value_where_a_mapping_belongs_is_unknown_below_it() -> None:
    found = example("--config=/c", "authentication: true")
    assert isinstance(found.get("authentication.anonymous.enabled").value, Unknown)


def test_from_1_29_to_1_31_drop_ins_patch_each_other_whatever_the_case() -> None:
    dropins = {"1.conf": "ReadOnlyPort: 10255", "2.conf": "maxPods: 5", "3.conf": "maxPods: null"}
    found = example("--config=/c --config-dir=/d", "maxPods: 9", dropins, version="v1.30.0")
    assert found.get("readOnlyPort").value == 10255
    assert found.get("maxPods").value == 9
    today = example("--config=/c --config-dir=/d", "maxPods: 9", dropins, version="v1.32.0")
    assert (today.get("readOnlyPort").value, today.get("maxPods").value) == (10255, 110)


@pytest.mark.parametrize("version", ["v1.30.0", "v1.36.2"])
@pytest.mark.parametrize(
    ("config", "dropin", "path", "value"),
    [
        ("readOnlyPort: 0", "readonlyport: 10255", "readOnlyPort", 10255),
        ("readOnlyPort: 0", "READONLYPORT: 10255", "readOnlyPort", (10255, 0)),
        ("{}", "healthzbindaddress: 0.0.0.0", "healthzBindAddress", "0.0.0.0"),
        ("{}", "authentication: {anonymous: {Enabled: true}}", ANONYMOUS, (False, True)),
        ("{}", "authentication: {Anonymous: {enabled: true}}", ANONYMOUS, (False, True)),
        ("{}", "authentication: {anonymouſ: {enabled: true}}", ANONYMOUS, True),
        ("{}", "HEALTHZBINDADDRESS: 0.0.0.0", "healthzBindAddress", "127.0.0.1"),
        ("{}", "readonlyport: 1\nreadOnlyport: 2", "readOnlyPort", 1),
        ("{}", "readonlyport: 1\nREADONLYPORT: null", "readOnlyPort", 1),
    ],
)
def test_keys_of_drop_ins_are_taken_whatever_their_case_in_the_order_of_their_bytes(
    config: str, dropin: str, path: str, value: object, version: str
) -> None:
    """What the base holds as JSON comes after a key of smaller bytes. Two values: that of 1.36,
    which leaves zeros out, and that of 1.30, where the base's keys are the fields' names in Go."""
    dropins = {"1.conf": HEAD + dropin}
    found = example("--config=/c --config-dir=/d", config, dropins, version=version)
    old, new = value if isinstance(value, tuple) else (value, value)
    assert found.get(path).value == (old if version == "v1.36.2" else new)


def test_a_later_drop_in_does_not_take_back_what_one_has_set_by_another_spelling() -> None:
    dropins = {"1.conf": HEAD + "readonlyport: 10255", "2.conf": HEAD + "readOnlyPort: 0"}
    found = example("--config=/c --config-dir=/d", "{}", dropins)
    assert found.get("readOnlyPort").value == 10255


@pytest.mark.parametrize("flag", ["address", "healthz-bind-address"])
def test_an_empty_address_of_a_flag_sets_nothing(flag: str) -> None:
    field = {"address": "address", "healthz-bind-address": "healthzBindAddress"}[flag]
    found = example(f"--config=/c --{flag}=", f"{field}: 10.0.0.5")
    assert found.get(field).value == "10.0.0.5"
    assert example(f"--config=/c --{flag}=10.0.0.6 --{flag}=", "{}").get(field).value == "10.0.0.6"


@pytest.mark.parametrize(("flag", "file"), [(True, False), (False, True), (True, True)])
def test_the_seccomp_default_is_on_by_flag_or_by_file(flag: bool, file: bool) -> None:
    found = example(f"--config=/c --seccomp-default={flag}", f"seccompDefault: {text(file)}")
    assert found.get("seccompDefault").value is True
