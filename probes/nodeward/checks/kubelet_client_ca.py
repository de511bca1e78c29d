"""Whose certificates the kubelet takes: those of the cluster's client CA, or others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from nodeward.checks.cert_samples import EC, certificate, place, together
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
from nodeward.facts.pki import BY_LOCATION, ComponentPki, Held, Kind, Pem, Pki, Use
from nodeward.facts.signature import chain
from nodeward.facts.x509 import Certificate, Extensions, PublicKey
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


def _authority(name: str, key: PublicKey = OTHER_KEY) -> Certificate:
    return certificate(name=name, key=key, extensions=Extensions(ca=True))


def _file(*authorities: Certificate) -> tuple[Use, Pem]:
    """What is in the kubelet's clientCAFile."""
    return place("kubelet-client-ca", "/ca.crt", *authorities, kind=Kind.TRUST)


def _file_with(*, error: str = "", absent: bool = False) -> tuple[Use, Pem]:
    """The same file without any certificate in it."""
    use, _ = _file()
    return use, Pem(use.path, error=error, absent=absent)


def _api_server(issuer: str, *authorities: Certificate) -> Pki:
    """A control-plane node: the certificate that its API server shows to kubelets, and whom it
    trusts itself."""
    shows = place("apiserver-kubelet-client", "/pki/client.crt", certificate(issuer=issuer))
    use, pem = place("cluster-ca", "/pki/ca.crt", _authority("kubernetes", EC), kind=Kind.TRUST)
    trusts = replace(use, named_by="--client-ca-file"), pem
    return together(shows, trusts, *([_file(*authorities)] if authorities else []))


def _worker(*files: tuple[Use, Pem], issuer: str = "CN=kubernetes") -> Pki:
    """A node that knows of its cluster by the kubelet's kubeconfig and its own certificate."""
    root = place("cluster-root-ca", "/k.conf", _authority("kubernetes", EC), kind=Kind.TRUST)
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
            (example(C, _CA_SET), OFFLINE, together(_file(_authority("kubernetes")))),
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
                _api_server("CN=kubernetes", _authority("kubernetes", EC)),
            ),
            "the server names the CA whose certificates it takes, and it has the cluster's key",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, _CA_SET),
                closed(names=("CN=kubernetes",)),
                _api_server("CN=kubernetes"),
            ),
            "it has the name of the cluster's: so have those of other clusters",
        ),
        Example(
            Status.FAIL,
            (
                example(C, _CA_SET),
                OFFLINE,
                _api_server("CN=kubernetes", _authority("kubernetes", EC), _authority("another")),
            ),
            "the cluster's, and another beside it: less severe, it may be a new one",
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
            (example(C, _CA_SET), OFFLINE, _api_server("CN=kubernetes", _authority("another"))),
            "and so at rest",
        ),
        Example(
            Status.PASS,
            (
                example(C, _CA_SET),
                closed(names=("CN=kubernetes",)),
                _worker(_file(_authority("kubernetes", EC))),
            ),
            "a worker: the CA of its kubeconfig",
        ),
        Example(
            Status.PASS,
            (example(C, _CA_SET), OFFLINE, _worker(_file(_authority("kubernetes", EC)))),
            "and so at rest",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, _CA_SET),
                OFFLINE,
                _worker(_file(_authority("kubernetes", EC), _authority("another"))),
            ),
            "and another beside it: that of the API server's certificate, which is not seen here?",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, _CA_SET),
                closed(names=("CN=client-ca",)),
                _worker(issuer="CN=client-ca"),
            ),
            "the name of the CA of the kubelet's own certificate, whose key nobody saw",
        ),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), closed(names=("CN=another",)), _worker()),
            "neither: less severe, for a cluster may have a CA for kubelets alone",
        ),
        Example(
            Status.FAIL,
            (example(C, _CA_SET), OFFLINE, _worker(_file(_authority("kubernetes")), issuer="CN=x")),
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
        first = one.launch is kubelet.launch
        return _client_ca(one, answers, pki, pki if first else NO_PKI)

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
    """The verdict on the CAs whose certificates are taken, by what this node knows of its cluster.
    Each of them makes any user of any group: so each must be the cluster's."""
    ways = _ways(pki) if isinstance(pki, Pki) and names else ()
    if not ways:
        return Verdict.passed(f"{because}; whether it is the cluster's cannot be told here", *seen)
    taken = [c for c in file if c.subject in names]
    unread = [name for name in names if name not in {c.subject for c in taken}]
    told = [(c.subject, _told(ways, c, taken)) for c in taken]
    told += [(name, _told_by_name(ways, name)) for name in unread]
    strange = [name for name, answer in told if answer is False]
    if len(strange) == len(told) or _shut_out(ways[0], taken, unread):
        return _another(ways, because, seen, remedy)
    dark = [name for name, answer in told if answer is None]
    good = [answer for _, answer in told if isinstance(answer, Evidence)]
    because = "; ".join([because, *dict.fromkeys(one.value for one in good)])
    if strange:
        because = f"{because}; of {strange[0]}, which it takes too, nothing here says that"
        if ways[0].what == API_SERVER:
            severity = Severity.MEDIUM
            return Verdict.failed(because, *seen, *good, severity=severity, remedy=remedy)
        return Verdict.unknown(because, *seen, *good)
    if dark:
        why = f"{dark[0]} has the name of the cluster's; whether its key too cannot be told here"
        return Verdict.unknown(f"{because}; {why}", *seen, *good)
    return Verdict.passed(because, *seen, *good)


def _shut_out(way: _Way, taken: Sequence[Certificate], unread: Sequence[str]) -> bool:
    """Whether the API server itself cannot come in."""
    if way.what != API_SERVER or any(name in way.names for name in unread):
        return False
    return all(way.tells(ca, taken) is False for ca in taken)


def _another(ways: Sequence[_Way], because: str, seen: list[Evidence], remedy: Remedy) -> Verdict:
    """None of them is the cluster's. A cluster may have a CA for kubelets alone, of which a worker
    knows nothing: there it is less severe."""
    where = ways[0].held.pem.where
    if ways[0].what == API_SERVER:
        value = f"the API server's certificate for kubelets is of {ways[0].names[-1]}"
        found = Evidence("another CA", value, where)
        return Verdict.failed(f"{because}; {value}", *seen, found, remedy=remedy)
    known = " and ".join(dict.fromkeys(way.names[0] for way in ways))
    value = f"this node knows its cluster by {known}, of which it is none"
    found, severity = Evidence("another CA", value, where), Severity.MEDIUM
    return Verdict.failed(f"{because}; {value}", *seen, found, severity=severity, remedy=remedy)


API_SERVER = "the API server's certificate"


@dataclass(frozen=True, slots=True)
class _Way:
    """What on this node tells a CA of its cluster, and what it then says: a certificate that this
    signed, or a file (`trust`) of those whom somebody else trusts."""

    what: str
    says: str
    held: Held
    trust: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The CAs by name: of a certificate that may come with those between."""
        every = self.held.pem.certificates
        return tuple(c.subject if self.trust else c.issuer for c in every)

    def tells(self, ca: Certificate, taken: Sequence[Certificate]) -> bool | None:
        """Whether it is of this CA; None where the signature is of a kind that nobody here knows.
        `taken` are all in the kubelet's file: one may stand between this and the certificate."""
        leaf, *between = self.held.pem.certificates
        if self.trust:
            return any(c.key.spki_sha256 == ca.key.spki_sha256 for c in (leaf, *between))
        steps = (c for c in taken if c.raw_subject != c.raw_issuer)
        return chain(leaf, (*between, *steps), [ca]).verifies

    def evidence(self) -> Evidence:
        return Evidence(self.what, self.says, self.held.pem.where)


def _ways(pki: Pki) -> tuple[_Way, ...]:
    """On a control-plane node what its API server shows to kubelets comes first: it must be of one
    of them, or that server cannot come in. k3s has one CA for servers and one for clients."""
    shows = _held(pki, "apiserver-kubelet-client", Kind.CERTIFICATE)[:1]
    said = "the certificate that the API server shows to kubelets is of it"
    found = [_Way(API_SERVER, said, held) for held in shows]
    said = "the kubelet's own certificate is of it"
    own = _held(pki, "kubelet-client", Kind.CERTIFICATE)
    found += [_Way("the kubelet's certificate", said, held) for held in own]
    roots = _held(pki, "cluster-root-ca", Kind.TRUST)
    found += [_Way("the kubeconfig's CA", "its kubeconfig trusts it too", h, True) for h in roots]
    if shows:  # --client-ca-file; whose name and place alone make one are no witness
        named = (h for h in _held(pki, "cluster-ca", Kind.TRUST) if h.use.named_by != BY_LOCATION)
        found += [
            _Way("the API server's CA", "the API server trusts it too", h, True) for h in named
        ]
    return tuple(found)


def _held(pki: Pki, component: str, kind: Kind) -> list[Held]:
    """What is in use and could be read."""
    every = pki.held(component, kind=kind)
    return [h for h in every if h.use.in_use and h.pem.certificates and not h.pem.headless]


def _told(
    ways: Sequence[_Way], ca: Certificate, taken: Sequence[Certificate]
) -> Evidence | Literal[False] | None:
    """What tells that a CA is the cluster's; False where nothing does, None where that cannot be
    told."""
    answers = {way.tells(ca, taken): way for way in reversed(ways)}
    return answers[True].evidence() if True in answers else None if None in answers else False


def _told_by_name(ways: Sequence[_Way], name: str) -> Literal[False] | None:
    """Of a CA that only the server's hello named: every cluster of kubeadm has a CN=kubernetes."""
    return None if any(name in way.names for way in ways) else False
