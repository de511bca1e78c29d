"""Private keys that lie about and belong to something: told by their public half."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

from nodeward.facts.pki import LOOSE, Kind, Pem, Use, parse_public
from nodeward.facts.pki_places import CERTIFICATE_ENDINGS, KEY_ENDINGS
from nodeward.facts.pki_roles import authority_named
from nodeward.facts.strays import Strays
from nodeward.host import HostError
from nodeward.host.pem import ENCRYPTED, LoosePem, PemContents
from nodeward.probes.pki_files import Files, of_contents

MOST_KEYS = 300
SIGNERS = ("sa.key", "service-account.key", "service-account-key.pem", "serviceaccount.key")
"""Kubeadm's and other usual names of the key that signs service account tokens: a worker has no
public half of it."""


@dataclass(slots=True)
class StrayKeys:
    """Adds to `uses` and `pems` each file with the private half of a key that is known there.
    Others are opened and left: a node has keys that are no business of the cluster."""

    files: Files
    uses: list[Use]
    pems: dict[tuple[str, str], Pem]
    unsearched: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)

    def find(self, strays: Strays | None) -> None:
        """`strays` says which files hold a key at all."""
        if strays is None:
            return
        self.unsearched += strays.dark
        read = {p for pem in self.pems.values() for p in (pem.path, pem.real)}
        paths = [one.path for one in strays.rows if one.key and one.path not in read]
        if len(paths) > MOST_KEYS:
            self.unsearched.append(f"{paths[MOST_KEYS]} and more: too many private keys lie about")
        known = self.known() if paths else {}
        for path in paths[:MOST_KEYS]:
            self.one(path, known)

    def known(self) -> dict[str, tuple[str, str]]:
        """Public half -> whose it is, and where that is said; what is in use says it first."""
        found: dict[str, tuple[str, str]] = {}
        for use in sorted(self.uses, key=lambda u: (u.component == LOOSE, not u.in_use)):
            pem = self.pems[use.path, use.part]
            for key in (*(c.key for c in pem.certificates), *pem.public_keys):
                found.setdefault(key.spki_sha256, (use.component, pem.where))
        return found

    def one(self, path: str, known: dict[str, tuple[str, str]]) -> None:
        try:
            held = self.files.host.ask(LoosePem(path))
        except HostError as exc:
            self.unsearched.append(f"{path}: {exc.why}")
            return
        beside = self.beside(path) if any(k.spki_sha256 not in known for k in held.keys) else {}
        for key in held.keys:
            if key.spki_sha256 in known:
                component, where = known[key.spki_sha256]
                self.add(path, held, component, f"its public half, in {where}")
            elif key.spki_sha256 in beside:
                component, where = beside[key.spki_sha256]
                self.add(path, held, component, f"the name of the authority in {where}")
            elif posixpath.basename(path) in SIGNERS:
                self.add(path, held, "service-account", "its name")
            elif key.error == ENCRYPTED:
                self.locked.append(path)

    def beside(self, path: str) -> dict[str, tuple[str, str]]:
        """The authorities of a cluster, by their names, in the file of a key or in the one that is
        called like it: whole folders are copied."""
        stem = next((path.removesuffix(e) for e in KEY_ENDINGS if path.endswith(e)), None)
        found = {}
        for place in (path, *(f"{stem}{ending}" for ending in CERTIFICATE_ENDINGS if stem)):
            try:
                held = self.files.host.ask(LoosePem(place))
            except HostError:
                continue
            for one in parse_public(held.public.encode("ascii", "replace")).certificates:
                if one.is_ca and (component := authority_named(one.common_name)):
                    found[one.key.spki_sha256] = component, place
        return found

    def add(self, path: str, held: PemContents, component: str, named_by: str) -> None:
        guard = self.files.guarded(path)
        real = self.files.real(path)
        self.pems[path, ""] = of_contents(path, held, real=real, guard=guard)
        self.uses.append(Use(component, Kind.KEY, path, named_by=named_by, in_use=False))
