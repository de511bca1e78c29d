"""Renders the Helm chart, with Helm's own functions from gotpl instead of the helm program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gotpl
import yaml
from gotpl.exts.helm import HelmExtension

CHART = Path(__file__).parents[1] / "packaging/helm/nodeward"
VALUES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "every right": {"agent": {"podNetworks": True, "firewallRules": True, "configz": True}},
    "few mounts": {"agent": {"hostPaths": ["/etc", "/proc", "/lib/modules"]}},
    "replicas on PostgreSQL": {
        "collector": {
            "replicas": 3,
            "databaseSecret": "pg",
            "tlsSecret": "tls",
            "allowFrom": [{"namespaceSelector": {}}],
        }
    },
    "another port, more settings": {
        "collector": {"service": {"port": 443, "type": "LoadBalancer"}},
        "agent": {"config": {"looks": {"interval_s": 3600, "memory_limit_bytes": 268435456}}},
    },
    "agents alone": {
        "collector": {"enabled": False},
        "agent": {"collectorUrl": "https://posture.example.org"},
    },
}
"""What people set, by what for."""


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values as helm merges them: maps by key, all else replaced."""
    out = dict(under)
    for key, value in over.items():
        old = out.get(key)
        out[key] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return out


def defaults() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return values


def render(
    values: Mapping[str, Any] | None = None, *, release: str = "nw", namespace: str = "nodeward"
) -> list[dict[str, Any]]:
    """Every object that the chart makes of these values, in file order."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    data = {
        "Values": merged(defaults(), values or {}),
        "Release": {"Name": release, "Namespace": namespace, "Service": "Helm"},
        "Chart": {
            "Name": chart["name"],
            "Version": chart["version"],
            "AppVersion": chart["appVersion"],
        },
    }
    data["Template"] = {"BasePath": "templates"}
    templates = sorted((CHART / "templates").rglob("*"))
    sources = {str(p.relative_to(CHART)): p.read_text() for p in templates if p.is_file()}
    engine = gotpl.Environment(extensions=[HelmExtension()]).from_sources(sources)
    objects: list[dict[str, Any]] = []
    for name in sources:
        if name.endswith(".yaml"):
            documents = yaml.safe_load_all(engine.render_template(name, data))
            objects += [d for d in documents if d is not None]
    return objects


def one(objects: list[dict[str, Any]], kind: str, suffix: str) -> dict[str, Any]:
    """The only object of that kind whose name ends so."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    return found


def readme() -> str:
    """README.md of the chart: its head, then each value with the comment above it."""
    head, _, _ = (CHART / "README.md").read_text().partition(MARK)
    return head + MARK + "\n\n" + "\n".join(_rows()) + "\n"


MARK = "<!-- values: made from values.yaml -->"


def _rows() -> list[str]:
    rows, comment, path = ["| value | default | why |", "| --- | --- | --- |"], [""], [""]
    for line in (CHART / "values.yaml").read_text().splitlines()[1:]:
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.removeprefix("#").strip())
        elif text and not text.startswith("-"):
            depth = (len(line) - len(line.lstrip())) // 2
            key, _, value = text.partition(":")
            path = [*path[:depth], key]
            why = " ".join(c for c in comment if c)
            if value.strip():
                rows.append(f"| `{'.'.join(path)}` | `{value.strip()}` | {why} |")
            elif why:
                rows.append(f"| `{'.'.join(path)}` | | {why} |")
            comment = [""]
    return rows


def base() -> str:
    """The kustomize base: the chart with its shipped values, for those without helm."""
    objects = [o for o in render() if "helm.sh/hook" not in o["metadata"].get("annotations", {})]
    for o in objects:
        labels = o["metadata"]["labels"]
        del labels["helm.sh/chart"]
        labels["app.kubernetes.io/managed-by"] = "kustomize"
    return "# Made from the Helm chart by script/chart; do not edit.\n" + "---\n".join(
        yaml.safe_dump(o, sort_keys=False) for o in objects
    )


def write() -> None:
    """Make what is made from the chart."""
    (CHART / "README.md").write_text(readme())
    (CHART.parents[1] / "kustomize/base/nodeward.yaml").write_text(base())


if __name__ == "__main__":
    write()
