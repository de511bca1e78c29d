"""The running machine: its file tree, and what is no file."""

from __future__ import annotations

import os

from nodeward.host.base import DeniedError
from nodeward.host.masks import masked
from nodeward.host.tree import TreeHost, Walk

HOST_ROOT = "/"


class LiveHost(TreeHost):
    """A running machine whose "/" is at `root`: "/", or "/host" in a pod."""

    def __init__(self, root: str | os.PathLike[str] = HOST_ROOT) -> None:
        super().__init__(root, live=True)

    def same_namespace(self, kind: str) -> bool | None:
        """Whether we share the machine's own namespace of this kind ("net", "pid", "mnt").

        None when it cannot be told (the link of pid 1 may not be read).
        """
        try:
            own = os.readlink(f"/proc/self/ns/{kind}")
            return own == os.readlink(f"{self.root.rstrip('/')}/proc/1/ns/{kind}")
        except OSError:
            return None

    def _resolve(self, walk: Walk, *, follow: bool) -> None:
        try:
            super()._resolve(walk, follow=follow)
        except OSError:
            self._refuse_masked(walk)
            raise
        self._refuse_masked(walk)

    def _refuse_masked(self, walk: Walk) -> None:
        """What our sandbox hides is unreadable; it would look empty, or as if it were not there."""
        at = "/" + "/".join(walk.names)
        if self.root == "/" and not walk.prefix and masked(at):
            raise DeniedError(at, "hidden by the agent's own sandbox")
