"""Who the kubelet says it is, and to whom it belongs."""

from __future__ import annotations

import re

from nodeward.checks.cert_samples import certificate, pki
from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, C
from nodeward.checks.kubelet_support import (
    FLAGS,
    NOT_ASKED,
    each,
    maps,
    restart,
    take_out,
    unknown,
)
from nodeward.facts.kubelet import Kubelet, Unknown, example
from nodeward.facts.pki import ComponentPki, Pki
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
    most,
)

RESTRICTION = Source(
    "Kubernetes: NodeRestriction",
    "https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction",
)


def _node_certificate(name: str) -> Pki:
    leaf = certificate(name=f"system:node:{name}")
    return pki("kubelet-client", "/var/lib/kubelet/pki/kubelet-client-current.pem", leaf)


@check(
    "kubelet.hostname-override",
    title="The kubelet goes by the name that its certificate carries",
    why="A kubelet that registers under another name than its certificate's is refused by the"
    " NodeRestriction admission, or judged by the rights of another node.",
    severity=Severity.LOW,
    remedy=Remedy("Remove --hostname-override, or set it to the node's name."),
    sources=[FLAGS, RESTRICTION],
    mappings=maps(["4.2.7"], stig=["V-242404"], sac=["S2b"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), Absent("pki")), "not set"),
        Example(
            Status.UNKNOWN,
            (example(f"{C} --hostname-override=n1", "{}"), Absent("pki")),
            "set, and no certificate to compare with",
        ),
        Example(
            Status.PASS,
            (example(f"{C} --hostname-override=n1", "{}"), _node_certificate("n1")),
            "the name in the certificate",
        ),
        Example(
            Status.FAIL,
            (example(f"{C} --hostname-override=n1", "{}"), _node_certificate("n2")),
            "another name",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def hostname_override(kubelet: Kubelet, pki: ComponentPki | Absent | Unreadable) -> Verdict:
    return each(kubelet, NOT_ASKED, lambda k: _hostname(k, pki))


def _hostname(kubelet: Kubelet, pki: ComponentPki | Absent | Unreadable) -> Verdict:
    flag = kubelet.flag("hostname-override")
    if flag is None or not flag.value:
        return Verdict.passed("the kubelet goes by the host's own name")
    if isinstance(flag.value, Unknown):
        return unknown("--hostname-override", flag)
    held = pki.held("kubelet-client") if isinstance(pki, Pki) else ()
    subjects = [h.leaf.subject for h in held if h.leaf is not None and h.use.in_use]
    names = [m[1] for s in subjects if (m := re.search(r"CN=system:node:([^,+]+)", s))]
    seen = Evidence("--hostname-override", str(flag.value), flag.source)
    says = f"{flag.source} says {flag.value}"
    if not names:
        return Verdict.unknown(f"{says}; there is no client certificate to compare with", seen)
    if str(flag.value).lower() in names:
        return Verdict.passed(f"{flag.value} is the name in the client certificate too", seen)
    remedy = Remedy(f"Remove {flag.source}, or set it to {names[0]}.", (restart(kubelet),))
    return Verdict.failed(f"{says}, the client certificate {names[0]}", seen, remedy=remedy)


@check(
    "kubelet.node-labels",
    title="The kubelet claims no label that only administrators may give",
    why="Labels below node-restriction.kubernetes.io are trusted to keep pods off other nodes: a"
    " node that gives itself one draws those pods to it.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Remove the label from --node-labels; set it with kubectl label node."),
    sources=[RESTRICTION],
    mappings=maps(sac=["S11a"]),
    examples=lambda: [
        Example(Status.PASS, example(f"{C} --node-labels=disk=ssd", "{}"), "a label of its own"),
        Example(
            Status.FAIL,
            example(f"{C} --node-labels=node-restriction.kubernetes.io/pci=yes", "{}"),
            "a restricted one",
        ),
        Example(
            Status.FAIL,
            example(f"{C} --node-labels=a.node-restriction.kubernetes.io/pci=yes", "{}"),
            "below that",
        ),
        Example(
            Status.PASS,
            example(f"{C} --node-labels=xnode-restriction.kubernetes.io/pci=yes", "{}"),
            "another domain that ends alike",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def node_labels(kubelet: Kubelet) -> Verdict:
    return each(kubelet, NOT_ASKED, _node_labels)


def _node_labels(kubelet: Kubelet) -> Verdict:
    if (flag := kubelet.flag("node-labels")) is not None and isinstance(flag.value, Unknown):
        return unknown("--node-labels", flag)
    found = [
        (part.strip().partition("=")[0], flag)
        for flag in kubelet.arguments.every("node-labels")
        for part in flag.value.split(",")
    ]
    bad = [
        Evidence("label", name, f"--node-labels ({kubelet.argument(flag.place)})")
        for name, flag in found
        if f".{name.rpartition('/')[0]}".endswith(".node-restriction.kubernetes.io")
    ]
    if bad:
        because = f"the kubelet gives itself {bad[0].value}"
        named = [Evidence(f"the label {one.value}", "", one.source) for one in bad]
        return Verdict.failed(because, *most(bad), remedy=take_out(kubelet, named))
    return Verdict.passed(f"none of {len(found)} labels is restricted")


@check(
    "kubelet.standalone",
    title="The kubelet belongs to a cluster",
    why="A kubelet without a kubeconfig runs static pods only, and has nobody to ask what a caller"
    " may do.",
    severity=Severity.INFO,
    remedy=Remedy("Give the kubelet a --kubeconfig, if it is to belong to a cluster."),
    sources=[FLAGS],
    mappings=maps(sac=["S2b"]),
    examples=lambda: [
        Example(Status.PASS, example(f"{C} --kubeconfig=/k", "{}"), "it has a kubeconfig"),
        Example(Status.FAIL, example(C, "{}"), "it has none"),
        Example(
            Status.FAIL,
            example(f"{C} --bootstrap-kubeconfig=/b", "{}"),
            "one for its first certificate alone, which it then nowhere keeps",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def standalone(kubelet: Kubelet) -> Verdict:
    return each(kubelet, NOT_ASKED, _standalone)


def _standalone(kubelet: Kubelet) -> Verdict:
    flag = kubelet.flag("kubeconfig")
    if flag is not None and isinstance(flag.value, Unknown):
        return unknown("--kubeconfig", flag)
    if flag is not None and flag.value:
        return Verdict.passed(f"the kubelet uses {flag.value} ({flag.source})")
    return Verdict.failed(f"{kubelet} was given no --kubeconfig")
