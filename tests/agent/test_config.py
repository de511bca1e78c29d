"""The configuration is strict: a typing mistake is an error that says what was meant."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nodeward.agent.settings
from nodeward.agent.config import (
    Config,
    ConfigError,
    from_job,
    from_tree,
    load,
    own_paths,
    variable,
)
from nodeward.agent.settings import settings
from nodeward.model import Params, Seen


@dataclass(frozen=True, slots=True)
class Sctp(Params):
    section: ClassVar[tuple[str, ...]] = ("checks", "kernel.module.sctp")

    wanted: bool = False
    days: int = 30
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cloud(Params):
    section: ClassVar[tuple[str, ...]] = ("metadata",)

    mode: Literal["auto", "on", "off"] = "auto"
    timeout_s: float = 1.0


@pytest.fixture(autouse=True)
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodeward.agent.settings, "parameters", lambda: [Sctp, Cloud])


def write(folder: Path, text: str, drop_ins: Mapping[str, str] | None = None) -> str:
    file = folder / "agent.yaml"
    file.write_text(text)
    for name, content in (drop_ins or {}).items():
        (folder / "agent.d").mkdir(exist_ok=True)
        (folder / "agent.d" / name).write_text(content)
    return str(file)


def problems(file: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(load(file, {}), {})
    return caught.value.problems


def test_no_file_is_the_shipped_configuration(tmp_path: Path) -> None:
    assert load(str(tmp_path / "none.yaml"), {}) == Config()


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(environment={"NODEWARD_CONFIG": str(tmp_path / "none.yaml")})


def test_drop_ins_win_in_order_of_name(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "node: a\nlooks: {interval_s: 60, jitter: 0.2}\n",
        {"20.yaml": "node: c\n", "10.yaml": "node: b\nlooks: {interval_s: 90}\n"},
    )
    config = load(file, {})
    assert (config.node, config.looks.interval_s, config.looks.jitter) == ("c", 90, 0.2)


def test_the_environment_wins_over_files(tmp_path: Path) -> None:
    file = write(tmp_path, "collector: {urls: [https://a:1]}\n")
    config = load(file, {"NODEWARD_COLLECTOR_URLS": "https://b:2, https://c:3"})
    assert config.collector.urls == ("https://b:2", "https://c:3")


def test_an_unknown_key_names_its_file_and_what_was_meant(tmp_path: Path) -> None:
    file = write(tmp_path, "node: a\n", {"10-x.yaml": "collector: {url: https://a:1}\n"})
    assert problems(file) == [
        f"{tmp_path}/agent.d/10-x.yaml: collector.url: unknown key; did you mean 'urls'?"
    ]


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "nod: a\nchecks: {kernel.module.sctp: {day: 3, wanted: maybe}}\n")
    found = problems(file)
    assert any("nod: unknown key; did you mean 'node'?" in p for p in found)
    assert any("checks.kernel.module.sctp.day: unknown key" in p for p in found)
    assert any("checks.kernel.module.sctp.wanted: must be true or false" in p for p in found)


def test_a_check_that_does_not_exist_cannot_be_configured(tmp_path: Path) -> None:
    file = write(tmp_path, "checks: {kernel.modul.sctp: {wanted: true}}\n")
    assert problems(file) == [
        f"{file}: checks.kernel.modul.sctp: unknown key; did you mean 'kernel.module.sctp'?"
    ]


def test_a_key_set_twice_is_an_error(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "node: a\nnode: b\n")) == [
        f"{tmp_path}/agent.yaml: 'node' is set twice (line 2)"
    ]


@pytest.mark.parametrize(
    "text",
    ["- a\n", "node: [\n", "a: &x [*x]\n", "\x00", "node: a\n  b: c\n", "? [a]\n: b\n", "[" * 5000],
)
def test_a_file_that_is_no_configuration_is_an_error_that_names_it(
    tmp_path: Path, text: str
) -> None:
    assert str(tmp_path / "agent.yaml") in problems(write(tmp_path, text))[0]


def test_settings_of_a_check_are_built_from_its_section(tmp_path: Path) -> None:
    file = write(tmp_path, "checks: {kernel.module.sctp: {wanted: yes, names: [a, b]}}\n")
    assert settings(load(file, {}), {}) == {
        Sctp: Seen(Sctp(True, 30, ("a", "b"))),
        Cloud: Seen(Cloud()),
    }


@pytest.mark.parametrize("text", ["metadata: off\n", "metadata: {mode: off}\n"])
def test_a_bare_switch_sets_the_first_key_of_its_section(tmp_path: Path, text: str) -> None:
    assert settings(load(write(tmp_path, text), {}), {})[Cloud] == Seen(Cloud("off"))


def test_the_environment_switches_a_section_off(tmp_path: Path) -> None:
    config = load(write(tmp_path, "metadata: {timeout_s: 3}\n"), {})
    assert settings(config, {"NODEWARD_METADATA": "off"})[Cloud] == Seen(Cloud("off", 3.0))


def test_the_environment_sets_one_key_of_a_check(tmp_path: Path) -> None:
    config = load(str(tmp_path / "none"), {})
    found = settings(config, {"NODEWARD_CHECKS_KERNEL_MODULE_SCTP_NAMES": "x,y"})
    assert found[Sctp] == Seen(Sctp(names=("x", "y")))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a", "ftp://localhost", "http://collector:80", "https://", "https://h:99999",
        "https://[::1", "https://u:p@host", "http://u:p@host", "https://h/?t=1",
    ],
)  # fmt: skip
def test_a_collector_is_reached_by_https_and_its_url_holds_no_secret(
    tmp_path: Path, url: str
) -> None:
    found = problems(write(tmp_path, f"collector: {{urls: ['{url}']}}\n"))
    assert len(found) == 1
    assert "u:p" not in found[0]


@pytest.mark.parametrize("proxy", ["proxy", "proxy:3128", "socks5://u:p@proxy", "http://:1"])
def test_a_proxy_is_an_http_url_and_its_password_is_not_repeated(
    tmp_path: Path, proxy: str
) -> None:
    (found,) = problems(write(tmp_path, f"collector: {{proxy: '{proxy}'}}\n"))
    assert "proxy must be http://" in found
    assert "u:p" not in found


@pytest.mark.parametrize(
    "text",
    [
        "looks: {first_within_s: .inf}", "looks: {first_within_s: -5}", "looks: {interval_s: .inf}",
        "looks: {interval_s: .nan}", "looks: {memory_limit_bytes: 1.0e+20}",
        "looks: {cpu_limit_s: 1000000000000}", "events: {floor_s: .inf}",
        "spool: {max_bytes: 1.0e+30}", "state_dir: nodeward", "host_root: host",
        "metrics: {textfile: textfile}", "cluster: ''",
    ],
)  # fmt: skip
def test_what_no_agent_could_work_with_is_refused(tmp_path: Path, text: str) -> None:
    (found,) = problems(write(tmp_path, text + "\n"))
    assert "must" in found


def test_a_worker_names_the_file_of_a_wrong_key_as_we_do(tmp_path: Path) -> None:
    file = write(tmp_path, "node: a\n", {"10-x.yaml": "lokks: {}\n"})
    job = json.loads(json.dumps(load(file, {}).to_job()))
    with pytest.raises(ConfigError, match=r"agent.d/10-x.yaml: lokks: unknown key"):
        settings(from_job(job), {})


def test_a_wrong_value_is_not_repeated(tmp_path: Path) -> None:
    """Someone may have put a token where a number belongs."""
    found = problems(write(tmp_path, "looks: {interval_s: hunter2}\n"))
    assert "must be a number" in found[0]
    assert "hunter2" not in found[0]


@pytest.mark.parametrize("text", ["0.0.0.0:1", "127.0.0.1", "127.0.0.1:99999", "example.org:80"])
def test_metrics_are_served_on_loopback_only(tmp_path: Path, text: str) -> None:
    assert "listen must be" in problems(write(tmp_path, f"metrics: {{listen: '{text}'}}\n"))[0]


def test_the_variable_of_a_key() -> None:
    assert variable(("checks", "cert.expiry.kube-proxy", "days")) == (
        "NODEWARD_CHECKS_CERT_EXPIRY_KUBE_PROXY_DAYS"
    )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["node", "collector", "urls", "looks", "checks", "metadata", "mode", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["node", "collector", "looks", "checks", "metadata"]), PLAIN)
)
def test_any_tree_is_a_configuration_or_a_config_error(tree: dict[str, object]) -> None:
    with contextlib.suppress(ConfigError):
        settings(from_tree(tree, {}), {})


def test_the_manual_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs/agent.md").read_text()
    missing = [".".join(path) for path, _ in own_paths() if f"`{'.'.join(path)}`" not in text]
    assert not missing
