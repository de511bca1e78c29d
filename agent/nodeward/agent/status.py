"""What the agent says of itself to others on the node: a status file, and Prometheus metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodeward.agent.config import Config
from nodeward.agent.identity import write_whole
from nodeward.agent.metrics import exposition
from nodeward.agent.spool import Tally
from nodeward.agent.status_names import METRICS_FILE, STATUS_FILE
from nodeward.facts.agent import SCHEMA, Agent
from nodeward.facts.pki_metrics import CertificateRow


def write_status(
    config: Config,
    agent: Agent,
    tally: Tally,
    posture: Mapping[str, Mapping[str, Any]],
    certificates: Iterable[CertificateRow] | None,
) -> None:
    """Replace the status file, and the metrics where somebody wants them.

    Anyone on the node may read the status: it says how the agent is. The posture, which an
    intruder would like to know too, leaves our folder only for the textfile collector. Without
    `certificates` nothing was looked at, and the metrics stay as they are.
    """
    at = time.time()
    run = Path(config.run_dir)
    if not run.is_dir():
        run.mkdir(parents=True)
        run.chmod(0o755)  # whatever the umask
    status = {"schema": SCHEMA, "at": at, **asdict(agent), "spool": asdict(tally)}
    write_whole(run / STATUS_FILE, json.dumps(status, indent=1).encode(), 0o644, durable=False)
    if certificates is None:
        return
    text = exposition(agent, tally, posture, certificates, at).encode()
    if config.metrics.listen:
        write_whole(run / METRICS_FILE, text, 0o600, durable=False)
    if config.metrics.textfile:
        write_whole(Path(config.metrics.textfile, METRICS_FILE), text, 0o644, durable=False)
