"""Point in time, drift, roll-ups, and SQL that can read nothing but its views."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeward.collector.clock import now_ms, rfc3339
from nodeward.collector.db import tables as t
from nodeward.collector.posture import EMPTY, LEVELS, State, differences

DOCS = Path(__file__).parents[2] / "docs"
POSTGRESQL_ONLY = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def _f(check: str = "a.x", status: str = "fail", because: str = "seen") -> dict[str, Any]:
    return {"check": check, "status": status, "severity": "high", "because": because}


def _at(collector: Any, at: str) -> dict[str, str]:
    return {f["check"]: f["status"] for f in collector.items("/v1/findings", at=at)}


def _now() -> str:
    time.sleep(0.005)  # times are milliseconds: what was before and what comes after are told apart
    at = now_ms()
    time.sleep(0.005)
    return str(rfc3339(at))


VALUES = st.dictionaries(st.integers(1, 40), st.sampled_from(LEVELS), max_size=12)


@given(st.lists(VALUES, min_size=1, max_size=6))
@settings(max_examples=200)
def test_undoing_the_differences_of_a_history_gives_its_beginning(history: list[Any]) -> None:
    states = [State.of(values) for values in history]
    for old, new in pairwise(states):
        values = new.values()
        for rule, before, _after in differences(old, new):
            values[rule] = before
        assert State.of({r: v for r, v in values.items() if v}).digest == old.digest
    assert differences(EMPTY, EMPTY) == []


def test_a_posture_of_the_past_is_todays_with_the_changes_undone(collector: Any) -> None:
    before = _now()
    agent = collector.agent("n1")
    agent.full(_f("a.x", "fail"), _f("a.y", "pass"))
    first = _now()
    agent.delta(_f("a.x", "pass"))
    second = _now()
    agent.full(_f("a.x", "fail"), _f("a.z", "unknown"))
    assert _at(collector, before) == {}
    assert _at(collector, first) == {"a.x": "fail", "a.y": "pass"}
    assert _at(collector, second) == {"a.x": "pass", "a.y": "pass"}
    assert _at(collector, _now()) == {"a.x": "fail", "a.z": "unknown"}


def test_a_node_that_is_gone_since_was_there_in_the_past(collector: Any) -> None:
    for name in ("n1", "n2"):
        collector.agent(name).full(_f("a.x", "fail"))
    before = _now()
    collector.post("/v1/nodes/east/n1/retire")
    after = _now()
    for at, nodes in ((before, ["n1", "n2"]), (after, ["n2"])):
        assert [f["node"] for f in collector.items("/v1/findings", at=at)] == nodes


def test_a_finding_stands_no_longer_than_its_nodes_life(collector: Any) -> None:
    first = collector.agent("n1")
    first.full(_f("a.x", "pass"))
    first.delta(_f("a.x", "fail"))
    collector.post("/v1/nodes/east/n1/retire")
    _now()
    collector.agent("n1").full(_f("a.x", "fail"))
    node = collector.get("/v1/nodes/east/n1").json()
    assert node["findings"][0]["since"] == node["first_seen"]


def test_a_diff_cancels_what_was_undone(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full(_f("a.x", "fail"), _f("a.y", "pass"))
    since = _now()
    agent.full(_f("a.x", "pass"), _f("a.y", "fail"))
    agent.full(_f("a.x", "fail"), _f("a.y", "fail"))
    got = collector.get("/v1/nodes/east/n1/diff", since=since).json()["changes"]
    assert [(c["check"], c["old"]["status"], c["new"]["status"]) for c in got] == [
        ("a.y", "pass", "fail")
    ]


def test_control_plane_nodes_that_differ_from_each_other_are_named(collector: Any) -> None:
    inventory = {"roles": ["control-plane"]}
    for number in range(3):
        status = "fail" if number == 2 else "pass"
        collector.agent(f"n{number}").full(_f("a.x", status), _f("a.y"), inventory=inventory)
    collector.agent("worker").full(_f("a.y", "pass"), inventory={"roles": ["worker"]})
    assert collector.items("/v1/divergence") == [
        {"cluster": "east", "check": "a.x", "nodes": {"fail": ["n2"], "pass": ["n0", "n1"]}}
    ]


def test_nodes_not_heard_of_are_stale(collector: Any) -> None:
    agent = collector.agent("n1")
    collector.agent("never")
    agent.full(_f())
    assert [n["node"] for n in collector.items("/v1/nodes", seen="current")] == ["n1"]
    assert [n["node"] for n in collector.items("/v1/nodes", seen="stale")] == ["never"]


def test_platforms_are_counted(collector: Any) -> None:
    for number in range(2):
        collector.agent(f"n{number}").full(_f())
    rows = collector.items("/v1/platforms")
    assert [(r["os"], r["kernel"], r["nodes"]) for r in rows] == [("debian", "6.1.0", 2)]


# -- SQL


@pytest.fixture
def asked(collector: Any) -> Any:
    for cluster in ("east", "west"):
        agent = collector.agent("n1", cluster)
        agent.full(_f("a.x", "fail"), _f("a.y", "pass"))
        agent.full(_f("a.x", "fail"), _f("a.y", "unknown"))
    return collector


def _sql(collector: Any, sql: str, token: str | None = None) -> Any:
    return collector.post("/v1/query", {"sql": sql}, token)


def test_sql_reads_the_views(asked: Any) -> None:
    answer = _sql(asked, "SELECT cluster, check_id, status FROM finding ORDER BY 1, 2")
    assert answer.json() == {
        "columns": ["cluster", "check_id", "status"],
        "rows": [[c, k, s] for c in ("east", "west") for k, s in
                 (("a.x", "fail"), ("a.y", "unknown"))],
        "truncated": False,
    }  # fmt: skip


def test_every_worked_question_of_the_page_is_answered(asked: Any) -> None:
    page = (DOCS / "queries.md").read_text()
    questions = re.findall(r"```sql\n(.*?)```", page, re.S)
    assert len(questions) >= 20
    sqlite = asked.center.engine.dialect.name == "sqlite"
    for sql in questions:
        if "-- PostgreSQL" in sql and sqlite:
            continue
        answer = _sql(asked, sql)
        assert answer.status_code == 200, (sql, answer.text)


EVIL = [
    "DELETE FROM node",
    "UPDATE node SET name = 'x'",
    "INSERT INTO node VALUES (1)",
    "DROP VIEW node",
    "CREATE TABLE x (a)",
    "SELECT 1; SELECT 2",
    "SELECT * FROM access",
    "SELECT hash FROM main.access",
    "SELECT * FROM public.access",
    "SELECT (SELECT hash FROM main.access)",
    "WITH finding AS (SELECT hash FROM main.access) SELECT * FROM finding",
    "SELECT * FROM (SELECT hash FROM main.access) AS finding",
    "SELECT name FROM main.node",
    "SELECT count(*) FROM main.node",
    "SELECT count(*) FROM access",
    "SELECT * FROM state_set, secret",
    "WITH node AS (SELECT name FROM main.node) SELECT * FROM node",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM sqlite_temp_master",
    "SELECT * FROM temp.value_name, main.secret",
    "SELECT * FROM pragma_table_info('access')",
    "PRAGMA query_only = OFF",
    "ATTACH 'x.db' AS x",
    "VACUUM INTO 'x.db'",
    "SELECT load_extension('x')",
    "SELECT zeroblob(1000000000)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT query_to_xml('SELECT * FROM public.access', true, true, '')",
    "SELECT 1) AS q; DROP TABLE node; SELECT * FROM (SELECT 1",
    "SELECT lo_import('/etc/passwd')",
    "COPY node TO '/tmp/x'",
    "SELEKT",
    "",
]


def test_sql_can_do_nothing_else(asked: Any) -> None:
    for sql in EVIL:
        assert _sql(asked, sql).status_code == 400, sql
    assert len(asked.items("/v1/nodes")) == 2


def test_in_sql_a_waiver_whose_time_is_over_is_not_in_force(asked: Any) -> None:
    what = {"check": "*", "reason": "r", "owner": "o", "until": "9d"}
    made = asked.post("/v1/waivers", what).json()["id"]
    told = asked.center.writer.act_now
    told(lambda c: c.execute(t.waiver.update().values(approved_at=1, approved_by="x")))
    sql = "SELECT id FROM waiver WHERE approved"
    assert _sql(asked, sql).json()["rows"] == [[made]]
    told(lambda c: c.execute(t.waiver.update().values(expires_at=now_ms() - 1)))
    assert _sql(asked, sql).json()["rows"] == []


def test_sql_that_does_not_end_is_ended(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeward.collector.store.query.DEADLINE_S", 0.3)
    endless = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT max(n) FROM x"
    assert _sql(asked, endless).status_code == 400


def test_sql_keeps_to_the_askers_clusters(asked: Any) -> None:
    token = asked.access("east", cluster="east")
    for view in ("node", "finding", "change", "tally"):
        answer = _sql(asked, f"SELECT DISTINCT cluster FROM {view}", token)
        assert answer.json()["rows"] == [["east"]], (view, answer.text)
    counted = _sql(asked, "SELECT count(*) FROM node n JOIN finding f ON 1 = 1", token).json()
    assert counted["rows"] == [[2]]


def test_sql_of_a_token_whose_clusters_are_none_shows_nothing(asked: Any) -> None:
    token = asked.access("nobody", team="of no cluster")
    for view in ("node", "finding", "change", "tally", "node_key", "waiver"):
        assert _sql(asked, f"SELECT * FROM {view}", token).json()["rows"] == [], view


def test_sql_shows_a_waiver_to_who_may_see_all_that_it_covers(asked: Any) -> None:
    def waive(**labels: str) -> str:
        what = {"check": "*", "reason": "r", "owner": "o", "until": "9d", "labels": labels}
        return str(asked.post("/v1/waivers", what).json()["id"])

    east, west, fleet = waive(cluster="east"), waive(cluster="west"), waive()
    told = asked.center.writer.act_now
    told(lambda c: c.execute(t.cluster_label.insert(), [
        {"cluster": number, "key": "env", "value": "prod"} for number in (1, 2)
    ]))  # fmt: skip
    both, mine = waive(env="prod"), waive(env="prod", cluster="east")
    asked.agent("n1", "north")  # of no such label
    seen = {
        "east": {east, mine},
        "west": {west},
        "north": set(),
    }
    sql = "SELECT id FROM waiver"
    for cluster, ids in seen.items():
        rows = _sql(asked, sql, asked.access(cluster, cluster=cluster)).json()["rows"]
        assert {row[0] for row in rows} == ids, cluster
        listed = asked.items("/v1/waivers", asked.access(cluster, cluster=cluster))
        assert {waiver["id"] for waiver in listed} == ids
    rows = _sql(asked, sql, asked.access("prod", env="prod")).json()["rows"]
    assert {row[0] for row in rows} == {east, west, both, mine}
    assert {row[0] for row in _sql(asked, sql).json()["rows"]} == {east, west, fleet, both, mine}


PRYING = [
    "SELECT set_config('nodeward.scope', '', true), cluster FROM node",
    "SELECT query FROM pg_stat_activity",
    "SELECT reltuples FROM pg_class",
    'SELECT reltuples FROM "PG_CATALOG".pg_class',
    'SELECT * FROM U&"\\0070g_class"',
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT * FROM query_scope",
    "SELECT * FROM public.query_scope",
    "SELECT CAST(cluster AS int) FROM node WHERE cluster <> 'east'",
    "SELECT 1 FROM node WHERE 1 / (CASE cluster WHEN 'west' THEN 0 ELSE 1 END) = 1",
]


def test_sql_of_one_tenant_learns_nothing_of_another(asked: Any) -> None:
    token = asked.access("east", cluster="east")
    for sql in PRYING:
        answer = _sql(asked, sql, token)
        assert "west" not in answer.text, sql
        if answer.status_code == 200:
            assert answer.json()["rows"] in ([], [[1]]), sql
        else:
            assert answer.status_code == 400, sql
            assert "division" not in answer.text, sql


ACTS = [
    "SELECT lo_from_bytea(0, 'kept for ever')",
    "SELECT pg_catalog . lo_creat(-1)",
    'SELECT "lo_creat"(-1)',
    'SELECT U&"lo\\005fcreat"(-1)',
    "SELECT pg_logical_emit_message(false, 'x', repeat('a', 1000000))",
    "SELECT pg_advisory_lock(31084724427646324)",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "SELECT pg_notify('nodeward_keys', '')",
    "SELECT query_to_xml('SELECT lo_creat(-1)', true, true, '')",
    "SELECT Set_Config('statement_timeout', '0', true)",
]


@POSTGRESQL_ONLY
def test_sql_does_nothing_but_answer(asked: Any) -> None:
    for sql in ACTS:
        assert _sql(asked, sql).status_code == 400, sql
    for sql in ("SELECT random() < 2", "SELECT count(*) > 0 FROM node WHERE cluster <> 'lo'"):
        assert _sql(asked, sql).json()["rows"] == [[True]], sql
    with asked.center.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM pg_largeobject_metadata")
        assert kept.scalar() == 0


@POSTGRESQL_ONLY
def test_what_a_question_might_have_done_is_undone(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.store.query_postgresql._refuse_acts", lambda *_: None)
    made = _sql(asked, "SELECT lo_from_bytea(0, 'kept for ever')").json()["rows"][0][0]
    assert made
    assert _sql(asked, f"SELECT lo_get({made})").status_code == 400


def test_what_one_asker_may_see_is_forgotten_after_the_question(asked: Any) -> None:
    for token in (None, asked.access("east", cluster="east")):
        assert _sql(asked, "SELECT 1", token).status_code == 200
        assert _sql(asked, "SELEKT", token).status_code == 400
    with asked.center.engine.connect() as connection:
        assert connection.execute(t.query_scope.select()).all() == []


LONG = {
    "sqlite": "SELECT hex(printf('%450000d', 0)) AS x FROM node, finding, finding f, change",
    "postgresql": "SELECT repeat('a', 200000) AS x FROM generate_series(1, 2000)",
}


def test_an_answer_of_sql_ends_before_it_fills_the_memory(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeward.collector.store.query.MOST_ANSWER", 1 << 20)
    monkeypatch.setattr("nodeward.collector.store.query.DEADLINE_S", 60.0)
    answer = _sql(asked, LONG[asked.center.engine.dialect.name])
    assert answer.status_code == 200, answer.text[:200]
    assert answer.json()["truncated"] is True
    assert len(answer.content) < 3 << 20


HUGE = {
    "sqlite": "SELECT hex(printf('%900000d', 0))",
    "postgresql": "SELECT repeat('a', 2000000)",
}


def test_a_row_of_sql_that_is_too_large_is_refused(asked: Any) -> None:
    assert _sql(asked, HUGE[asked.center.engine.dialect.name]).status_code == 400


@pytest.mark.root
@POSTGRESQL_ONLY
def test_what_json_has_no_form_for_is_told_in_words(asked: Any) -> None:
    sql = "SELECT int4range(1, 3) AS a, '10.0.0.1'::inet AS b, 1.5::numeric AS c, ARRAY[1, 2] AS d"
    assert _sql(asked, sql).json()["rows"] == [["[1, 3)", "10.0.0.1", "1.5", "[1, 2]"]]


def test_changes_are_paged_the_latest_first_however_far_apart_they_lie(collector: Any) -> None:
    agent = collector.agent("n1")
    agent.full({"check": "a.x", "status": "fail", "severity": "high", "because": "seen"})
    ago = [1, 2, 9_000, 11_000, 59_000, 70_000, 3_600_000, 86_000_000, 90_000_000, 10**10]
    now = now_ms()
    rows = [{"at": now - a, "node": 1, "rule": 1, "old": 9, "new": 19} for a in ago]
    collector.center.writer.act_now(
        lambda connection: connection.execute(t.change.insert(), rows).rowcount
    )
    want = [rfc3339(now - a) for a in ago]
    for limit in (1, 3, 100):
        got: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = collector.get("/v1/changes", limit=str(limit), **cursor).json()
            got += [row["at"] for row in page["items"]]
            if not page["next"]:
                break
            cursor = {"cursor": page["next"]}
        assert got == want
    span = {"since": rfc3339(now - 7_200_000), "until": rfc3339(now - 10_000)}
    some = collector.get("/v1/changes", **span).json()["items"]
    assert [row["at"] for row in some] == want[3:7]
