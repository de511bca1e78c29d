"""ClusterReports kept up to date in a Kubernetes cluster, by what its collector knows of it.

The one program of ours with a right to write there: to clusterreports of openreports.io, nothing
else. Agents need no right at all, and a node cannot write about another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import requests

from nodeward.collector.export.openreports import API, SOURCE, report

Ask: TypeAlias = Callable[[str, list[tuple[str, str]]], Iterable[Mapping[str, Any]]]
PATH: Final = f"/apis/{API}/clusterreports"
LABEL: Final = f"app.kubernetes.io/managed-by={SOURCE}"
TIMEOUT_S: Final = (5.0, 30.0)
PAGE: Final = "500"


class ClusterError(Exception):
    """The API server could not be reached, or refused; the text says which and why."""


@dataclass(frozen=True)
class Api:
    """The API server: its URL, the CA to trust, and a file with a token that may be renewed."""

    url: str
    ca: Path
    token_file: Path

    def call(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  JSON
        headers = {"Authorization": f"Bearer {self._token()}"} | more.pop("headers", {})
        try:
            with requests.Session() as http:
                http.trust_env = False
                answer = http.request(
                    method, self.url.rstrip("/") + path, headers=headers, verify=str(self.ca),
                    timeout=TIMEOUT_S, allow_redirects=False, **more,
                )  # fmt: skip
        except (requests.RequestException, OSError) as exc:
            raise ClusterError(f"{self.url}: {type(exc).__name__}") from None
        if not 200 <= answer.status_code < 300:
            raise ClusterError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        try:
            return answer.json()
        except requests.exceptions.JSONDecodeError:
            raise ClusterError(f"{method} {path}: not the answer of an API server") from None

    def _token(self) -> str:
        try:
            return self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ClusterError(f"{self.token_file}: {exc}") from None

    def items(self, path: str, **params: str) -> Iterator[Mapping[str, Any]]:
        go_on = ""
        while True:
            more = {"continue": go_on} if go_on else {}
            page = self.call("GET", path, params={"limit": PAGE, **params, **more})
            yield from page.get("items") or []
            go_on = (page.get("metadata") or {}).get("continue") or ""
            if not go_on:
                return


@dataclass
class Keeper:
    """Writes the report of each node whose posture changed since it was last written."""

    ask: Ask
    api: Api
    cluster: str
    _written: dict[str, str | None] = field(default_factory=dict)  # node -> digest

    def turn(self) -> tuple[int, int]:
        """How many reports were written, and how many deleted.

        Raises ClusterError and what `ask` raises; what was written stays written.
        """
        uids = {
            n["metadata"]["name"]: n["metadata"]["uid"] for n in self.api.items("/api/v1/nodes")
        }
        here = [("cluster", self.cluster)]
        known = {row["node"]: row["digest"] for row in self.ask("/v1/nodes", here)}
        shown = {name: digest for name, digest in known.items() if name in uids}
        changed = [n for n, digest in shown.items() if self._written.get(n, "") != digest]
        for name in changed:
            rows = list(self.ask("/v1/findings", [*here, ("node", name)]))
            self._apply(report(name, rows, uids[name]))
            self._written[name] = shown[name]
        return len(changed), self._drop_others(shown)

    def _apply(self, wanted: Mapping[str, Any]) -> None:
        self.api.call(
            "PATCH",
            f"{PATH}/{wanted['metadata']['name']}",
            params={"fieldManager": SOURCE, "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            json=wanted,
        )

    def _drop_others(self, shown: Mapping[str, Any]) -> int:
        """Reports of ours about nodes that are gone, if their owner's end did not do it."""
        dropped = 0
        for held in self.api.items(PATH, labelSelector=LABEL):
            if (held.get("scope") or {}).get("name") not in shown:
                self.api.call("DELETE", f"{PATH}/{held['metadata']['name']}")
                dropped += 1
        self._written = {name: d for name, d in self._written.items() if name in shown}
        return dropped
