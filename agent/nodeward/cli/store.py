"""What `nodeward collector` does beside a running collector: in its store, as the operator.

Whoever may write the store may do all of it; so each act leaves its line in the audit log.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nodeward.collector.settings import Settings

T = TypeVar("T")


def settings_of(context: click.Context) -> Settings:
    """The settings in force, or wrong usage."""
    try:
        import nodeward.collector.serve  # noqa: F401  all that the extra brings
        from nodeward.collector.settings import SettingsError, load
    except ModuleNotFoundError as exc:
        raise click.UsageError(
            f"this needs the collector extra (pip install 'nodeward[collector]'): no {exc.name}"
        ) from None
    given: str | None = context.obj
    try:
        return load(Path(given) if given else None)
    except SettingsError as exc:
        raise click.UsageError(str(exc)) from None


@contextmanager
def usage() -> Iterator[None]:
    """What the operator asked for cannot be: exit code 2 and one line."""
    from nodeward.collector.problem import Problem
    from nodeward.collector.settings import SettingsError

    try:
        yield
    except (Problem, SettingsError) as exc:
        raise click.UsageError(str(exc)) from None


def write(context: click.Context, act: Callable[[Connection], T]) -> T:
    """Run an act of the operator in a transaction of its own, beside a running collector."""
    settings = settings_of(context)
    from nodeward.collector.db.engine import open_engine

    engine = open_engine(settings.database_url)
    try:
        with usage(), engine.execution_options(writes=True).begin() as connection:
            return act(connection)
    finally:
        engine.dispose()


def done(context: click.Context, name: str, on: str, **detail: object) -> None:
    """Write down what was done to the store as a whole."""
    act(context, name, on, lambda _connection, _now: None, **detail)


def who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name} at {socket.gethostname()}"


def span(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    from nodeward.collector.clock import span_ms

    try:
        return span_ms(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


def labels_of(values: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE")
        out[key] = value
    return out


def act(
    context: click.Context,
    name: str,
    on: str,
    do: Callable[[Connection, int], T],
    **detail: object,
) -> T:
    """Do it now, and write down that it was done and with what, in one transaction."""
    settings_of(context)
    from nodeward.collector.db.engine import clock_of
    from nodeward.collector.store.audit import note

    def both(connection: Connection) -> T:
        now = clock_of(connection)
        result = do(connection, now)
        note(connection, who(), name, on, now, detail)
        return result

    return write(context, both)
