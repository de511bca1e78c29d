"""Tokens, webhooks' certificates, and other credentials that lie on the node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeGuard

from nodeward.checks.cert_common import AUTHENTICATION, BOOTSTRAP, SECURING, Offence, verdict
from nodeward.checks.cert_expiry import YEAR_2000, ExpiryLimits, Judged, day, judge_one
from nodeward.checks.cert_kubeconfig import no_end, token_fault, unread_tokens, unreadable
from nodeward.checks.cert_samples import DARK, NOTHING, NOW, TODAY, certificate, guard, pki
from nodeward.facts.access import octal, readers
from nodeward.facts.clock import Now
from nodeward.facts.daemons import APISERVER, MANAGER, Daemons, sample
from nodeward.facts.kubeconfig import Kubeconfig, Kubeconfigs, User
from nodeward.facts.pki import Held, Kind, Pem, Pki, Use
from nodeward.facts.secret_files import SecretFile, SecretFiles
from nodeward.facts.served import Port, Presented, Served
from nodeward.facts.tokens import StoredToken, StoredTokens, Token
from nodeward.facts.webhooks import COMPONENT, Webhook, Webhooks
from nodeward.facts.x509 import Certificate
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
)

_NO_FILES = Kubeconfigs(())
_NO_DAEMONS = Daemons(())
_NO_TOKENS = StoredTokens(())
_VOLUME = "/var/lib/kubelet/pods/1b4e28ba/volumes/kubernetes.io~secret/default-token/token"


def _server(arguments: str) -> Daemons:
    return Daemons((sample(APISERVER, arguments),))


def _holding(token: Token) -> Kubeconfigs:
    user = User("builder", token=token)
    return Kubeconfigs((Kubeconfig("/root/.kube/config", "copy", users=(user,), guard=guard()),))


def _stored(token: Token) -> StoredTokens:
    return StoredTokens((StoredToken(_VOLUME, token),))


@check(
    "cert.static-tokens",
    title="No token is accepted, or kept here, that never ends",
    why=(
        "A token in a file of the API server, or in the Secret of a service account, is valid until"
        " somebody removes it. Who has read it once needs nothing else."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Use bound service account tokens or certificates; take out --token-auth-file.",
        steps=(
            "# kube-apiserver: remove --token-auth-file",
            "kubectl get secret -A --field-selector type=kubernetes.io/service-account-token",
            "kubectl create token ACCOUNT --duration 1h",
        ),
        breaks="Whoever used such a token must get another credential first.",
    ),
    sources=(
        AUTHENTICATION,
        Source(
            "service accounts",
            "https://kubernetes.io/docs/concepts/security/service-accounts/",
        ),
    ),
    examples=lambda: (
        Example(
            Status.PASS,
            (_server("--secure-port=6443"), _NO_FILES, _NO_TOKENS, NOW),
            "no such token",
        ),
        Example(
            Status.FAIL,
            (_server("--token-auth-file=/etc/tokens.csv"), _NO_FILES, _NO_TOKENS, NOW),
            "the API server reads a file of tokens",
        ),
        Example(
            Status.FAIL,
            (_NO_DAEMONS, _holding(Token("jwt", 900, "cc" * 32)), _NO_TOKENS, NOW),
            "a token without end in a kubeconfig",
        ),
        Example(
            Status.UNKNOWN,
            (_NO_DAEMONS, _holding(Token("opaque", 40, "cc" * 32)), _NO_TOKENS, NOW),
            "a token that does not say when it ends",
        ),
        Example(
            Status.FAIL,
            (_NO_DAEMONS, _NO_FILES, _stored(Token("jwt", 900, "cc" * 32, legacy=True)), NOW),
            "the token of a service account's Secret in a pod's volume",
        ),
        Example(
            Status.PASS,
            (
                _NO_DAEMONS,
                _NO_FILES,
                _stored(
                    Token("jwt", 900, "cc" * 32, issued_at=TODAY - 60, expires_at=TODAY + 3600)
                ),
                NOW,
            ),
            "a bound token of an hour in a pod's volume",
        ),
        Example(
            Status.UNKNOWN,
            (_NO_DAEMONS, _NO_FILES, StoredTokens((StoredToken(_VOLUME, error="EIO"),)), NOW),
            "a token in a pod's volume that could not be read",
        ),
        Example(Status.UNKNOWN, (DARK, _NO_FILES, _NO_TOKENS, NOW), "processes hidden"),
    ),
    mappings={
        "sac": ["S15b", "S15c"],
        "cis-kubernetes-1.12": ["1.2.2"],
        "nsa-cisa-1.2": ["AA"],
        "stig": ["V-245543"],
    },
)
def static_tokens(daemons: Daemons, found: Kubeconfigs, stored: StoredTokens, now: Now) -> Verdict:
    offences, dark = [], [*unreadable(found), *stored.unseen]
    for daemon in daemons.running(APISERVER):
        if path := daemon.flag("token-auth-file"):
            text = f"tokens are accepted from {path}"
            where = daemon.where("token-auth-file")
            offences.append(Offence(Severity.HIGH, Evidence("API server", text, where)))
    for path, whose, token in _tokens(found, stored, dark):
        fault = token_fault(token, now.at)
        if fault == "":
            dark.append(no_end(token, f"{path}{whose}", now.at))
        elif fault and not fault.startswith("expired"):
            evidence = Evidence("token", f"{token}{whose} {fault}", path)
            offences.append(Offence(Severity.HIGH, evidence))
    good = "no token that never ends was found"
    if stored.rows:
        good += f"; {len(stored.rows)} in pods' volumes and files end"
    return verdict(offences, good, dark=dark)


def _tokens(
    found: Kubeconfigs, stored: StoredTokens, dark: list[str]
) -> Iterator[tuple[str, str, Token]]:
    """Path, whose, and token; what could not be read is added to `dark`."""
    for one in found.rows:
        if one.component in ("cni", "kubelet-bootstrap"):
            continue  # have checks of their own
        dark += unread_tokens(one)
        for user in one.users:
            if token := user.token or user.file_token:
                yield one.path, f" of {user.name}", token
    for row in stored.rows:
        if row.token is None:
            dark.append(f"{row.path}: {row.error}")
        else:
            yield row.path, "", row.token


_CLEANER = sample(MANAGER, "--controllers=*,bootstrapsigner,tokencleaner")


@check(
    "cert.bootstrap-api",
    title="Bootstrap tokens do not outlive the joining of nodes",
    why=(
        "With --enable-bootstrap-token-auth any bootstrap token in the cluster lets its holder have"
        " a node certificate signed. Which tokens there are, only the API tells."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Delete tokens that no join needs, and let expired ones be removed.",
        steps=(
            "kubeadm token list",
            "kubeadm token delete TOKEN-ID",
            "# kube-controller-manager: --controllers=*,bootstrapsigner,tokencleaner",
        ),
        breaks="A node that is to join later needs a new token: kubeadm token create.",
    ),
    sources=(
        BOOTSTRAP,
        Source(
            "bootstrap tokens",
            "https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/",
        ),
    ),
    examples=lambda: (
        Example(Status.PASS, _server("--secure-port=6443"), "not enabled"),
        Example(
            Status.FAIL,
            Daemons((sample(APISERVER, "--enable-bootstrap-token-auth=true"), sample(MANAGER, ""))),
            "enabled, and nothing removes expired tokens",
        ),
        Example(
            Status.UNKNOWN,
            Daemons((sample(APISERVER, "--enable-bootstrap-token-auth=true"), _CLEANER)),
            "enabled and cleaned: which tokens are there is not seen from the node",
        ),
        Example(Status.NOT_APPLICABLE, _NO_DAEMONS, "no API server"),
        Example(Status.UNKNOWN, DARK, "processes hidden"),
    ),
    mappings={"sac": ["S15d"], "cis-kubernetes-1.12": ["3.1.3"]},
)
def bootstrap_api(daemons: Daemons) -> Verdict:
    server, manager = daemons.one(APISERVER), daemons.one(MANAGER)
    if server is None:
        if not daemons.complete:
            return Verdict.unknown("processes may be hidden from us")
        return Verdict.not_applicable("no API server is on this host")
    where = server.where("enable-bootstrap-token-auth")
    if not server.on("enable-bootstrap-token-auth"):
        return Verdict.passed(
            "the API server accepts no bootstrap token", Evidence("flag", "false", where)
        )
    evidence = Evidence("flag", "true", where)
    cleaners = (manager.flag("controllers") or "").split(",") if manager else None
    if cleaners is not None and "tokencleaner" not in cleaners:
        return Verdict.failed(
            "bootstrap tokens are accepted, and no tokencleaner removes expired ones",
            evidence,
            Evidence(
                "controllers",
                ",".join(cleaners) or "*",
                manager.where("controllers") if manager else "",
            ),
        )
    return Verdict.unknown(
        "bootstrap tokens are accepted; which ones there are, only the API tells", evidence
    )


_WEBHOOK = "/etc/kubernetes/audit-webhook.conf"


_NO_HOOKS, _OFFLINE = Webhooks(()), Unreadable("TLS servers", "offline")
_HOOK = Webhooks(
    (Webhook("webhook (pid 91)", (("127.0.0.1", 9443),), sample("webhook", "", "pid 91")),)
)
_FAR_HOOK = Webhooks((replace(_HOOK.rows[0], addresses=()),))


def _shows(one: Certificate | None) -> Served:
    port = Port(COMPONENT, "127.0.0.1", 9443, "webhook", pid=91)
    certificates = (one,) if one else ()
    return Served((Presented(port, "answered" if one else "timeout", certificates),))


@check(
    "cert.webhook",
    title="The webhooks' certificates on this node are valid",
    why=(
        "When the certificate for an audit, authentication or authorisation webhook ends, events"
        " are lost, or nobody is let in any more; when that of an admission webhook's server ends,"
        " what it guards can no longer be created. Which webhooks there are only the API knows:"
        " judged is what configurations, static pods and processes of this node tell of them."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Issue the client certificate in the webhook's kubeconfig anew, and restart the API server;"
        " for a webhook's server, renew the Secret that its pod mounts, and restart the pod.",
        steps=(
            "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations",
            "kubectl -n NAMESPACE rollout restart deployment WEBHOOK",
        ),
    ),
    sources=(
        Source("webhook mode", "https://kubernetes.io/docs/reference/access-authn-authz/webhook/"),
        Source(
            "admission webhooks",
            "https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/",
        ),
    ),
    examples=lambda: (
        Example(
            Status.PASS,
            (pki("webhook", _WEBHOOK, certificate()), _NO_HOOKS, _OFFLINE, NOW),
            "valid",
        ),
        Example(
            Status.FAIL,
            (pki("webhook", _WEBHOOK, certificate(age=372, left=-7)), _NO_HOOKS, _OFFLINE, NOW),
            "expired a week ago",
        ),
        Example(
            Status.PASS,
            (NOTHING, _HOOK, _shows(certificate()), NOW),
            "a webhook's server presents a valid one",
        ),
        Example(
            Status.FAIL,
            (NOTHING, _HOOK, _shows(certificate(age=372, left=-7)), NOW),
            "a webhook's server presents one that has expired",
        ),
        Example(Status.NOT_APPLICABLE, (NOTHING, _NO_HOOKS, Served(()), NOW), "no webhook"),
        Example(
            Status.UNKNOWN,
            (pki("webhook", _WEBHOOK, error="EACCES"), _NO_HOOKS, _OFFLINE, NOW),
            "it may not be read",
        ),
        Example(
            Status.UNKNOWN, (NOTHING, _HOOK, _shows(None), NOW), "a webhook's server is silent"
        ),
        Example(
            Status.UNKNOWN,
            (NOTHING, _FAR_HOOK, Served(()), NOW),
            "one that serves in its pod's own network, and names no file",
        ),
        Example(Status.UNKNOWN, (DARK, _NO_HOOKS, Served(()), NOW), "processes hidden"),
    ),
    mappings={"sac": ["M6"]},
)
def webhook(
    facts: Pki,
    hooks: Webhooks,
    served: Served | Absent | Unreadable,
    now: Now,
    limits: ExpiryLimits,
) -> Verdict:
    rows = [r for r in served.rows if r.port.component == COMPONENT] if _is(served) else []
    shown = [_presented(row) for row in rows if row.certificates]
    seen = tuple(f"(pid {row.port.pid})" for row in rows if row.certificates)
    files = facts.held("webhook", COMPONENT)
    held = [*(h for h in files if h.leaf or not h.use.named_by.endswith(seen)), *shown]
    silent = [r for r in rows if not r.certificates and not r.no_tls]
    dark = [f"what {r.where} presents: {r.why}" for r in silent]
    dark += [*hooks.unseen, *_untold(facts, hooks, rows)]
    if not held and not dark:
        return Verdict.not_applicable(
            "no webhook's certificate is on this node, and nothing here says that it serves one;"
            f" {_ELSEWHERE}"
        )
    if now.at < YEAR_2000:
        return Verdict.unknown(f"the clock says {day(now.at)}: no expiry can be judged by it")
    judged = [judge_one(one, now.at, limits, facts) for one in held]
    dark += [f"{j.held.pem.where}: {j.text}" for j in judged if j.status is Status.UNKNOWN]
    offences = [Offence(_capped(j), j.evidence()) for j in judged if j.status is Status.FAIL]
    good = f"{len(judged)} certificates of webhooks are valid; {_ELSEWHERE}"
    return verdict(offences, good, dark=dark)


_ELSEWHERE = "webhooks that only the API knows, or in a pod's own network, are not looked at"


def _is(served: Served | Absent | Unreadable) -> TypeGuard[Served]:
    return isinstance(served, Served)


def _presented(row: Presented) -> Held:
    """Judged like a file."""
    use = Use(COMPONENT, Kind.CERTIFICATE, row.where, named_by="presented")
    return Held(use, Pem(row.where, certificates=row.certificates))


def _untold(facts: Pki, hooks: Webhooks, rows: list[Presented]) -> Iterator[str]:
    """Servers of which neither a file nor a port shows the certificate."""
    asked = {row.port.port for row in rows}
    for one in hooks.rows:
        if one.certificates or any(port in asked for _, port in one.addresses):
            continue
        if one.addresses:
            yield f"what {one} presents: it was not asked"
        else:
            yield (
                f"the certificate of {one}: it names no file, and listens in a network of its own,"
                " where nobody is asked"
            )


def _capped(judged: Judged) -> Severity:
    """Never above the check's own: a webhook is not the cluster."""
    found = judged.severity or Severity.MEDIUM
    return Severity.LOW if found is Severity.LOW else Severity.MEDIUM


def _file(mode: int, *, uid: int = 0) -> SecretFiles:
    path = "/var/lib/kubelet/config.json"
    return SecretFiles((SecretFile(path, "registry credentials", guard(mode, uid=uid)),))


@check(
    "cert.node-secret-files",
    title="Other credentials on this node are root's alone",
    why=(
        "Registry passwords, cloud keys and join tokens often lie in files of the host. What anyone"
        " may read there, any process that gets onto the host may use."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Take the rights of others away; replace what others could read.",
        steps=("chmod 600 FILE && chown root:root FILE",),
        breaks="Programs of other users that read it need credentials of their own.",
    ),
    sources=(SECURING,),
    examples=lambda: (
        Example(Status.PASS, _file(0o600), "0600, root"),
        Example(Status.FAIL, _file(0o644), "everyone can read it"),
        Example(Status.NOT_APPLICABLE, SecretFiles(()), "none at the known places"),
        Example(
            Status.UNKNOWN,
            SecretFiles((SecretFile("/root/.netrc", "passwords", None, "EACCES"),)),
            "it may not be looked at",
        ),
    ),
    mappings={"sac": ["S10d"], "nsa-cisa-1.2": ["SE", "CL"]},
)
def node_secret_files(found: SecretFiles) -> Verdict:
    offences = []
    dark = [f"{one.path}: {one.error}" for one in found.rows if one.guard is None]
    for one in found.rows:
        if one.guard and "everyone" in readers(one.guard, owners=found.owners):
            text = f"readable by everyone (mode {octal(one.guard)})"
            offences.append(Offence(Severity.MEDIUM, Evidence(one.what, text, one.path)))
    dark += found.unseen
    if not found.rows and not dark:
        return Verdict.not_applicable("no such credential is at a known place")
    return verdict(offences, f"{len(found.rows)} other credentials are closed to others", dark=dark)
