"""A link that was led elsewhere after the start is a change, however old its new target is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import kubelet_hosts
from kubelet_hosts import BOOT, HEAD, Host, Run
from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding, Status

CONFIG = "/var/lib/kubelet/config.yaml"
DRIFT = "kubelet.config.drift"
LAYOUTS = {
    # name: (files, the link that is led elsewhere)
    "the file": ({CONFIG: "->v2.yaml", "/var/lib/kubelet/v2.yaml": HEAD}, CONFIG),
    "by its full path": ({CONFIG: "->/srv/v2.yaml", "/srv/v2.yaml": HEAD}, CONFIG),
    "a folder above": (
        {"/var/lib/kubelet": "->../../srv/v2", "/srv/v2/config.yaml": HEAD},
        "/var/lib/kubelet",
    ),
    "a link behind a link": (
        {CONFIG: "->..data/config.yaml", "/var/lib/kubelet/..data": "->..v2",
         "/var/lib/kubelet/..v2/config.yaml": HEAD},
        "/var/lib/kubelet/..data",
    ),
}  # fmt: skip


def drift(layout: str, folder: Path, after_s: float) -> Finding:
    """The finding where the link was made this long after the boot; the kubelet started at 60."""
    files, link = LAYOUTS[layout]
    words = ("kubelet", f"--config={CONFIG}")
    root = kubelet_hosts.build(Host(files, (Run("/opt/v1.36.2/kubelet", words),)), folder / "host")
    moment = BOOT + after_s
    os.utime(root / link.lstrip("/"), (moment, moment), follow_symlinks=False)
    return scan(TreeHost(root), select([DRIFT]), at=BOOT + 3600).findings[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_made_after_the_start_is_a_change(layout: str, tmp_path: Path) -> None:
    found = drift(layout, tmp_path, 600)
    assert found.status is Status.FAIL, found.because
    assert "changed after the kubelet started: in force from its restart: " in (found.because)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_made_before_it_is_none(layout: str, tmp_path: Path) -> None:
    found = drift(layout, tmp_path, -600)
    assert found.status is Status.PASS, found.because


def test_a_link_to_itself_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    host = Host(
        {CONFIG: f"->{CONFIG}"}, (Run("/opt/v1.36.2/kubelet", ("kubelet", "--config", CONFIG)),)
    )
    root = kubelet_hosts.build(host, tmp_path / "host")
    found = scan(TreeHost(root), select([DRIFT]), at=BOOT + 3600).findings[0]
    assert found.status is Status.UNKNOWN, found.because
