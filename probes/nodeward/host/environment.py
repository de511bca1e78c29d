"""Settings in a process's environment. Values that are no path and no switch stay here."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

ENVIRON_LIMIT = 4 << 20
_SWITCHES = ("true", "false", "1", "0")


@dataclass(frozen=True, slots=True)
class EnvironmentPaths(Query[dict[str, str]]):
    """The variables of a process that start with `prefix` and hold a path, a URL or a switch."""

    answer_type: ClassVar[object] = dict[str, str]
    at_rest: ClassVar[bool] = True

    pid: int
    prefix: str

    def answer(self, host: TreeHost) -> dict[str, str]:
        raw = host.read(f"/proc/{self.pid}/environ", limit=ENVIRON_LIMIT)
        found = {}
        for entry in raw.split(b"\0"):
            name, _, value = entry.decode("utf-8", "surrogateescape").partition("=")
            shown = value.startswith(("/", "http://", "https://")) and "@" not in value
            if name.startswith(self.prefix) and (shown or value.lower() in _SWITCHES):
                found[name] = value
        return found
