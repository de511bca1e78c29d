"""A key by the SHA-256 of its public half: how a finding says it, and how a collector reads that.

Whoever compares nodes needs only this: which key, whose, where it lies, and whether its private
half lies there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from nodeward.facts.pki_roles import SIGNERS
from nodeward.lazy import dataclass, pattern
from nodeward.model import Evidence

_LINE = pattern(r"key sha256:(?P<hash>[0-9a-f]{64})(?P<private>, private half here)?")
_COPIED_BY_DESIGN = ("/etc/kubernetes/static-pod-resources/", "/var/snap/microk8s/")


class Sort(IntEnum):
    """What a key is worth elsewhere, the gravest first."""

    NODE = 1  # one node's own identity: never on another
    SIGNER = 2  # makes credentials for its cluster: on its control planes only
    COMPONENT = 3  # a component's or a person's credential
    PLANE = 4  # the same on each control plane because its distribution copies it there
    TRUST = 5  # the public half of somebody else: many trust it


_FIRST = (
    (Sort.NODE, True),
    (Sort.NODE, False),
    (Sort.SIGNER, True),
    (Sort.COMPONENT, True),
    (Sort.SIGNER, False),
    (Sort.COMPONENT, False),
    (Sort.PLANE, True),
    (Sort.PLANE, False),
    (Sort.TRUST, True),
    (Sort.TRUST, False),
)
"""A node's own identity, which no other node may have; private halves, by what they open; and what
is public anyhow."""
_NODE = ("kubelet-client", "kubelet-server")
_SIGNER = SIGNERS | {
    "kubelet-client-ca",
    "kubelet-serving-ca",
    "apiserver-etcd-ca",
    "apiserver-peer-ca",
}
_FOREIGN = ("oidc-ca", "webhook-ca", "egress-ca", "cluster-root-ca")
"""They tell who a server is, and let nobody in: a company's or a public authority is none's own."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """One key on one node. `component` is whose it is, `place` where it lies."""

    sha256: str
    component: str
    place: str
    private: bool = False

    @property
    def sort(self) -> Sort:
        if self.component in _FOREIGN and not self.private:
            return Sort.TRUST
        if self.component in _NODE:
            return Sort.NODE
        if self.component in _SIGNER:
            return Sort.SIGNER
        # Where etcd runs apart from them, its one client certificate is copied to all API servers.
        by_design = self.place.startswith(_COPIED_BY_DESIGN)
        by_design = by_design or self.component in ("apiserver-etcd-client", "dqlite")
        return Sort.PLANE if by_design else Sort.COMPONENT

    @property
    def rank(self) -> int:
        """Its place among those that are named where there is no room for all."""
        return _FIRST.index((self.sort, self.private))

    def evidence(self) -> Evidence:
        private = ", private half here" if self.private else ""
        return Evidence(self.component, f"key sha256:{self.sha256}{private}", self.place)


def read_key(piece: Mapping[str, Any]) -> NamedKey | None:
    """The inverse of `evidence`, of a finding's JSON; None for evidence of another form."""
    value, what, source = (piece.get(name) for name in ("value", "what", "source"))
    found = _LINE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not isinstance(what, str):
        return None
    place = source if isinstance(source, str) else ""
    return NamedKey(found["hash"], what, place, found["private"] is not None)
