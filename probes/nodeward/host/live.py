"""The running machine: its file tree, and what is no file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from nodeward.host.base import DeniedError, HostError, translate
from nodeward.host.masks import masked, mounted_folders
from nodeward.host.tree import STEP, TreeHost, Walk
from nodeward.lazy import pattern

T = TypeVar("T")

HOST_ROOT = "/"
PROC_ROOT_INO = 1  # linux/proc_ns.h: by this the kernel's own /proc is known
_OF_PROCESS = pattern(r"/proc/[1-9][0-9]*/(?:fd/[0-9]+|(?!root\Z|cwd\Z)[a-z_]+)")
"""What the kernel itself keeps of a process. root and cwd lead elsewhere."""


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

    @cached_property
    def _kernels_proc(self) -> bool:
        try:
            return os.lstat(os.path.join(self.root, "proc")).st_ino == PROC_ROOT_INO
        except OSError:
            return False

    def _at(self, path: str, ask: Callable[[int], T], *, follow: bool = True) -> T:
        """In the kernel's own folders of processes no step can be a link that somebody made: one
        call opens what would take seven, and a node has thousands of such files."""
        if _OF_PROCESS.fullmatch(path) and self._kernels_proc:
            try:
                fd = os.open(self.root.rstrip("/") + path, STEP)
                try:
                    if not (follow and stat.S_ISLNK(os.fstat(fd).st_mode)):
                        self._refuse_if_masked(path)
                        return ask(fd)
                finally:
                    os.close(fd)
            except OSError as exc:
                raise translate(path, exc) from exc
        return super()._at(path, ask, follow=follow)

    def _resolve(self, walk: Walk, *, follow: bool) -> None:
        try:
            super()._resolve(walk, follow=follow)
        except OSError:
            self._refuse_masked(walk, walk.step)
            raise
        self._refuse_masked(walk)

    def _refuse_masked(self, walk: Walk, *missing: str) -> None:
        if not walk.prefix:
            self._refuse_if_masked("/" + "/".join([*walk.names, *missing]))

    def _refuse_if_masked(self, path: str) -> None:
        """What our sandbox hides is unreadable; it would look empty, or as if it were not there."""
        root = self.root.rstrip("/")
        if masked(root + path, root):
            raise DeniedError(path, "hidden by the agent's own sandbox")
        if self._mounted and not any(path == m or path.startswith(f"{m}/") for m in self._mounted):
            raise HostError(path, "not mounted")

    @cached_property
    def _mounted(self) -> tuple[str, ...] | None:
        return mounted_folders(os.path.realpath(self.root))
