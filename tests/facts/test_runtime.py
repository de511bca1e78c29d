"""Which container runtime a host has, and of which release."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeward.agent.runner import Looker
from nodeward.facts.runtime import Runtime, package_version, release
from nodeward.host import TreeHost
from nodeward.model import Absent, Seen


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("v1.6.20", "1.6.20"),
        ("1.6.20~ds1-1+deb12u3", "1.6.20"),
        ("5:27.3.1-1~debian.12~bookworm", "27.3.1"),
        ("1.30", "1.30"),
        ("unknown", None),
        ("", None),
    ],
)
def test_a_release_is_told_from_a_version(version: str, found: str | None) -> None:
    assert release(version) == found


STATUS = b"""Package: containerd-tools
Status: install ok installed
Version: 9

Package: containerd
Status: deinstall ok config-files
Version: 1.0

Package: containerd
Status: install ok installed
Architecture: amd64
Version: 1.6.20~ds1-1+deb12u3
Description: daemon
 Version: 7

"""


def test_only_what_is_installed_has_a_version() -> None:
    assert package_version(STATUS, "containerd") == "1.6.20~ds1-1+deb12u3"
    assert package_version(STATUS, "container") is None
    assert package_version(STATUS, "cri-o") is None


WORD = st.sampled_from([b"Package: x", b"Status: install ok installed", b"Version", b": ", b"1",
                        b"\n", b"\n\n", b" ", b"\xff", b"\r"])  # fmt: skip


@given(st.lists(WORD, max_size=30).map(b"".join))
def test_any_text_is_read(raw: bytes) -> None:
    found = package_version(raw, "x")
    assert found is None or found == found.strip()


def look(root: Path) -> object:
    reading = Looker(TreeHost(root)).look(Runtime)
    return reading.fact if isinstance(reading, Seen) else reading


def test_a_package_tells_the_version_of_its_program(kubeadm_root: Path) -> None:
    dpkg = kubeadm_root / "var/lib/dpkg"
    dpkg.mkdir(parents=True)
    (dpkg / "status").write_bytes(STATUS)
    assert look(kubeadm_root) == Runtime("containerd", "1.6.20", "/usr/bin/containerd", True)


def test_a_program_of_no_package_tells_itself(tmp_path: Path, kubeadm_root: Path) -> None:
    """A file with the constants of a Go program, as elf(5) lays it out."""
    (kubeadm_root / "usr/bin").mkdir(parents=True)
    (kubeadm_root / "usr/bin/containerd").write_bytes(program(b"\0go1.22\0\0v1.7.13\0\0"))
    assert look(kubeadm_root) == Runtime("containerd", "1.7.13", "/usr/bin/containerd", True)


@pytest.mark.parametrize("constants", [b"\0v1.7.13\0\0v2.0.0\0", b"v1.7.13", b"\0v1.7.13x\0", b""])
def test_a_program_that_does_not_tell_has_no_version(kubeadm_root: Path, constants: bytes) -> None:
    (kubeadm_root / "usr/bin").mkdir(parents=True)
    (kubeadm_root / "usr/bin/containerd").write_bytes(program(constants))
    assert look(kubeadm_root) == Runtime("containerd", None, "/usr/bin/containerd", True)


def test_an_image_has_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/crio").write_text("#!/bin/sh\n")
    assert look(tmp_path) == Runtime("cri-o", None, "/usr/bin/crio", False)


def test_a_tree_without_one_has_none(tmp_path: Path) -> None:
    assert look(tmp_path) == Absent("a container runtime")


def program(constants: bytes) -> bytes:
    """A 64-bit ELF file whose .rodata holds these bytes."""
    import struct

    names = b"\0.rodata\0.shstrtab\0"
    at = 64
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    sections = [
        (0, 0, 0),
        (1, at, len(constants)),
        (9, at + len(constants), len(names)),
    ]
    table = at + len(constants) + len(names)
    struct.pack_into("<Q", head, 0x28, table)
    struct.pack_into("<HHH", head, 0x3A, 64, len(sections), 2)
    rows = b"".join(
        struct.pack("<IIQQQQ", name, 1, 0, 0, offset, size).ljust(64, b"\0")
        for name, offset, size in sections
    )
    return bytes(head) + constants + names + rows


def test_the_recorded_node_is_in_the_inventory(kubeadm_root: Path) -> None:
    from nodeward.agent.scan import scan, select

    report = scan(TreeHost(kubeadm_root), select(["kernel.module.sctp"]), at=1.8e9)
    assert report.inventory == {
        "os": {"id": "debian", "version": "12"},
        "kernel": None,
        "machine_id": None,
        "kubelet": {"version": None},
        "runtime": {"name": "containerd", "version": None},
        "roles": ["control-plane", "etcd"],
        "distribution": "kubeadm",
        "cloud": None,
    }
