"""Whom a collector's certificate may be signed by, as its authority changes hands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodeward.agent.authorities import MOST, TOLD, Authorities

ONE, TWO = "https://one.example", "https://two.example"


@pytest.fixture
def pems(authority: Callable[[str], Any]) -> list[str]:
    return [authority(name).file.read_text() for name in ("a", "b", "c")]


@pytest.fixture
def configured(tmp_path: Path, pems: list[str]) -> Path:
    file = tmp_path / "configured.pem"
    file.write_text("which one this is\r\n" + pems[0].replace("\n", "\r\n"))
    return file


def _trusted(state: Path, file: Path) -> str:
    """What the next push trusts."""
    bundle = Authorities((str(file),), state).bundle()
    assert bundle is not None
    return bundle.read_text().replace("\r\n", "\n")


def _tell(state: Path, file: Path, *pems: str, url: str = ONE) -> None:
    Authorities((str(file),), state).tell(url, "".join(pems))


def test_what_is_named_is_trusted_and_what_is_named_no_longer_is_not(
    tmp_path: Path, configured: Path, pems: list[str]
) -> None:
    a, b, c = pems
    assert a in _trusted(tmp_path, configured)
    _tell(tmp_path, configured, a)
    _tell(tmp_path, configured, a, b)
    trusted = _trusted(tmp_path, configured)
    assert a in trusted
    assert b in trusted
    assert c not in trusted
    _tell(tmp_path, configured, b)
    trusted = _trusted(tmp_path, configured)
    assert a not in trusted
    assert b in trusted


def test_one_collector_says_nothing_about_anothers(
    tmp_path: Path, configured: Path, pems: list[str]
) -> None:
    a, b, c = pems
    _tell(tmp_path, configured, b)
    _tell(tmp_path, configured, c, url=TWO)
    assert all(pem in _trusted(tmp_path, configured) for pem in (a, b, c))
    _tell(tmp_path, configured, a, url=TWO)
    trusted = _trusted(tmp_path, configured)
    assert a in trusted
    assert b in trusted
    assert c not in trusted


def test_a_file_that_was_changed_counts_anew(
    tmp_path: Path, configured: Path, pems: list[str]
) -> None:
    a, b, c = pems
    _tell(tmp_path, configured, a)
    _tell(tmp_path, configured, b)
    configured.write_text(a + c)
    trusted = _trusted(tmp_path, configured)
    assert a in trusted
    assert c in trusted
    assert b not in trusted


@pytest.mark.parametrize(
    "said",
    [
        None,
        7,
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----",
        "x" * (MOST + 1),
    ],
)
def test_what_is_no_authority_changes_nothing(
    tmp_path: Path, configured: Path, pems: list[str], said: object
) -> None:
    Authorities((str(configured),), tmp_path).tell(ONE, said)
    Authorities((str(configured),), tmp_path).tell(ONE, f"{pems[1]}{said}{pems[2]}" * 99)
    assert pems[0] in _trusted(tmp_path, configured)
    assert pems[1] not in _trusted(tmp_path, configured)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": 1}'])
def test_a_memory_that_is_none_is_forgotten(
    tmp_path: Path, configured: Path, pems: list[str], content: bytes
) -> None:
    (tmp_path / TOLD).write_bytes(content)
    assert pems[0] in _trusted(tmp_path, configured)


def test_where_the_systems_authorities_are_trusted_nobody_is_asked(
    tmp_path: Path, pems: list[str]
) -> None:
    ours = Authorities((), tmp_path)
    ours.tell(ONE, pems[0])
    assert ours.bundle() is None
    assert not (tmp_path / TOLD).exists()
