"""The certificates and keys of a node: what each file holds, and who uses it for what."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum

from nodeward.facts import der, pem
from nodeward.facts.der import DerError
from nodeward.facts.node import Distribution
from nodeward.facts.supervisors import NOWHERE, Homes
from nodeward.facts.x509 import Certificate, PublicKey, parse_certificate, parse_public_key
from nodeward.lazy import dataclass
from nodeward.model import Fact

LOOSE = "loose"
"""The component of a certificate or key that lies about: nothing tells whose it is."""


BY_LOCATION = "by location"  # nothing names a file: it lies at a usual place


class Kind(StrEnum):
    """What a component takes from a file."""

    CERTIFICATE = "certificate"  # the first is its own, the rest is the chain
    TRUST = "trust"  # every one is an anchor
    KEY = "key"
    PUBLIC_KEY = "public key"


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key from outside; see nodeward.host.pem.KeyRow."""

    kind: str | None
    bits: int | None
    spki_sha256: str | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory on the way to a file, or a link there; `acl` as in Guard."""

    path: str
    mode: int
    uid: int
    gid: int
    acl: tuple[str, ...] = ()

    @property
    def link(self) -> bool:
        return self.mode & 0o170000 == 0o120000


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may reach a file: its own mode and owner, entries of its ACL that give other users or
    groups something ("user 1000: r--"), and the directories above what it leads to, the nearest
    first. `ways` are the other directories in which a link on the way can be replaced, and links
    that are another user's in a directory where each may replace his own (the sticky bit)."""

    mode: int
    uid: int
    gid: int
    mtime: float
    acl: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()
    ways: tuple[Folder, ...] = ()


@dataclass(frozen=True, slots=True)
class Pem:
    """One place where certificates or keys stand: a file, or (`part`) a field inside a kubeconfig.

    `real` is where the path leads after its links. `error` says why nothing of it could be read;
    `absent`: because it is not there. `broken` are single blocks that could not be read;
    `headless`: the first that counts is one of them, so that no other may stand for it.
    `refused` says why the components, which are programs in Go, or their peers would not take
    a certificate from it.
    """

    path: str
    part: str = ""
    real: str = ""
    certificates: tuple[Certificate, ...] = ()
    public_keys: tuple[PublicKey, ...] = ()
    keys: tuple[PrivateKey, ...] = ()
    broken: tuple[str, ...] = ()
    headless: bool = False
    refused: str = ""
    form: str = "pem"
    guard: Guard | None = None
    error: str = ""
    absent: bool = False

    @property
    def where(self) -> str:
        return f"{self.path} ({self.part})" if self.part else self.path


@dataclass(frozen=True, slots=True)
class Use:
    """That a component uses a place. `named_by` says how we know: an argument with its process, a
    kubeconfig, BY_LOCATION. `in_use` is False for a file that lies there and nothing names;
    `superseded` for one that its own component has replaced (an older file of a rotation)."""

    component: str
    kind: Kind
    path: str
    part: str = ""
    named_by: str = BY_LOCATION
    in_use: bool = True
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A use together with what is at its place."""

    use: Use
    pem: Pem

    @property
    def leaf(self) -> Certificate | None:
        """The certificate that the component shows as its own."""
        known = self.pem.certificates and not self.pem.headless
        return self.pem.certificates[0] if known else None


@dataclass(frozen=True, slots=True)
class Pki(Fact):
    """All of a node. A place that something names and that is not there has a Pem that says so.

    `owners`: whether the owners of files mean anything (not in a tree unpacked by an ordinary
    user). `unseen` are directories that could not be searched, with the reason.
    `rotates`: which of kubelet-client and kubelet-server the kubelet's settings have it rotate;
    None: not known. `supervisor_started`: when k3s, RKE2 or k0s started, in seconds since 1970;
    `homes` where they keep what they make. `running`: programs that do run, supervisors too;
    `stopped`: those that do not, and that something here would start. `etcd`: whether the host is
    one of etcd. `unsearched` says where keys that nothing names were not looked for, `locked` which
    of those have a password, so that nothing tells whose they are.
    """

    pems: tuple[Pem, ...]
    uses: tuple[Use, ...]
    distribution: Distribution
    owners: bool = True
    unseen: tuple[str, ...] = ()
    control_plane: bool = True
    rotates: tuple[str, ...] | None = None
    unsearched: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    supervisor_started: float | None = None
    etcd: bool = False
    homes: Homes = NOWHERE
    stopped: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    _places: Mapping[tuple[str, str], Pem] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {(one.path, one.part): one for one in self.pems})

    def at(self, path: str, part: str = "") -> Pem:
        """What is at a place; one that says so where nothing was read there."""
        return self._places.get((path, part)) or Pem(path, part, error="not read", absent=True)

    def held(self, *components: str, kind: Kind = Kind.CERTIFICATE) -> tuple[Held, ...]:
        """What these components use (all of them, when none is named), in-use places first."""
        found = [
            Held(use, self._places[use.path, use.part])
            for use in self.uses
            if use.kind is kind
            and (not components or use.component in components)
            and (use.path, use.part) in self._places
        ]
        return tuple(sorted(found, key=lambda h: (not h.use.in_use, h.use.superseded)))


@dataclass(frozen=True, slots=True)
class ComponentPki(Pki):
    """What the node's own components use or keep, without what lies about elsewhere."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a text of PEM holds. `broken`, `headless` and `refused` are as in Pem."""

    certificates: tuple[Certificate, ...] = ()
    public_keys: tuple[PublicKey, ...] = ()
    broken: tuple[str, ...] = ()
    headless: bool = False
    refused: str = ""


def parse_public(text: bytes) -> Bundle:
    """The certificates and public keys of a PEM text, and what could not be read, by block."""
    certificates: list[Certificate] = []
    public: list[PublicKey] = []
    broken: list[str] = []
    loaded: list[tuple[int, bool]] = []  # the blocks that Go's X509KeyPair takes, if certificates
    labels: list[str] = []
    for number, block in enumerate(pem.split(text), 1):
        good = True
        try:
            if block.data is None:
                raise DerError(block.error)
            if block.label in pem.CERTIFICATES:
                certificates.append(parse_certificate(_trimmed(block)))
                labels.append(block.label)
            elif block.label == "PUBLIC KEY":
                public.append(parse_public_key(block.data))
        except DerError as exc:
            good = False
            broken.append(f"block {number} ({block.label}): {exc.what}")
        if block.label == "CERTIFICATE" and block.whole:
            loaded.append((number, good))
    headless = bool(loaded) and not loaded[0][1]
    refused = _refused(loaded, labels)
    return Bundle(tuple(certificates), tuple(public), tuple(broken), headless, refused)


def _refused(loaded: list[tuple[int, bool]], labels: list[str]) -> str:
    """crypto/tls X509KeyPair: blocks CERTIFICATE in their order, of which the first is parsed and
    all are sent; whoever is sent them parses each."""
    if not loaded:
        return f"programs in Go take none of its blocks {labels[0]}" if labels else ""
    bad = next((number for number, good in loaded if not good), None)
    if bad is None:
        return ""
    if bad == loaded[0][0]:
        return f"programs in Go refuse it: block {bad}, the first, is no certificate"
    return f"peers refuse what is sent: block {bad} is no certificate"


def _trimmed(block: pem.Block) -> bytes:
    """OpenSSL's TRUSTED CERTIFICATE has its own settings after the certificate."""
    data = block.data or b""
    return der.read(data).whole if block.label == "TRUSTED CERTIFICATE" else data


def folders_above(path: str) -> Iterator[str]:
    """Every directory on the way to a path, the nearest first, "/" last."""
    while path not in ("/", ""):
        path = posixpath.dirname(path)
        yield path


def within(path: str, folder: str) -> bool:
    """Whether a path lies below a directory."""
    return path != folder and path.startswith(f"{folder.rstrip('/')}/")
