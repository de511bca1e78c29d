"""Each privileged act leaves one line in the audit log, by whatever way it was done."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import pytest
from click.testing import CliRunner, Result
from starlette.routing import Route

from nodeward.cli.collector import command
from nodeward.cli.main import cli
from nodeward.collector.app import API
from nodeward.collector.store.access import Role

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ASKS = {"/v1/query"}  # a POST that changes nothing
FINDING = {"check": "a.x", "status": "fail", "severity": "high", "because": "seen"}


def _acts(collector: Any) -> list[tuple[str, str]]:
    return [(a["actor"], a["act"]) for a in collector.items("/v1/audit", limit=500)]


@SQLITE_ONLY
def test_every_act_of_the_api_is_written_down_with_who_did_it(
    collector: Any, new_agent: Any
) -> None:
    """One call of each; a route that changes something and is not here fails the test."""
    waiting, kept, cloned = (new_agent(collector.url, collector.ca, n) for n in ("a", "b", "c"))
    waiting.enrol(collector.join_token(approve=True, node=None))
    for agent in (kept, cloned):
        agent.enrol(collector.join_token())
        agent.full(FINDING, seq=1)
    cloned.full(FINDING | {"status": "pass"}, seq=1)
    boss = collector.access("boss", Role.ADMIN)
    maker = collector.access("maker", Role.OPERATOR)
    waiver = {"check": "a.*", "reason": "r", "owner": "o", "until": "7d"}
    alert = {"name": "x", "kind": "silence", "target": "webhook", "url": "https://a.example"}
    done: list[tuple[str, str]] = []

    def act(path: str, body: Any = None, by: str = boss, **ids: str) -> Any:
        before = len(_acts(collector))
        answer = collector.post(path.format(**ids), body, by)
        assert answer.status_code in (200, 201, 202), (path, answer.text)
        assert len(_acts(collector)) == before + 1, path
        done.append((path, _acts(collector)[0][0]))
        return answer.json()

    act("/v1/agents/{agent}/approve", agent=waiting.id)
    act("/v1/agents/{agent}/release", agent=cloned.id)
    act("/v1/agents/{agent}/revoke", agent=cloned.id)
    act("/v1/nodes/{cluster}/{name}/retire", cluster="east", name="c")
    act("/v1/look", {"cluster": "east"})
    act("/v1/tokens", {"cluster": "east"})
    act("/v1/tokens/{token}/revoke", token=collector.items("/v1/tokens")[0]["id"])
    act("/v1/access", {"name": "x"})
    act("/v1/access/{access}/revoke", access=collector.items("/v1/access")[0]["id"])
    made = act("/v1/waivers", waiver, maker)
    act("/v1/waivers/{waiver}/approve", waiver=made["id"])
    act("/v1/waivers/{waiver}/end", waiver=made["id"])
    act("/v1/alerts", alert)
    act("/v1/alerts/{name}/delete", name="x")
    changing = {r.path for r in API if isinstance(r, Route) and "POST" in (r.methods or ())} - ASKS
    assert {path for path, _ in done} == changing
    assert {who for _, who in done} == {"boss", "maker"}


def _commands(group: click.Group, *before: str) -> set[str]:
    out: set[str] = set()
    for name, child in group.commands.items():
        if isinstance(child, click.Group):
            out |= _commands(child, *before, name)
        else:
            out.add(" ".join((*before, name)))
    return out


READS_ONLY = {
    "init", "serve", "config check", "token list", "access list", "alert list", "openreports",
    "departed",
}  # fmt: skip
"""These change no right and nothing that somebody decided."""


@SQLITE_ONLY
def test_every_act_of_the_command_line_is_written_down(
    collector: Any, new_agent: Any, tmp_path: Path
) -> None:
    waiting, cloned = (new_agent(collector.url, collector.ca, n) for n in ("a", "c"))
    waiting.enrol(collector.join_token(approve=True, node=None))
    cloned.enrol(collector.join_token())
    cloned.full(FINDING, seq=1)
    cloned.full(FINDING | {"status": "pass"}, seq=1)
    done: set[str] = set()

    def run(line: str, *more: str) -> Result:
        words = ["collector", *line.split(), *more]
        environment = {"NODEWARD_COLLECTOR_STATE": collector.settings.state}
        result = CliRunner().invoke(cli, words, env=environment, standalone_mode=False)
        assert result.exception is None, (line, result.exception)
        return result

    def act(name: str, *more: str) -> Result:
        before = len(_acts(collector))
        result = run(name, *more)
        assert len(_acts(collector)) == before + 1, name
        assert " at " in _acts(collector)[0][0]
        done.add(name)
        return result

    def listed(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in run(name).output.splitlines()]

    act("token create", "--cluster", "east")
    act("token revoke", str(listed("token list")[0]["id"]))
    act("access create", "x")
    act("access revoke", next(str(a["id"]) for a in listed("access list") if a["name"] == "x"))
    act("alert create", "x", "https://a.example/key", "--kind", "silence", "--target", "webhook")
    assert [(a["name"], a["at"]) for a in listed("alert list")] == [("x", "https://a.example")]
    act("alert delete", "x")
    act("agents approve", waiting.id)
    act("agents release", cloned.id)
    act("agents revoke", cloned.id)
    act("waive", "a.*", "--reason", "r", "--owner", "o", "--until", "7d")
    act("label", "east", "env=prod")
    act("recount")
    for step in ("begin", "switch", "finish"):
        act("ca", step)
    act("backup", str(tmp_path / "kept.db"))
    act("archive", str(tmp_path / "archive"))
    act("prune", "--older-than", "9d")
    collector.stop()
    run("restore", str(tmp_path / "kept.db"), "--replace")
    with sqlite3.connect(Path(collector.settings.state) / "collector.db") as store:
        last = store.execute("SELECT act FROM audit ORDER BY id DESC").fetchone()
    store.close()
    assert last == ("store.restore",)
    assert done | {"restore"} == _commands(command) - READS_ONLY


@SQLITE_ONLY
def test_the_log_tells_what_was_given_and_nothing_that_opens_anything(collector: Any) -> None:
    collector.post("/v1/access", {"name": "x", "role": "admin", "labels": {"env": "prod"}})
    collector.post("/v1/tokens", {"cluster": "east", "node": "w*", "uses": 9, "ttl": "3d"})
    key = "https://a.example/key"
    alert = {"name": "x", "kind": "silence", "target": "webhook", "url": key}
    collector.post("/v1/alerts", alert)
    told = {a["act"]: a["detail"] for a in collector.items("/v1/audit")}
    assert told["access.create"]["role"] == "admin"
    assert told["access.create"]["labels"] == {"env": "prod"}
    assert (told["token.create"]["uses"], told["token.create"]["node"]) == (9, "w*")
    assert told["alert.create"]["kind"] == "silence"
    assert key not in collector.get("/v1/audit").text


@SQLITE_ONLY
def test_lists_show_nothing_that_would_open_anything(collector: Any) -> None:
    token = collector.post("/v1/tokens", {"cluster": "east", "uses": 3}).json()["token"]
    access = collector.post("/v1/access", {"name": "x"}).json()["token"]
    rule = {"name": "x", "kind": "change", "target": "webhook", "url": "https://a.example/a-key"}
    secret = collector.post("/v1/alerts", rule).json()["secret"]
    rule = {"name": "y", "kind": "change", "target": "apprise", "url": "json://user-key@host-key"}
    assert collector.post("/v1/alerts", rule).status_code in (201, 400)  # without the extra
    for path in ("tokens", "access", "alerts", "audit"):
        text = collector.get(f"/v1/{path}").text
        for hidden in (token, access, secret, "a-key", "user-key", "host-key"):
            assert hidden not in text, path
    told = collector.items("/v1/tokens")[0]
    assert (told["cluster"], told["uses"], told["created_by"]) == ("east", 3, "admin")


@SQLITE_ONLY
def test_a_revoked_join_token_enrols_nobody(collector: Any, new_agent: Any) -> None:
    token = collector.post("/v1/tokens", {"cluster": "east", "node": "*", "uses": 9}).json()[
        "token"
    ]
    first, second = (new_agent(collector.url, collector.ca, n) for n in ("n1", "n2"))
    assert first.enrol(token).status_code == 200
    which = collector.items("/v1/tokens")[0]["id"]
    assert collector.post(f"/v1/tokens/{which}/revoke").status_code == 200
    assert second.enrol(token).status_code == 403
    assert first.full(FINDING).status_code == 200
    assert collector.post(f"/v1/tokens/{which}/revoke").status_code == 404


@SQLITE_ONLY
@pytest.mark.parametrize("skew_s", [-3_600, 3_600])
def test_a_node_whose_clock_is_wrong_says_so_and_is_taken_at_our_time(
    collector: Any, skew_s: int
) -> None:
    good, wrong = collector.agent("good"), collector.agent("wrong")
    good.full(FINDING)
    sign = wrong.sign
    wrong.sign = lambda path, body: sign(path, body, int(time.time()) + skew_s)
    assert wrong.full(FINDING).status_code == 200
    assert [n["node"] for n in collector.items("/v1/nodes", seen="skewed")] == ["wrong"]
    rows = {n["node"]: n for n in collector.items("/v1/nodes", seen="current")}
    assert (rows["good"]["clock"], rows["wrong"]["clock"]) == ("right", "skewed")
    assert abs(rows["wrong"]["clock_skew_ms"] - skew_s * 1000) < 60_000


@pytest.mark.parametrize("evil", ["a\r\nSet-Cookie: x=y", "a\nb", "a\x00b", "ü\r\nx"])
def test_no_value_becomes_a_header_or_a_line(collector: Any, evil: str) -> None:
    for path in (
        f"/v1/findings?cursor={quote(evil)}",
        f"/v1/findings?format={quote(evil)}",
        f"/v1/nodes/{quote(evil)}/{quote(evil)}",
        f"/login?next={quote('/' + evil)}",
        f"/nodes/{quote(evil)}/{quote(evil)}",
        f"/{quote(evil)}",
    ):
        cookie = {"nodeward": collector.admin} if path.startswith("/nodes") else {}
        answer = collector.http.get(
            collector.url + path,
            headers={"Authorization": f"Bearer {collector.admin}"},
            cookies=cookie,
            allow_redirects=False,
            timeout=30,
        )
        assert "Set-Cookie" not in answer.headers, path
        assert answer.status_code in (200, 303, 400, 404), path
        assert not any(re.search(r"[\r\n]", value) for value in answer.headers.values())
    form = {"token": collector.admin, "next": "/" + evil}
    answer = collector.http.post(
        collector.url + "/login", data=form, allow_redirects=False, timeout=30
    )
    if "\0" in evil:
        assert answer.status_code == 400
    else:
        assert answer.headers["Location"] == "/"
        assert set(answer.cookies.keys()) == {"nodeward"}
    waiver = {"check": evil, "reason": evil, "owner": evil, "until": "7d", "labels": {evil: evil}}
    for path, body in (
        ("/v1/access", {"name": evil}),
        ("/v1/tokens", {"cluster": evil, "node": evil}),
        ("/v1/waivers", waiver),
        ("/v1/look", {"cluster": evil, "node": evil}),
        (f"/v1/agents/{quote(evil)}/revoke", {}),
        (f"/v1/alerts/{quote(evil)}/delete", {}),
        ("/v1/query", {"sql": f"SELECT '{evil}'"}),
    ):
        assert collector.post(path, body).status_code in (200, 201, 400, 404), path
    assert collector.get("/v1/access").status_code == 200


@SQLITE_ONLY
def test_bodies_without_bounds_are_refused_by_every_route_that_takes_one(collector: Any) -> None:
    """Large, claimed to be large, without end, and without a right: the last before all else."""
    paths = [r.path for r in API if isinstance(r, Route) and "POST" in (r.methods or ())]
    for path in [*paths, "/v1/enroll", "/v1/session", "/v1/rotate", "/login"]:
        url = collector.url + re.sub(r"\{[a-z]+\}", "none", path)
        headers = {"Authorization": f"Bearer {collector.admin}"}
        large = b'{"x": "' + b"a" * (3 << 20) + b'"}'
        answer = collector.http.post(url, data=large, headers=headers, timeout=30)
        assert answer.status_code in (400, 401, 404, 413), (path, answer.status_code)
        chunks = iter([b"a" * (1 << 20)] * 3)
        answer = collector.http.post(url, data=chunks, headers=headers, timeout=30)
        assert answer.status_code in (400, 401, 404, 413), (path, answer.status_code)
        if path in paths:
            answer = collector.http.post(url, data=b"{" * 100, timeout=30)
            assert answer.status_code == 401, path
    assert collector.http.get(collector.url + "/livez", timeout=30).ok
