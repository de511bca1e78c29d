"""Whom the kubelet's secure port lets in, and what they may do there."""

from __future__ import annotations

from nodeward.checks.kubelet_samples import answers, reply
from nodeward.checks.kubelet_support import (
    AUTHN,
    Answers,
    each,
    each_asked,
    maps,
    mend,
    port_of,
    said,
    serves_nothing,
    shown,
    silent,
    unknown,
    unprobed,
)
from nodeward.facts.kubelet import Kubelet, Setting, Unknown, example
from nodeward.facts.kubelet_answers import PODS, SECURE, UNHANDLED, KubeletAnswers, Port
from nodeward.facts.kubelet_shown import text
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

FINE = Source(
    "Kubernetes: fine-grained kubelet authorization",
    "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/#fine-grained-authorization",
)
C = "--config=/var/lib/kubelet/config.yaml"
NOBODY = Unreadable("the kubelet's arguments", "EACCES")
NO_KUBELET = Absent("a kubelet")
OFFLINE = Unreadable("ports", "offline")

ANONYMOUS = "authentication.anonymous.enabled"
MODE = "authorization.mode"


@check(
    "kubelet.authn.anonymous",
    title="The kubelet refuses requests without credentials",
    why="Whoever reaches the kubelet's port as system:anonymous may at best count on a mistake in"
    " the cluster's roles, and at worst read every pod and run commands in every container.",
    severity=Severity.CRITICAL,
    remedy=Remedy(
        "Set authentication.anonymous.enabled to false in the file that wins, and restart.",
        ("systemctl restart kubelet",),
        "Monitoring that asks the kubelet without credentials stops working.",
    ),
    sources=[AUTHN],
    mappings=maps(["4.2.1"], ["AA"], ["V-242391"], ["S4a", "S4b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "a file that does not name the field"),
        Example(
            Status.PASS,
            (example(C, "{}"), answers(pods=reply(401))),
            "and the port answers 401",
        ),
        Example(Status.FAIL, (example(""), OFFLINE), "no --config: the flags' default is true"),
        Example(Status.FAIL, (example("--config="), OFFLINE), "an empty --config is none"),
        Example(
            Status.FAIL,
            (
                example(f"{C} --anonymous-auth", "authentication: {anonymous: {enabled: no}}"),
                OFFLINE,
            ),
            "a flag without a value wins over the file",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), answers(pods=reply(403, "Forbidden (user=system:anonymous, ..)"))),
            "the file says no, the port still says system:anonymous",
        ),
        Example(
            Status.PASS,
            (
                example(C, "authentication: {anonymous: {enabled: true}}"),
                answers(pods=reply(401)),
            ),
            "the file says yes, the port refuses: the file was changed after the start",
        ),
        Example(
            Status.PASS,
            (
                example(C, "enableServer: false\nauthentication: {anonymous: {enabled: true}}"),
                OFFLINE,
            ),
            "it serves no port at all",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "{}"), answers(pods=reply(None, outcome="timeout"))),
            "the kubelet's port is open and does not answer in time",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "{}"), answers(pods=reply(503))),
            "what it answers tells nothing of who is let in",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "authentication: {anonymous: {enabled: 'true'}}"), OFFLINE),
            "a text is no boolean: no kubelet starts with that",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def anonymous(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _anonymous)


def _anonymous(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting = kubelet.get(ANONYMOUS)
    seen = [shown(ANONYMOUS, setting)]
    breaks = "Monitoring that asks the kubelet without credentials stops working."
    remedy = mend(kubelet, ANONYMOUS, "false", breaks=breaks)
    port = port_of(answers, SECURE)
    answer = port.reply(PODS) if port else None
    live = answer.anonymous_is_someone if answer else None
    if port is not None and answer is not None:
        seen.append(port.evidence(PODS, answer, f"GET {PODS} without credentials"))
    if live is True:
        how = "and lets it read pods"
        if answer and answer.status != 200:
            how = "as system:anonymous: it lets anyone in, and only authorization holds them"
        because = f"port {port.number if port else ''} answers {answer} to a caller without"
        because = f"{because} credentials {how}; {said(ANONYMOUS, setting)}"
        return Verdict.failed(because, *seen, remedy=remedy)
    if live is False:
        because = f"a caller without credentials gets 401; {said(ANONYMOUS, setting)}"
        return Verdict.passed(because, *seen)
    match setting.value:
        case False if (why := silent(port, PODS)) is not None:
            return Verdict.unknown(f"{why}; {said(ANONYMOUS, setting)}", *seen)
        case False:
            return Verdict.passed(unprobed(answers, said(ANONYMOUS, setting)), *seen)
        case True if (none := serves_nothing(kubelet, answers)) is not None:
            return Verdict.passed(f"{none}; {said(ANONYMOUS, setting)}", *seen)
        case True:
            because = unprobed(answers, said(ANONYMOUS, setting))
            return Verdict.failed(because, *seen, remedy=remedy)
        case _:
            return unknown(ANONYMOUS, setting)


@check(
    "kubelet.authz.mode",
    title="The kubelet asks the API server what a caller may do",
    why="With AlwaysAllow everyone who is let in may do everything on this node: any service"
    " account's token then runs commands in every container.",
    severity=Severity.CRITICAL,
    remedy=Remedy(
        "Set authorization.mode to Webhook in the file that wins, and restart.",
        ("systemctl restart kubelet",),
        "Callers without a role for nodes/* are refused; the kubelet needs its kubeconfig.",
    ),
    sources=[AUTHN],
    mappings=maps(["4.2.2"], ["AA"], ["V-242392"], ["S4b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "the file's default is Webhook"),
        Example(
            Status.FAIL,
            (example("--anonymous-auth=false --authentication-token-webhook"), OFFLINE),
            "flags only (MicroK8s): nobody is anonymous, but every token may do everything",
        ),
        Example(
            Status.FAIL,
            (
                example(C, "{}"),
                answers(pods=reply(200), unhandled=reply(404, "404: Page Not Found")),
            ),
            "a path without a handler gets the kubelet's own 404: everything is allowed",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), answers(pods=reply(200), unhandled=reply(405))),
            "a switched off handler says so, to anyone",
        ),
        Example(
            Status.FAIL,
            (example(C, "{}"), answers(pods=reply(200), unhandled=reply(200))),
            "a handler that is there after all passed the same question",
        ),
        Example(
            Status.PASS,
            (
                example(C, "{}"),
                answers(
                    pods=reply(200),
                    unhandled=reply(404, "404: Page Not Found"),
                    configz={"authorization": {"mode": "Webhook"}},
                ),
            ),
            "it says that it asks: a role of the cluster lets system:anonymous through",
        ),
        Example(
            Status.PASS,
            (
                example(C, "authorization: {mode: AlwaysAllow}"),
                answers(
                    pods=reply(403, "Forbidden (user=system:anonymous, verb=get, ..)"),
                    unhandled=reply(403, "Forbidden (user=system:anonymous, verb=get, ..)"),
                ),
            ),
            "the running kubelet still refuses what it would not from its next restart",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "{}"), answers(pods=reply(403), unhandled=reply(403))),
            "a refusal that does not say of whom is not this kubelet's",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, "{}"),
                answers(pods=reply(200), unhandled=reply(None, outcome="timeout")),
            ),
            "it lets anyone in, and a path without a handler gets no answer in time",
        ),
        Example(
            Status.PASS,
            (
                example(C, "{}"),
                answers(pods=reply(401), unhandled=reply(None, outcome="timeout")),
            ),
            "it knows nobody, as it would say of that path too",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, "{}", changed_at=5000.0),
                answers(pods=reply(401), unhandled=reply(401)),
            ),
            "the file was changed after the start, and nothing shows what it said before",
        ),
        Example(
            Status.FAIL,
            (
                example(C, "{}"),
                answers(
                    pods=reply(401),
                    unhandled=reply(401),
                    configz={"authorization": {"mode": "AlwaysAllow"}},
                ),
            ),
            "the kubelet itself says so, whatever the file says",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def authorization_mode(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _mode)


def _mode(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting = kubelet.get(MODE)
    seen = [shown(MODE, setting)]
    breaks = "Callers without a role for nodes/* are refused; the kubelet needs its kubeconfig."
    remedy = mend(kubelet, MODE, "Webhook", breaks=breaks)
    port = port_of(answers, SECURE)
    answer = port.reply(UNHANDLED) if port else None
    if port is not None and answer is not None:
        seen.append(port.evidence(UNHANDLED, answer, f"GET {UNHANDLED} without credentials"))
        if answer.unhandled:
            return _let_through(kubelet, port, setting, seen, remedy)
        if answer.status in (403, 500) and answer.anonymous_is_someone:
            because = f"port {port.number} asks before it allows ({answer}); {said(MODE, setting)}"
            return Verdict.passed(because, *seen)
    match setting.value:
        case "Webhook" if (why := silent(port, PODS) or _undecided(port)) is not None:
            return Verdict.unknown(f"{why}; {said(MODE, setting)}", *seen)
        case "Webhook":
            because = unprobed(answers, f"{said(MODE, setting)}{_unseen(port)}")
            return Verdict.passed(because, *seen)
        case "AlwaysAllow" if (none := serves_nothing(kubelet, answers)) is not None:
            return Verdict.passed(f"{none}; {said(MODE, setting)}", *seen)
        case "AlwaysAllow":
            because = unprobed(answers, said(MODE, setting))
            return Verdict.failed(because, *seen, remedy=remedy)
        case _:
            return unknown(MODE, setting)


def _let_through(
    kubelet: Kubelet, port: Port, setting: Setting, seen: list[Evidence], remedy: Remedy
) -> Verdict:
    """A caller without credentials came to where only nodes/proxy leads. What the kubelet says of
    itself tells whether it asks; else both may be."""
    through = f"port {port.number} lets a caller without credentials through to {UNHANDLED}"
    if kubelet.configz is not None and setting.value == "Webhook":
        because = f"{through} by a role of the cluster, which it asks for: {said(MODE, setting)}"
        return Verdict.passed(because, *seen)
    because = f"{through}: it allows everything; "
    if setting.value != "AlwaysAllow":
        because = f"{through}: it allows everything, or a role lets {NO_ONE} do so; "
    if setting.value == "Webhook":
        advice = (
            f"{MODE} is Webhook on this node: restart it if that is newer than the process;"
            f" otherwise take {NODES_PROXY} from {NO_ONE} and system:unauthenticated, in whatever"
            " role of the cluster gives it."
        )
        roles = "kubectl get clusterrolebindings -o wide | grep -E 'anonymous|unauthenticated'"
        remedy = Remedy(advice, (*remedy.steps, roles), remedy.breaks)
    return Verdict.failed(because + said(MODE, setting), *seen, remedy=remedy)


NO_ONE, NODES_PROXY = "system:anonymous", "nodes/proxy"


def _undecided(port: Port | None) -> str | None:
    """Why the port, which lets callers without credentials in, does not show who decides then."""
    pods, answer = (port.reply(p) if port else None for p in (PODS, UNHANDLED))
    if port is None or pods is None or not pods.anonymous_is_someone:
        return None
    what = f"GET {UNHANDLED} {'gets no answer' if answer is None else f'gets {answer}'}"
    return f"port {port.number} lets a caller without credentials in, and {what}"


def _unseen(port: Port | None) -> str:
    """A note where the port never came to the question. One that refuses whom it does not know
    says the same to every path, so that nothing is lost by that."""
    answer = port.reply(UNHANDLED) if port else None
    if port is None or (answer is not None and answer.status == 401):
        return ""
    return f"; not seen on port {port.number}: GET {UNHANDLED} got {answer or 'no answer'}"


WEBHOOK = "authentication.webhook.enabled"


@check(
    "kubelet.authn.webhook",
    title="The kubelet checks tokens with the API server",
    why="Without it no service account's or person's token is known, and people are driven to"
    " client certificates that nobody can revoke, or to anonymous access.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        f"Set {WEBHOOK}: true in the file that wins, and restart.",
        ("systemctl restart kubelet",),
        "The kubelet then needs its kubeconfig.",
    ),
    sources=[AUTHN],
    mappings=maps(nsa=["AA"], sac=["S4b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "the file's default is true"),
        Example(
            Status.FAIL,
            (example(C, "authentication: {webhook: {enabled: false}}"), OFFLINE),
            "switched off",
        ),
        Example(Status.FAIL, (example(""), OFFLINE), "no --config: the flags' default is false"),
        Example(
            Status.PASS,
            (
                example(C, "{}"),
                answers(pods=reply(401), configz_reply=f"403 as {ACCOUNT}:n:nobody"),
            ),
            "and the port knows whose the agent's own token is",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "{}"), answers(pods=reply(401), configz_reply="401")),
            "the port refuses the agent's token: it, or the way to the API server, is not good",
        ),
        Example(
            Status.PASS,
            (
                example(C, "authentication: {webhook: {enabled: false}}"),
                answers(pods=reply(401), configz_reply="200"),
            ),
            "the running kubelet still takes it",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def token_webhook(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _webhook)


ACCOUNT = "system:serviceaccount"


def _webhook(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting, seen = kubelet.get(WEBHOOK), [shown(WEBHOOK, kubelet.get(WEBHOOK))]
    remedy = mend(kubelet, WEBHOOK, "true", breaks="The kubelet then needs its kubeconfig.")
    configz_reply = answers.configz_reply if isinstance(answers, KubeletAnswers) else ""
    port = port_of(answers, SECURE)
    pods = port.reply(PODS) if port else None
    refused = pods is not None and pods.anonymous_is_someone is False
    if f" as {ACCOUNT}:" in configz_reply or (configz_reply == "200" and refused):
        because = f"the port knows the agent's token ({configz_reply}); {said(WEBHOOK, setting)}"
        return Verdict.passed(because, *seen)
    if configz_reply == "401" and setting.value is True:
        because = "the port refuses the agent's token (401): it is not good, or the API server"
        return Verdict.unknown(f"{because} cannot be asked; {said(WEBHOOK, setting)}", *seen)
    match setting.value:
        case True:
            return Verdict.passed(said(WEBHOOK, setting), *seen)
        case False:
            return Verdict.failed(f"{said(WEBHOOK, setting)}, want true", *seen, remedy=remedy)
        case _:
            return unknown(WEBHOOK, setting)


GATE = "KubeletFineGrainedAuthz"


@check(
    "kubelet.authz.finegrained",
    title="The kubelet tells reading from running when it asks what a caller may do",
    why="Without fine-grained authorization, who may read metrics or pods needs nodes/proxy, and"
    " with that right may run commands in every container.",
    severity=Severity.LOW,
    remedy=Remedy(
        f"Leave the feature gate {GATE} on (from 1.33 it is; in 1.32 it is an alpha feature).",
        ("systemctl restart kubelet",),
    ),
    sources=[FINE],
    mappings=maps(sac=["S4b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "1.36: always on"),
        Example(
            Status.FAIL,
            (example(C, f"featureGates: {{{GATE}: false}}", version="v1.34.1"), OFFLINE),
            "switched off",
        ),
        Example(
            Status.FAIL, (example(C, "{}", version="v1.32.0"), OFFLINE), "1.32: off unless set"
        ),
        Example(
            Status.FAIL,
            (example(C, "featureGates: {AllBeta: false}", version="v1.34.1"), OFFLINE),
            "switched off with all others that are beta",
        ),
        Example(
            Status.NOT_APPLICABLE, (example(C, "{}", version="v1.31.0"), OFFLINE), "before 1.32"
        ),
        Example(
            Status.UNKNOWN, (example(C, "{}", version=None), OFFLINE), "the version is not known"
        ),
    ],
)
def fine_grained(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each(kubelet, answers, _fine_grained)


def _fine_grained(kubelet: Kubelet) -> Verdict:
    minor, setting = kubelet.minor, kubelet.gate_setting(GATE)
    if minor is None:
        return Verdict.unknown("the version of this kubelet is not known")
    if minor < 32:
        return Verdict.not_applicable(f"{kubelet.version} has no {GATE}")
    if minor >= 36:
        return Verdict.passed(f"{kubelet.version} has {GATE} always on")
    if isinstance(setting.value, Unknown):
        return unknown(f"featureGates.{GATE}", setting)
    on = minor >= 33 if setting.value is None else setting.value
    where = setting.source if setting.value is not None else f"default of {kubelet.version}"
    seen = Evidence(f"featureGates.{GATE}", text(on), where)
    if on is True:
        return Verdict.passed(f"{GATE} is on ({where})", seen)
    remedy = mend(kubelet, f"featureGates.{GATE}", "true")
    if minor < 33:
        remedy = Remedy(f"Upgrade to 1.33: {GATE} is on there, and no alpha feature any more.")
    return Verdict.failed(f"{GATE} is off ({where})", seen, remedy=remedy)
