"""The command line's root. A verb's module is imported only when that verb is called."""

from __future__ import annotations

import importlib
import sys
import traceback

import click

from nodeward.cli.exits import DEFECT, USAGE

VERBS = {
    "agent": "Run the daemon: look on an interval and on change, push to the collector.",
    "checks": "List what is judged.",
    "collector": "Run and manage the centre.",
    "explain": "Why a check matters, how it is judged, how to mend it.",
    "get": "Ask a collector: nodes, findings, changes.",
    "record": "Write a redacted recording of this host for tests and support.",
    "scan": "Look at this host once and print the findings.",
    "version": "Print the version.",
}


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


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Judge how hardened a Kubernetes node really is, from the node itself."""


def main() -> None:
    """Run, and turn what went wrong into an exit code (contracts, section 2)."""
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        code = getattr(exc, "exit_code", USAGE) if exc.exit_code > 1 else USAGE
    except click.Abort:
        code = 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nothing to say to it
        code = 0
    except Exception:  # noqa: BLE001  the last resort of the program
        traceback.print_exc()
        print("nodeward: a defect; please report it with the lines above", file=sys.stderr)
        code = DEFECT
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
