"""What people do on the page, and what the page must not let them do or see."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
import yaml
from cryptography.x509 import load_pem_x509_certificate
from playwright.sync_api import Browser, expect
from starlette.requests import Request

import fleet_seed
import helm_chart
from nodeward.collector import pki
from nodeward.collector.clock import now_ms
from nodeward.collector.db import tables as t
from nodeward.collector.page import questions
from nodeward.collector.page.enrol import reached
from nodeward.collector.settings import Settings
from nodeward.collector.store.access import Role
from nodeward.collector.store.hashing import secret_hash
from page_site import Eyes, Site, eyes, seeded


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fleet of their own: what people do here is not to be seen in the other tests' views."""
    yield from seeded(tmp_path_factory)


PAGES = (
    "/", "/nodes", "/checks", "/checks/kernel.module.sctp", "/heat", "/heat?by=env", "/changes",
    "/heat?by=node.kernel", "/findings", "/find?q=worker", "/find?q=prod",
    "/certificates", "/certificates?days=30", "/certificates/keys?reading=all",
    "/waivers", "/agents", "/agents?state=active",
    "/sql?sql=SELECT+*+FROM+node",
    "/sql?sql=SELECT+*+FROM+change+LIMIT+9000",
)  # fmt: skip
FORMATS = ("html", "json", "csv")


def with_format(path: str, form: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}format={form}"


@pytest.mark.parametrize("way", ["by the search box", "by the list of checks"])
def test_from_the_page_alone_one_learns_who_can_load_sctp_since_when_why_and_what_to_run(
    operator: Eyes, way: str
) -> None:
    """Two clicks from the start; all four answers are then there without opening anything."""
    page = operator.page
    operator.go("/")
    if way == "by the search box":
        page.get_by_role("searchbox", name="Find a node or check").press_sequentially("sctp")
    else:
        page.get_by_role("link", name="Checks", exact=True).click()
    page.get_by_role("link", name="kernel.module.sctp").first.click()
    expect(page.get_by_text("SCTP cannot be autoloaded")).to_be_visible()
    first = page.locator("details.finding").first
    who = first.locator("summary")
    expect(who).to_contain_text(re.compile(r"-worker-\d+"))
    expect(who).to_contain_text(re.compile(r"since \d{4}-\d{2}-\d{2} \d{2}:\d{2} UTC"))
    expect(who).to_contain_text("any process can load sctp: socket(")
    expect(page.get_by_text("install sctp /bin/false").first).to_be_visible()
    expect(page.get_by_role("heading", name="Fix in general")).to_be_visible()
    expect(page.get_by_text("run the fix that stands with it")).to_be_visible()
    who.click()
    expect(first).to_contain_text("net-pf-2-proto-132 -> sctp")
    expect(first).to_contain_text(re.compile(r"modules\.alias:\d"))
    expect(first).to_contain_text("install sctp /bin/false")


def test_commands_are_copied_by_a_button(chromium: Browser, fleet: Site) -> None:
    for seen in eyes(chromium, fleet, permissions=["clipboard-read", "clipboard-write"]):
        seen.log_in(fleet.token("copy", Role.VIEWER))
        seen.go("/checks/kernel.module.sctp")
        seen.page.get_by_role("button", name="Copy").first.click()
        expect(seen.page.get_by_role("button", name="Copied")).to_be_visible()
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert copied == seen.page.locator("pre").first.inner_text()


def test_the_security_engineer_learns_what_changed_and_compares_two_times(operator: Eyes) -> None:
    page = operator.page
    operator.go("/")
    today = page.locator("section", has=page.get_by_role("heading", name="What changed in the"))
    today.get_by_role("link", name=re.compile("-worker-")).first.click()
    expect(page.get_by_role("heading", name="What changed here")).to_be_visible()
    page.get_by_role("link", name="Compare two times").click()
    page.get_by_label("From").fill("29d")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("region", name="Differences")).to_contain_text("kernel.module.dccp")
    expect(page).to_have_url(re.compile("since=29d"))


def test_the_platform_engineer_finds_the_silent_and_lets_a_new_node_in(
    operator: Eyes, fleet: Site
) -> None:
    page = operator.page
    operator.go("/")
    page.get_by_role("link", name=re.compile(r"^3\s+silent")).click()
    expect(page.locator("#rows tbody tr")).to_have_count(3)
    expect(page.locator("#rows")).to_contain_text("stale")
    fleet_seed.enrol(fleet.center, [("lab", "lab-worker-9000")], now_ms(), approve=True)
    operator.go("/nodes?node=lab-worker-9000")  # it has said nothing yet
    expect(page.locator("#rows tbody tr")).to_contain_text("never")
    page.get_by_role("link", name="Agents").click()
    page.get_by_role("link", name=re.compile("^pending")).click()
    page.get_by_role("button", name="approve the key of lab-worker-9000").click()
    operator.go("/agents?node=lab-worker-9000")
    expect(page.locator("table")).to_contain_text("active")


def test_the_image_baker_goes_from_a_kernel_to_what_fails_on_it_and_takes_the_data(
    operator: Eyes,
) -> None:
    page = operator.page
    operator.go("/heat")
    page.get_by_label("Group nodes by").select_option("node.kernel")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("columnheader", name="6.6.110-flatcar")).to_be_visible()
    page.get_by_role("link", name="kernel.module.dccp").click()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="CSV").click()
    rows = Path(downloading.value.path()).read_text().splitlines()
    assert rows[0].startswith("cluster,node,check,status")
    assert all("kernel.module.dccp,fail" in row for row in rows[1:])


def test_a_viewer_is_shown_nothing_that_only_an_operator_may_do(
    chromium: Browser, fleet: Site
) -> None:
    for seen in eyes(chromium, fleet):
        seen.log_in(fleet.token("auditor", Role.VIEWER))
        for path in ("/agents", "/waivers", "/nodes/lab/lab-worker-0002"):
            seen.go(path)
            buttons = seen.page.get_by_role("button").all_inner_texts()
            assert {b for b in buttons if b} <= {"Log out", "Show", "Copy"}
            expect(seen.page.get_by_text("ask for a waiver")).to_have_count(0)


def test_filters_change_the_list_and_the_address(operator: Eyes) -> None:
    operator.go("/nodes")
    with operator.page.expect_response(lambda r: "cluster=lab" in r.url):
        operator.page.get_by_label("Cluster").select_option("lab")
    expect(operator.page.locator("#rows tbody tr").first).to_contain_text("lab-worker")
    expect(operator.page.locator("#rows")).not_to_contain_text("prod-eu")
    expect(operator.page).to_have_url(re.compile("cluster=lab"))


def test_a_waiver_is_asked_for_approved_by_another_and_stands_beside_the_finding(
    operator: Eyes, chromium: Browser, fleet: Site
) -> None:
    operator.go("/waivers?check=cert.superadmin&node=lab-worker-0002")
    form = operator.page.locator("form[action='/waivers']")
    form.get_by_label("Reason").fill("moved away next week")
    form.get_by_label("Owner").fill("platform")
    form.get_by_label("Until").fill("30d")
    form.get_by_role("button", name="Ask").click()
    row = operator.page.locator("tr", has_text="moved away next week")
    expect(row).to_contain_text("pending")
    expect(row.get_by_role("button", name="approve")).to_have_count(0)
    for other in eyes(chromium, fleet):
        other.log_in(fleet.token("bob", Role.OPERATOR))
        other.go("/waivers")
        other.page.get_by_role("button", name="approve the waiver of cert.superadmin").click()
        row = other.page.locator("tr", has_text="moved away next week")
        expect(row).to_contain_text("active")
        other.go("/nodes/lab/lab-worker-0002")
        finding = other.page.locator("#cert\\.superadmin")
        expect(finding).to_contain_text("fail")
        expect(finding).to_contain_text("moved away next week")


def run_on_a_node(commands: str, root: Path) -> object:
    """The commands below another root, without the service; what the agent would then read."""
    script = commands.replace("/etc/nodeward", f"{root}/etc/nodeward").rpartition("systemctl")[0]
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True)
    folder = root / "etc/nodeward"
    token = folder / "credentials/join-token"
    assert token.read_text().startswith("nwj_")
    assert token.stat().st_mode & 0o777 == 0o600
    load_pem_x509_certificate((folder / "agent.d/collector-ca.pem").read_bytes())
    return yaml.safe_load((folder / "agent.d/10-collector.yaml").read_text())


def test_an_empty_collector_shows_how_to_enrol_the_first_node(
    chromium: Browser, empty: Site, tmp_path: Path
) -> None:
    site = replace(empty, url=empty.url.replace("127.0.0.1", "collector.example"))
    for seen in eyes(chromium, site):
        seen.log_in(empty.token("alice", Role.OPERATOR))
        expect(seen.page.get_by_role("heading", name="Enrol the first node")).to_be_visible()
        seen.shot("first-run")
        expect(seen.page.get_by_label("Command to install the package")).to_contain_text("apt-get")
        seen.page.get_by_role("textbox", name="Node").fill("worker-1")
        seen.page.get_by_role("button", name="Make a join token").click()
        commands = seen.page.get_by_label("Commands to join").inner_text()
        assert commands.endswith("systemctl restart nodeward-agent")
        assert run_on_a_node(commands, tmp_path) == {
            "cluster": "default",
            "collector": {
                "urls": [site.url],
                "ca": [f"{tmp_path}/etc/nodeward/agent.d/collector-ca.pem"],
            },
        }
        seen.shot("enrol", full=True)


KUBECTL_AND_HELM = """
kubectl() { echo "kubectl $*" >>said; if [ "$1" = apply ]; then cat >secret.yaml; fi; }
helm() { echo "helm $*" >>said; cat >values.yaml; }
"""
"""What they are told, written down."""


def test_helm_gets_the_collectors_address_its_authority_and_a_token_for_many(
    chromium: Browser, fleet: Site, tmp_path: Path
) -> None:
    cluster, script = 'the "new", one: #1', KUBECTL_AND_HELM
    for seen in eyes(chromium, fleet, permissions=["clipboard-read", "clipboard-write"]):
        seen.log_in(fleet.token("helmsman", Role.OPERATOR))
        seen.go("/agents")
        seen.page.get_by_role("textbox", name="Cluster").first.fill(cluster)
        seen.page.get_by_role("textbox", name="Node").first.fill("*")
        seen.page.get_by_label("How many").fill("50")
        seen.page.get_by_role("button", name="Make a join token").click()
        helm = seen.page.locator("section", has=seen.page.get_by_role("heading", name="By Helm"))
        helm.get_by_role("button", name="Copy").last.click()
        script += seen.page.evaluate("navigator.clipboard.readText()")
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, cwd=tmp_path)
    secret = yaml.safe_load((tmp_path / "secret.yaml").read_text())
    values = yaml.safe_load((tmp_path / "values.yaml").read_text())
    load_pem_x509_certificate(secret["stringData"]["ca.crt"].encode())
    schema = json.loads((helm_chart.CHART / "values.schema.json").read_text())
    jsonschema.validate(helm_chart.merged(helm_chart.defaults(), values), schema)
    made = helm_chart.render(values)
    config = yaml.safe_load(helm_chart.one(made, "ConfigMap", "-agent")["data"]["agent.yaml"])
    url = fleet.url.replace("127.0.0.1", "collector.example")
    assert (config["cluster"], config["collector"]["urls"]) == (cluster, [url])
    volumes = helm_chart.one(made, "DaemonSet", "-agent")["spec"]["template"]["spec"]["volumes"]
    projected = next(v for v in volumes if v["name"] == "enrol")["projected"]["sources"]
    assert projected[0]["secret"]["name"] == secret["metadata"]["name"]
    assert [o["kind"] for o in made].count("StatefulSet") == 0
    with fleet.center.engine.connect() as connection:
        query = t.join_token.select().where(t.join_token.c.created_by == "helmsman")
        row = connection.execute(query).one()
    assert (row.uses, row.node, row.approve) == (50, "*", 0)
    assert row.hash == secret_hash(secret["stringData"]["join-token"])


@pytest.mark.parametrize(
    ("host", "url", "doubt"),
    [
        ("collector.example:8443", "https://collector.example:8443", ""),
        ("localhost:9000", "https://collector.example:9000", "which our certificate names"),
        ("other.example", "https://other.example", "and not other.example"),
        ("a.pods.example", "https://a.pods.example", ""),
        ("a.b.pods.example", "https://a.b.pods.example", "and not a.b.pods.example"),
        ("[::1", "https://[::1", "names"),
    ],
)
def test_nodes_are_told_an_address_that_the_certificate_names(
    tmp_path: Path, host: str, url: str, doubt: str
) -> None:
    pki.write_ca(tmp_path)
    pki.write_server(tmp_path, ["localhost", "127.0.0.1", "collector.example", "*.pods.example"])
    scope = {"type": "http", "scheme": "https", "path": "/", "headers": [(b"host", host.encode())]}
    found = reached(Request(scope), Settings(state=str(tmp_path)))
    assert found.url == url
    assert doubt in found.doubt
    assert bool(doubt) == bool(found.doubt)


def test_an_address_of_this_machine_alone_is_said_to_be_one(tmp_path: Path) -> None:
    pki.write_ca(tmp_path)
    pki.write_server(tmp_path, ["localhost"])
    scope = {"type": "http", "scheme": "https", "path": "/", "headers": [(b"host", b"[::1]:8443")]}
    found = reached(Request(scope), Settings(state=str(tmp_path)))
    assert found.url == "https://[::1]:8443"
    assert "do not reach" in found.doubt


@pytest.mark.parametrize("uses", ["0", "-1", "x", "1e9", "9" * 5_000, "100001"])
def test_a_number_of_nodes_that_is_none_is_refused(fleet: Site, uses: str) -> None:
    http = fleet.visitor(fleet.token("counter", Role.OPERATOR))
    form = {"csrf": forms(fleet, http), "on": "lab", "uses": uses}
    assert http.post(fleet.url + "/agents/enrol", data=form).status_code == 400


def test_nobody_sees_anything_without_a_token(fleet: Site) -> None:
    for path in PAGES:
        for form in FORMATS:
            http = fleet.visitor("nwt_nobody")
            answer = http.get(fleet.url + with_format(path, form), allow_redirects=False)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login?next=")
            assert answer.content == b""


def test_a_login_leads_to_this_site_only(fleet: Site) -> None:
    token = fleet.token("carol", Role.VIEWER)
    for target in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:1"):
        http = fleet.visitor("")
        form = {"token": token, "next": target}
        answer = http.post(fleet.url + "/login", data=form, allow_redirects=False)
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert {"httponly", "secure", "samesite=lax"} <= set(cookie.split("; "))


@pytest.fixture
def tenant(fleet: Site) -> requests.Session:
    """Somebody who may see the lab's cluster alone."""
    return fleet.visitor(fleet.token("lab only", Role.OPERATOR, cluster="lab"))


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("form", FORMATS)
def test_a_tenant_sees_no_name_of_another(
    fleet: Site, tenant: requests.Session, path: str, form: str
) -> None:
    answer = tenant.get(fleet.url + with_format(path, form))
    assert answer.status_code == 200, answer.text
    assert "prod-" not in answer.text
    assert "etag" not in answer.headers
    everybody = fleet.visitor(fleet.token("all", Role.VIEWER))
    if path not in ("/waivers", "/find?q=prod", "/heat?by=node.kernel"):
        assert "lab" in answer.text or "lab" not in everybody.get(fleet.url + path).text


def test_a_tenants_numbers_are_of_its_own_nodes(fleet: Site, tenant: requests.Session) -> None:
    def told(path: str) -> Any:
        return tenant.get(with_format(fleet.url + path, "json")).json()

    whole = fleet.visitor(fleet.token("whole", Role.VIEWER))
    both = whole.get(with_format(fleet.url + "/", "json")).json()
    lab = next(c for c in both["clusters"] if c["cluster"] == "lab")
    start = told("/")
    assert (start["nodes"], start["dark_nodes"]) == (40, 40)
    assert start["stale"] == len(told("/nodes?seen=stale")["items"])
    assert (start["summary"], start["fails"]) == (lab["summary"], lab["fails"])
    assert {r["example"]["cluster"] for r in start["dark_checks"]} == {"lab"}
    assert sum(start["trend"][-1][s] for s in lab["fails"]) == sum(lab["fails"].values())
    kernels = told("/heat?by=node.kernel")["rows"][0]["cells"]
    assert sum(c["judged"] + c["unknown"] for c in kernels) == 40
    ends, items = told("/certificates")["ending"], told("/certificates?days=365&limit=500")["items"]
    assert ends[-1]["certificates"] == len(items)
    agents = told("/agents?limit=500")
    assert sum(agents["states"].values()) == len(agents["items"])


def test_a_waiver_is_asked_for_where_the_node_stands(operator: Eyes, fleet: Site) -> None:
    """A node of the same name may stand in every cluster."""
    operator.go("/nodes/prod-us/prod-us-worker-0118")
    operator.page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
    operator.page.get_by_role("link", name="ask for a waiver").first.click()
    form = operator.page.locator("form[action='/waivers']")
    expect(form.get_by_label("Cluster")).to_have_value("prod-us")
    expect(form.get_by_label("Nodes")).to_have_value("prod-us-worker-0118")


def test_a_tenant_cannot_open_another_ones_node(fleet: Site, tenant: requests.Session) -> None:
    for path in ("", "/diff"):
        answer = tenant.get(f"{fleet.url}/nodes/prod-eu/prod-eu-worker-0003{path}")
        gone = tenant.get(f"{fleet.url}/nodes/prod-eu/no-such-node{path}")
        assert answer.status_code == gone.status_code == 404
        assert answer.text.replace("prod-eu-worker-0003", "no-such-node") == gone.text


def forms(fleet: Site, http: requests.Session) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', http.get(fleet.url + "/agents").text)
    assert found
    return found[1]


def test_a_form_of_another_site_is_refused(fleet: Site) -> None:
    http = fleet.visitor(fleet.token("dave", Role.OPERATOR))
    csrf = forms(fleet, http)
    url = fleet.url + "/agents/enrol"
    assert http.post(url, data={"on": "lab"}).status_code == 403
    assert http.post(url, data={"on": "lab", "csrf": "0" * 64}).status_code == 403
    good = {"on": "lab", "csrf": csrf}
    for header in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert http.post(url, data=good, headers=header).status_code == 403
    assert http.post(url, data=good).status_code == 200


def test_a_viewer_may_act_on_nothing(fleet: Site) -> None:
    http = fleet.visitor(fleet.token("erin", Role.VIEWER))
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', http.get(fleet.url + "/").text)
    assert found
    form = {"csrf": found[1], "on": "lab", "reason": "x", "owner": "y", "until": "1d"}
    for path in ("/agents/enrol", "/waivers", "/waivers/x/approve", "/agents/x/revoke"):
        assert http.post(fleet.url + path, data=form).status_code == 403


def test_a_revoked_token_ends_the_session_at_once(fleet: Site) -> None:
    from sqlalchemy import select

    from nodeward.collector.store.access import revoke_access

    http = fleet.visitor(fleet.token("frank", Role.VIEWER))
    assert http.get(fleet.url + "/", allow_redirects=False).status_code == 200
    with fleet.center.engine.connect() as connection:
        query = select(t.access.c.id).where(t.access.c.name == "frank")
        access = connection.execute(query).scalar_one()
    fleet.center.writer.act_now(lambda c: revoke_access(c, access, now_ms()))
    assert http.get(fleet.url + "/", allow_redirects=False).status_code == 303


def test_a_spreadsheet_takes_no_cell_for_a_formula(fleet: Site) -> None:
    http = fleet.visitor(fleet.token("grace", Role.VIEWER))
    text = "=cmd()"
    answer = http.get(fleet.url + "/sql", params={"sql": f"SELECT '{text}' AS x", "format": "csv"})
    assert answer.text == f"x\r\n'{text}\r\n"


def test_every_answer_keeps_scripts_and_frames_out(fleet: Site) -> None:
    http = fleet.visitor(fleet.token("heidi", Role.VIEWER))
    for path in (*PAGES, "/login", "/no/such/page"):
        policy = http.get(fleet.url + path).headers.get("content-security-policy", "")
        if path != "/no/such/page":
            assert "default-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy


QUESTION = "SELECT count(*) AS prod_nodes FROM node"


def save(http: requests.Session, fleet: Site, **fields: str) -> requests.Response:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', http.get(fleet.url + "/sql").text)
    assert found
    form = {"csrf": found[1], "sql": QUESTION, **fields}
    path = form.pop("path", "/sql/saved")
    return http.post(fleet.url + path, data=form, allow_redirects=False)


def test_a_question_is_saved_renamed_shared_and_deleted(
    operator: Eyes, chromium: Browser, fleet: Site
) -> None:
    page = operator.page
    operator.go("/sql")
    page.get_by_label("One SELECT").fill("SELECT node FROM node WHERE cluster = 'lab'")
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("Save this question").click()
    page.get_by_label("Name").fill("Nodes of the lab")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Nodes of the lab")).to_be_visible()
    expect(page.get_by_role("region", name="Answer")).to_contain_text("lab-worker-0002")
    address = page.url
    page.get_by_label("Name").fill("The lab's nodes")
    page.get_by_label("Others may see it").check()
    page.get_by_role("button", name="Keep").click()
    for other in eyes(chromium, fleet):
        other.log_in(fleet.token("ben", Role.VIEWER))
        other.go("/sql")
        other.page.get_by_role("link", name="The lab's nodes").click()
        expect(other.page).to_have_url(address)
        expect(other.page.get_by_role("region", name="Answer")).to_contain_text("lab-worker-0002")
        expect(other.page.get_by_role("button", name="Keep")).to_have_count(0)
    page.get_by_role("button", name="Delete the question").click()
    expect(page.get_by_role("link", name="The lab's nodes")).to_have_count(0)


LONG_QUESTION = (
    "\nSELECT node,\n\tcluster FROM node -- soft\xad & <b>\n"
    f"WHERE 1 = 1 -- {'x' * 900}\nORDER BY node"
)


def test_a_question_of_many_lines_stays_as_it_was_typed(operator: Eyes, fleet: Site) -> None:
    """Asked, asked again, saved and taken as CSV; it is longer than what is cut elsewhere."""
    page = operator.page
    operator.go("/sql")
    box = page.get_by_label("One SELECT")
    box.fill(LONG_QUESTION)
    for _ in range(2):
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("region", name="Answer")).to_contain_text("lab-worker-0002")
        assert box.input_value() == LONG_QUESTION
    with page.expect_download() as downloading:
        page.get_by_role("link", name="CSV").first.click()
    assert "lab-worker-0002" in Path(downloading.value.path()).read_text()
    page.get_by_text("Save this question").click()
    page.get_by_label("Name").fill("Many lines")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Many lines")).to_be_visible()
    assert box.input_value().strip() == LONG_QUESTION.strip()
    with fleet.center.engine.connect() as connection:
        query = t.question.select().where(t.question.c.name == "Many lines")
        assert connection.execute(query).one().sql == LONG_QUESTION.strip()


def test_a_question_that_is_not_shared_is_its_owners_alone(fleet: Site) -> None:
    made = save(fleet.visitor(fleet.token("owner", Role.VIEWER)), fleet, on="mine")
    address = made.headers["location"]
    other = fleet.visitor(fleet.token("somebody", Role.ADMIN))
    assert other.get(fleet.url + address).status_code == 404
    assert "mine" not in other.get(fleet.url + "/sql").text
    path = f"/sql/saved/{address.rpartition('=')[2]}"
    assert save(other, fleet, path=path, on="theirs").status_code == 404
    assert save(other, fleet, path=f"{path}/delete").status_code == 404


def test_a_shared_question_stays_within_the_tenant(fleet: Site, tenant: requests.Session) -> None:
    made = save(fleet.visitor(fleet.token("teller", Role.VIEWER)), fleet, on="prod", shared="yes")
    assert tenant.get(fleet.url + made.headers["location"]).status_code == 404
    assert "prod" not in tenant.get(fleet.url + "/sql").text
    same_name = fleet.visitor(fleet.token("teller", Role.VIEWER, cluster="lab"))
    assert "prod" not in same_name.get(fleet.url + "/sql").text


def test_a_question_needs_a_name_that_is_not_taken_and_our_form(fleet: Site) -> None:
    http = fleet.visitor(fleet.token("namer", Role.VIEWER))
    assert save(http, fleet, on="").status_code == 400
    assert save(http, fleet, on="once").status_code == 303
    assert save(http, fleet, on="once").status_code == 400
    assert save(http, fleet, on="long", sql="x" * 20_001).status_code == 400
    assert save(http, fleet, on="forged", csrf="0" * 64).status_code == 403


def test_what_is_saved_is_written_down(fleet: Site) -> None:
    save(fleet.visitor(fleet.token("writer", Role.VIEWER)), fleet, on="for the record")
    with fleet.center.engine.connect() as connection:
        rows = connection.execute(t.audit.select().where(t.audit.c.act == "question.create"))
        assert ("writer", "for the record") in [(row.actor, row.object) for row in rows]


def test_a_part_of_a_name_finds_nodes_and_checks_as_one_types(operator: Eyes) -> None:
    operator.go("/")
    box = operator.page.get_by_role("searchbox", name="Find a node or check")
    box.press_sequentially("sctp")
    found = operator.page.locator("#found")
    expect(found.get_by_role("link", name="kernel.module.sctp")).to_be_visible()
    box.fill("eu-worker-0003")
    found.get_by_role("link", name="prod-eu-worker-0003").click()
    expect(operator.page).to_have_url(re.compile("/nodes/prod-eu/prod-eu-worker-0003$"))
    assert operator.page.locator("h1").inner_text().startswith("prod-eu-worker-0003")


def test_an_agent_is_revoked_on_the_page(operator: Eyes) -> None:
    operator.go("/agents?node=prod-us-worker-0118")
    operator.page.get_by_role("button", name="revoke the key of prod-us-worker-0118").click()
    operator.go("/agents?state=revoked")
    expect(operator.page.locator("table")).to_contain_text("prod-us-worker-0118")


def test_a_waiver_ends_when_somebody_ends_it(operator: Eyes) -> None:
    operator.go("/waivers?check=kubelet.pod-pids")
    form = operator.page.locator("form[action='/waivers']")
    for label, text in (("Reason", "sized by hand"), ("Owner", "capacity"), ("Until", "7d")):
        form.get_by_label(label).fill(text)
    form.get_by_role("button", name="Ask").click()
    operator.page.get_by_role("button", name="end the waiver of kubelet.pod-pids").click()
    row = operator.page.locator("tr", has_text="sized by hand")
    expect(row).to_contain_text("ended")


def test_a_wrong_field_of_a_waiver_keeps_what_was_filled_in(operator: Eyes) -> None:
    operator.go("/waivers?check=kubelet.pod-pids&cluster=lab")
    form = operator.page.locator("form[action='/waivers']")
    reason = 'as "measured" <here> ' + "x" * 900
    for label, text in (("Reason", reason), ("Owner", "capacity"), ("Until", "some day")):
        form.get_by_label(label).fill(text)
    form.get_by_role("button", name="Ask").click()
    expect(operator.page.get_by_role("alert")).to_contain_text("Until: ")
    operator.complaints.clear()  # the browser's own word on the 400
    for label, text in (("Check", "kubelet.pod-pids"), ("Cluster", "lab"), ("Reason", reason)):
        expect(form.get_by_label(label)).to_have_value(text)
    form.get_by_label("Until").fill("8d")
    form.get_by_role("button", name="Ask").click()
    expect(operator.page.locator("tr", has_text="measured")).to_contain_text("pending")


def test_after_an_expired_session_a_form_leads_back_to_its_page(fleet: Site) -> None:
    http = fleet.visitor("")
    for path, page in (("/waivers/x/approve", "/waivers"), ("/logout", "/")):
        answer = http.post(fleet.url + path, allow_redirects=False)
        assert answer.headers["location"] == "/login?next=" + page.replace("/", "%2F")


@pytest.mark.parametrize(("path", "status"), [("/agents/enrol", 405), ("/no/such/page", 404)])
def test_people_hear_of_an_address_that_is_none_on_a_page(
    fleet: Site, path: str, status: int
) -> None:
    """Programs hear of it as of everything else."""
    http = fleet.visitor("")
    answer = http.get(fleet.url + path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, "Back to the fleet" in answer.text) == (status, True)
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert http.get(fleet.url + path).json()["error"]["code"] in ("method", "not-found")
    program = http.get(fleet.url + "/v1/nothing", headers={"Accept": "text/html"})
    assert program.json()["error"]["code"] == "not-found"


def test_people_hear_of_a_defect_on_a_page_and_programs_as_of_everything_else(
    fleet: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "stale_nodes", None)
    token = fleet.token("unlucky", Role.VIEWER)
    told = fleet.visitor(token).get(fleet.url + "/", headers={"Accept": "text/html"})
    assert (told.status_code, "Back to the fleet" in told.text) == (500, True)
    program = fleet.visitor(token).get(fleet.url + "/", headers={"Accept": "application/json"})
    assert program.json()["error"]["code"] == "defect"
