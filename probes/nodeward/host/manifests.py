"""Static pod manifests, without the values of environment variables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from nodeward.host.kubeconfig import load
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

MANIFEST_LIMIT = 2 << 20
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class ManifestContents:
    """The manifest as JSON text, or why it is none."""

    json: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ManifestFile(Query[ManifestContents]):
    """One pod as the kubelet reads it from its folder."""

    answer_type: ClassVar[object] = ManifestContents
    at_rest: ClassVar[bool] = True

    path: str

    def answer(self, host: TreeHost) -> ManifestContents:
        try:
            value = load(host.read(self.path, limit=MANIFEST_LIMIT))
        except ValueError as exc:
            return ManifestContents("", str(exc))
        try:
            return ManifestContents(json.dumps(_shown(value), default=str))
        except (RecursionError, ValueError, MemoryError):
            return ManifestContents("", "nested too deeply")


def _shown(value: Any) -> Any:  # noqa: ANN401  YAML of the host
    if not isinstance(value, dict):
        return value
    spec = value.get("spec")
    if isinstance(spec, dict):
        groups = ("containers", "initContainers", "ephemeralContainers")
        spec = spec | {
            group: [_without_values(c) for c in spec[group]]
            for group in groups
            if isinstance(spec.get(group), list)
        }
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("annotations"), dict):
        kept = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
        metadata = metadata | {"annotations": kept}
    return value | {"spec": spec, "metadata": metadata}


def _without_values(container: Any) -> Any:  # noqa: ANN401
    if not isinstance(container, dict) or not isinstance(container.get("env"), list):
        return container
    env = [
        {k: v for k, v in one.items() if k != "value"} if isinstance(one, dict) else None
        for one in container["env"]
    ]
    return container | {"env": env}
