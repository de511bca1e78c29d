"""The collector's own CA changes hands, and nobody loses trust on the way.

begin: a second CA is made, and a bundle of both. The bundle goes to all agents and askers.
switch: the second CA signs a new server certificate, which a running collector takes by itself.
finish: the first CA leaves the bundle. It signed nothing that is in use any more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography import x509

from nodeward.collector import pki
from nodeward.collector.problem import Problem

BUNDLE: Final = "ca-bundle.crt"


def begin(state: Path) -> Path:
    """The bundle to be given to everybody."""
    _there(state, "ca")
    if (state / "next.crt").exists() or (state / "old.crt").exists():
        raise Problem(400, "begun", "a change of the CA was begun already: switch or finish it")
    pki.write_ca(state, "next")
    return _bundle(state, "ca", "next")


def switch(state: Path) -> Path:
    """The second CA is the first now, and signed the server's certificate."""
    _there(state, "next")
    for suffix in (".key", ".crt"):
        (state / f"ca{suffix}").rename(state / f"old{suffix}")
        (state / f"next{suffix}").rename(state / f"ca{suffix}")
    renew(state)
    return _bundle(state, "ca", "old")


def finish(state: Path) -> Path:
    """The old CA and its key are gone."""
    _there(state, "old")
    bundle = _bundle(state, "ca")
    for suffix in (".key", ".crt"):
        (state / f"old{suffix}").unlink()
    return bundle


def renew(state: Path) -> None:
    """A new server certificate for the same names."""
    _there(state, "tls")
    held = x509.load_pem_x509_certificate((state / "tls.crt").read_bytes())
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    pki.write_server(state, [str(name.value) for name in names])


def authorities(state: Path) -> str:
    """Our own authorities' certificates; "" where somebody else's signs ours, or none is there."""
    for name in (BUNDLE, "ca.crt"):
        try:
            text = (state / name).read_text("ascii")
        except (OSError, ValueError):
            continue
        if text.startswith("-----BEGIN CERTIFICATE-----"):
            return text.strip()
    return ""


def _bundle(state: Path, *names: str) -> Path:
    path = state / BUNDLE
    pki.write_whole(path, b"".join((state / f"{name}.crt").read_bytes() for name in names), 0o644)
    return path


def _there(state: Path, name: str) -> None:
    if not (state / f"{name}.crt").exists():
        raise Problem(400, "nothing", f"there is no {state / name}.crt: this step is not due")
