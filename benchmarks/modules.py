"""Every check on kernel modules, against `modprobe -n` once for each name the kernel may ask for.

    sudo PYTHONPATH=probes:agent:collector python benchmarks/modules.py [FOLDER]

FOLDER holds an unpacked kernel package (`dpkg-deb -x linux-image-*-amd64_*.deb FOLDER` and
`depmod -b FOLDER RELEASE`); without it the guest's smaller kernel of script/guest-kernel is taken.
Around it a tree at rest is made with this machine's kmod and its modprobe.d, and nothing that
blocks: then nearly every check fails and looks for its fix, which is the dearest case.

CPU time, the least and the median of several runs: "cold" in a fresh interpreter that has loaded
the program; "again" reads all files once more in the same interpreter; "warm" judges again what
was read, as after a change of something else. modprobe's is that of its processes.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 9
GOAL_COLD_MS, GOAL_WARM_MS, GOAL_RATIO = 60.0, 5.0, 20.0

MEASURED = """
import json, sys, time
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.host import TreeHost
from nodeward.probes.registry import probes
chosen, _ = select(["kernel.module.*", "kernel.lockdown", "kernel.taint"]), probes()
took = []
for readings in ({}, {}, None):
    start = time.process_time()
    looker = Looker(TreeHost(sys.argv[1])) if readings is not None else looker
    found = examine(looker, chosen)
    took.append((time.process_time() - start) * 1e3)
print(json.dumps([took, len(found)]))
"""


def tree(unpacked: Path, root: Path) -> str:
    """A host at rest around the kernel; returns its release."""
    release = next((unpacked / "lib/modules").iterdir()).name
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    shutil.copytree(unpacked / "lib/modules", root / "usr/lib/modules", copy_function=os.link)
    if not (root / "usr/lib/modules" / release / "modules.dep.bin").exists():
        subprocess.run(["/sbin/depmod", "-b", root, release], check=True)
    shutil.copytree("/usr/lib/modprobe.d", root / "usr/lib/modprobe.d")
    for folder in ("etc/modprobe.d", "proc/sys/kernel", "usr/sbin"):
        (root / folder).mkdir(parents=True)
    (root / "sbin").symlink_to("usr/sbin")
    shutil.copy(os.path.realpath("/sbin/modprobe"), root / "usr/sbin/modprobe")
    (root / "proc/sys/kernel/osrelease").write_text(release + "\n")
    return release


def nodeward_ms(root: Path) -> tuple[list[list[float]], int]:
    """[cold, again, warm] of each run, and the number of checks."""
    environment = {"PYTHONPATH": ":".join(str(ROOT / p) for p in ("probes", "agent", "collector"))}
    runs, count = [], 0
    for _ in range(RUNS):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(root)],
            env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        took, count = json.loads(done.stdout)
        runs.append(took)
    return runs, count


def modprobe_ms(root: Path, release: str, names: list[str]) -> float:
    """CPU milliseconds of one dry run for each name."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for name in names:
        subprocess.run(
            ["/sbin/modprobe", "-n", "-q", "-d", root, "-S", release,
             "-C", root / "etc/modprobe.d", "-C", root / "usr/lib/modprobe.d", "--", name],
            check=False, capture_output=True,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def main() -> None:
    from nodeward.facts.kernel_modules import version
    from nodeward.facts.module_requests import COMPONENTS

    unpacked = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".cache/guest-kernel/root"
    with tempfile.TemporaryDirectory(dir=unpacked.parent) as scratch:
        root = Path(scratch)
        release = tree(unpacked, root)
        made = version(release)
        names = sorted({r.name for c in COMPONENTS for r in c.requests if r.made_by(made)})
        runs, count = nodeward_ms(root)
        theirs = [modprobe_ms(root, release, names) for _ in range(3)]
    print(f"{count} checks on {release}; {len(names)} names asked of modprobe -n")
    best = min(theirs)
    print(f"modprobe -n, all names    {best:8.1f} ms least, {statistics.median(theirs):.1f} median")
    least = []
    for i, what in enumerate(("cold", "again, files read anew", "warm, files unchanged")):
        mine = [run[i] for run in runs]
        least.append(min(mine))
        print(f"{what:<25} {min(mine):8.1f} ms least, {statistics.median(mine):.1f} median,"
              f" {best / min(mine):.1f} times less")  # fmt: skip
    met = least[0] <= GOAL_COLD_MS and least[0] <= best
    met = met and least[2] <= GOAL_WARM_MS and best / least[2] >= GOAL_RATIO
    print(f"goals (cold {GOAL_COLD_MS:g} ms and no more than modprobe, warm {GOAL_WARM_MS:g} ms and"
          f" {GOAL_RATIO:g} times less): {'met' if met else 'NOT met'}")  # fmt: skip
    sys.exit(not met)


if __name__ == "__main__":
    main()
