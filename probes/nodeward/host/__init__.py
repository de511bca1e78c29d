"""The one door to a machine. Read-only by construction: there is no write here, and no exec."""

from nodeward.host.base import (
    LIMIT,
    DeniedError,
    Host,
    HostError,
    MissingError,
    NotRegularError,
    OfflineError,
    Stat,
    TooBigError,
)
from nodeward.host.live import LiveHost
from nodeward.host.query import Query
from nodeward.host.record import Recorder, Replay
from nodeward.host.tree import TreeHost

__all__ = [
    "LIMIT",
    "DeniedError",
    "Host",
    "HostError",
    "LiveHost",
    "MissingError",
    "NotRegularError",
    "OfflineError",
    "Query",
    "Recorder",
    "Replay",
    "Stat",
    "TooBigError",
    "TreeHost",
]
