"""The kubelet's certificates and the TLS of its port."""

from __future__ import annotations

from dataclasses import replace

from nodeward.checks.cert_common import Offence
from nodeward.checks.cert_expiry import ExpiryLimits
from nodeward.checks.cert_rotation import rotating, rotation
from nodeward.checks.cert_samples import NOTHING, NOW, certificate, pki
from nodeward.checks.kubelet_authn import NO_KUBELET, NOBODY, OFFLINE, C
from nodeward.checks.kubelet_samples import answers, closed
from nodeward.checks.kubelet_support import (
    CONFIG,
    Answers,
    each,
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
from nodeward.facts.clock import Now
from nodeward.facts.kubeconfig import ComponentKubeconfigs, Kubeconfig, Kubeconfigs, User
from nodeward.facts.kubelet import Kubelet, Setting, Unknown, example
from nodeward.facts.kubelet_answers import SECURE, Port, Tls
from nodeward.facts.kubelet_shown import text
from nodeward.facts.kubelet_strength import is_weak_cipher
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
)

ROTATION = Source(
    "Kubernetes: certificate rotation of the kubelet",
    "https://kubernetes.io/docs/tasks/tls/certificate-rotation/",
)
BOOTSTRAP = Source(
    "Kubernetes: TLS bootstrapping",
    "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/",
)
CONFIGS = Unreadable("kubeconfigs", "EACCES")
K = f"{C} --kubeconfig=/etc/kubernetes/kubelet.conf"


def _user(**fields: str) -> Kubeconfigs:
    one = Kubeconfig("/etc/kubernetes/kubelet.conf", users=(User("node", **fields),))  # type: ignore[arg-type]
    return Kubeconfigs((one,))


CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
ON = "rotateCertificates: true"
_OWN = _user(certificate_file=CURRENT)


def _aged(age: float, left: float) -> Pki:
    """The client certificate that the kubelet signs in with, so many days after it was made."""
    return pki("kubelet-client", CURRENT, certificate(age=age, left=left))


@check(
    "kubelet.tls.rotate-client",
    title="The kubelet renews its client certificate by itself",
    why="A certificate that nobody renews ends one day, and with it the node; and until then a"
    " stolen one stays good for a year.",
    severity=Severity.HIGH,
    remedy=Remedy("Set rotateCertificates to true.", ("systemctl restart kubelet",)),
    sources=[ROTATION],
    mappings=maps(["4.2.10"], sac=["S15a"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (example(K, ON), OFFLINE, _OWN, _aged(100, 265), NOW),
            "27 % of its life over",
        ),
        Example(
            Status.FAIL,
            (example(K, ON), OFFLINE, _OWN, _aged(343, 22), NOW),
            "94 %: it rotates, and that has stalled",
        ),
        Example(
            Status.FAIL,
            (example(K, "{}"), OFFLINE, _OWN, _aged(100, 265), NOW),
            "not set: the default is false",
        ),
        Example(
            Status.PASS,
            (example(K, ON), OFFLINE, Kubeconfigs(()), NOTHING, NOW),
            "an image: it gets its first certificate when it joins",
        ),
        Example(
            Status.UNKNOWN,
            (example(K, ON), OFFLINE, _OWN, pki("kubelet-client", CURRENT, error="EACCES"), NOW),
            "its certificate may not be read",
        ),
        Example(
            Status.UNKNOWN,
            (example(K, ON), OFFLINE, CONFIGS, NOTHING, NOW),
            "it rotates, and its kubeconfig may not be read",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (example(K, "{}"), OFFLINE, _user(command="aws-iam-authenticator"), NOTHING, NOW),
            "it has no client certificate (EKS)",
        ),
        Example(
            Status.UNKNOWN,
            (example(K, "{}"), OFFLINE, CONFIGS, NOTHING, NOW),
            "its kubeconfig may not be read",
        ),
        Example(
            Status.NOT_APPLICABLE,
            (example(C, "{}"), OFFLINE, CONFIGS, NOTHING, NOW),
            "it has no kubeconfig",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def rotate_client(
    kubelet: Kubelet,
    answers: Answers,
    configs: ComponentKubeconfigs | Absent | Unreadable,
    certificates: ComponentPki | Absent | Unreadable,
    now: Now,
    limits: ExpiryLimits,
) -> Verdict:
    def judge(one: Kubelet) -> Verdict:
        found = _rotate(one, configs)
        if found.status is not Status.PASS:
            return found
        return _stalled(one, found, configs, certificates, now, limits)

    return each(kubelet, answers, judge)


ROTATE = "rotateCertificates"


def _stalled(
    kubelet: Kubelet,
    rotates: Verdict,
    configs: ComponentKubeconfigs | Absent | Unreadable,
    certificates: ComponentPki | Absent | Unreadable,
    now: Now,
    limits: ExpiryLimits,
) -> Verdict:
    """What came of the rotation, by the certificate that the kubelet signs in with, if it has one
    by now. cert.rotation-stalled asks the same of it."""
    config = _kubeconfig(kubelet, configs)
    unread = config.error if config is not None and not config.absent else ""
    if unread or isinstance(configs, Unreadable) or not isinstance(certificates, Pki):
        dark = configs if isinstance(configs, Unreadable) else certificates
        why = unread or (dark.error if isinstance(dark, Unreadable) else "none was seen")
        because = f"{rotates.because}; whether it works could not be told: {why}"
        return Verdict.unknown(because, *rotates.evidence)
    own = config.user.certificate_file if config is not None and config.user is not None else ""
    found = [
        rotation(held, now, limits, certificates)
        for held in rotating(certificates, "kubelet-client")
        if held.use.path == own
    ]
    seen = [*rotates.evidence, *(r for r in found if isinstance(r, Evidence))]
    for one in found:
        if isinstance(one, Offence):
            because = f"{rotates.because}, and yet: {one.text}"
            return Verdict.failed(because, one.evidence, *seen, remedy=one.remedy)
        if isinstance(one, str):
            because = f"{rotates.because}; whether it works could not be told: {one}"
            return Verdict.unknown(because, *seen)
    return replace(rotates, evidence=tuple(seen))


def _rotate(kubelet: Kubelet, configs: ComponentKubeconfigs | Absent | Unreadable) -> Verdict:
    path = ROTATE
    setting = kubelet.get(path)
    if kubelet.launch.program == "k3s" or "/rancher/rke2/" in (kubelet.launch.exe or ""):
        return Verdict.not_applicable("k3s and RKE2 renew this certificate themselves at a start")
    if not isinstance(setting.value, bool):
        return unknown(path, setting)
    if setting.value:
        return Verdict.passed(said(path, setting), shown(path, setting))
    flag = kubelet.flag("kubeconfig")
    if flag is None:
        return Verdict.not_applicable("the kubelet has no kubeconfig, so no client certificate")
    user = _client(kubelet, configs)
    if user is None:
        why = f"{said(path, setting)}; whether it signs in with a certificate could not be told"
        return Verdict.unknown(f"{why}: {flag.value} was not read", shown(path, setting))
    if not (user.certificate or user.certificate_file):
        how = "an exec plugin" if user.command else "no client certificate"
        return Verdict.not_applicable(f"the kubelet signs in with {how}")
    return Verdict.failed(
        said(path, setting), shown(path, setting), remedy=mend(kubelet, path, "true")
    )


def _client(kubelet: Kubelet, configs: ComponentKubeconfigs | Absent | Unreadable) -> User | None:
    found = _kubeconfig(kubelet, configs)
    return found.user if found is not None else None


def _kubeconfig(
    kubelet: Kubelet, configs: ComponentKubeconfigs | Absent | Unreadable
) -> Kubeconfig | None:
    flag = kubelet.flag("kubeconfig")
    if flag is None or not isinstance(configs, Kubeconfigs):
        return None
    place = kubelet.root + str(flag.value)
    return next((c for c in configs.rows if c.path == place), None)


SERVING, ROTATES = "serverTLSBootstrap", "RotateKubeletServerCertificate"
INTERNAL_ERROR = 80
"""What Go answers while it has no certificate to show."""


@check(
    "kubelet.tls.server-bootstrap",
    title="The kubelet's serving certificate is the cluster's, and is renewed",
    why="A certificate that the kubelet made for itself proves nothing: the API server then sends"
    " exec and logs to whoever answers at that address.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Set serverTLSBootstrap to true, and see to an approver of its requests.",
        ("systemctl restart kubelet", "kubectl get csr"),
        "Until a request is approved the port has no certificate: logs and exec fail.",
    ),
    sources=[BOOTSTRAP, ROTATION],
    mappings=maps(["4.2.9", "4.2.11"], ["EN"], ["V-242424", "V-242425"], ["S1a", "S15a"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "serverTLSBootstrap: true"), OFFLINE), "by request"),
        Example(Status.PASS, (example(C, "{}"), closed(self_made=False)), "presented: a CA's"),
        Example(Status.PASS, (example(C, "tlsCertFile: /c.crt"), OFFLINE), "given as a file"),
        Example(Status.FAIL, (example(C, "{}"), OFFLINE), "the default: made by itself"),
        Example(
            Status.FAIL,
            (example(C, "serverTLSBootstrap: true"), closed(self_made=True)),
            "the file says so, the port still presents its own",
        ),
        Example(
            Status.UNKNOWN,
            (
                example(C, "serverTLSBootstrap: true"),
                answers(tls=Tls("tls-alert", alert=80)),
            ),
            "no certificate yet: the request waits for approval",
        ),
        Example(
            Status.FAIL,
            (
                example(
                    C,
                    "serverTLSBootstrap: true\n"
                    "featureGates: {RotateKubeletServerCertificate: false}",
                ),
                OFFLINE,
            ),
            "the gate that it needs is switched off",
        ),
        Example(
            Status.FAIL,
            (example(C, "serverTLSBootstrap: true\nfeatureGates: {AllBeta: false}"), OFFLINE),
            "with all others that are beta",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
        Example(Status.NOT_APPLICABLE, NO_KUBELET, "no kubelet"),
    ],
)
def server_bootstrap(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _serving)


def _serving(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting, file = kubelet.get(SERVING), kubelet.get("tlsCertFile")
    breaks = "Until a request is approved the port has no certificate: logs and exec fail."
    remedy = mend(kubelet, SERVING, "true", breaks=breaks)
    port = port_of(answers, SECURE)
    if port is not None and port.tls is not None:
        live = _presented(port, port.tls, setting, remedy)
        if live is not None:
            return live
    if isinstance(setting.value, Unknown) or not isinstance(setting.value, bool):
        return unknown(SERVING, setting)
    gate = kubelet.gate(ROTATES)
    if setting.value and isinstance(gate, Unknown):
        return unknown(f"featureGates.{ROTATES}", kubelet.gate_setting(ROTATES))
    if setting.value and gate is False:
        because = f"the feature gate {ROTATES} is off; {said(SERVING, setting)}"
        remedy = mend(kubelet, f"featureGates.{ROTATES}", "true", breaks=breaks)
        return Verdict.failed(because, shown(SERVING, setting), remedy=remedy)
    if (why := mute(port, port.tls if port else None)) and (setting.value or file.value):
        return Verdict.unknown(f"{why}; {said(SERVING, setting)}", shown(SERVING, setting))
    if setting.value:
        return Verdict.passed(unprobed(answers, said(SERVING, setting)), shown(SERVING, setting))
    if isinstance(file.value, Unknown):
        return unknown("tlsCertFile", file)
    if file.value:
        because = f"{said('tlsCertFile', file)}; whoever put it there must renew it"
        return Verdict.passed(unprobed(answers, because), shown("tlsCertFile", file))
    because = unprobed(answers, f"the kubelet signs its own certificate: {said(SERVING, setting)}")
    return Verdict.failed(because, shown(SERVING, setting), remedy=remedy)


def _presented(port: Port, tls: Tls, setting: Setting, remedy: Remedy) -> Verdict | None:
    where = str(port)
    if tls.outcome == "tls-alert":
        why = "it has no certificate" if tls.alert == INTERNAL_ERROR else "why is not known"
        because = f"port {port.number} ends the handshake (alert {tls.alert}): {why}"
        return Verdict.unknown(
            f"{because}; {said(SERVING, setting)}", Evidence("TLS", because, where)
        )
    if tls.self_made is None:
        return None
    seen = Evidence("serving certificate", f"{tls.subject}, issued by {tls.issuer}", where)
    if tls.self_made:
        because = (
            f"port {port.number} presents {tls.subject}, issued by {tls.issuer}, its own maker"
        )
        return Verdict.failed(f"{because}; {said(SERVING, setting)}", seen, remedy=remedy)
    return Verdict.passed(
        f"port {port.number} presents {tls.subject}, issued by {tls.issuer}", seen
    )


TLS12 = 0x0303
MUTE = answers(tls=Tls("timeout"))


def _version_name(number: int) -> str:
    return f"1.{number - 0x0301}"


VERSION = "tlsMinVersion"
OLD = ("VersionTLS10", "VersionTLS11")


@check(
    "kubelet.tls.min-version",
    title="The kubelet's port takes TLS 1.2 or later only",
    why="TLS 1.0 and 1.1 can be broken by whoever stands on the way.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Set tlsMinVersion to VersionTLS12 or later.", ("systemctl restart kubelet",)),
    sources=[CONFIG],
    mappings=maps(nsa=["EN"], sac=["S1a"]),
    examples=lambda: [
        Example(Status.PASS, (example(C, "{}"), OFFLINE), "the default is 1.2"),
        Example(Status.FAIL, (example(C, "tlsMinVersion: VersionTLS10"), OFFLINE), "1.0"),
        Example(
            Status.FAIL,
            (example(C, "{}"), closed(old=Tls("answered", 0x0302, 0xC014))),
            "the port takes 1.1, whatever the file says",
        ),
        Example(Status.PASS, (example(C, "{}"), closed()), "the port refuses 1.1"),
        Example(Status.UNKNOWN, (example(C, "{}"), MUTE), "the open port answers no hello"),
        Example(Status.UNKNOWN, (example(C, "tlsMinVersion: TLS1.3"), OFFLINE), "no such version"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def min_version(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _version)


def _version(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting = kubelet.get(VERSION)
    remedy = mend(kubelet, VERSION, "VersionTLS12")
    port = port_of(answers, SECURE)
    seen = [shown(VERSION, setting)]
    if port is not None and port.old is not None:
        takes = ", ".join(_version_name(v) for v in port.versions)
        seen += [Evidence("TLS versions taken", takes, str(port))] if takes else []
        if port.old.outcome == "answered":
            old = " and ".join(_version_name(v) for v in port.versions if v < TLS12) or "1.1"
            because = f"port {port.number} takes TLS {old}; {said(VERSION, setting)}"
            return Verdict.failed(because, *seen, remedy=remedy)
        if port.old.outcome == "tls-alert":
            because = f"port {port.number} refuses TLS 1.1; {said(VERSION, setting)}"
            return Verdict.passed(because, *seen)
    if isinstance(setting.value, Unknown) or not isinstance(setting.value, str):
        return unknown(VERSION, setting)
    if setting.value in OLD:
        because = unprobed(answers, said(VERSION, setting))
        return Verdict.failed(because, shown(VERSION, setting), remedy=remedy)
    if setting.value not in ("", "VersionTLS12", "VersionTLS13"):
        return unknown(VERSION, setting)
    if port is not None and (why := mute(port, port.old)) is not None:
        return Verdict.unknown(f"{why}; {said(VERSION, setting)}", *seen)
    return Verdict.passed(unprobed(answers, said(VERSION, setting)), shown(VERSION, setting))


CIPHERS = "tlsCipherSuites"
STRONG = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,"
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,"
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
)
NAMES = {
    0xC013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    0xC014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    0xC009: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    0xC00A: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    0xC023: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    0xC027: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    0x009C: "TLS_RSA_WITH_AES_128_GCM_SHA256",
    0x009D: "TLS_RSA_WITH_AES_256_GCM_SHA384",
    0x002F: "TLS_RSA_WITH_AES_128_CBC_SHA",
    0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA",
    0x003C: "TLS_RSA_WITH_AES_128_CBC_SHA256",
    0x000A: "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    0xC012: "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0x0005: "TLS_RSA_WITH_RC4_128_SHA",
    0xC011: "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    0xC007: "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
}
TAKEN = {
    *NAMES.values(),
    *STRONG.split(","),
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
}
"""All that the kubelet knows: those of Go's crypto/tls since 1.19, and two older names
(component-base, cli/flag/ciphersuites_flag.go)."""


def _name(number: int) -> str:
    return NAMES.get(number, f"0x{number:04X}")


@check(
    "kubelet.tls.ciphers",
    title="The kubelet's port takes strong ciphers only",
    why="With the server's own RSA key a recorded session can be read once the key leaks; CBC, RC4"
    " and 3DES have been broken in TLS before. Go's defaults still hold ciphers with CBC.",
    severity=Severity.MEDIUM,
    remedy=Remedy(f"Set tlsCipherSuites to {STRONG}.", ("systemctl restart kubelet",)),
    sources=[CONFIG],
    mappings=maps(["4.2.12"], ["EN"], sac=["S1a"]),
    examples=lambda: [
        Example(
            Status.PASS,
            (example(C, f"tlsCipherSuites: [{STRONG}]"), OFFLINE),
            "ECDHE with AES-GCM or ChaCha20 only",
        ),
        Example(Status.PASS, (example(C, "tlsMinVersion: VersionTLS13"), OFFLINE), "TLS 1.3 only"),
        Example(Status.FAIL, (example(C, "{}"), OFFLINE), "Go's defaults hold CBC"),
        Example(
            Status.FAIL,
            (example(C, "tlsCipherSuites: [TLS_RSA_WITH_AES_128_GCM_SHA256]"), OFFLINE),
            "no forward secrecy",
        ),
        Example(
            Status.UNKNOWN,
            (example(C, "tlsCipherSuites: [ECDHE-RSA-AES256-SHA]"), OFFLINE),
            "no kubelet starts with OpenSSL's names, nor with lower case",
        ),
        Example(
            Status.FAIL,
            (
                example(C, f"tlsCipherSuites: [{STRONG}]"),
                closed(weak=Tls("answered", 0x0303, 0xC013)),
            ),
            "the port takes one, whatever the file says",
        ),
        Example(Status.PASS, (example(C, "{}"), closed()), "the port refuses all that are weak"),
        Example(
            Status.UNKNOWN,
            (example(C, f"tlsCipherSuites: [{STRONG}]"), MUTE),
            "strong ones by the file, and the open port answers no hello",
        ),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def ciphers(kubelet: Kubelet, answers: Answers) -> Verdict:
    return each_asked(kubelet, answers, _ciphers)


def _ciphers(kubelet: Kubelet, answers: Answers) -> Verdict:
    setting, version = kubelet.get(CIPHERS), kubelet.get(VERSION)
    seen = shown(CIPHERS, setting)
    remedy = mend(kubelet, CIPHERS, f"[{STRONG}]")
    port = port_of(answers, SECURE)
    if port is not None and port.weak is not None:
        if port.weak.outcome == "answered":
            names = [_name(c) for c in port.weak_ciphers or (port.weak.cipher or 0,)]
            taken = [Evidence("weak cipher taken", name, str(port)) for name in names]
            because = f"port {port.number} takes {', '.join(names)}; {said(CIPHERS, setting)}"
            return Verdict.failed(because, *taken, seen, remedy=remedy)
        if port.weak.outcome == "tls-alert":
            because = f"port {port.number} refuses every weak cipher; {said(CIPHERS, setting)}"
            return Verdict.passed(because, seen)
    if isinstance(setting.value, Unknown) or not isinstance(setting.value, list):
        return unknown(CIPHERS, setting)
    if isinstance(version.value, Unknown):
        return unknown(VERSION, version)
    why = mute(port, port.weak) if port is not None else None
    if version.value == "VersionTLS13" and why is None:
        return Verdict.passed(unprobed(answers, said(VERSION, version)), shown(VERSION, version))
    if not setting.value and version.value != "VersionTLS13":
        because = f"{CIPHERS} is not set ({setting.source}), and Go's defaults hold CBC"
        return Verdict.failed(unprobed(answers, because), seen, remedy=remedy)
    none = [text(name) for name in setting.value if name not in TAKEN]
    if none:
        because = f"{CIPHERS} holds {none[0]} ({setting.source}), which Go knows no cipher by"
        return Verdict.unknown(f"{because}: no kubelet starts with it", seen)
    bad = [name for name in setting.value if is_weak_cipher(name)]
    if bad and version.value != "VersionTLS13":
        because = f"{CIPHERS} holds {', '.join(bad[:3])} ({setting.source})"
        return Verdict.failed(unprobed(answers, because), seen, remedy=remedy)
    if why is not None:
        return Verdict.unknown(f"{why}; {said(CIPHERS, setting)}", seen)
    return Verdict.passed(unprobed(answers, f"{CIPHERS} holds strong ones only"), seen)
