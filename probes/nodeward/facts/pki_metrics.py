"""Certificates as numbers, for a metric with few and stable labels."""

from __future__ import annotations

from nodeward.facts.pki import Kind, Pki
from nodeward.lazy import dataclass, pattern

_IN_CONTAINER = pattern(r"^/proc/\d+/root(?=/)")  # a new number with every start


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """One sample of nodeward_certificate_not_after_timestamp_seconds. `component` and `path` are
    its labels; `not_after` and `not_before` are seconds since 1970. Of a bundle the certificate
    that ends first."""

    component: str
    path: str
    not_before: int
    not_after: int


def certificate_rows(facts: Pki) -> tuple[CertificateRow, ...]:
    """What is in use, one row for each component and path, sorted. A path stays while its content
    is renewed, so a rotation moves a line and starts no new one; copies, left-over files and
    what a rotation has replaced make none."""
    found: dict[tuple[str, str], CertificateRow] = {}
    for kind in (Kind.CERTIFICATE, Kind.TRUST):
        for held in facts.held(kind=kind):
            use, several = held.use, held.pem.certificates
            if not use.in_use or use.component == "copy" or not several:
                continue
            one = min(several, key=lambda c: c.not_after) if kind is Kind.TRUST else held.leaf
            if one is None:
                continue
            path = _IN_CONTAINER.sub("", use.path)
            row = CertificateRow(use.component, path, one.not_before, one.not_after)
            key = (use.component, path)
            if key not in found or row.not_after < found[key].not_after:
                found[key] = row
    return tuple(found[key] for key in sorted(found))
