"""Discovery and judging of 200 certificates, against one `openssl x509` for each of them.

Beside them lie 2,000 other files where administrators' credentials are searched for.

    PYTHONPATH=probes:agent:collector python benchmarks/certs.py [certificates]

Both sides are measured in one run. "Cold" is a fresh interpreter that has loaded the program with
its catalogue of checks and probes (which every command pays, whatever it looks at) and then finds,
reads and judges everything once, importing what only that needs on the way. "Process" is the whole
of it, from the start of the interpreter. Figures are CPU time, user and system, the least of
several runs.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from certificate_maker import NOW, Authority, Spec, key, pem, traditional_pem, write
from kubeadm_tree import add_process

RUNS = 7
GOAL_COLD_MS, GOAL_RATIO = 120, 20
COLD = """
import sys, time
from nodeward.agent.runner import Looker, examine
from nodeward.agent.scan import select
from nodeward.facts.clock import Now
from nodeward.host import TreeHost
from nodeward.model import Seen
from nodeward.probes.registry import probes
rules, _ = select(["cert.*"]), probes()
for _ in range(int(sys.argv[3])):
    start = time.process_time()
    looker = Looker(TreeHost(sys.argv[1]), {Now: Seen(Now(float(sys.argv[2])))})
    findings = examine(looker, rules)
    print((time.process_time() - start) * 1000, time.process_time() * 1000)
"""
NAMES = {
    "apiserver": "apiserver", "apiserver-kubelet-client": "apiserver",
    "front-proxy-client": "front-proxy", "apiserver-etcd-client": "etcd",
    "etcd/server": "etcd", "etcd/peer": "etcd", "etcd/healthcheck-client": "etcd",
}  # fmt: skip


def build(root: Path, count: int) -> list[Path]:
    """A control plane whose kubelet has rotated its certificate over and over."""
    authorities = {
        n: Authority(n, 100 + i) for i, n in enumerate(("apiserver", "front-proxy", "etcd"))
    }
    pki = root / "etc/kubernetes/pki"
    files = []
    for name, place in (
        ("apiserver", "ca"),
        ("front-proxy", "front-proxy-ca"),
        ("etcd", "etcd/ca"),
    ):
        files.append(write(pki / f"{place}.crt", pem(authorities[name].raw)))
    for name, authority in NAMES.items():
        raw = authorities[authority].issue(Spec(subject=(("CN", name),), dns=("node1",)))
        files.append(write(pki / f"{name}.crt", pem(raw)))
        write(pki / f"{name}.key", traditional_pem(key("P-256", 1)))
    kubelet = root / "var/lib/kubelet/pki"
    for number in range(count - len(files)):
        raw = authorities["apiserver"].issue(
            Spec(subject=(("O", "system:nodes"), ("CN", "system:node:n1")), serial=number + 1)
        )
        text = pem(raw) + traditional_pem(key("P-256", 1))
        files.append(write(kubelet / f"kubelet-client-{number:04}.pem", text))
    (kubelet / "kubelet-client-current.pem").symlink_to(files[-1].name)
    litter(root)
    write(root / "proc/stat", "btime 1000000000\n")
    add_process(root, 1, ["kubelet"], exe="/usr/bin/kubelet")
    flags = [f"--client-ca-file=/{(pki / 'ca.crt').relative_to(root)}"]
    add_process(root, 2, ["kube-apiserver", *flags], exe="/usr/bin/kube-apiserver")
    return files


def litter(root: Path) -> None:
    """What the search for administrators' credentials goes through: as much as a plain Debian has
    below /etc, /opt, /usr/local and a home, a tenth of it with names that let it be one."""
    for number in range(2000):
        place = ("etc", "opt/agent", "usr/local/share", "home/admin/work")[number % 4]
        ending = "yaml" if number % 10 == 0 else "txt"
        write(root / place / f"d{number // 40}" / f"f{number}.{ending}", f"name: value {number}\n")


def ours(root: Path, times: int) -> list[tuple[float, float]]:
    """Milliseconds of each look, and of the process until its end."""
    command = [sys.executable, "-c", COLD, str(root), str(NOW.timestamp()), str(times)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(float(look), float(process)) for look, process in rows]


def openssl(files: list[Path]) -> float:
    """CPU milliseconds of one process for each file."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for file in files:
        command = ["openssl", "x509", "-in", str(file), "-noout", "-enddate"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        files = build(root, count)
        ours(root, 1)  # bytecode and page cache
        runs = [ours(root, 1)[0] for _ in range(RUNS)]
        cold, process = min(look for look, _ in runs), min(whole for _, whole in runs)
        warm = min(look for look, _ in ours(root, 5)[1:])
        theirs = min(openssl(files) for _ in range(3))
    report(count, cold, process, warm, theirs)


def report(count: int, cold: float, process: float, warm: float, theirs: float) -> None:
    python, day = sys.version.split()[0], time.strftime("%Y-%m-%d")
    ratio = theirs / cold
    print(f"{count} certificates, Python {python}, {os.cpu_count()} CPUs, {day}")
    print(f"cold     {cold:7.1f} ms   goal {GOAL_COLD_MS} ms at 200: {met(cold <= GOAL_COLD_MS)}")
    print(f"warm     {warm:7.1f} ms   the second look of one process")
    print(f"process  {process:7.1f} ms   from the start of the interpreter")
    print(f"openssl  {theirs:7.1f} ms   one process a certificate")
    print(f"ratio    {ratio:7.1f} x    goal {GOAL_RATIO} x: {met(ratio >= GOAL_RATIO)}")
    print(f"         {theirs / process:7.1f} x    against the whole process")


def met(good: bool) -> str:
    return "met" if good else "MISSED"


if __name__ == "__main__":
    main()
