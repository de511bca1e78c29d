"""Nodes that their cluster has deleted: gone, and not merely silent.

An autoscaler takes nodes away without a word to us. Whether one is gone or only away is known to
the cluster's own API, so that is asked, with the one right to list nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

from nodeward.collector.export.cluster import Api, ClusterError

Ask: TypeAlias = Callable[[str, list[tuple[str, str]]], Iterable[Mapping[str, Any]]]
Post: TypeAlias = Callable[[str, object], object]


@dataclass
class Departed:
    """Retires in the collector what left the cluster.

    Only nodes that were in the cluster once: those that its own tokens vouched for, and those that
    were seen in its list. What else reports under its name (a machine of etcd's) is left alone.
    """

    ask: Ask
    post: Post
    api: Api
    cluster: str
    _seen: set[str] = field(default_factory=set)

    def turn(self) -> list[str]:
        """The nodes that were retired.

        Raises ClusterError and what `ask` and `post` raise; what was retired stays so.
        """
        here = [("cluster", self.cluster)]
        known = {str(row["node"]) for row in self.ask("/v1/nodes", here)}
        vouched = {
            str(row["node"])
            for row in self.ask("/v1/agents", [*here, ("state", "active")])
            if row["method"] == "k8s-psat"
        }
        # Asked after that: who reports by then is in the list, unless it is gone again.
        there = {str(n["metadata"]["name"]) for n in self.api.items("/api/v1/nodes")}
        if known and not known & there:
            raise ClusterError(f"no node of {self.cluster} is in this cluster: is it another one?")
        gone = sorted((known & (self._seen | vouched)) - there)
        self._seen |= known & there
        for name in gone:
            self.post(f"/v1/nodes/{quote(self.cluster, '')}/{quote(name, '')}/retire", {})
        self._seen -= set(gone)
        return gone
