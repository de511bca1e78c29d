"""The entries of a directory that changes all the time: asked for without watching it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost


@dataclass(frozen=True, slots=True)
class Names(Query[tuple[str, ...]]):
    """As Host.names. What a probe asks by `names` wakes the agent when it changes; a home or /tmp
    would wake it without end, and is looked at again with the next whole look."""

    answer_type: ClassVar[object] = tuple[str, ...]
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> tuple[str, ...]:
        return host.names(self.path)
