"""`nodeward npd-check`: one check as a custom plugin of node-problem-detector.

https://github.com/kubernetes/node-problem-detector/blob/master/docs/custom_plugin_monitor.md:
exit status 0 is OK, 1 is a problem, 2 is unknown; the first line of stdout is the message.
"""

from __future__ import annotations

import time

import click

from nodeward.cli.text import safe
from nodeward.model import Status

OK, PROBLEM, UNKNOWN = 0, 1, 2
MOST_BYTES = 80
"""The detector's default max_output_length: what is longer it cuts, within a character too."""


@click.command("npd-check")
@click.argument("check")
def command(check: str) -> int:
    """Judge one check in the form of a node-problem-detector plugin.

    Exit codes: 0 it passes or does not apply, 1 it fails, 2 it cannot be told.
    """
    from nodeward.agent.scan import scan
    from nodeward.cli.scan import open_host, operator_settings, selected

    rules = selected([check])
    if len(rules) != 1:
        raise click.UsageError(f"{check} is {len(rules)} checks; the detector takes one")
    host, _, _ = open_host(None, None)
    report = scan(host, rules, at=time.time(), given=operator_settings())
    finding = report.findings[0]
    click.echo(short(safe(finding.because)))
    match finding.status:
        case Status.PASS | Status.NOT_APPLICABLE:
            return OK
        case Status.FAIL:
            return PROBLEM
        case Status.UNKNOWN | Status.ERROR:
            return UNKNOWN


def short(text: str) -> str:
    """What the detector shows whole."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= MOST_BYTES:
        return text
    return raw[: MOST_BYTES - 3].decode("utf-8", "ignore") + "..."
