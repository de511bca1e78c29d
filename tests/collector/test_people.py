"""Who may ask and act: credentials, roles, tenancy, the audit log, waivers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.routing import Route

from nodeward.collector.api.agents import CALLS
from nodeward.collector.api.people import FILTERS
from nodeward.collector.app import API
from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.store.access import Role
from nodeward.collector.store.names import Platform

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
EVERYBODY = None
MATRIX: dict[
    tuple[str, str], Role | None
] = {  # who may at least; a route that is not here fails the test
    ("GET", "/livez"): EVERYBODY,
    ("GET", "/readyz"): EVERYBODY,
    ("GET", "/v1/openapi.json"): EVERYBODY,
    ("GET", "/metrics"): Role.VIEWER,
    ("GET", "/v1/nodes"): Role.VIEWER,
    ("GET", "/v1/nodes/{cluster}/{name}"): Role.VIEWER,
    ("GET", "/v1/nodes/{cluster}/{name}/diff"): Role.VIEWER,
    ("GET", "/v1/findings"): Role.VIEWER,
    ("GET", "/v1/changes"): Role.VIEWER,
    ("GET", "/v1/checks"): Role.VIEWER,
    ("GET", "/v1/clusters"): Role.VIEWER,
    ("GET", "/v1/retirements"): Role.VIEWER,
    ("GET", "/v1/platforms"): Role.VIEWER,
    ("GET", "/v1/divergence"): Role.VIEWER,
    ("GET", "/v1/agents"): Role.VIEWER,
    ("GET", "/v1/shared-keys"): Role.VIEWER,
    ("GET", "/v1/waivers"): Role.VIEWER,
    ("POST", "/v1/query"): Role.VIEWER,
    ("GET", "/v1/events"): Role.OPERATOR,
    ("GET", "/v1/tokens"): Role.OPERATOR,
    ("POST", "/v1/agents/{agent}/approve"): Role.OPERATOR,
    ("POST", "/v1/agents/{agent}/release"): Role.OPERATOR,
    ("POST", "/v1/agents/{agent}/revoke"): Role.OPERATOR,
    ("POST", "/v1/nodes/{cluster}/{name}/retire"): Role.OPERATOR,
    ("POST", "/v1/look"): Role.OPERATOR,
    ("POST", "/v1/tokens"): Role.OPERATOR,
    ("POST", "/v1/tokens/{token}/revoke"): Role.OPERATOR,
    ("POST", "/v1/waivers"): Role.OPERATOR,
    ("POST", "/v1/waivers/{waiver}/approve"): Role.OPERATOR,
    ("POST", "/v1/waivers/{waiver}/end"): Role.OPERATOR,
    ("GET", "/v1/access"): Role.ADMIN,
    ("GET", "/v1/alerts"): Role.ADMIN,
    ("GET", "/v1/audit"): Role.ADMIN,
    ("POST", "/v1/access"): Role.ADMIN,
    ("POST", "/v1/access/{access}/revoke"): Role.ADMIN,
    ("POST", "/v1/alerts"): Role.ADMIN,
    ("POST", "/v1/alerts/{name}/delete"): Role.ADMIN,
}
WHOLE_FLEET = {  # not for who is limited to some clusters
    ("GET", "/metrics"),
    ("GET", "/v1/access"),
    ("GET", "/v1/alerts"),
    ("GET", "/v1/audit"),
    ("POST", "/v1/access"),
    ("POST", "/v1/access/{access}/revoke"),
    ("POST", "/v1/alerts"),
    ("POST", "/v1/alerts/{name}/delete"),
}
VALID: dict[str, dict[str, Any]] = {
    "/v1/tokens": {"cluster": "east"},
    "/v1/access": {"name": "x"},
    "/v1/waivers": {"check": "a.*", "reason": "r", "owner": "o", "until": "1d"},
    "/v1/alerts": {"name": "x", "kind": "change", "target": "webhook", "url": "http://127.0.0.1"},
    "/v1/query": {"sql": "SELECT 1"},
}


def _routes() -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for route in API:
        assert isinstance(route, Route)
        out += [(m, route.path) for m in sorted((route.methods or set()) - {"HEAD"})]
    return out


def _filled(path: str) -> str:
    return re.sub(r"\{[a-z]+\}", "none", path)


def _f(check: str = "a.x", status: str = "fail") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": "seen"}


@SQLITE_ONLY
def test_every_route_refuses_whoever_has_no_right_to_it(collector: Any) -> None:
    """The authorization matrix: all routes, by no one and by each role."""
    assert sorted(_routes()) == sorted(MATRIX)
    tokens = {role: collector.access(role.name, role) for role in Role}
    wrong = []
    for (method, path), least in MATRIX.items():
        for role in (None, *Role):
            got = _status(collector, method, path, tokens.get(role) if role else None)
            if least is EVERYBODY:
                good = got == 200
            elif role is None:
                good = got == 401
            else:
                good = (got == 403) == (role < least)
            if not good:
                wrong.append((method, path, role, got))
    assert wrong == []


def test_every_route_keeps_another_tenants_things_from_an_admin_of_some_clusters(
    collector: Any,
) -> None:
    """All routes, with the names of things that are really there, in a cluster out of scope."""
    collector.agent("n1", "east").full(_f())
    west = collector.agent("only-west", "west")
    west.full(_f())
    collector.post("/v1/tokens", {"cluster": "west", "node": "only-west"})
    _waive(collector, collector.admin, labels={"cluster": "west"}, owner="only-west")
    collector.post("/v1/alerts", VALID["/v1/alerts"] | {"name": "only-west"})
    names = {
        "agent": west.id,
        "cluster": "west",
        "name": "only-west",
        "token": collector.items("/v1/tokens")[-1]["id"],
        "waiver": collector.items("/v1/waivers")[0]["id"],
        "access": collector.items("/v1/access")[0]["id"],
    }
    of_west = {
        "/v1/tokens": {"cluster": "west"},
        "/v1/look": {"cluster": "west"},
        "/v1/waivers": VALID["/v1/waivers"] | {"labels": {"cluster": "west"}},
        "/v1/query": {"sql": "SELECT node FROM node"},
    }
    before = {path: collector.get(path).json() for path in ("/v1/agents", "/v1/tokens")}
    token = collector.access("east only", Role.ADMIN, cluster="east")
    wrong = []
    for (method, path), least in MATRIX.items():
        url = collector.url + re.sub(r"\{([a-z]+)\}", lambda m: names[m[1]], path)
        body = of_west.get(path, VALID.get(path, {}))
        headers = {"Authorization": f"Bearer {token}"}
        answer = collector.http.request(method, url, headers=headers, json=body, timeout=30)
        if (method, path) in WHOLE_FLEET:
            good = answer.status_code == 403
        elif least is EVERYBODY:
            good = answer.status_code == 200
        elif "{" in path or (method == "POST" and path != "/v1/query"):
            good = answer.status_code in (400, 404)
        else:
            good = answer.status_code in (200, 403, 404)
        if not good or "only-west" in answer.text:
            wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []
    assert {path: collector.get(path).json() for path in before} == before


def _status(collector: Any, method: str, path: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = collector.url + _filled(path)
    body = VALID.get(path, {})
    answer = collector.http.request(method, url, headers=headers, json=body, timeout=30)
    assert answer.status_code < 500, (method, path, answer.text)
    status: int = answer.status_code
    return status


@SQLITE_ONLY
@pytest.mark.parametrize("path", sorted(CALLS))
def test_the_agents_calls_take_no_persons_token(collector: Any, path: str) -> None:
    answer = collector.post(path, {"node": "n1"})
    assert answer.status_code in (400, 401)


@SQLITE_ONLY
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nwt_",
        "Basic x",
        "Bearer nwt_' OR 1=1 --",
        "Bearer " + "x" * 9_000,
    ],
)
def test_a_token_that_is_none_is_a_401(collector: Any, header: str) -> None:
    headers = {"Authorization": header}
    answer = collector.http.get(collector.url + "/v1/nodes", headers=headers, timeout=30)
    assert answer.status_code == 401


def test_a_token_of_one_tenant_sees_nothing_of_another(collector: Any) -> None:
    for cluster in ("east", "west"):
        agent = collector.agent("n1", cluster)
        agent.full(_f("a.x", "fail"))
        agent.full(_f("a.x", "pass"))
    token = collector.access("east only", Role.ADMIN, cluster="east")
    for path in ("nodes", "findings", "changes", "clusters", "agents"):
        assert {i["cluster"] for i in collector.items(f"/v1/{path}", token)} == {"east"}, path
        assert collector.items(f"/v1/{path}", token, cluster="west") == []
    assert collector.items("/v1/checks", token)[0]["nodes"]["pass"] == 1
    assert collector.get("/v1/nodes/west/n1", token).status_code == 404
    assert collector.get("/metrics", token).status_code == 403
    assert collector.post("/v1/nodes/west/n1/retire", token=token).status_code == 404
    assert collector.post("/v1/look", {"cluster": "west"}, token).status_code == 404
    assert collector.post("/v1/tokens", {"cluster": "west"}, token).status_code == 404
    assert collector.post("/v1/access", {"name": "x"}, token).status_code == 403
    west = next(a for a in collector.items("/v1/agents") if a["cluster"] == "west")
    assert collector.post(f"/v1/agents/{west['agent']}/revoke", token=token).status_code == 404


def test_tenancy_follows_the_labels_of_clusters(collector: Any) -> None:
    for cluster in ("east", "west"):
        collector.agent("n1", cluster).full(_f())
    with collector.center.engine.connect() as connection:
        ids = {r.name: r.id for r in connection.execute(t.cluster.select())}
    row = {"cluster": ids["west"], "key": "env", "value": "prod"}
    collector.center.writer.act_now(lambda c: c.execute(t.cluster_label.insert(), [row]))
    token = collector.access("prod", env="prod")
    assert [n["cluster"] for n in collector.items("/v1/nodes", token)] == ["west"]
    assert collector.items("/v1/nodes", collector.access("none", env="test")) == []


@SQLITE_ONLY
def test_what_is_asked_is_data_and_never_sql(collector: Any) -> None:
    collector.agent("n1").full(_f())
    evil = "' OR 1=1; DROP TABLE node; --"
    for path in ("nodes", "findings", "changes", "checks", "clusters", "agents"):
        known = FILTERS[f"/v1/{path}"]
        for name in known & {"cluster", "node", "check"}:
            answer = collector.get(f"/v1/{path}", **{name: evil})
            assert answer.status_code == 200, answer.text
        assert collector.get(f"/v1/{path}", label=f"x={evil}").json()["items"] == []
        assert collector.get(f"/v1/{path}", limit=evil).status_code == 400
        assert collector.get(f"/v1/{path}", cursor=evil).status_code == 400
        assert collector.get(f"/v1/{path}", role=evil).status_code == 400  # it would be ignored
    assert len(collector.items("/v1/nodes")) == 1


@SQLITE_ONLY
@pytest.mark.parametrize(
    "what",
    ["at=9999-12-31T23:59:59-14:00", "at=0001-01-01T00:00:00%2B14:00", "at=1h&waived=true"],
)
def test_of_another_time_only_what_can_be_known_is_asked(collector: Any, what: str) -> None:
    answer = collector.get(f"/v1/findings?{what}")
    field = what.rpartition("&")[2].partition("=")[0]
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_a_span_reaches_back_to_the_beginning_at_most(collector: Any) -> None:
    assert collector.get("/v1/changes?since=999999999w").status_code == 200


def test_all_platforms_are_told_of(collector: Any) -> None:
    collector.agent("n1").full(
        {"check": "a.x", "status": "pass", "severity": "low", "because": "so"}
    )

    def many(connection: Any) -> None:
        for number in range(2, 603):
            kind = Platform(kernel=f"6.1.{number}")
            platform = collector.center.writer.names.platform_ids(connection, [kind])[kind]
            rows = {"node": number, "cluster": 1}
            connection.execute(t.posture.insert(), {**rows, "platform": platform})
            node = {"id": number, "cluster": 1, "name": f"m{number}", "created_at": 1}
            connection.execute(t.node.insert(), node)

    collector.center.writer.act_now(many)
    assert len(collector.items("/v1/platforms")) == 602


def test_an_unknown_filter_is_refused_and_not_ignored(collector: Any) -> None:
    answer = collector.get("/v1/findings", sttus="fail")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "sttus")


@SQLITE_ONLY
def test_acts_are_in_the_audit_log_and_refused_ones_are_not(collector: Any) -> None:
    agent = collector.agent("n1")
    collector.post(f"/v1/agents/{agent.id}/revoke")
    collector.post(f"/v1/agents/{agent.id}/revoke")
    acts = [(a["actor"], a["act"], a["object"]) for a in collector.items("/v1/audit")]
    assert acts == [("admin", "agent.revoke", agent.id)]


@SQLITE_ONLY
def test_a_revoked_token_is_nobodys(collector: Any) -> None:
    token = collector.access("x")
    with collector.center.engine.connect() as connection:
        which = connection.execute(t.access.select().where(t.access.c.name == "x")).one().id
    assert collector.get("/v1/nodes", token).status_code == 200
    assert collector.post(f"/v1/access/{which}/revoke").status_code == 200
    assert collector.get("/v1/nodes", token).status_code == 401


def test_pages_follow_each_other_without_gap_or_repeat(collector: Any) -> None:
    for number in range(5):
        agent = collector.agent(f"n{number}")
        agent.full(_f("a.x", "fail"), _f("a.y", "pass" if number % 2 else "fail"))
        agent.full(_f("a.x", "pass"), _f("a.y", "fail"))
    for path in ("nodes", "findings", "changes", "agents"):
        whole = collector.items(f"/v1/{path}", limit=500)
        parts, cursor = [], None
        while True:
            more: dict[str, str] = {"cursor": cursor} if cursor else {}
            page = collector.get(f"/v1/{path}", limit=2, **more).json()
            parts += page["items"]
            cursor = page["next"]
            if not cursor:
                break
        assert parts == whole, path
    by_score = collector.items("/v1/nodes", sort="score")
    assert sorted((n["score"] for n in by_score), reverse=True) == [n["score"] for n in by_score]


@SQLITE_ONLY
def test_an_etag_saves_the_body(collector: Any) -> None:
    tag = collector.get("/v1/checks").headers["ETag"]
    headers = {"Authorization": f"Bearer {collector.admin}", "If-None-Match": tag}
    answer = collector.http.get(collector.url + "/v1/checks", headers=headers, timeout=30)
    assert (answer.status_code, answer.content) == (304, b"")


# -- waivers


def _waive(collector: Any, token: str, **over: Any) -> Any:
    body = {"check": "a.*", "reason": "old kernel", "owner": "ops", "until": "7d"}
    return collector.post("/v1/waivers", body | over, token)


def test_a_waiver_stands_beside_the_finding_once_another_approved_it(collector: Any) -> None:
    collector.agent("n1").full(_f("a.x", "fail"), _f("b.y", "fail"))
    maker, other = (collector.access(n, Role.OPERATOR) for n in ("maker", "other"))
    made = _waive(collector, maker).json()["id"]
    assert [f["waiver"] for f in collector.items("/v1/findings")] == [None, None]
    assert collector.post(f"/v1/waivers/{made}/approve", token=maker).status_code == 403
    assert collector.post(f"/v1/waivers/{made}/approve", token=other).status_code == 200
    got = {f["check"]: (f["status"], f["waiver"] and f["waiver"]["id"])
           for f in collector.items("/v1/findings")}  # fmt: skip
    assert got == {"a.x": ("fail", made), "b.y": ("fail", None)}
    assert [f["check"] for f in collector.items("/v1/findings", waived="false")] == ["b.y"]
    assert collector.post(f"/v1/waivers/{made}/end", token=maker).status_code == 200
    assert [f["waiver"] for f in collector.items("/v1/findings")] == [None, None]


@SQLITE_ONLY
def test_an_expired_waiver_resurfaces_the_finding_and_stays_in_the_history(collector: Any) -> None:
    collector.agent("n1").full(_f("a.x", "fail"))
    made = _waive(collector, collector.access("maker", Role.OPERATOR)).json()["id"]
    collector.post(f"/v1/waivers/{made}/approve")
    expire = t.waiver.update().values(expires_at=now_ms() - 1)
    collector.center.writer.act_now(lambda c: c.execute(expire))
    assert [f["waiver"] for f in collector.items("/v1/findings", waived="false")] == [None]
    assert [w["id"] for w in collector.items("/v1/waivers", state="expired")] == [made]


@SQLITE_ONLY
def test_a_waiver_stays_within_its_makers_clusters(collector: Any) -> None:
    collector.agent("n1", "east")
    token = collector.access("east", Role.OPERATOR, cluster="east")
    assert _waive(collector, token).status_code == 400
    assert _waive(collector, token, labels={"cluster": "east"}).status_code == 201


def test_a_waiver_of_more_than_ones_own_clusters_shows_neither_its_nodes_nor_its_reason(
    collector: Any,
) -> None:
    """Their own finding is still told to be waived, and until when."""
    collector.agent("n1", "east").full(_f("a.x", "fail"))
    collector.agent("n2", "west").full(_f("a.x", "fail"))
    made = _waive(collector, collector.access("maker", Role.OPERATOR), reason="as on n2").json()
    assert collector.post(f"/v1/waivers/{made['id']}/approve").status_code == 200
    tenant = {"Authorization": f"Bearer {collector.access('east', Role.VIEWER, cluster='east')}"}
    listed = collector.http.get(f"{collector.url}/v1/waivers", headers=tenant, timeout=30)
    found = collector.http.get(f"{collector.url}/v1/findings", headers=tenant, timeout=30)
    assert listed.json()["items"] == []
    assert [f["waiver"]["id"] for f in found.json()["items"]] == [made["id"]]
    assert "n2" not in found.text
    assert {f["waiver"]["reason"] for f in collector.items("/v1/findings")} == {"as on n2"}


@SQLITE_ONLY
def test_a_waiver_cannot_wait_for_a_cluster_that_is_not_there_yet(collector: Any) -> None:
    """And a tenant cannot tell whether a name is free or another's."""
    collector.agent("n1", "east")
    collector.agent("n2", "west")
    tenant = collector.access("east", Role.OPERATOR, cluster="east")
    others, free = (
        _waive(collector, tenant, labels={"cluster": name}) for name in ("west", "nosuch")
    )
    assert others.status_code == free.status_code == 400
    assert others.json() == free.json()
    typo = _waive(collector, collector.admin, labels={"cluster": "wset"})
    assert (typo.status_code, typo.json()["error"]["field"]) == (400, "labels")
    assert collector.items("/v1/waivers") == []


@SQLITE_ONLY
@pytest.mark.parametrize("over", [{"until": "2d ago"}, {"until": "999w"}, {"until": "2020-01-01"},
                                  {"reason": " "}, {"owner": ""}, {"more": 1}])  # fmt: skip
def test_a_waiver_has_reason_owner_and_an_end(collector: Any, over: dict[str, Any]) -> None:
    assert _waive(collector, collector.admin, **over).status_code == 400
