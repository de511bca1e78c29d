"""`nodeward scan`: look once, print, exit. What is heavy is imported where it is used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from nodeward.cli import exits
from nodeward.model import Severity, Status

if TYPE_CHECKING:
    from nodeward.cli.accept import Accepted
    from nodeward.host import Host
    from nodeward.model import Check, CheckId, Fact, Reading, Report

ENVIRONMENT_ROOT = "NODEWARD_HOST_ROOT"
FORMS = ("table", "json", "ndjson", "junit", "sarif")
NEVER = "never"
LATEST = 253_402_300_800  # the year 10000


def complete_checks(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Check ids for the shell's completion."""
    from nodeward.checks import catalog

    return [
        CompletionItem(rule.id, help=rule.title)
        for rule in catalog().values()
        if rule.id.startswith(incomplete)
    ]


@click.command("scan")
@click.option("--root", type=click.Path(exists=True, file_okay=False), help="A file tree at rest.")
@click.option("--replay", type=click.Path(exists=True, dir_okay=False), help="A recording.")
@click.option(
    "--check",
    "globs",
    multiple=True,
    metavar="GLOB",
    help="Only these checks; may be repeated.",
    shell_complete=complete_checks,
)
@click.option("--output", "-o", type=click.Choice(FORMS), default="table", show_default=True)
@click.option(
    "--fail-on",
    type=click.Choice([NEVER, *(s.value for s in Severity)]),
    default=NEVER,
    show_default=True,
    help="Exit 1 when a check of this severity or a worse one fails.",
)
@click.option("--strict", is_flag=True, help="Exit 3 when some check is unknown or error.")
@click.option(
    "--accept",
    "accept_file",
    type=click.Path(exists=True, dir_okay=False),
    help="Dated exceptions from the exit code: a list of {check, reason, owner, until}.",
)
@click.option("--at", metavar="RFC3339", help="Judge as if it were this time.")
def command(
    root: str | None,
    replay: str | None,
    globs: tuple[str, ...],
    output: str,
    fail_on: str,
    strict: bool,
    accept_file: str | None,
    at: str | None,
) -> int:
    """Look at this host (or a tree, or a recording) once and print the findings.

    Exit codes: 0 looked, 1 something fails at or above --fail-on, 2 wrong usage, 3 something is
    unknown and --strict was given.
    """  # fmt: skip
    moment = parse_time(at) if at else None
    checks = selected(globs)
    exceptions = read_exceptions(accept_file)
    host, recorded_at, node = open_host(root, replay)
    if moment is None:
        moment = recorded_at if recorded_at is not None else time.time()
    from nodeward.agent.scan import scan

    report = scan(host, checks, at=moment, node=node, given=operator_settings())
    accepted = accepted_of(exceptions, report, moment)
    show(report, checks, accepted, output, strict=strict)
    threshold = None if fail_on == NEVER else Severity(fail_on)
    return exit_code(report, accepted, fail_on=threshold, strict=strict)


def selected(globs: Sequence[str]) -> list[Check[...]]:
    """The checks of these globs; one that matches nothing is wrong usage."""
    from nodeward.agent.scan import NoSuchCheckError, select

    try:
        return select(globs)
    except NoSuchCheckError as exc:
        raise click.UsageError(f"{exc}; `nodeward checks` lists them") from None


def operator_settings() -> Mapping[type[Fact], Reading[Fact]]:
    """What agent.yaml (or the file that NODEWARD_CONFIG names) and NODEWARD_* set for checks."""
    from nodeward.agent.config import ConfigError, load
    from nodeward.agent.settings import settings

    try:
        return settings(load())
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None


def open_host(root: str | None, replay: str | None) -> tuple[Host, float | None, str | None]:
    """The host that was asked for; for a recording also its clock and its node's name."""
    from nodeward.host import LiveHost, TreeHost

    if root and replay:
        raise click.UsageError("--root and --replay exclude each other")
    if root:
        return TreeHost(root), None, None
    if replay:
        from nodeward.host.record import NoRecordingError, load

        try:
            host, name, taken_at = load(Path(replay).read_text(encoding="utf-8"))
        except (NoRecordingError, UnicodeDecodeError) as exc:
            raise click.UsageError(f"{replay} is no recording of nodeward: {exc}") from None
        return host, parse_time(taken_at), name
    return LiveHost(os.environ.get(ENVIRONMENT_ROOT, "/")), None, None


def parse_time(text: str) -> float:
    """RFC 3339 to seconds since 1970. A time without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if not 0 <= seconds < LATEST:
            raise ValueError
        return seconds
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"not an RFC 3339 time: {text[:40]!r} (2026-11-22T04:00:00Z is one)"
        ) from None


def read_exceptions(file: str | None) -> list[Accepted]:
    if file is None:
        return []
    from nodeward.checks import catalog
    from nodeward.cli.accept import AcceptError, parse

    try:
        return parse(Path(file).read_text(encoding="utf-8"), catalog())
    except (AcceptError, UnicodeDecodeError) as exc:
        raise click.UsageError(f"{file}: {exc}") from None


def accepted_of(
    exceptions: Sequence[Accepted], report: Report, at: float
) -> dict[CheckId, Accepted]:
    """What is accepted now. What has run out is told, once, on stderr."""
    if not exceptions:
        return {}
    from nodeward.cli.accept import apply
    from nodeward.cli.text import safe

    for entry in exceptions:
        if entry.until < at:
            text = f"nodeward: the exception for {entry.check} ran out on {entry.until_text}"
            click.echo(safe(text), err=True)
    return apply(exceptions, report.findings, at)


def show(
    report: Report,
    checks: Sequence[Check[...]],
    accepted: Mapping[CheckId, Accepted],
    output: str,
    *,
    strict: bool,
) -> None:
    """Print the report on stdout in the form asked for."""
    match output:
        case "json":
            click.echo(json.dumps(as_json(report, accepted), ensure_ascii=True, indent=1))
        case "ndjson":
            whole = as_json(report, accepted)
            head = {"node": whole["node"], "taken_at": whole["taken_at"]}
            for finding in whole["findings"]:
                click.echo(json.dumps({**head, **finding}, ensure_ascii=True))
        case "junit":
            from nodeward.cli import junit

            click.echo(junit.render(report, accepted, strict=strict))
        case "sarif":
            from nodeward.cli import sarif

            click.echo(json.dumps(sarif.to_json(report, checks, accepted), indent=1))
        case _:
            from nodeward.cli import paint, table

            if paint.on_terminal():
                click.echo(table.page(report, paint.Paint.of_stdout(), accepted), color=True)
            else:
                click.echo(table.columns(report))


def as_json(report: Report, accepted: Mapping[CheckId, Accepted]) -> dict[str, Any]:
    """nodeward.scan/v1; an accepted finding says by whom, why and until when."""
    from nodeward.model.report import report_to_json

    whole: dict[str, Any] = report_to_json(report)
    for finding in whole["findings"]:
        if entry := accepted.get(finding["check"]):
            finding["accepted"] = entry.to_json()
    return whole


def exit_code(
    report: Report,
    accepted: Mapping[CheckId, Accepted],
    *,
    fail_on: Severity | None,
    strict: bool,
) -> int:
    """1 before 3 before 0."""
    counted = [f for f in report.findings if f.check not in accepted]
    if fail_on is not None and any(
        f.status is Status.FAIL and f.severity.rank >= fail_on.rank for f in counted
    ):
        return exits.FAILS
    dark = (Status.UNKNOWN, Status.ERROR)
    if strict and any(f.status in dark for f in counted):
        return exits.UNKNOWN
    return exits.OK
