"""What happens when rights are missing, pods go away, or there are very many of them."""

from typing import Any

import pytest

from imds_lab.scenarios import IMDS, Results, on_aws, play

pytestmark = pytest.mark.root


def setpriv(*caps: str, user: int = 0) -> list[str]:
    listed = ",".join(["-all", *(f"+{cap}" for cap in caps)])
    who = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    return ["setpriv", *who, f"--inh-caps={listed}", f"--ambient-caps={listed}",
            f"--bounding-set={listed}"]  # fmt: skip


READ = ("dac_read_search", "sys_ptrace")
DROP = ("setuid", "setgid")
RIGHTS = {
    "an account": setpriv(*READ, user=4242),
    "root": setpriv(*READ),
    "root, change users": setpriv(*READ, *DROP),
    "root, change users and enter": setpriv(*READ, *DROP, "sys_admin"),
    "an account, enter": setpriv("dac_read_search", "sys_admin", user=4242),
}
CASES = (
    "gone", "unplugged", "ended", "at_home", "another", "switched_off", "mounted", "recorded",
    "killed", "cut",
)  # fmt: skip


@pytest.fixture(scope="module")
def results() -> Results:
    cases = play({case: {"case": case} for case in CASES}, "imds_lab.odd")
    return cases | play({name: on_aws("aws-v1", **{"as": argv}) for name, argv in RIGHTS.items()})


def test_a_pod_that_ended_is_told_and_the_other_is_asked(results: Results) -> None:
    first, second = results["gone"]["answers"]
    assert first["problem"] == "the pod is gone"
    assert second["replies"][0]["end"] == "reset"


def test_a_wire_that_is_pulled_costs_no_more_than_its_time(results: Results) -> None:
    result = results["unplugged"]
    assert [a["replies"][0]["end"] for a in result["answers"]] == ["silent", "silent"]
    assert result["seconds"] < 6


def test_a_pod_that_ends_while_it_is_asked_holds_nobody_up(results: Results) -> None:
    result = results["ended"]
    assert [a["replies"][0]["end"] for a in result["answers"]] == ["silent", "silent"]
    assert result["seconds"] < 6


def test_a_ruleset_that_is_too_large_is_cut_and_says_so(results: Results) -> None:
    result = results["cut"]
    assert result["whole"] == [43, True]
    assert result["part"] == [20, False]
    found = result["findings"]["meta.pod.reach"]
    rules = [(e["what"], e["value"]) for e in found["evidence"] if e["what"].startswith("rule")]
    assert ("rules", "too many to read them all") in rules
    assert ("rule in forward", f"aws-imds {IMDS}: drop") in rules
    assert found["status"] == "pass"  # measured, whatever rules were read
    assert result["findings"]["meta.rule-coverage"]["status"] == "pass"


def test_the_hosts_own_network_is_never_taken_for_a_pods(results: Results) -> None:
    result = results["at_home"]
    assert "nothing was sent" in result["answers"][0]["problem"]
    assert result["requests"] == []


def test_a_pid_that_became_anothers_is_not_followed(results: Results) -> None:
    result = results["another"]
    assert result["answers"][0]["problem"] == "the pod is gone"
    assert result["requests"] == []


def test_the_switch_in_the_environment_stops_everything(results: Results) -> None:
    result = results["switched_off"]
    assert result["why"] == ["NODEWARD_METADATA=off in the environment"] * 2
    assert result["requests"] == []


def test_children_do_not_outlive_the_one_who_asks(results: Results) -> None:
    assert results["killed"]["seconds"] < 10


def test_a_machine_that_is_mounted_elsewhere_is_asked_alike(results: Results) -> None:
    found = results["mounted"]
    assert found["host"][f"aws-imds {IMDS}"] == "open"
    assert {pod: cells[f"aws-imds {IMDS}"] for pod, cells in found["pods"].items()} == {
        "default/web": "open",
        "prod/db": "open",
    }


def test_a_recording_says_the_same_and_sends_nothing(results: Results) -> None:
    result = results["recorded"]
    assert result["again"] == result["live"]
    assert len(result["requests"]) == result["asked"] > 0


def seen(results: Results, rights: str, check: str) -> tuple[str, str]:
    finding = results[rights]["findings"][check]
    return finding["status"], finding["because"]


def test_an_account_with_two_capabilities_asks_from_the_host_and_not_from_pods(
    results: Results,
) -> None:
    assert seen(results, "an account", "meta.host.reach")[0] == "fail"
    assert seen(results, "an account", "meta.imdsv1")[0] == "fail"
    status, because = seen(results, "an account", "meta.pod.reach")
    assert status == "unknown"
    assert "needs CAP_SYS_ADMIN" in because


def test_root_that_may_not_become_another_user_asks_nothing(results: Results) -> None:
    status, because = seen(results, "root", "meta.host.reach")
    assert status == "unknown"
    assert "cannot become an unused uid" in because
    assert results["root"]["requests"] == []


def test_root_with_the_right_to_change_users_asks_from_the_host(results: Results) -> None:
    assert seen(results, "root, change users", "meta.host.reach")[0] == "fail"
    assert seen(results, "root, change users", "meta.pod.reach")[0] == "unknown"


def test_with_the_right_to_enter_namespaces_pods_are_asked(results: Results) -> None:
    assert seen(results, "root, change users and enter", "meta.pod.reach")[0] == "fail"


def test_without_the_right_to_look_at_processes_pods_are_unknown(results: Results) -> None:
    status, because = seen(results, "an account, enter", "meta.pod.reach")
    assert status == "unknown"
    assert "CAP_SYS_PTRACE" in because


def test_rules_that_may_not_be_read_are_told_as_such(results: Results) -> None:
    evidence = results["an account"]["findings"]["meta.host.reach"]["evidence"]
    told = {"what": "rules", "value": "not read: needs CAP_NET_ADMIN", "source": "nf_tables"}
    assert told in evidence


def crowd(count: int, kind: str, **params: Any) -> dict[str, Any]:
    scenario = {
        "params": {"cloud": "aws", **params}, "services": [], "closed": [IMDS.partition(":")[0]],
        "crowd": [count, kind],
    }  # fmt: skip
    return play({kind: scenario})[kind]


def test_five_hundred_pods_take_bounded_time_and_memory() -> None:
    result = crowd(500, "no route")
    assert len(result["pods"]) == 500
    # A machine that is busy enough leaves some for the next round, and says so.
    assert set(result["problems"].values()) <= {"no time was left in this round"}
    found = result["findings"]["meta.pod.reach"]
    assert found["status"] == ("unknown" if result["problems"] else "pass")
    assert len(found["evidence"]) < 70
    assert result["seconds"] < 60
    assert result["rss_kib"] < 192 * 1024


def test_what_is_left_over_when_the_time_is_up_is_never_passed() -> None:
    result = crowd(100, "silent", total_s=3.0, timeout_s=1.5)
    late = [p for p in result["problems"].values() if p == "no time was left in this round"]
    assert 0 < len(late) < 100
    found = result["findings"]["meta.pod.reach"]
    assert found["status"] == "unknown"
    assert "no time was left" in found["because"]
    assert result["seconds"] < 60
