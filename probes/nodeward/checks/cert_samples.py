"""Certificates for the examples of the certificate checks: values only, nobody holds their keys."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from nodeward.facts.clock import Now
from nodeward.facts.node import Distribution
from nodeward.facts.pki import Folder, Guard, Kind, Pem, Pki, PrivateKey, Use
from nodeward.facts.x509 import Certificate, Extensions, PublicKey
from nodeward.model import Unreadable

DAY = 86400
TODAY = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
NOW = Now(TODAY)
EC = PublicKey("EC", 256, "aa" * 32, curve="P-256")


def certificate(
    *,
    age: float = 30,
    left: float = 335,
    name: str = "sample",
    issuer: str = "CN=kubernetes",
    organizations: tuple[str, ...] = (),
    key: PublicKey = EC,
    signature: str = "ECDSA-SHA256",
    extensions: Extensions = Extensions(),  # noqa: B008  frozen
) -> Certificate:
    """One that was issued `age` days before NOW and ends `left` days after it."""
    subject = f"CN={name}"
    return Certificate(
        version=3,
        serial=1,
        signature=signature,
        issuer=issuer,
        subject=subject,
        not_before=TODAY - int(age * DAY),
        not_after=TODAY + int(left * DAY),
        key=key,
        extensions=extensions,
        sha256=hashlib.sha256(repr((subject, issuer, age, left)).encode()).hexdigest(),
        common_name=name,
        organizations=organizations,
        raw_issuer=issuer.encode(),
        raw_subject=subject.encode(),
    )


SAFE = Guard(0o100600, 0, 0, 0.0, folders=(Folder("/etc/kubernetes/pki", 0o40755, 0, 0),))


def guard(mode: int = 0o600, *, uid: int = 0, gid: int = 0, folder: int = 0o755) -> Guard:
    """A file's mode and owner, in a directory of root with the mode `folder`."""
    return Guard(0o100000 | mode, uid, gid, 0.0, folders=(Folder("/srv", 0o40000 | folder, 0, 0),))


def place(
    component: str,
    path: str,
    *certificates: Certificate,
    kind: Kind = Kind.CERTIFICATE,
    in_use: bool = True,
    error: str = "",
    keys: tuple[PrivateKey, ...] = (),
    public_keys: tuple[PublicKey, ...] = (),
    guard: Guard | None = SAFE,
    superseded: bool = False,
) -> tuple[Use, Pem]:
    """That one component uses one file, and what the file holds."""
    held = Pem(
        path,
        real=path,
        certificates=certificates,
        keys=keys,
        public_keys=public_keys,
        error=error,
        guard=guard,
    )
    return Use(component, kind, path, in_use=in_use, superseded=superseded), held


def together(
    *places: tuple[Use, Pem],
    distribution: Distribution = Distribution.KUBEADM,
    control_plane: bool = True,
    unseen: tuple[str, ...] = (),
) -> Pki:
    """A node with these."""
    pems = {pem.path: pem for _, pem in places}
    return Pki(
        pems=tuple(pems.values()),
        uses=tuple(use for use, _ in places),
        distribution=distribution,
        control_plane=control_plane,
        unseen=unseen,
    )


def pki(component: str, path: str, *certificates: Certificate, error: str = "") -> Pki:
    """A node on which one component uses one file."""
    return together(place(component, path, *certificates, error=error))


NOTHING = Pki((), (), Distribution.KUBEADM)
DARK = Unreadable("the process table", "EACCES")
UNSEEN = together(unseen=("/etc/kubernetes/pki: EACCES",))
