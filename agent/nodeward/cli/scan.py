"""`nodeward scan`: look once, print, exit."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from nodeward.agent.config import ConfigError, load
from nodeward.agent.scan import NoSuchCheckError, scan, select
from nodeward.agent.settings import settings
from nodeward.cli import exits, table
from nodeward.host import Host, LiveHost, TreeHost
from nodeward.host.record import NoRecordingError
from nodeward.host.record import load as load_recording
from nodeward.model import Fact, Reading, Report, Severity, Status
from nodeward.model.report import report_to_json

ENVIRONMENT_ROOT = "NODEWARD_HOST_ROOT"


@click.command("scan")
@click.option("--root", type=click.Path(exists=True, file_okay=False), help="A file tree at rest.")
@click.option("--replay", type=click.Path(exists=True, dir_okay=False), help="A recording.")
@click.option("--check", "globs", multiple=True, metavar="GLOB", help="Only these checks.")
@click.option(
    "--output", "-o", type=click.Choice(["table", "json", "ndjson"]), default="table",
    show_default=True,
)  # fmt: skip
@click.option("--fail-on", type=click.Choice([s.value for s in Severity]), metavar="SEVERITY")
@click.option("--strict", is_flag=True, help="Exit 3 when some check is unknown or error.")
@click.option("--at", "at", metavar="RFC3339", help="Judge as if it were this time.")
def command(
    root: str | None,
    replay: str | None,
    globs: tuple[str, ...],
    output: str,
    fail_on: str | None,
    strict: bool,
    at: str | None,
) -> int:
    """Look at this host (or a tree, or a recording) once and print the findings."""
    try:
        checks = select(globs)
    except NoSuchCheckError as exc:
        raise click.UsageError(str(exc)) from None
    host, recorded_at, node = open_host(root, replay)
    moment = parse_time(at) if at else recorded_at if recorded_at is not None else time.time()
    report = scan(host, checks, at=moment, node=node, given=operator_settings())
    show(report, output)
    return exit_code(report, fail_on=Severity(fail_on) if fail_on else None, strict=strict)


def operator_settings() -> Mapping[type[Fact], Reading[Fact]]:
    """What agent.yaml (or the file that NODEWARD_CONFIG names) and NODEWARD_* set for checks."""
    try:
        return settings(load())
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None


def open_host(root: str | None, replay: str | None) -> tuple[Host, float | None, str | None]:
    """The host that was asked for; for a recording also its clock and its node's name."""
    if root and replay:
        raise click.UsageError("--root and --replay exclude each other")
    if root:
        return TreeHost(root), None, None
    if replay:
        try:
            host, name, taken_at = load_recording(Path(replay).read_text(encoding="utf-8"))
        except (NoRecordingError, UnicodeDecodeError) as exc:
            raise click.UsageError(f"{replay} is no recording of nodeward: {exc}") from None
        return host, parse_time(taken_at), name
    return LiveHost(os.environ.get(ENVIRONMENT_ROOT, "/")), None, None


def parse_time(text: str) -> float:
    """RFC 3339 to seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"not an RFC 3339 time: {text!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def show(report: Report, output: str) -> None:
    """Print the report on stdout in the form asked for."""
    data = report_to_json(report)
    if output == "json":
        click.echo(json.dumps(data, ensure_ascii=True, indent=1))
    elif output == "ndjson":
        for finding in data["findings"]:  # type: ignore[union-attr]  # it is a list there
            click.echo(json.dumps(finding, ensure_ascii=True))
    else:
        click.echo(table.render(report, terminal=sys.stdout.isatty()))


def exit_code(report: Report, *, fail_on: Severity | None, strict: bool) -> int:
    """1 before 3 before 0 (contracts, section 2)."""
    failing = [f for f in report.findings if f.status is Status.FAIL]
    if fail_on is not None and any(f.severity.rank >= fail_on.rank for f in failing):
        return exits.FAILS
    dark = (Status.UNKNOWN, Status.ERROR)
    if strict and any(f.status in dark for f in report.findings):
        return exits.UNKNOWN
    return exits.OK
