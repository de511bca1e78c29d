"""What happens when rights are missing, pods go away, or there are very many of them."""

from typing import Any

import pytest

from imds_lab.scenarios import AWS_CLOSED, IMDS, ONE, on_aws, play

pytestmark = pytest.mark.root


def odd(case: str) -> dict[str, Any]:
    return play({"case": case}, "imds_lab.odd")


def test_a_pod_that_ended_is_told_and_the_other_is_asked() -> None:
    first, second = odd("gone")["answers"]
    assert first["problem"] == "the pod is gone"
    assert second["replies"][0]["end"] == "reset"


def test_a_wire_that_is_pulled_costs_no_more_than_its_time() -> None:
    result = odd("unplugged")
    assert [a["replies"][0]["end"] for a in result["answers"]] == ["silent", "silent"]
    assert result["seconds"] < 6


def test_the_hosts_own_network_is_never_taken_for_a_pods() -> None:
    result = odd("at_home")
    assert "nothing was sent" in result["answers"][0]["problem"]
    assert result["requests"] == []


def test_a_pid_that_became_anothers_is_not_followed() -> None:
    result = odd("another")
    assert result["answers"][0]["problem"] == "the pod is gone"
    assert result["requests"] == []


def test_the_switch_in_the_environment_stops_everything() -> None:
    result = odd("switched_off")
    assert result["why"] == ["NODEWARD_METADATA=off in the environment"] * 2
    assert result["requests"] == []


def test_children_do_not_outlive_the_one_who_asks() -> None:
    assert odd("killed")["seconds"] < 10


def test_a_recording_says_the_same_and_sends_nothing() -> None:
    result = odd("recorded")
    assert result["again"] == result["live"]
    assert len(result["requests"]) == result["asked"] > 0


def setpriv(*caps: str, user: int = 0) -> list[str]:
    listed = ",".join(["-all", *(f"+{cap}" for cap in caps)])
    who = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    return ["setpriv", *who, f"--inh-caps={listed}", f"--ambient-caps={listed}",
            f"--bounding-set={listed}"]  # fmt: skip


READ = ("dac_read_search", "sys_ptrace")
DROP = ("setuid", "setgid")


def seen_as(*caps: str, user: int = 0) -> dict[str, Any]:
    result = play(on_aws("aws-v1", **{"as": setpriv(*caps, user=user)}))
    return {check: (f["status"], f["because"]) for check, f in result["findings"].items()}


def test_an_account_with_two_capabilities_asks_from_the_host_and_not_from_pods() -> None:
    found = seen_as(*READ, user=4242)
    assert found["meta.host.reach"][0] == "fail"
    assert found["meta.imdsv1"][0] == "fail"
    status, because = found["meta.pod.reach"]
    assert status == "unknown"
    assert "needs CAP_SYS_ADMIN" in because


def test_root_that_may_not_become_another_user_asks_nothing() -> None:
    status, because = seen_as(*READ)["meta.host.reach"]
    assert status == "unknown"
    assert "cannot become an unused uid" in because


def test_root_with_the_right_to_change_users_asks_from_the_host() -> None:
    found = seen_as(*READ, *DROP)
    assert found["meta.host.reach"][0] == "fail"
    assert found["meta.pod.reach"][0] == "unknown"


def test_with_the_right_to_enter_namespaces_pods_are_asked() -> None:
    found = seen_as(*READ, *DROP, "sys_admin")
    assert found["meta.pod.reach"][0] == "fail"


def test_without_the_right_to_look_at_processes_pods_are_unknown() -> None:
    status, because = seen_as("dac_read_search", "sys_admin", user=4242)["meta.pod.reach"]
    assert status == "unknown"
    assert "CAP_SYS_PTRACE" in because


def test_rules_that_may_not_be_read_are_told_as_such() -> None:
    scenario = on_aws("aws-v1", **{"as": setpriv(*READ, user=4242)})
    evidence = play(scenario)["findings"]["meta.host.reach"]["evidence"]
    assert {"what": "rules", "value": "not read: needs CAP_NET_ADMIN", "source": "nf_tables"} in (
        evidence
    )


def crowd(count: int, kind: str, **params: Any) -> dict[str, Any]:
    return play(
        {"params": {"cloud": "aws", **params}, "services": [], "closed": [IMDS.partition(":")[0]],
         "crowd": [count, kind]}
    )  # fmt: skip


def test_five_hundred_pods_take_bounded_time_and_memory() -> None:
    result = crowd(500, "no route")
    assert len(result["pods"]) == 500
    assert result["problems"] == {}
    assert result["findings"]["meta.pod.reach"]["status"] == "pass"
    assert len(result["findings"]["meta.pod.reach"]["evidence"]) < 70
    assert result["seconds"] < 30
    assert result["rss_kib"] < 128 * 1024


def test_what_is_left_over_when_the_time_is_up_is_never_passed() -> None:
    result = crowd(100, "silent", total_s=2.0)
    late = [p for p in result["problems"].values() if p == "no time was left in this round"]
    assert 0 < len(late) < 100
    found = result["findings"]["meta.pod.reach"]
    assert found["status"] == "unknown"
    assert "no time was left" in found["because"]
    assert result["seconds"] < 20


def test_scenarios_leave_the_pods_to_the_lab() -> None:
    """The closed addresses answer by refusing: what a scenario calls refused is a real refusal."""
    result = play({**on_aws("aws-v1"), "closed": [*AWS_CLOSED, "fd00:ec2::254"], "pods": ONE})
    assert result["pods"]["default/web"]["ecs-task-credentials 169.254.170.2:80"] == "refused"
