"""A part of the kernel that is not loaded is not asked: the question would load it."""

from pathlib import Path

import pytest

from nodeward.host import LiveHost
from nodeward.host.firewall import loaded


def kernel(root: Path, *, modules: str | None, builtin: str | None = None) -> LiveHost:
    """A machine whose kernel has these modules loaded (None: it can load none), and these in it."""
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/osrelease").write_text("6.1.0-1-amd64\n")
    if modules is not None:
        (root / "proc/modules").write_text(modules)
    if builtin is not None:
        (root / "lib/modules/6.1.0-1-amd64").mkdir(parents=True)
        (root / "lib/modules/6.1.0-1-amd64/modules.builtin").write_text(builtin)
    return LiveHost(root)


LINE = "nf_tables 303104 41 nft_compat, Live 0x0000000000000000\n"
OTHER = "nf_tables_other 4096 0 - Live 0x0000000000000000\n"
INSIDE = "kernel/net/netfilter/nf_tables.ko\n"


@pytest.mark.parametrize(
    ("modules", "builtin", "wanted"),
    [
        (LINE, None, True),
        ("", INSIDE, True),
        (None, None, True),
        ("", "kernel/fs/ext4/ext4.ko\n", False),
        (OTHER, None, False),
        ("", None, False),
    ],
    ids=["a module", "built in", "a kernel that loads none", "neither", "another", "no index"],
)
def test_what_is_not_in_the_kernel_is_not_asked(
    tmp_path: Path, modules: str | None, builtin: str | None, *, wanted: bool
) -> None:
    assert loaded(kernel(tmp_path, modules=modules, builtin=builtin), "nf_tables") is wanted
