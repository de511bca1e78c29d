"""Every kubelet check: on a recorded kubeadm node at rest, and live against a loopback kubelet.

    sudo PYTHONPATH=probes:agent:collector python benchmarks/kubelet.py

"At rest" is CPU time of reading and judging, without any probe of a port, in a fresh interpreter
that has loaded the program (which every command pays). Some of the loading is left to the first
use (nodeward.lazy: classes, patterns), so the first look is shown and the one after it, which only
reads and judges. Beside them, in the same interpreter, PyYAML's own safe_load of the node's kubelet
configuration file. "Live" is wall time of one look at
all ports of the stand-in kubelet of the tests, in namespaces of its own; beside it one
`openssl s_client` and one `curl` to the same port. The least and the median of several runs.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

RUNS = 9
GOAL_REST_MS, GOAL_LIVE_MS = 30.0, 300.0

AT_REST = """
import json, sys, time, yaml
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.facts.clock import Now
from nodeward.host import TreeHost
from nodeward.model import Seen
from nodeward.probes.registry import probes
chosen, _ = select(["kubelet.*"]), probes()
took = []
for _ in range(2):
    start = time.process_time()
    looker = Looker(TreeHost(sys.argv[1]), {Now: Seen(Now(1.8e9))})
    found = examine(looker, chosen)
    took.append((time.process_time() - start) * 1e3)
text = open(sys.argv[1] + "/var/lib/kubelet/config.yaml").read()
start = time.process_time()
yaml.safe_load(text)
print(json.dumps([*took, (time.process_time() - start) * 1e3, len(found)]))
"""


def live() -> None:
    """Inside the stand-in's namespaces: one look, and two programs that ask one thing each."""
    from nodeward.agent.runner import Looker, examine
    from nodeward.agent.scan import select
    from nodeward.facts.clock import Now
    from nodeward.facts.kubelet_answers import KubeletAnswers
    from nodeward.host import LiveHost
    from nodeward.model import Seen
    from nodeward.probes.registry import probes

    chosen, _ = select(["kubelet.*"]), probes()
    rows = []
    for _ in range(RUNS):
        looker = Looker(LiveHost("/"), {Now: Seen(Now(time.time()))})
        began = time.monotonic()
        examine(looker, chosen)
        whole = time.monotonic() - began
        again = Looker(LiveHost("/"), {k: v for k, v in looker.readings.items()
                                       if k is not KubeletAnswers})  # fmt: skip
        began = time.monotonic()
        again.look(KubeletAnswers)
        rows.append((whole, time.monotonic() - began, timed(OPENSSL), timed(CURL)))
    print(json.dumps([[v * 1e3 for v in row] for row in rows]))


OPENSSL = ["openssl", "s_client", "-connect", "127.0.0.1:10250"]
CURL = ["curl", "-sk", "https://127.0.0.1:10250/pods"]


def timed(command: list[str]) -> float:
    if shutil.which(command[0]) is None:
        return float("nan")
    began = time.monotonic()
    subprocess.run(command, input=b"", capture_output=True, check=False)
    return time.monotonic() - began


def show(what: str, values: list[float], beside: list[float], name: str, goal: str) -> None:
    best, median = min(values), statistics.median(values)
    ratio = f"{median / statistics.median(beside):6.1f} x {name}" if beside else ""
    print(f"{what:34} {best:8.1f} ms {median:8.1f} ms  {ratio:28} {goal}")


def main() -> None:
    import kubeadm_tree
    from kubelet_scenarios import prepare

    print(f"{'what':34} {'least':>11} {'median':>11}")
    with tempfile.TemporaryDirectory() as folder:
        tree = kubeadm_tree.build(Path(folder) / "tree")
        rows = [run([sys.executable, "-c", AT_REST, str(tree)]) for _ in range(RUNS)]
        first, ours, theirs = ([r[i] for r in rows] for i in range(3))
        goal = f"goal {GOAL_REST_MS:.0f} ms"
        show(f"{rows[0][3]} checks at rest, CPU", ours, theirs, "safe_load", goal)
        show("the first time in a process", first, theirs, "safe_load", "")
        place = prepare("kubeadm", Path(folder))
        command = ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc",
                   "--kill-child", sys.executable, str(ROOT / "tests/kubelet_host.py"),
                   str(place), "live"]  # fmt: skip
        columns = list(zip(*run(command, STANDIN_RUN=__file__), strict=True))
        show("all checks live, wall", columns[0], columns[2], "openssl", "")
        goal = f"goal {GOAL_LIVE_MS:.0f} ms"
        show("the ports alone, wall", columns[1], columns[3], "curl", goal)


def run(command: list[str], **extra: str) -> Any:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **extra}
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    live() if sys.argv[1:] == ["live"] else main()
