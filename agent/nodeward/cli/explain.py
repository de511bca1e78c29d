"""`nodeward explain CHECK`: one check as a page, and what it says of this host."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from nodeward.cli.paint import Paint, on_terminal
from nodeward.cli.scan import complete_checks, open_host, operator_settings
from nodeward.cli.text import safe

if TYPE_CHECKING:
    from nodeward.host import Recorder
    from nodeward.model import Check, Finding

MOST_PLACES = 20


@click.command("explain")
@click.argument("check", shell_complete=complete_checks)
@click.option("--root", type=click.Path(exists=True, file_okay=False), help="A file tree at rest.")
@click.option(
    "--look/--no-look", default=True, help="Also judge this host and show where it was read."
)
def command(check: str, root: str | None, look: bool) -> None:
    """Why a check matters, how it is judged, how to mend it, and what it says of this host."""
    from nodeward.model.explain import page

    rule = _find(check)
    lines = page(rule).rstrip().split("\n")
    if look:
        lines += ["", *_here(rule, root)]
    if on_terminal():
        click.echo("\n".join(_rendered(lines, Paint.of_stdout())), color=True)
    else:
        click.echo("\n".join(lines))


def _find(check: str) -> Check[...]:
    import difflib

    from nodeward.checks import catalog
    from nodeward.model import CheckId

    rule = catalog().get(CheckId(check))
    if rule is not None:
        return rule
    near = [i for i in catalog() if check in i] or difflib.get_close_matches(check, catalog(), 5)
    hint = f"; did you mean {', '.join(near[:5])}?" if near else "; `nodeward checks` lists them"
    raise click.UsageError(f"no check is called {check!r}{hint}")


def _here(rule: Check[...], root: str | None) -> Iterator[str]:
    """What the check says of this host, and the places that were asked, as Markdown."""
    from nodeward.agent.scan import scan
    from nodeward.host import Recorder

    recorder = Recorder(open_host(root, None)[0])
    report = scan(recorder, [rule], at=time.time(), given=operator_settings())
    (finding,) = report.findings
    yield "## On this host" if root is None else f"## In the tree at {safe(root)}"
    yield ""
    yield f"**{_verdict(finding)}**: {safe(finding.because)}"
    yield ""
    for piece in finding.evidence[:MOST_PLACES]:
        source = f" [{safe(piece.source)}]" if piece.source else ""
        yield f"- {safe(piece.what)}: `{safe(piece.value)}`{source}"
    yield ""
    yield "Read from:"
    yield ""
    for place in places(recorder):
        yield f"- {safe(place)}"


def _verdict(finding: Finding) -> str:
    from nodeward.model import Status

    failing = finding.status is Status.FAIL
    return f"{finding.status} ({finding.severity})" if failing else str(finding.status)


def places(recorder: Recorder) -> list[str]:
    """Where answers came from: files that were there, and questions to the kernel. Each process
    has the same files: they are named once."""
    found: dict[str, int] = {}
    for question, answer in recorder.log.items():
        kind, _, what = question.partition(" ")
        if kind not in ("read", "ask") or (isinstance(answer, dict) and "!" in answer):
            continue
        name = what.partition(" {")[0] if kind == "ask" else what
        name = re.sub(r"^/proc/\d+/", "/proc/PID/", name)
        found[name] = found.get(name, 0) + 1
    listed = [n if count == 1 else f"{n} ({count} times)" for n, count in sorted(found.items())]
    if len(listed) > MOST_PLACES:
        listed[MOST_PLACES - 1 :] = [f"and {len(listed) - MOST_PLACES + 1} more"]
    return listed


def _rendered(lines: list[str], paint: Paint) -> Iterator[str]:
    """Our own Markdown on a terminal: headings, paragraphs, lists, one kind of table, shell."""
    in_code = False
    for line in lines:
        if line.startswith("```"):
            in_code = not in_code
        elif in_code:
            yield "  " + paint(f"$ {safe(line)}", "36")
        elif line.startswith("#"):
            yield paint.bold(safe(line.lstrip("# ")))
        elif line.startswith("| ---") or line == "| verdict | when |":
            continue
        elif line.startswith("| "):
            verdict, _, when = line.strip("| ").partition(" | ")
            yield from _wrap(f"{verdict:<15} {_plain(when)}", paint, " " * 18)
        elif line.startswith("- "):
            yield from _wrap(f"{paint.sign('·')} {_plain(line[2:])}", paint, "    ")
        elif line:
            yield from _wrap(_plain(line), paint, "  ")
        else:
            yield ""


def _plain(text: str) -> str:
    text = re.sub(r"\[([^\]]+)\]\((https://[^)]+)\)", r"\1: \2", text)
    return safe(text.replace("**", "").replace("\\|", "|").replace("`", ""))


def _wrap(text: str, paint: Paint, rest: str) -> list[str]:
    return textwrap.wrap(
        text, paint.width, initial_indent="  ", subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
