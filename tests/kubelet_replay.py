"""Record a scan of this host, replay it, and print where the two differ. Run by kubelet_host.py."""

from __future__ import annotations

import json
import time

from nodeward.agent.scan import scan, select
from nodeward.host import LiveHost, Recorder, Replay
from nodeward.host.record import dump


def main() -> None:
    recorder = Recorder(LiveHost("/"))
    at = time.time()
    rules = select(["kubelet.*"])
    live = scan(recorder, rules, at=at)
    recording = dump(recorder, node="n1", taken_at="2026-11-22T04:00:00Z")
    data = json.loads(recording)
    again = scan(Replay(data["log"], live=True), rules, at=at)
    differing = [
        [a.check, a.because, b.because]
        for a, b in zip(live.findings, again.findings, strict=True)
        if (a.status, a.because, a.evidence) != (b.status, b.because, b.evidence)
    ]
    print(json.dumps({"differing": differing, "secret": "hunter2" in recording}))


if __name__ == "__main__":
    main()
