"""Login at a real OpenID provider, over TLS, as a browser goes through it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

import oidc_provider
from nodeward.collector.oidc import Oidc, Provider, oidc_of

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
GRANTS = [
    {"group": "sre", "role": "admin"},
    {"group": "east-ops", "role": "operator", "labels": {"cluster": "east"}},
]
URL = "https://127.0.0.1:{}"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[oidc_provider.Provider]:
    yield from oidc_provider.provided(tmp_path_factory.mktemp("provider"))


def _oidc(provider: oidc_provider.Provider, url: str, folder: Path, **over: Any) -> Oidc:
    secret = folder / "oidc-secret"
    secret.write_text(oidc_provider.SECRET + "\n")
    given = {
        "issuer": provider.issuer,
        "client_id": oidc_provider.CLIENT,
        "url": url,
        "secret_file": str(secret),
        "ca": provider.ca,
        "scope": "openid",
        "grants": GRANTS,
    }
    made = oidc_of(given | over)
    assert made is not None
    return made


class Browser:
    """A person's: it keeps cookies, follows redirects to both, and trusts both authorities."""

    def __init__(self, collector: Any, provider: oidc_provider.Provider) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        both = Path(provider.folder / "both.crt")
        both.write_text(Path(collector.ca).read_text() + Path(provider.ca).read_text())
        self.http.verify = str(both)
        self.collector = collector
        self.provider = provider

    def get(self, url: str) -> requests.Response:
        return self.http.get(url, timeout=30, allow_redirects=False)

    def begin(self, target: str = "/") -> str:
        """Where we send it; the login at the provider is done."""
        answer = self.get(f"{self.collector.url}/login/oidc?next={target}")
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def back(self, at_provider: str) -> str:
        """The address by which the provider sends it back."""
        login = self.get(at_provider).headers["Location"]
        asked = parse_qs(urlsplit(login).query)["callback_url"][0]
        answer = self.get(asked + "&g_continue")
        return answer.headers["Location"]

    def log_in(self, name: str, target: str = "/") -> requests.Response:
        self.provider.log_in(self.http, name)
        return self.get(self.back(self.begin(target)))


@pytest.fixture
def site(start: Callable[..., Any], settings: Any, provider: Any, tmp_path: Path) -> Any:
    """A collector that knows the provider, and is known there."""
    collector = start(settings)
    oidc = _oidc(provider, collector.url, tmp_path)
    collector.center.apply(replace(settings, oidc=oidc))
    provider.client(oidc.redirect_uri)
    yield collector
    provider.admin.delete(f"{provider.url}/api/client/{oidc_provider.CLIENT}", timeout=30)


@pytest.fixture
def browser(site: Any, provider: Any) -> Browser:
    return Browser(site, provider)


def test_a_login_at_the_provider_opens_the_page_with_the_role_of_the_group(
    browser: Browser, site: Any
) -> None:
    assert "Sign in with" in browser.get(site.url + "/login").text
    answer = browser.log_in("alice", "/nodes")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/nodes"), answer.text
    page = browser.get(site.url + "/nodes")
    assert "alice@example.org" in page.text
    assert "(admin)" in page.text
    told = site.items("/v1/audit")[0]
    assert (told["actor"], told["act"]) == ("alice@example.org", "login")
    assert told["detail"] == {"role": "admin", "group": "sre"}


def test_a_group_limited_to_some_clusters_sees_those_only(browser: Browser, site: Any) -> None:
    for cluster in ("east", "west"):
        site.agent("n1", cluster)
    browser.log_in("bob")
    told = browser.get(site.url + "/nodes?format=json").json()
    assert {n["cluster"] for n in told["items"]} == {"east"}
    token = browser.http.cookies["nodeward"]
    assert {n["cluster"] for n in site.items("/v1/nodes", token)} == {"east"}
    assert site.get("/v1/audit", token).status_code == 403


@pytest.mark.parametrize("name", ["carol", "dave"])
def test_who_is_in_no_group_that_has_a_role_stays_outside(browser: Browser, name: str) -> None:
    answer = browser.log_in(name)
    assert answer.status_code == 403
    assert "no group that has a role" in answer.text
    assert "nodeward" not in browser.http.cookies


def test_logging_out_ends_the_session_and_not_only_the_cookie(browser: Browser, site: Any) -> None:
    browser.log_in("alice")
    token = browser.http.cookies["nodeward"]
    form = browser.get(site.url + "/").text.partition('name="csrf" value="')[2].partition('"')[0]
    browser.http.post(site.url + "/logout", data={"csrf": form}, timeout=30, allow_redirects=False)
    assert site.get("/v1/nodes", token).status_code == 401


def test_the_request_carries_pkce_state_and_nonce_and_each_login_its_own(browser: Browser) -> None:
    asked = [parse_qs(urlsplit(browser.begin()).query) for _ in range(2)]
    for one in asked:
        assert one["code_challenge_method"] == ["S256"]
        assert one["response_type"] == ["code"]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]
        assert len(asked[0][name][0]) >= 43


def _with(url: str, **over: str) -> str:
    parts = urlsplit(url)
    query = {k: v[0] for k, v in parse_qs(parts.query).items()} | over
    return parts._replace(query=urlencode(query)).geturl()


@pytest.mark.parametrize(
    "over",
    [{"state": "x"}, {"code": "x"}, {"error": "access_denied"}, {"iss": "https://evil.example"}],
    ids=lambda over: next(iter(over)),
)
def test_an_answer_that_is_not_this_logins_is_refused(
    browser: Browser, provider: Any, over: dict[str, str]
) -> None:
    provider.log_in(browser.http, "alice")
    answer = browser.get(_with(browser.back(browser.begin()), **over))
    assert answer.status_code == 403
    assert "nodeward" not in browser.http.cookies


def test_a_code_cannot_be_used_twice_nor_in_another_browser(
    browser: Browser, site: Any, provider: Any
) -> None:
    provider.log_in(browser.http, "alice")
    back = browser.back(browser.begin())
    stranger = Browser(site, provider)
    assert stranger.get(back).status_code == 403  # without the sealed cookie
    stranger.begin()
    assert stranger.get(back).status_code == 403  # with that of another login
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 403


def test_a_cookie_that_we_did_not_seal_is_refused(browser: Browser, site: Any) -> None:
    browser.begin()
    sealed = browser.http.cookies["__Host-nodeward-login"]
    told, _, seal = sealed.partition(".")
    opened = json.loads(base64.urlsafe_b64decode(told))
    opened["state"] = "mine"
    forged = base64.urlsafe_b64encode(json.dumps(opened).encode()).decode()
    for cookie in (f"{forged}.{seal}", told, ""):
        answer = requests.get(
            f"{site.url}/login/oidc/back?state=mine&code=x",
            cookies={"__Host-nodeward-login": cookie},
            verify=site.ca,
            timeout=30,
            allow_redirects=False,
        )
        assert answer.status_code == 403


class Meddler:
    """Alters what the real provider answered, between it and us."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.claims: dict[str, Any] = {}
        self.head: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        self.pending: dict[str, Any] = {}
        self.client = ""
        redeem, finish = Provider._redeem, Provider.finish
        monkeypatch.setattr(Provider, "_redeem", lambda *a: self.redeemed(a[0], redeem(*a)))
        monkeypatch.setattr(
            Provider, "finish", lambda p, was, *more: finish(p, replace(was, **self.pending), *more)
        )

    def redeemed(self, ours: Provider, tokens: Any) -> Any:
        head, claims, signature = tokens["id_token"].split(".")
        if self.claims:
            claims = self._part(self._plain(claims) | self.claims)
        if self.head:
            head = self._part(self._plain(head) | self.head)
        if self.client:
            ours.settings = replace(ours.settings, client_id=self.client)
        return {**tokens, "id_token": f"{head}.{claims}.{signature}", **self.tokens}

    def _plain(self, part: str) -> Any:
        return json.loads(base64.urlsafe_b64decode(part + "=="))

    def _part(self, plain: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("claims", {"sub": "somebody else"}, "not signed"),
        ("head", {"alg": "none"}, "not signed"),
        ("head", {"alg": "HS256"}, "not signed"),
        ("head", {"kid": "another"}, "not signed"),
        ("tokens", {"access_token": "another"}, "not for this login"),
        ("tokens", {"id_token": None}, "no ID token"),
        ("pending", {"nonce": "another"}, "not for this login"),
        ("pending", {"verifier": "x" * 43}, "its own code"),
        ("pending", {"until": 1}, "too long"),
        ("client", "another", "not for this login"),
    ],
)
def test_an_id_token_that_is_not_the_providers_for_this_login_is_refused(
    browser: Browser, provider: Any, monkeypatch: Any, what: str, value: Any, said: str
) -> None:
    meddler = Meddler(monkeypatch)
    setattr(meddler, what, value)
    provider.log_in(browser.http, "alice")
    answer = browser.get(browser.back(browser.begin()))
    assert answer.status_code == 403
    assert said in answer.text


def test_a_provider_that_is_away_is_a_503_and_the_token_still_opens(
    site: Any, browser: Browser, tmp_path: Path, provider: Any
) -> None:
    away = _oidc(provider, site.url, tmp_path, issuer="https://localhost:1/x")
    site.center.apply(replace(site.center.settings, oidc=away))
    answer = browser.get(f"{site.url}/login/oidc")
    assert answer.status_code == 503
    assert site.get("/v1/nodes").status_code == 200


def test_a_next_that_leads_elsewhere_leads_home(browser: Browser) -> None:
    answer = browser.log_in("alice", "https://evil.example/%0d%0aSet-Cookie:x=y")
    assert answer.headers["Location"] == "/"
    assert "x" not in browser.http.cookies


def test_without_a_provider_there_is_no_such_login(collector: Any) -> None:
    for path in ("/login/oidc", "/login/oidc/back"):
        assert collector.get(path).status_code == 404
    assert "Sign in with" not in collector.get("/login").text
