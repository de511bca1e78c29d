"""The API's description: of all routes, and true of what they take and of what they answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from starlette.routing import Route

from nodeward.collector.api.agents import CALLS
from nodeward.collector.api.shapes import ANSWERS
from nodeward.collector.app import API
from nodeward.collector.store.access import Role

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ROOT = Path(__file__).parents[2]


def _f(check: str, status: str = "fail") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": "seen"}


@pytest.fixture
def full(start: Any, settings: Any) -> Any:
    """A collector that has something of everything, and lets itself be asked much."""
    collector = start(replace(settings, asks_per_s=100_000, refusals_per_s=100_000))
    for number, roles in enumerate((["control-plane"], ["control-plane"], ["worker"])):
        agent = collector.agent(f"n{number}")
        findings = [_f("a.x"), _f("a.y", "pass" if number else "fail")]
        key = {"what": "key of kubelet-client", "value": "sha256:" + "ab" * 32, "source": "/x"}
        findings[0]["evidence"] = [key]
        findings[0]["remedy"] = {"text": "t", "steps": ["s"], "breaks": "b"}
        inventory = {"roles": roles, "kernel": "6.1.0"}
        agent.full(*findings, inventory=inventory)
        agent.full(_f("a.x", "pass" if number else "fail"), _f("a.y"), seq=2, inventory=inventory)
        agent.full(_f("a.x"), seq=1)  # a clone: an event
    collector.agent("gone")
    assert collector.post("/v1/nodes/east/gone/retire").status_code == 200
    waiver = {"check": "a.*", "reason": "r", "owner": "o", "until": "7d"}
    made = collector.post("/v1/waivers", waiver, collector.access("maker", Role.OPERATOR))
    assert collector.post(f"/v1/waivers/{made.json()['id']}/approve").status_code == 200
    collector.post("/v1/tokens", {"cluster": "east"})
    alert = {"name": "x", "kind": "change", "target": "webhook", "url": "https://127.0.0.1:1/key"}
    assert collector.post("/v1/alerts", alert).status_code == 201
    return collector


@SQLITE_ONLY
def test_it_describes_every_route_and_no_other(collector: Any) -> None:
    told = collector.http.get(collector.url + "/v1/openapi.json", timeout=30).json()
    there = {
        (route.path, method.lower())
        for route in API
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    } | {(path, "post") for path in CALLS}
    described = {(path, method) for path, of in told["paths"].items() for method in of}
    assert described == there
    ids = [op["operationId"] for of in told["paths"].values() for op in of.values()]
    assert len(ids) == len(set(ids))


@SQLITE_ONLY
def test_a_report_that_is_taken_fits_the_described_schema(collector: Any) -> None:
    told = collector.http.get(collector.url + "/v1/openapi.json", timeout=30).json()
    operation = told["paths"]["/v1/reports"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    root = {"components": told["components"], **schema}
    agent = collector.agent("n1")
    finding = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}
    body = agent.body("full", [finding])
    jsonschema.validate(body, root)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body | {"seq": -1}, root)


EMPTY_HERE = {"/v1/shared-keys"}


def test_each_list_answers_what_is_described_and_nothing_else(full: Any) -> None:
    """Each member that is answered is described, of the type that is said."""
    lists = [path for method, path in ANSWERS if method == "GET"]
    assert set(lists) == {r.path for r in API if isinstance(r, Route) and r.path in lists}
    for path in lists:
        url = path.replace("{cluster}", "east").replace("{name}", "n0")
        answer = full.get(url)
        assert answer.status_code == 200, (path, answer.text)
        told = answer.json()
        kind = ANSWERS["GET", path][200]
        assert msgspec.to_builtins(msgspec.json.decode(answer.content, type=kind)) == told, path
        if "items" in told:
            assert told["items"] or path in EMPTY_HERE, path
    past = full.get("/v1/findings", at="1s").content
    msgspec.json.decode(past, type=ANSWERS["GET", "/v1/findings"][200])


def test_every_act_answers_what_is_described(full: Any, new_agent: Any) -> None:
    new = new_agent(full.url, full.ca, "fresh")
    token = full.join_token(approve=True, node=None)
    ids = {"agent": new.id, "name": "fresh", "cluster": "east", "access": "", "token": ""}

    def check(method: str, path: str, answer: Any) -> Any:
        kinds = ANSWERS[method, path]
        assert answer.status_code in kinds, (path, answer.text)
        told = msgspec.json.decode(answer.content, type=kinds[answer.status_code])
        assert msgspec.to_builtins(told) == answer.json(), path
        done.add((method, path))
        return answer.json()

    def act(path: str, body: Any = None) -> Any:
        filled = re.sub(r"\{([a-z]+)\}", lambda m: ids[m[1]], path)
        return check("POST", path, full.post(filled, body or {}))

    done: set[tuple[str, str]] = set()
    check("POST", "/v1/enroll", new.enrol(token))
    act("/v1/agents/{agent}/approve")
    check("POST", "/v1/enroll", new.enrol(token))
    check("POST", "/v1/reports", new.full(_f("a.x")))
    check("POST", "/v1/session", new.open_session())
    check("POST", "/v1/heartbeat", new.beat())
    check("POST", "/v1/rotate", new.rotate())
    ids["agent"] = new.id
    new.full(_f("a.y"), seq=1)
    act("/v1/agents/{agent}/release")
    act("/v1/look", {"cluster": "east", "node": "fresh"})
    act("/v1/agents/{agent}/revoke")
    act("/v1/nodes/{cluster}/{name}/retire")
    act("/v1/tokens", {"cluster": "east"})
    ids["token"] = full.items("/v1/tokens")[0]["id"]
    act("/v1/tokens/{token}/revoke")
    act("/v1/access", {"name": "x"})
    ids["access"] = next(a["id"] for a in full.items("/v1/access") if a["name"] == "x")
    act("/v1/access/{access}/revoke")
    waiver = {"check": "a.*", "reason": "r", "owner": "o", "until": "7d"}
    maker = full.access("another", Role.OPERATOR)
    made = check("POST", "/v1/waivers", full.post("/v1/waivers", waiver, maker))
    ids["waiver"] = made["id"]
    act("/v1/waivers/{waiver}/approve")
    act("/v1/waivers/{waiver}/end")
    rule = {"name": "mine", "kind": "silence", "target": "alertmanager", "url": "https://a.example"}
    act("/v1/alerts", rule)
    ids["name"] = "mine"
    act("/v1/alerts/{name}/delete")
    act("/v1/query", {"sql": "SELECT count(*) FROM node"})
    assert done == {key for key in ANSWERS if key[0] == "POST"}


def test_schemathesis_finds_nothing_that_is_not_as_described(full: Any, tmp_path: Path) -> None:
    """Status codes, content types, headers and bodies, for what fits the description and what does
    not, with credentials and without."""
    # Some that fit are refused all the same: a cursor must be ours, `since` come before `until`.
    (tmp_path / "schemathesis.toml").write_text(
        "[checks.positive_data_acceptance]\n"
        'expected-statuses = ["2xx", 400, 401, 403, 404, 409, 429]\n'
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SCHEMATHESIS")}
    done = subprocess.run(
        [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
         "run", f"{full.url}/v1/openapi.json", "--tls-verify", full.ca,
         "--header", f"Authorization: Bearer {full.admin}", "--checks", "all",
         "--phases", "coverage,fuzzing", "--max-examples", "4", "--seed", "1",
         "--generation-deterministic", "--no-color", "--continue-on-failure",
         "--request-timeout", "30"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
