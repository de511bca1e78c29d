"""`nodeward doctor`: is the agent of this node well, and what to do if not."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import click

from nodeward.cli import exits
from nodeward.cli.private_file import write
from nodeward.cli.text import safe

GLYPH = {"good": "✓", "worse": "!", "bad": "✗"}


@click.command("doctor")
@click.option("--config", "file", metavar="FILE", help="Instead of /etc/nodeward/agent.yaml.")
@click.option(
    "--bundle", type=click.Path(dir_okay=False), metavar="FILE",
    help="Also write what a supporter needs, without secrets, as a .tar.gz.",
)  # fmt: skip
def command(file: str | None, bundle: str | None) -> int:
    """Examine the agent: rights, sandbox, namespaces, clock, TLS, spool, watches.

    Exit codes: 0 all is well, 1 something is bad, 2 wrong usage.
    """
    from nodeward.agent.config import ConfigError, load
    from nodeward.agent.doctor import examine
    from nodeward.agent.sign import Health

    try:
        config = load(file)
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None
    signs = []
    for sign in examine(config):
        signs.append(sign)
        word = f"{GLYPH[sign.health]} {sign.health.value:<5}"
        click.echo(f"{word}  {sign.what:<13}  {safe(sign.seen)}")
        if sign.advice:
            click.echo(f"{'':<9}{'':<13}  -> {safe(sign.advice)}")
    if bundle is not None:
        from nodeward.agent.bundle import contents

        write(Path(bundle), packed(contents(config, signs)))
        click.echo(f"wrote {bundle}; read it before you share it", err=True)
    return exits.FAILS if any(sign.health is Health.BAD for sign in signs) else exits.OK


def packed(files: dict[str, str]) -> bytes:
    """A tar of these texts, compressed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            content = text.encode("utf-8", "backslashreplace")
            entry = tarfile.TarInfo(f"nodeward/{name}")
            entry.size, entry.mtime = len(content), int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
