"""Certificates for the examples of the certificate checks: values only, nobody holds their keys."""

from __future__ import annotations

from datetime import UTC, datetime

from nodeward.facts.clock import Now
from nodeward.facts.node import Distribution
from nodeward.facts.pki import Kind, Pem, Pki, Use
from nodeward.facts.x509 import Certificate, Extensions, PublicKey

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
        sha256="00" * 32,
        common_name=name,
        organizations=organizations,
        raw_issuer=issuer.encode(),
        raw_subject=subject.encode(),
    )


def pki(
    component: str,
    path: str,
    *certificates: Certificate,
    kind: Kind = Kind.CERTIFICATE,
    in_use: bool = True,
    error: str = "",
    distribution: Distribution = Distribution.KUBEADM,
) -> Pki:
    """A node on which one component uses one file."""
    return Pki(
        pems=(Pem(path, real=path, certificates=certificates, error=error),),
        uses=(Use(component, kind, path, in_use=in_use),),
        distribution=distribution,
    )


NOTHING = Pki((), (), Distribution.KUBEADM)
