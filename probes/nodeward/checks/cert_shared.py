"""Keys under more than one name, and every key by its hash, for whoever compares nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nodeward.checks.cert_common import PKI, Offence, unread, verdict
from nodeward.checks.cert_quality import anchors, leafs, signers
from nodeward.checks.cert_samples import DARK, EC, NOTHING, UNSEEN, certificate, place, together
from nodeward.facts.kubeconfig import ADMINISTRATORS
from nodeward.facts.named_keys import NamedKey
from nodeward.facts.pki import LOOSE, Held, Kind, Pki
from nodeward.facts.pki_places import PROGRAM_OF
from nodeward.facts.pki_roles import SIGNERS
from nodeward.facts.renewal_keys import part
from nodeward.model import Evidence, Example, Remedy, Severity, Status, Verdict, check
from nodeward.model.verdict import MOST_EVIDENCE


def _two(first: str, second: str) -> Pki:
    """Two components, each with a certificate, whose keys are named."""
    return together(
        *(
            place(
                name, f"/srv/{name}.crt", certificate(name=name, key=replace(EC, spki_sha256=key))
            )
            for name, key in (("apiserver", first), ("etcd-server", second))
        )
    )


@check(
    "cert.shared-key",
    title="Every identity has a private key of its own",
    why=(
        "With one key under two names, whoever steals it once is both, and neither can be replaced"
        " alone. The evidence names every public key by its hash, so that a collector can see the"
        " same key on two nodes (cloned images do that)."
    ),
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Make one of them anew with a new key, the way this node's distribution does.",
        breaks="The daemon that uses it restarts.",
    ),
    sources=(PKI,),
    examples=lambda: (
        Example(Status.PASS, _two("aa" * 32, "bb" * 32), "two keys"),
        Example(Status.FAIL, _two("aa" * 32, "aa" * 32), "one key for two components"),
        Example(Status.NOT_APPLICABLE, NOTHING, "no certificate"),
        Example(Status.UNKNOWN, UNSEEN, "a directory may not be searched"),
        Example(Status.UNKNOWN, DARK, "processes hidden"),
    ),
    mappings={"sac": ["S15a"]},
)
def shared_key(facts: Pki) -> Verdict:
    users = _users_of_keys(facts)
    offences = []
    for key, found in users.items():
        names = dict.fromkeys(name for name, _ in found)
        if len(names) > 1:
            held = [one for _, one in found]
            wheres = ", ".join(dict.fromkeys(one.pem.where for one in held))
            signs = any(one.use.component in SIGNERS for one in held)
            text = f"one key (sha256:{key[:16]}) serves {' and '.join(names)}"
            evidence = Evidence(held[0].use.component, text, wheres)
            severity = Severity.HIGH if signs else Severity.MEDIUM
            offences.append(Offence(severity, evidence, part(held, facts)))
    if not users and not facts.unseen and not unread(facts):
        return Verdict.not_applicable("no certificate is in use here")
    notes = [key.evidence() for key in named_keys(facts, users)]
    good = f"{len(users)} keys, each under one name"
    said = verdict(offences, good, dark=unread(facts), unseen=facts)
    # Every key that was seen is named all the same: another node may hold it too.
    room = max(MOST_EVIDENCE - len(notes), MOST_EVIDENCE // 2)
    told = _cut(said.evidence, room)
    return replace(said, evidence=(*told, *_cut(notes, MOST_EVIDENCE - len(told))))


def _cut(evidence: Sequence[Evidence], room: int) -> tuple[Evidence, ...]:
    """The first of a list that has the worst first, and how many there are."""
    if len(evidence) <= room:
        return tuple(evidence)
    last = evidence[-1]
    count = last if last.what == "in all" else Evidence("in all", str(len(evidence)))
    return (*evidence[: room - 1], count)


_Users = dict[str, list[tuple[str, Held]]]


def named_keys(facts: Pki, users: _Users) -> list[NamedKey]:
    """Every key that is used here or whose private half lies here, each once, as whose it weighs
    most. Those that matter most elsewhere come first: a finding holds no endless list."""
    administrators = set(_of_administrators(facts))
    private = {
        key: replace(one, component="admin")
        if one.component in _NOBODYS and key in administrators
        else one
        for key, one in _private_halves(facts)
    }
    seen = [
        NamedKey(
            key,
            held.use.component,
            private[key].place if key in private else held.pem.where,
            key in private,
        )
        for key, found in users.items()
        for _, held in found
    ]
    seen += [one for key, one in private.items() if key not in users]
    best: dict[str, NamedKey] = {}
    for one in sorted(seen, key=lambda k: k.rank):
        best.setdefault(one.sha256, one)
    return list(best.values())


_NOBODYS = ("copy", LOOSE)


def _of_administrators(facts: Pki) -> Iterator[str]:
    """The keys of certificates that make an administrator, wherever they lie."""
    for held in facts.held():
        for one in held.pem.certificates:
            if any(group in ADMINISTRATORS for group in one.organizations):
                yield one.key.spki_sha256


def _private_halves(facts: Pki) -> Iterator[tuple[str, NamedKey]]:
    """By hash; a file in use after those that are not. What a rotation has replaced counts no
    more."""
    for use in sorted(facts.uses, key=lambda u: u.in_use):
        pem = facts.at(use.path, use.part)
        for key in pem.keys if not use.superseded else ():
            if key.spki_sha256:
                yield key.spki_sha256, NamedKey(key.spki_sha256, use.component, pem.where, True)


def _users_of_keys(facts: Pki) -> _Users:
    """Public key -> (name, where it is used). A certificate that was renewed with its old key has
    its old name too; one certificate that a program uses twice has one."""
    found: _Users = defaultdict(list)
    names: dict[tuple[str, str], str] = {}
    for held, one in (*leafs(facts), *anchors(facts)):
        component = held.use.component
        # An authority is known by its name, wherever it is trusted; a leaf by who uses it.
        trusted = one.is_ca or held.use.kind is Kind.TRUST
        name = one.subject if trusted else f"{component} ({one.subject})"
        name = names.setdefault((PROGRAM_OF.get(component, component), one.sha256), name)
        found[one.key.spki_sha256].append((name, held))
    for held, public in signers(facts):
        found[public.spki_sha256].append(("the service account signer", held))
    return found
