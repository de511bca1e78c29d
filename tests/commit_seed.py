"""The seed of what is generated in a short run: another one for every commit, the same for all who
test that commit. A change is so tried on what no change before it was, and a red run comes back."""

from __future__ import annotations

import os
import secrets
import subprocess
from functools import cache
from pathlib import Path

VARIABLE = "NODEWARD_SEED"
ROOT = Path(__file__).parents[1]


@cache
def seed() -> int:
    """NODEWARD_SEED; else of the commit that is checked out; a tree without git has a random one,
    which the header of the run shows."""
    if VARIABLE in os.environ:
        return int(os.environ[VARIABLE])
    commit = checked_out(ROOT)
    return int(commit[:12], 16) if commit else fresh()


@cache
def fresh() -> int:
    """NODEWARD_SEED, or a new one for every run: for the long tier."""
    return int(os.environ.get(VARIABLE, secrets.randbelow(1 << 48)))


def checked_out(folder: Path) -> str:
    """The commit's name; "" where there is no git or no repository. Whose the files are does not
    matter: the tests run as root in a checkout of somebody's."""
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
