"""The version that a program was linked with, from an ELF file made here."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeward.host import MissingError, TreeHost
from nodeward.host.go_version import GoVersion
from nodeward.probes.kubelet_version import version_of

NAMES = b"\0.rodata\0.shstrtab\0"


def elf(read_only: bytes, elsewhere: bytes = b"") -> bytes:
    """A file with a section of read-only data and the section that names it."""
    header = 64
    texts = header + len(read_only)
    table = texts + len(NAMES) + len(elsewhere)
    top = b"\x7fELF\x02\x01" + b"\0" * 34 + struct.pack("<Q", table)
    top = top[:0x28] + struct.pack("<Q", table)
    top = top.ljust(0x3A, b"\0") + struct.pack("<HHH", 64, 3, 2)

    def row(name: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQ", name, 1, 0, 0, offset, size).ljust(64, b"\0")

    rows = row(0, 0, 0) + row(1, header, len(read_only)) + row(9, texts, len(NAMES))
    return top + read_only + NAMES + elsewhere + rows


def version(folder: Path, raw: bytes) -> str | None:
    (folder / "kubelet").write_bytes(raw)
    return TreeHost(folder).ask(GoVersion("/kubelet"))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"x\0v1.36.2\0clean\0", "v1.36.2"),
        (b"\0v1.32.3-rke2r1\0\0v1.32.3-rke2r1\0", "v1.32.3-rke2r1"),
        (b"\0v1.30.1+k3s1\0", "v1.30.1+k3s1"),
        (b"\0v1.36.2\0\0v1.35.0\0", None),  # which of them?
        (b"github.com/x@v1.36.2/y\0 v1.36.2 \0", None),
        (b"\0v1.7.20\0", None),  # some library's
        (b"", None),
    ],
)
def test_a_version_between_two_nuls_is_the_programs(
    data: bytes, found: str | None, tmp_path: Path
) -> None:
    assert version(tmp_path, elf(data)) == found


def test_a_version_outside_the_read_only_data_does_not_count(tmp_path: Path) -> None:
    assert version(tmp_path, elf(b"none", b"\0v1.36.2\0")) is None


@given(st.integers(0, 400), st.binary(max_size=8))
@example(184, b"\0\0\0\x80")  # sections beyond what an offset can be
def test_a_broken_file_has_no_version_and_breaks_nothing(cut: int, patch: bytes) -> None:
    whole = elf(b"\0v1.36.2\0")
    broken = whole[:cut] + patch + whole[cut + len(patch) :] if patch else whole[:cut]
    with tempfile.TemporaryDirectory() as folder:
        assert version(Path(folder), broken) in (None, "v1.36.2")


def test_what_is_no_program_has_no_version(tmp_path: Path) -> None:
    assert version(tmp_path, b"#!/bin/sh\n" * 20) is None
    (tmp_path / "folder").mkdir()
    assert TreeHost(tmp_path).ask(GoVersion("/folder")) is None
    with pytest.raises(MissingError):
        TreeHost(tmp_path).ask(GoVersion("/none"))


def test_the_program_tells_its_version_before_its_path_does(tmp_path: Path) -> None:
    folder = tmp_path / "k8s-1.30.1"
    folder.mkdir()
    (folder / "kubelet").write_bytes(elf(b"\0v1.36.2\0"))
    assert version_of(TreeHost(tmp_path), "/k8s-1.30.1/kubelet", "", None) == "v1.36.2"
