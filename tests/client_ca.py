"""Name a client CA in the handshake, with every pyOpenSSL that a distribution has."""

from __future__ import annotations

from cryptography import x509
from OpenSSL import SSL, crypto


def name_client_ca(context: SSL.Context, authority: x509.Certificate) -> None:
    try:
        context.add_client_ca(authority)
    except TypeError:  # before 24.3 it takes its own kind only
        context.add_client_ca(crypto.X509.from_cryptography(authority))
