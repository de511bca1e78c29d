"""What `nodeward doctor --bundle` collects: enough to find a defect, nothing that is secret."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nodeward.agent.config import Config
from nodeward.agent.doctor import surroundings
from nodeward.agent.sign import Sign
from nodeward.agent.status_names import METRICS_FILE, STATUS_FILE
from nodeward.agent.version import version
from nodeward.host.redact import redact


def contents(config: Config, signs: Sequence[Sign]) -> dict[str, str]:
    """File name to text, each redacted. Never the key, the token, the spool or a report."""
    files = {
        "doctor.json": _json([asdict(sign) for sign in signs]),
        "surroundings.json": _json({"version": version(), **surroundings(config)}),
        "config.json": _json(dict(config.tree)),
    }
    for name in (STATUS_FILE, METRICS_FILE):
        with contextlib.suppress(OSError):
            files[name] = Path(config.run_dir, name).read_text("utf-8", "replace")
    return {name: redact(text) for name, text in files.items()}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, default=str) + "\n"
