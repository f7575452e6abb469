"""Which registries are spoken to in plain HTTP, and on which port."""

from __future__ import annotations

import pytest

from banger_core.api import UsageProblem
from banger_oci.patience import Patience
from banger_oci.redirects import Guide
from banger_oci.reference import parse_reference
from banger_oci.registry import _base
from banger_oci.transport import Transport

PLAIN = (
    "registry.lan",
    "Registry.LAN:5000",
    "10.0.0.1:8080",
    "[fd00::1]:5000",
    "strange.lan:80",
    "127.1:5000",
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("docker.io", "https://registry-1.docker.io/"),
        ("ghcr.io", "https://ghcr.io/"),
        ("ghcr.io:443", "https://ghcr.io/"),
        ("ghcr.io:8443", "https://ghcr.io:8443/"),
        ("10.0.0.1", "https://10.0.0.1/"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000/"),
        ("localhost", "http://localhost/"),
        ("localhost:80", "http://localhost/"),
        ("localhost:443", "https://localhost/"),
        ("localhost:5000", "http://localhost:5000/"),
        ("localhost.example:5000", "https://localhost.example:5000/"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/"),
        ("127.8.8.8", "http://127.8.8.8/"),
        ("127.example:5000", "https://127.example:5000/"),
        ("[::1]", "http://[::1]/"),
        ("[::1]:443", "https://[::1]/"),
        ("[::1]:5000", "http://[::1]:5000/"),
        ("[2001:db8::1]:5000", "https://[2001:db8::1]:5000/"),
        ("registry.lan", "http://registry.lan/"),
        ("registry.lan:443", "https://registry.lan/"),
        ("registry.lan:5000", "http://registry.lan:5000/"),
        ("registry.lan:5001", "https://registry.lan:5001/"),
        ("10.0.0.1:8080", "http://10.0.0.1:8080/"),
        ("[fd00::1]:5000", "http://[fd00::1]:5000/"),
        ("strange.lan", "http://strange.lan/"),
        ("strange.lan:80", "http://strange.lan/"),
    ],
)
def test_a_registry_is_asked_at(host, expected):
    guide = Guide(Transport(Patience()), PLAIN)
    assert str(_base(parse_reference(f"{host}/org/app"), guide)) == expected


@pytest.mark.parametrize("host", ["127.1:5000", "256.0.0.1", "registry.0x7f"])
def test_what_only_looks_like_an_address_is_no_registry(host):
    guide = Guide(Transport(Patience()), PLAIN)
    with pytest.raises(UsageProblem, match="is no registry"):
        _base(parse_reference(f"{host}/org/app"), guide)
