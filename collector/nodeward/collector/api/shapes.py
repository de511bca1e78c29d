"""What is answered, as types: for the description of the API, which its tests hold against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import msgspec

from nodeward.collector.wire import SeverityWord, StatusWord

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Labels = dict[str, str]
Counts = dict[StatusWord, int]
Row = TypeVar("Row")


class PageOut(msgspec.Struct, Generic[Row]):
    """Some rows; `next` is the cursor of those after them."""

    items: list[Row]
    next: str | None
    total: int | msgspec.UnsetType = msgspec.UNSET


class Os(msgspec.Struct):
    id: str | None
    version: str | None


class NodeOut(msgspec.Struct, kw_only=True):
    cluster: str
    node: str
    seen: Literal["current", "stale", "never", "retired"]
    summary: Counts
    score: int
    first_seen: Moment | None
    last_seen: Moment | None
    last_report: Moment | None
    clock_skew_ms: int | None
    clock: Literal["right", "skewed"] | None
    spool: int | None
    digest: str | None
    os: Os
    kernel: str | None
    kubelet: str | None
    runtime: str | None
    cloud: str | None
    roles: list[str]
    agent: str | None


class RetirementOut(msgspec.Struct):
    at: Moment
    cluster: str
    node: str


class EvidenceOut(msgspec.Struct):
    what: str
    value: str
    source: str | msgspec.UnsetType = msgspec.UNSET


class RemedyOut(msgspec.Struct):
    text: str
    steps: list[str] | msgspec.UnsetType = msgspec.UNSET
    breaks: str | msgspec.UnsetType | None = msgspec.UNSET


class WaiverBeside(msgspec.Struct):
    id: str
    reason: str
    owner: str
    until: Moment


class FindingOut(msgspec.Struct, kw_only=True):
    """As of another time (`at`) only the first five and `at`: words are not kept."""

    cluster: str
    node: str
    check: str
    status: StatusWord
    severity: SeverityWord
    at: Moment | msgspec.UnsetType = msgspec.UNSET
    because: str | msgspec.UnsetType = msgspec.UNSET
    evidence: list[EvidenceOut] | msgspec.UnsetType = msgspec.UNSET
    remedy: RemedyOut | msgspec.UnsetType | None = msgspec.UNSET
    mappings: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET
    since: Moment | msgspec.UnsetType | None = msgspec.UNSET
    last_seen: Moment | msgspec.UnsetType | None = msgspec.UNSET
    waiver: WaiverBeside | msgspec.UnsetType | None = msgspec.UNSET


class NodeWhole(NodeOut, kw_only=True):
    inventory: dict[str, Any]
    taken_at: str | None
    findings: list[FindingOut]


class ValueOut(msgspec.Struct):
    status: StatusWord
    severity: SeverityWord


class ChangeOut(msgspec.Struct):
    at: Moment
    cluster: str
    node: str
    check: str
    old: ValueOut | None
    new: ValueOut | None


class Step(msgspec.Struct):
    check: str
    old: ValueOut | None
    new: ValueOut | None


class DiffOut(msgspec.Struct):
    cluster: str
    node: str
    since: Moment
    until: Moment
    known: bool
    changes: list[Step]


class CheckOut(msgspec.Struct):
    check: str
    severity: SeverityWord
    nodes: Counts


class ClusterOut(msgspec.Struct):
    cluster: str
    nodes: int
    summary: Counts
    fails: dict[SeverityWord, int]


class PlatformOut(msgspec.Struct):
    os: str
    os_version: str
    kernel: str
    kubelet: str
    runtime: str
    cloud: str
    roles: str
    agent: str
    nodes: int


class DivergenceOut(msgspec.Struct):
    cluster: str
    check: str
    nodes: dict[str, list[str]]


class AgentOut(msgspec.Struct):
    agent: str
    cluster: str
    node: str
    status: str
    method: str
    enrolled_at: Moment
    expires_at: Moment


class Holder(msgspec.Struct):
    cluster: str
    node: str
    component: str
    place: str
    private: bool
    control_plane: bool
    last_seen: Moment | None


class SharedKeyOut(msgspec.Struct):
    key: str
    reading: str
    because: str
    component: str
    nodes: int
    clusters: int
    private: int
    on: list[Holder]


class WaiverOut(msgspec.Struct):
    id: str
    state: Literal["pending", "active", "expired", "ended"]
    check: str
    node: str
    labels: Labels
    reason: str
    owner: str
    created_by: str
    created_at: Moment
    until: Moment
    approved_by: str | None
    approved_at: Moment | None
    ended_by: str | None
    ended_at: Moment | None


class EventOut(msgspec.Struct):
    at: Moment
    kind: str
    cluster: str | None
    node: str | None
    agent: str | None
    detail: dict[str, Any]


class AuditOut(msgspec.Struct):
    at: Moment
    actor: str
    act: str
    object: str
    detail: dict[str, Any]


class AccessOut(msgspec.Struct):
    id: str
    name: str
    role: Literal["viewer", "operator", "admin"]
    labels: Labels
    state: Literal["active", "expired", "revoked"]
    subject: str | None
    created_at: Moment
    expires_at: Moment


class JoinTokenOut(msgspec.Struct):
    id: str
    cluster: str
    node: str | None
    uses: int
    approve: bool
    created_by: str
    created_at: Moment
    expires_at: Moment


class AlertOut(msgspec.Struct):
    name: str
    kind: Literal["change", "silence", "threshold", "unknown", "rise"]
    target: Literal["alertmanager", "webhook", "apprise"]
    check: str
    severity: SeverityWord
    cluster: str
    more_than: int
    at: str
    created_by: str
    created_at: Moment
    waiting: int


class Rows(msgspec.Struct):
    columns: list[str]
    rows: list[list[Any]]
    truncated: bool


class Token(msgspec.Struct):
    """Shown only now."""

    token: str


class Secret(msgspec.Struct):
    """Shown only now."""

    secret: str


class Looks(msgspec.Struct):
    nodes: int


class OfAgent(msgspec.Struct):
    agent: str


class OfNode(msgspec.Struct):
    cluster: str
    node: str


class OfAccess(msgspec.Struct):
    access: str


class OfToken(msgspec.Struct):
    token: str


class OfName(msgspec.Struct):
    name: str


class OfId(msgspec.Struct):
    id: str


class WaiverMade(msgspec.Struct):
    id: str
    state: Literal["pending"]


class Enrolled(msgspec.Struct):
    agent_id: str
    node: str
    cluster: str
    expires_at: Moment


class Pending(msgspec.Struct):
    status: Literal["pending"]
    agent_id: str


class SessionOut(msgspec.Struct):
    session: str
    key: str
    expires_at: Moment
    authorities: str | msgspec.UnsetType = msgspec.UNSET


class Receipt(msgspec.Struct):
    boot: str
    seq: int
    digest: str


class Heard(msgspec.Struct):
    look: bool
    request: int | msgspec.UnsetType = msgspec.UNSET


Answers = Mapping[tuple[str, str], Mapping[int, Any]]
ANSWERS: Final[Answers] = {
    ("GET", "/v1/nodes"): {200: PageOut[NodeOut]},
    ("GET", "/v1/nodes/{cluster}/{name}"): {200: NodeWhole},
    ("GET", "/v1/nodes/{cluster}/{name}/diff"): {200: DiffOut},
    ("GET", "/v1/retirements"): {200: PageOut[RetirementOut]},
    ("GET", "/v1/findings"): {200: PageOut[FindingOut]},
    ("GET", "/v1/changes"): {200: PageOut[ChangeOut]},
    ("GET", "/v1/checks"): {200: PageOut[CheckOut]},
    ("GET", "/v1/clusters"): {200: PageOut[ClusterOut]},
    ("GET", "/v1/platforms"): {200: PageOut[PlatformOut]},
    ("GET", "/v1/divergence"): {200: PageOut[DivergenceOut]},
    ("GET", "/v1/agents"): {200: PageOut[AgentOut]},
    ("GET", "/v1/shared-keys"): {200: PageOut[SharedKeyOut]},
    ("GET", "/v1/waivers"): {200: PageOut[WaiverOut]},
    ("GET", "/v1/events"): {200: PageOut[EventOut]},
    ("GET", "/v1/audit"): {200: PageOut[AuditOut]},
    ("GET", "/v1/access"): {200: PageOut[AccessOut]},
    ("GET", "/v1/tokens"): {200: PageOut[JoinTokenOut]},
    ("GET", "/v1/alerts"): {200: PageOut[AlertOut]},
    ("POST", "/v1/query"): {200: Rows},
    ("POST", "/v1/agents/{agent}/approve"): {200: OfAgent},
    ("POST", "/v1/agents/{agent}/release"): {200: OfAgent},
    ("POST", "/v1/agents/{agent}/revoke"): {200: OfAgent},
    ("POST", "/v1/nodes/{cluster}/{name}/retire"): {200: OfNode},
    ("POST", "/v1/look"): {202: Looks},
    ("POST", "/v1/tokens"): {201: Token},
    ("POST", "/v1/tokens/{token}/revoke"): {200: OfToken},
    ("POST", "/v1/access"): {201: Token},
    ("POST", "/v1/access/{access}/revoke"): {200: OfAccess},
    ("POST", "/v1/waivers"): {201: WaiverMade},
    ("POST", "/v1/waivers/{waiver}/approve"): {200: OfId},
    ("POST", "/v1/waivers/{waiver}/end"): {200: OfId},
    ("POST", "/v1/alerts"): {201: Secret},
    ("POST", "/v1/alerts/{name}/delete"): {200: OfName},
    ("POST", "/v1/enroll"): {200: Enrolled, 202: Pending},
    ("POST", "/v1/session"): {200: SessionOut},
    ("POST", "/v1/rotate"): {200: Enrolled},
    ("POST", "/v1/reports"): {200: Receipt},
    ("POST", "/v1/heartbeat"): {200: Heard},
}
"""What is said where all is well; elsewhere `Error`."""
TEXTS: Final = {"/livez": "text/plain", "/readyz": "text/plain", "/metrics": "text/plain",
                "/v1/openapi.json": "application/json"}  # fmt: skip
"""Answers that are no objects of ours."""
