"""Whose certificates the kubelet takes: those of the cluster's client CA, or others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nodeward.checks.cert_samples import certificate, place, together
from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_samples import answers, closed
from nodeward.checks.kubelet_support import (
    AUTHN,
    Answers,
    each_asked,
    maps,
    mend,
    mute,
    port_of,
    said,
    shown,
    unknown,
    unprobed,
)
from nodeward.facts.kubelet import Kubelet, Unknown, example
from nodeward.facts.kubelet_answers import SECURE, Tls
from nodeward.facts.pki import ComponentPki, Held, Kind, Pem, Pki, Use
from nodeward.facts.signature import chain
from nodeward.facts.x509 import Certificate, PublicKey
from nodeward.lazy import dataclass
from nodeward.model import (
    Absent,
    Evidence,
    Example,
    Remedy,
    Severity,
    Status,
    Unreadable,
    Verdict,
    check,
)

X509 = "authentication.x509.clientCAFile"
NO_PKI = Absent("certificates")
_CA_SET = "authentication: {x509: {clientCAFile: /ca.crt}}"


OTHER_KEY = PublicKey("EC", 256, "bb" * 32, curve="P-256")


def _file(name: str, key: PublicKey = OTHER_KEY) -> tuple[Use, Pem]:
    """The CA in the kubelet's clientCAFile."""
    return place("kubelet-client-ca", "/ca.crt", certificate(name=name, key=key), kind=Kind.TRUST)


def _file_with(*, error: str = "", absent: bool = False) -> tuple[Use, Pem]:
    """The same file without any certificate in it."""
    use, _ = _file("")
    return use, Pem(use.path, error=error, absent=absent)


def _api_server(issuer: str, authority: str = "") -> Pki:
    """A control-plane node: the certificate that its API server shows to kubelets."""
    shows = place("apiserver-kubelet-client", "/pki/client.crt", certificate(issuer=issuer))
    return together(shows, *([_file(authority)] if authority else []))


def _worker(*files: tuple[Use, Pem], issuer: str = "CN=kubernetes") -> Pki:
    """A node that knows of its cluster by the kubelet's kubeconfig and its own certificate."""
    root = place("cluster-root-ca", "/k.conf", certificate(name="kubernetes"), kind=Kind.TRUST)
    own = place("kubelet-client", "/kubelet.pem", certificate(issuer=issuer))
    return together(root, own, *files, control_plane=False)


@check(
    "kubelet.authn.x509",
    title="The kubelet knows the API server by the cluster's client CA",
    why="Without a client CA the kubelet takes no certificate at all, and the API server comes in"
    " as nobody; with another CA than the cluster's, others than the API server come in.",
    severity=Severity.HIGH,
    remedy=Remedy(
        "Set authentication.x509.clientCAFile to the cluster's client CA, and restart.",
        ("systemctl restart kubelet",),
    ),
    sources=[AUTHN],
    mappings=maps(["4.2.3"], ["AA"], ["V-242420"], ["S4b"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (example(C, _CA_SET), OFFLINE, together(_file("kubernetes"))),
            "set",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, _CA_SET), OFFLINE, NO_PKI),
            "set, and nobody saw what the file holds",
        ),
        Example(Status.FAIL, (example(C, "{}"), OFFLINE, NO_PKI), "not set"),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), closed(names=None), NO_PKI),
            "set in the file, but the server asks for no certificate",
        ),
        Example(
            Status.PASS,
            (
                example(C, _CA_SET),
                closed(names=("CN=kubernetes",)),
                _api_server("CN=kubernetes"),
            ),
            "the server names the CA whose certificates it takes",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, _CA_SET),
                answers(tls=Tls("timeout")),
                NO_PKI,
            ),
            "set in the file, and the open port answers no hello",
        ),
        Example(
            Status.FAIL,
            (
                example(C, _CA_SET),
                closed(names=("CN=another",)),
                _api_server("CN=kubernetes"),
            ),
            "another CA than that of the API server's certificate",
        ),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), OFFLINE, _api_server("CN=kubernetes", "another")),
            "and so at rest",
        ),
        Example(
            Status.PASS,
            (example(C, _CA_SET), closed(names=("CN=kubernetes",)), _worker()),
            "a worker: the CA of its kubeconfig",
        ),
        Example(
            Status.PASS,
            (
                example(C, _CA_SET),
                closed(names=("CN=client-ca",)),
                _worker(issuer="CN=client-ca"),
            ),
            "the CA of the kubelet's own certificate (k3s has one for servers, one for clients)",
        ),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), closed(names=("CN=another",)), _worker()),
            "neither: less severe, for a cluster may have a CA for kubelets alone",
        ),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), OFFLINE, _worker(_file("kubernetes"), issuer="CN=x")),
            "the name of the kubeconfig's CA with another key",
        ),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), OFFLINE, together(_file_with(absent=True, error="not there"))),
            "the file that is named is not there",
        ),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), OFFLINE, together(_file_with())),
            "it holds no certificate",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, _CA_SET), OFFLINE, together(_file_with(error="EACCES"))),
            "it may not be read",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def client_ca(
    kubelet: Kubelet, answers: Answers, pki: ComponentPki | Absent | Unreadable
) -> Verdict:
    def judge(one: Kubelet, answers: Answers) -> Verdict:
        # What this node knows of its cluster is that of its own kubelet, the first.
        return _client_ca(one, answers, pki, pki if one is kubelet else NO_PKI)

    return each_asked(kubelet, answers, judge)


def _client_ca(
    kubelet: Kubelet,
    answers: Answers,
    pki: ComponentPki | Absent | Unreadable,
    cluster: ComponentPki | Absent | Unreadable,
) -> Verdict:
    setting = kubelet.get(X509)
    seen = [shown(X509, setting)]
    remedy = mend(kubelet, X509, "<the cluster's client CA>")
    port = port_of(answers, SECURE)
    tls = port.tls if port else None
    file = _file_of(kubelet, pki)
    if tls is not None and tls.outcome == "answered":
        names = "none" if tls.names is None else "; ".join(tls.names) or "unnamed"
        seen.append(Evidence("client CAs that the server names", names, str(port)))
        if file.useless and setting.value:
            seen.append(Evidence("the file", f"{file.useless}: {NO_START}", file.path))
        if tls.names is None:
            because = f"the server takes no client certificate; {said(X509, setting)}"
            return Verdict.failed(because, *seen, remedy=remedy)
        because = f"the server takes certificates of {names}"
        return _against(cluster, tls.names, file.certificates, because, seen, remedy)
    if isinstance(setting.value, Unknown) or not isinstance(setting.value, str):
        return unknown(X509, setting)
    if not setting.value:
        because = unprobed(answers, f"{X509} is not set ({setting.source})")
        return Verdict.failed(because, *seen, remedy=remedy)
    if (why := mute(port, tls)) is not None:
        return Verdict.unknown(f"{why}; {said(X509, setting)}", *seen)
    if file.useless:
        because = unprobed(answers, f"{said(X509, setting)}, which {file.useless}: {NO_START}")
        return Verdict.failed(because, *seen, remedy=remedy)
    if file.unread:
        because = f"{said(X509, setting)}; whose certificates that takes could not be told"
        return Verdict.unknown(unprobed(answers, f"{because}: {file.unread}"), *seen)
    names_ = tuple(c.subject for c in file.certificates)
    found = _against(cluster, names_, file.certificates, said(X509, setting), seen, remedy)
    return replace(found, because=unprobed(answers, found.because))


NO_START = "no kubelet starts with that"


@dataclass(frozen=True, slots=True)
class _CaFile:
    """What is in the file that is named as the client CA. `useless`: why it gives the kubelet no
    CA, so that it does not start (NewDynamicCAContentFromFile); `unread`: why we cannot tell."""

    path: str
    certificates: tuple[Certificate, ...] = ()
    useless: str = ""
    unread: str = ""


def _file_of(kubelet: Kubelet, pki: ComponentPki | Absent | Unreadable) -> _CaFile:
    located = kubelet.located(X509).value
    if isinstance(located, Unknown):
        return _CaFile("", unread=located.why)
    path = f"{kubelet.root}{located}"
    if not isinstance(pki, Pki):
        return _CaFile(path, unread=f"{path} was not read: {pki}")
    held = pki.held("kubelet-client-ca", kind=Kind.TRUST)
    pem = next((h.pem for h in held if h.use.path == path), None)
    if pem is None:
        return _CaFile(path, unread=f"{path} was not read")
    if pem.absent and kubelet.pid is None:  # an image gets it when it joins its cluster
        return _CaFile(path, unread=f"{path} is not there: no kubelet starts until it is")
    if pem.absent:
        return _CaFile(path, useless="is not there")
    if pem.certificates:
        return _CaFile(path, pem.certificates)
    if pem.error or pem.broken:
        return _CaFile(path, unread=f"{path}: {pem.error or pem.broken[0]}")
    return _CaFile(path, useless="holds no certificate")


def _against(
    pki: ComponentPki | Absent | Unreadable,
    names: tuple[str, ...],
    file: Sequence[Certificate],
    because: str,
    seen: list[Evidence],
    remedy: Remedy,
) -> Verdict:
    """The verdict on the CAs whose certificates are taken, by what this node knows of its
    cluster."""
    told = _told(pki, names, file) if isinstance(pki, Pki) and names else None
    if told is None:
        return Verdict.passed(f"{because}; whether it is the cluster's cannot be told here", *seen)
    because = f"{because}; {told.evidence.value}"
    if told.same:
        return Verdict.passed(because, *seen, told.evidence)
    return Verdict.failed(because, *seen, told.evidence, severity=told.severity, remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Told:
    same: bool
    evidence: Evidence
    severity: Severity | None = None


def _told(pki: Pki, names: tuple[str, ...], file: Sequence[Certificate]) -> _Told | None:
    shows = [h for h in pki.held("apiserver-kubelet-client") if h.use.in_use and h.leaf]
    return _by_api_server(shows[0], names) if shows else _by_kubelet(pki, names, file)


def _by_api_server(shows: Held, names: tuple[str, ...]) -> _Told:
    """What this node's API server shows to kubelets must be of one of them. It may come with the
    certificates between."""
    issuer = shows.pem.certificates[-1].issuer
    if any(c.issuer in names for c in shows.pem.certificates):
        value = "the certificate that the API server shows to kubelets is of it"
        return _Told(True, Evidence("the API server's certificate", value, shows.pem.where))
    value = f"the API server's certificate for kubelets is of {issuer}"
    return _Told(False, Evidence("another CA", value, shows.pem.where))


def _by_kubelet(pki: Pki, names: tuple[str, ...], file: Sequence[Certificate]) -> _Told | None:
    """On a worker: one of them signed the kubelet's own certificate, or is the CA by which the
    kubelet knows the API server."""
    roots = [h for h in pki.held("cluster-root-ca", kind=Kind.TRUST) if h.use.in_use]
    roots = [h for h in roots if h.pem.certificates]
    own = [h for h in pki.held("kubelet-client") if h.use.in_use and h.leaf is not None]
    taken = [c for c in file if c.subject in names]
    for held in own:
        if _signed(held, taken, names):
            value = "the kubelet's own certificate is of it"
            return _Told(True, Evidence("the kubelet's certificate", value, held.pem.where))
    for held in roots:
        if any(_same(root, taken, names) for root in held.pem.certificates):
            value = "its kubeconfig trusts it too"
            return _Told(True, Evidence("the kubeconfig's CA", value, held.pem.where))
    if not roots and not own:
        return None
    known = dict.fromkeys(
        [*(h.leaf.issuer for h in own if h.leaf), *(h.pem.certificates[0].subject for h in roots)]
    )
    where = (own or roots)[0].pem.where
    value = f"this node knows its cluster by {' and '.join(known)}, of which it is none"
    return _Told(False, Evidence("another CA", value, where), Severity.MEDIUM)


def _signed(own: Held, taken: Sequence[Certificate], names: tuple[str, ...]) -> bool:
    """By the file where it was read; else, or where signatures cannot be verified, by names."""
    leaf, *between = own.pem.certificates
    verifies = chain(leaf, between, taken).verifies if taken else None
    return any(c.issuer in names for c in (leaf, *between)) if verifies is None else verifies


def _same(root: Certificate, taken: Sequence[Certificate], names: tuple[str, ...]) -> bool:
    if not taken:
        return root.subject in names
    return any(root.key.spki_sha256 == c.key.spki_sha256 for c in taken)
