"""The command line's root. A verb's module is imported only when that verb is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
import traceback

import click
from click.shell_completion import CompletionItem

from nodeward.cli.exits import DEFECT, USAGE
from nodeward.cli.text import safe

VERBS = {
    "agent": "Run the daemon: look on an interval and on change, push to the collector.",
    "checks": "List what is judged.",
    "collector": "Run and manage the centre.",
    "completion": "Print the completion script of a shell.",
    "config": "Validate the agent's settings.",
    "doctor": "Is the agent of this node well, and what to do if not.",
    "diff": "What one node's posture came to between two times.",
    "explain": "Why a check matters, how it is judged, how to mend it.",
    "get": "Ask a collector: nodes, findings, changes.",
    "npd-check": "Judge one check in the form of a node-problem-detector plugin.",
    "query": "SQL over a collector's views.",
    "record": "Write a redacted recording of this host for tests and support.",
    "scan": "Look at this host once and print the findings.",
    "seal": "Wipe this node's key and spool before an image of it is captured.",
    "version": "Print the version.",
    "watch": "Changes of a collector as they come.",
}
INTERRUPTED = 130
READER_GONE = 141  # as the shell says of SIGPIPE: nobody may take half an answer for a good one


class _ReaderGone(Exception):
    """What we write to was closed. Our own: click would turn a broken pipe into exit code 1."""


class Verbs(click.Group):
    """Finds `nodeward.cli.<verb>` and in it the command named like the verb."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"nodeward.cli.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(VERBS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)  # click 8.1 would exit with 0, newer ones with 2
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _ReaderGone from None
        return code

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # Not click's own: it would import every verb for its help text.
        return [CompletionItem(v, help=VERBS[v]) for v in VERBS if v.startswith(incomplete)]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Judge how hardened a Kubernetes node really is, from the node itself."""


def main() -> None:
    """Run, and turn what went wrong into one line of advice and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name on the host may be in no encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli(standalone_mode=False, prog_name="nodeward")
    except click.ClickException as exc:
        if type(exc).__name__ == "NoArgsIsHelpError":  # no verb was given: show them
            exc.show()
            code = USAGE
        else:
            code = _say(_advice(exc), USAGE)
    except click.Abort:
        code = INTERRUPTED
    except _ReaderGone:
        # Nothing to say, also not when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = READER_GONE
    except OSError as exc:
        code = _say(f"{exc.filename or 'nodeward'}: {exc.strerror or exc}", USAGE)
    except Exception as exc:  # noqa: BLE001  the last resort of the program
        code = _say(f"a defect in nodeward; please report it with {_defect(exc)}", DEFECT)
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str, code: int) -> int:
    print(f"nodeward: {safe(text)}", file=sys.stderr)
    return code


def _advice(exc: click.ClickException) -> str:
    """One line: what is wrong, and which help tells more."""
    text = exc.format_message().rstrip(".")
    context = getattr(exc, "ctx", None)
    if isinstance(exc, click.UsageError) and context is not None:
        return f"{text} (see: {context.command_path} --help)"
    return text


def _defect(exc: Exception) -> str:
    """Write where it happened to a file and name it. Not the error's own text: it may hold values
    of the host, and people paste such files into public trackers."""
    frames = "".join(traceback.format_tb(exc.__traceback__))
    with tempfile.NamedTemporaryFile(
        "w", prefix="nodeward-defect-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"{frames}{type(exc).__module__}.{type(exc).__qualname__}\n")
    return file.name


if __name__ == "__main__":
    main()
