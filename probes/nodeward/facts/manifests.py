"""Static pods: what the kubelet starts from files, without asking any API server."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar

from nodeward.facts.errors import ParseError
from nodeward.lazy import dataclass
from nodeward.model import Fact


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the host inside a container."""

    inside: str
    outside: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """One container. `argv` is command and args together: what runs when both are given."""

    name: str
    image: str
    argv: tuple[str, ...]
    mounts: tuple[Mount, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def program(self) -> str:
        return posixpath.basename(self.argv[0]) if self.argv else ""

    def outside(self, path: str) -> str | None:
        """Where a path of the container lies on the host; None when no host path is there."""
        best = max(
            (
                m
                for m in self.mounts
                if path == m.inside or path.startswith(f"{m.inside.rstrip('/')}/")
            ),
            key=lambda m: len(m.inside),
            default=None,
        )
        if best is None:
            return None
        rest = path[len(best.inside.rstrip("/")) :]
        return best.outside.rstrip("/") + rest if rest else best.outside


@dataclass(frozen=True, slots=True)
class StaticPod:
    """One manifest. `raw` is the whole of it but the values of environment variables."""

    path: str
    name: str
    namespace: str
    containers: tuple[Container, ...]
    host_network: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class BadManifest:
    """A file in the folder that the kubelet cannot start, or that we could not read."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class Manifests(Fact):
    """The static pods of a node. `folder` is where the kubelet looks, "" when it looks nowhere."""

    events: ClassVar[tuple[str, ...]] = ()

    folder: str
    pods: tuple[StaticPod, ...] = ()
    bad: tuple[BadManifest, ...] = ()

    def containers(self, *programs: str) -> Iterator[tuple[StaticPod, Container]]:
        """Those that run one of these programs (all, when none is named)."""
        for pod in self.pods:
            for container in pod.containers:
                if not programs or container.program in programs:
                    yield pod, container


def parse_manifest(text: str, path: str) -> StaticPod:
    """A pod from its JSON. ParseError when it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ParseError(path, 0, "not JSON") from None
    if not isinstance(value, dict) or value.get("kind") != "Pod":
        raise ParseError(path, 0, "no Pod")
    metadata, spec = _mapping(value, "metadata"), _mapping(value, "spec")
    volumes = {
        _text(v, "name"): _text(_mapping(v, "hostPath"), "path")
        for v in _list(spec, "volumes")
        if isinstance(v, dict)
    }
    return StaticPod(
        path=path,
        name=_text(metadata, "name"),
        namespace=_text(metadata, "namespace") or "default",
        containers=tuple(
            _container(c, volumes) for c in _list(spec, "containers") if isinstance(c, dict)
        ),
        host_network=spec.get("hostNetwork") is True,
        raw=value,
    )


def _container(value: Mapping[str, Any], volumes: Mapping[str, str]) -> Container:
    words = [*_list(value, "command"), *_list(value, "args")]
    return Container(
        name=_text(value, "name"),
        image=_text(value, "image"),
        argv=tuple(w for w in words if isinstance(w, str)),
        mounts=tuple(
            Mount(_text(m, "mountPath"), _outside(m, volumes), m.get("readOnly") is True)
            for m in _list(value, "volumeMounts")
            if isinstance(m, dict) and volumes.get(_text(m, "name"))
        ),
        raw=value,
    )


def _outside(mount: Mapping[str, Any], volumes: Mapping[str, str]) -> str:
    base, below = volumes[_text(mount, "name")], _text(mount, "subPath")
    return f"{base.rstrip('/')}/{below}" if below else base


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _list(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""
