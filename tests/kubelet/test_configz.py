"""The agent's token goes to the kubelet that this node knows, for its configuration, or nowhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import tls_keys
from kubelet_scenarios import prepare, scan

DRIFT = "kubelet.config.drift"

pytestmark = pytest.mark.root


def node(folder: Path) -> Path:
    """The recorded closed kubelet, and its certificate where a kubelet keeps it."""
    place = prepare("kubeadm", folder)
    shutil.copy2(place / "server.crt", place / "presented.crt")
    return place


def look(place: Path, token: str = "token-scanner", **environment: str) -> dict[str, Any]:
    file = place / "token"
    file.write_text(f"{token}\n")
    return drift_of(place, NODEWARD_KUBELET_CONFIGZ_TOKEN_FILE=str(file), **environment)


def drift_of(place: Path, **environment: str) -> dict[str, Any]:
    found: dict[str, Any] = scan(place, check=DRIFT, **environment)[DRIFT]
    return found


def by_token(drift: dict[str, Any]) -> list[str]:
    what = "GET /configz with the agent's token"
    return [e["value"] for e in drift["evidence"] if e["what"] == what]


def sent(place: Path) -> list[str]:
    """Every token that a server was shown, and what for."""
    file = place / "tokens"
    return file.read_text().splitlines() if file.exists() else []


def test_a_kubelet_that_anyone_else_is_refused_by_tells_its_configuration(tmp_path: Path) -> None:
    place = node(tmp_path)
    drift = look(place)
    assert drift["status"] == "pass", drift["because"]
    assert "what the kubelet says of itself agrees" in drift["because"]
    assert by_token(drift) == ["200"]
    assert sent(place) == ["token-scanner /configz"]


def test_a_difference_that_no_time_shows_is_found_by_it(tmp_path: Path) -> None:
    place = node(tmp_path)
    (place / "config.yaml").write_text(
        (place / "config.yaml").read_text() + "protectKernelDefaults: true\n"
    )
    drift = look(place)
    assert drift["status"] == "fail"
    assert "protectKernelDefaults: false in force, true by" in drift["because"]


@pytest.mark.parametrize(
    ("token", "status"),
    [("token-nobody", "403 as system:serviceaccount:default:nobody"), ("token-bad", "401")],
)
def test_a_token_that_may_not_is_told(token: str, status: str, tmp_path: Path) -> None:
    drift = look(node(tmp_path), token)
    assert drift["status"] == "pass"
    assert by_token(drift) == [status]


@pytest.mark.parametrize(
    ("token", "status"),
    [("token-scanner", "pass"), ("token-nobody", "pass"), ("token-bad", "unknown")],
)
def test_whether_tokens_are_checked_is_seen_by_it(token: str, status: str, tmp_path: Path) -> None:
    place = node(tmp_path)
    (place / "token").write_text(token)
    variable = {"NODEWARD_KUBELET_CONFIGZ_TOKEN_FILE": str(place / "token")}
    found = scan(place, check="kubelet.authn.webhook", **variable)["kubelet.authn.webhook"]
    assert found["status"] == status
    assert "the agent's token (" in found["because"]


def another_certificate(place: Path) -> None:
    (place / "presented.crt").write_bytes(tls_keys.make("k8s-node1@1795318021").pem)


def no_certificate(place: Path) -> None:
    (place / "presented.crt").unlink()


def one_that_others_may_write(place: Path) -> None:
    (place / "presented.crt").chmod(0o666)


def one_of_another_user(place: Path) -> None:
    os.chown(place / "presented.crt", 1000, 0)
    (place / "network.sh").write_text("chown 1000 /var/lib/kubelet/pki/kubelet.crt\n")


def a_stranger_on_the_same_port(place: Path) -> None:
    """On another address, where it is the nearest one to ask."""
    rows = (place / "listen.txt").read_text().replace("*:10250", "127.0.0.2:10250")
    (place / "listen.txt").write_text(rows)
    (place / "stranger").write_text("10250")


@pytest.mark.parametrize(
    "make",
    [another_certificate, no_certificate, one_that_others_may_write, one_of_another_user,
     a_stranger_on_the_same_port],
    ids=lambda m: m.__name__,
)  # fmt: skip
def test_no_other_server_is_ever_shown_the_token(make: Any, tmp_path: Path) -> None:
    place = node(tmp_path)
    make(place)
    drift = look(place)
    assert sent(place) == []
    assert "not asked" in by_token(drift)[0]


@pytest.mark.parametrize("text", ["", "a b", "a\r\nX: y", "\xe9"])
def test_what_is_no_token_is_never_sent(text: str, tmp_path: Path) -> None:
    place = node(tmp_path)
    assert "holds no token" in by_token(look(place, text))[0]
    assert sent(place) == []


def test_nothing_is_asked_without_a_file_or_with_probes_off(tmp_path: Path) -> None:
    place = node(tmp_path)
    assert by_token(drift_of(place)) == []
    shutil.rmtree(place / "etc")
    shutil.rmtree(place / "lib")
    shutil.rmtree(place / "binaries")
    assert by_token(look(place, NODEWARD_KUBELET="off")) == []
    assert sent(place) == []
