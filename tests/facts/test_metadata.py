"""The table of endpoints, the operator's settings, and what replies mean."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_lab.imitators import FORBIDDEN
from nodeward.facts.cloud import Cloud, Sign
from nodeward.facts.endpoints import BY_NAME, CLOUDS, ENDPOINTS, of_cloud, sent_table
from nodeward.facts.metadata import (
    REACHED,
    Metadata,
    Outcome,
    Reply,
    Target,
    cells,
    parse_address,
    targets,
    why_not,
)
from nodeward.model import Absent, Status, Unreadable

AWS = Cloud("aws", (Sign("aws", "Amazon EC2", "/sys/class/dmi/id/sys_vendor"),))
IMDS = "169.254.169.254:80"
TTL = "x-aws-ec2-metadata-token-ttl-seconds"


def outcome(name: str, *replies: Reply) -> Outcome:
    target = Target(BY_NAME[name], BY_NAME[name].addresses[0])
    (cell,) = cells([target], replies)
    return cell.outcome


def answer(status: int, *, shape: bool = True, html: bool = False, **headers: str) -> Reply:
    named = tuple((k.replace("_", "-"), v) for k, v in headers.items())
    return Reply("answer", status, named, shape, html)


UNAUTHORIZED = answer(401, html=True, server="EC2ws")
GIVEN = Reply("answer", 200, ((TTL, "1"),), True)
SILENT, TIMEOUT, REFUSED = Reply("silent"), Reply("timeout"), Reply("refused")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.name)
def test_every_endpoint_can_be_asked_and_says_what_it_is_not_asked(endpoint: Any) -> None:
    assert endpoint.never
    for address in endpoint.addresses:
        parse_address(address)
    for ask in (endpoint.ask, endpoint.token):
        if ask is not None:
            assert ask.method in ("", "GET", "PUT")
            assert not FORBIDDEN.search(f"{ask.method} {ask.path} HTTP/1.1")


def test_only_two_endpoints_are_asked_for_a_token_and_for_one_second() -> None:
    puts = [a for e in ENDPOINTS for a in (e.ask, e.token) if a is not None and a.method == "PUT"]
    assert [(a.path, a.headers[0][1]) for a in puts] == [
        ("/latest/api/token", "1"),
        ("/v1/token", "1"),
    ]


def test_the_table_for_people_names_every_address() -> None:
    text = sent_table()
    assert all(address in text for e in ENDPOINTS for address in e.addresses)


@pytest.mark.parametrize(
    ("read", "token", "wanted"),
    [
        (answer(200), GIVEN, Outcome.OPEN),
        (UNAUTHORIZED, GIVEN, Outcome.TOKEN),
        (UNAUTHORIZED, SILENT, Outcome.HOP_LIMIT),
        (UNAUTHORIZED, TIMEOUT, Outcome.HOP_LIMIT),
        (UNAUTHORIZED, REFUSED, Outcome.DENIED),
        (UNAUTHORIZED, answer(403), Outcome.DENIED),
        (UNAUTHORIZED, answer(200), Outcome.INTERCEPTED),  # no such header: another's answer
        (answer(403), answer(403), Outcome.DENIED),
        (answer(200, shape=False), answer(404), Outcome.INTERCEPTED),
        (answer(200, html=True), answer(200, html=True), Outcome.INTERCEPTED),
        (answer(401, www_authenticate="Basic"), answer(401), Outcome.INTERCEPTED),
        (answer(302), answer(302), Outcome.INTERCEPTED),
        (answer(503), answer(503), Outcome.INTERCEPTED),
        (TIMEOUT, TIMEOUT, Outcome.TIMEOUT),
        (SILENT, SILENT, Outcome.SILENT),
        (SILENT, GIVEN, Outcome.TOKEN),
        (REFUSED, REFUSED, Outcome.REFUSED),
        (Reply("not-http"), Reply("not-http"), Outcome.INTERCEPTED),
    ],
)
def test_the_session_service_is_judged_by_both_its_answers(
    read: Reply, token: Reply, wanted: Outcome
) -> None:
    assert outcome("aws-imds", read, token) is wanted


@pytest.mark.parametrize(
    ("name", "reply", "wanted"),
    [
        ("gce-metadata", answer(200, metadata_flavor="Google"), Outcome.OPEN),
        ("gce-metadata", answer(200), Outcome.INTERCEPTED),
        (
            "gce-metadata",
            answer(200, metadata_flavor="Google", server="GKE Metadata Server"),
            Outcome.CONCEALED,
        ),
        ("alibaba-metadata", answer(403), Outcome.TOKEN_WANTED),
        ("oci-imds-v1", answer(404), Outcome.DENIED),
        ("linode-metadata", answer(200), Outcome.OPEN),
        ("upcloud-metadata", Reply("connected"), Outcome.OPEN),
        ("azure-wireserver", answer(200), Outcome.OPEN),
        ("azure-wireserver", answer(400), Outcome.INTERCEPTED),
    ],
)
def test_an_answer_is_believed_when_it_is_the_services_own(
    name: str, reply: Reply, wanted: Outcome
) -> None:
    assert outcome(name, reply) is wanted


IDS = {
    "digitalocean-metadata": "123456789",
    "hetzner-metadata": "123456789\n",
    "vultr-metadata": "42506325",
    "linode-metadata": '["0f1e2d3c4b5a69788796a5b4c3d2e1f0"]',
    "exoscale-metadata": "9d02c3b4-0000-4000-8000-000000000001",
    "cloudstack-metadata": "i-2-10-VM",
    "tencent-metadata": "ins-a1b2c3d4",
    "alibaba-metadata": "i-bp1fake\n",
    "openstack-metadata": "2012-08-10\nlatest",
    "oci-imds-v2": "ocid1.instance.oc1.iad.x",
    "aws-imds": "ami-id\nami-launch-index",
}


@pytest.mark.parametrize("name", IDS)
def test_a_service_is_known_by_how_its_answer_begins(name: str) -> None:
    shape = BY_NAME[name].ask.shape
    assert re.search(shape, IDS[name], re.MULTILINE)
    for other in ("ok", "ok\n", "pong", "Welcome!\n42\n" + IDS[name], "{}", ""):
        assert not re.search(shape, other, re.MULTILINE), other


def test_an_answer_that_is_no_token_and_no_refusal_is_unclear() -> None:
    target = Target(BY_NAME["aws-imds"], IMDS)
    for reply, unclear in ((answer(503), True), (SILENT, False), (GIVEN, False), (REFUSED, False)):
        (cell,) = cells([target], [answer(200), reply])
        assert (cell.outcome, cell.token_unclear) == (Outcome.OPEN, unclear)


def test_a_list_that_is_cut_does_not_show_what_it_lacks() -> None:
    reply = Reply("answer", 200, (("metadata-flavor", "Google"),), True, cut=True)
    assert outcome("gce-attribute-names", reply) is Outcome.LONGER
    assert outcome("gce-metadata", reply) is Outcome.OPEN


def test_a_connection_proves_nothing_where_something_else_answers() -> None:
    asked = [Target(e, e.addresses[0]) for e in of_cloud("aws")]
    page = answer(200, html=True)
    for imds, wanted in (([page] * 2, Outcome.INTERCEPTED), ([UNAUTHORIZED, GIVEN], Outcome.OPEN)):
        found = cells(asked, [*imds, Reply("connected"), Reply("connected")])
        assert [c.outcome for c in found][1:] == [wanted] * 2


ENDS = st.sampled_from(
    ["answer", "connected", "refused", "reset", "unreachable", "timeout", "silent", "closed",
     "not-http", "something new"]
)  # fmt: skip


@given(
    st.sampled_from([e.name for e in ENDPOINTS]),
    st.builds(Reply, ENDS, st.integers(0, 999), shape=st.booleans(), html=st.booleans()),
)
def test_no_reply_of_the_wrong_shape_is_taken_for_the_service(name: str, reply: Reply) -> None:
    endpoint = BY_NAME[name]
    found = outcome(name, *[reply] * (1 if endpoint.token is None else 2))
    if found in REACHED and reply.end == "answer":
        assert reply.status in (200, *endpoint.ask.wants)
        assert not (reply.html and reply.status == 200)
        assert reply.shape or not endpoint.ask.shape or reply.status != 200


def test_only_the_named_clouds_endpoints_are_asked() -> None:
    assert {t.endpoint.cloud for t in targets(AWS, Metadata())} == {"aws"}


def test_the_operators_word_comes_before_the_firmwares() -> None:
    assert {t.endpoint.cloud for t in targets(AWS, Metadata(cloud="gce"))} == {"gce"}


def test_an_address_of_the_operator_takes_the_place_of_the_shipped_ones() -> None:
    p = Metadata(endpoints=("aws-imds=10.0.0.1:8080", "aws-imds=[fd00::1]:80"))
    asked = [t.address for t in targets(AWS, p) if t.endpoint.name == "aws-imds"]
    assert asked == ["10.0.0.1:8080", "[fd00::1]:80"]


@pytest.mark.parametrize(
    ("cloud", "p"),
    [
        (AWS, Metadata(enabled="off")),
        (Cloud(None), Metadata()),
        (Cloud(None, (), ("/sys/class/dmi/id",)), Metadata()),
        (Unreadable("/sys", "EACCES"), Metadata()),
        (Absent("/sys"), Metadata()),
    ],
)
def test_where_nothing_is_asked_there_is_a_verdict_that_is_no_pass(
    cloud: Cloud | Absent | Unreadable, p: Metadata
) -> None:
    assert targets(cloud, p) == ()
    verdict = why_not(cloud, p)
    assert verdict is not None
    assert verdict.status in (Status.NOT_APPLICABLE, Status.UNKNOWN)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_cloud_has_something_to_ask(cloud: str) -> None:
    assert of_cloud(cloud)
    assert targets(Cloud(None), Metadata(cloud=cloud))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("cloud", "amazon"),
        ("timeout_s", 5.0),
        ("namespaces", 65),
        ("at_once", 0),
        ("total_s", 60.0),
        ("endpoints", ("aws-imds=metadata.example:80",)),
        ("endpoints", ("aws-imds=10.0.0.1",)),
        ("endpoints", ("unknown=10.0.0.1:80",)),
        ("endpoints", ("aws-imds=10.0.0.1:0",)),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting if setting != "endpoints" else "."):
        Metadata(**{setting: value})  # type: ignore[arg-type]


@given(st.text("0123456789.:[]%abcdefx*", max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        _, port = parse_address(text)
    except ValueError:
        return
    assert 0 < port < 65536
