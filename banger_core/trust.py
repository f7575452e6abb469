"""Whose word is taken for who a server is."""

from __future__ import annotations

import os
import ssl
from ipaddress import ip_address
from pathlib import Path

from banger_core.errors import UsageProblem

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def trusted_context() -> ssl.SSLContext:
    """Return a TLS context that verifies servers by this system's list of authorities.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name other ones. Raises UsageProblem when they name
    nothing.
    """
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        place = os.environ.get(variable)
        if place and not Path(place).exists():
            raise UsageProblem(
                f"{variable} names what is not there",
                cause=repr(place),
                hints=[f"ls -ld {place}", f"unset {variable}"],
            )
    context = ssl.create_default_context()
    if not _has_list():
        # A Python that was built elsewhere looks where its builder had the list
        for bundle in filter(os.path.isfile, _BUNDLES):
            context.load_verify_locations(bundle)
            break
    return context


def _has_list() -> bool:
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return True
    return bool(paths.capath) and any(Path(paths.capath).iterdir())


def is_loopback(host: str) -> bool:
    """Say whether ``host`` is this one, without asking anybody."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
