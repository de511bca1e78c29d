"""Asking the metadata endpoints from 30 pod networks: all refuse, and all stay silent.

    sudo python benchmarks/metadata.py        (from the top of the checkout)

Everything happens in namespaces that this makes. Printed are the best and the median of the runs,
the CPU time of all processes together, which tells more than the clock on a busy machine, and the
ratio to one pod asked alone in the same run of the benchmark.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / part) for part in ("tests", "probes")]

from imds_lab.scenarios import play  # noqa: E402  the path comes first

GOALS_S = {"refused": 0.4, "silent": 3.0}
RUNS = 5


def measure(count: int, kind: str) -> tuple[float, float, float]:
    """Best and median seconds to ask, and the least CPU seconds that it took."""
    order = {"crowd": [count, kind], "cloud": "aws", "runs": RUNS}
    runs = play({kind: order}, "imds_lab.timed")[kind]["runs"]
    asked = [run["ask"] for run in runs]
    return min(asked), statistics.median(asked), min(run["cpu"] for run in runs)


def main() -> None:
    print(f"{'what':24} {'best':>9} {'median':>9} {'cpu':>9} {'x one':>7} {'goal':>7}")
    for kind, goal in GOALS_S.items():
        alone, _, _ = measure(1, kind)
        for count in (30, 110):
            best, median, spent = measure(count, kind)
            wanted = f"{goal:.1f} s" if count == 30 else "-"
            print(
                f"{count:3} pods, all {kind:12} {best * 1e3:6.0f} ms {median * 1e3:6.0f} ms"
                f" {spent * 1e3:6.0f} ms {best / alone:7.1f} {wanted:>7}"
            )


if __name__ == "__main__":
    main()
