"""Proxies that the environment names: who is led through them, and what they may lead to."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import subprocess
import threading
from contextlib import suppress

import pytest
from oci_faulty import (
    MANIFEST,
    basic,
    hurried,
    leads,
    registry_at,
    reply,
    says,
    serving,
    traces,
    wants,
)

from banger_core.api import HostileInput, Unreachable, UsageProblem
from banger_oci.mediatypes import OCI_MANIFEST
from banger_oci.proxies import Proxy, proxy_for
from banger_oci.urls import parse_url

NAME = "registry.example"
PLAIN = f"{NAME}:5000"
USER, PASSWORD = "prox/y", "s3cret: wörd"
SECRET = "prox%2Fy:s3cret%3A%20w%C3%B6rd@"
GOOD = reply(200, MANIFEST, **{"Content-Type": OCI_MANIFEST})


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy(monkeypatch):
    with serving() as one:
        monkeypatch.setenv("HTTP_PROXY", f"http://{SECRET}{one.host}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{SECRET}{one.host}")
        yield one


def document(host, patience=None, **settings):
    async def asked():
        async with registry_at(host, patience, **settings) as registry:
            return await registry.document("1")

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "https://ghcr.io/", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://ghcr.io/", Proxy("p", 3128)),
        ({"https_proxy": "http://p:3128"}, "https://ghcr.io/", Proxy("p", 3128)),
        ({"HTTPS_PROXY": "p:3128"}, "https://ghcr.io/", Proxy("p", 3128)),
        ({"HTTPS_PROXY": "http://p"}, "https://ghcr.io/", Proxy("p", 80)),
        ({"HTTPS_PROXY": f"http://{SECRET}p"}, "https://a.b/", Proxy("p", 80, USER, PASSWORD)),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:8"}, "https://a.b/", Proxy("2001:db8::1", 8)),
        ({"HTTPS_PROXY": "http://p"}, "http://registry.lan/", None),
        ({"HTTP_PROXY": "http://p"}, "http://registry.lan/", Proxy("p", 80)),
        ({"ALL_PROXY": "http://p"}, "https://ghcr.io/", Proxy("p", 80)),
        ({"HTTPS_PROXY": ""}, "https://ghcr.io/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "ghcr.io"}, "https://ghcr.io/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": ".io"}, "https://ghcr.io/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, "https://ghcr.io/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "hcr.io"}, "https://ghcr.io/", Proxy("p", 80)),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "ghcr.io:99"}, "https://ghcr.io:99/", None),
        ({"HTTPS_PROXY": "http://p"}, "https://localhost/", None),
        ({"HTTPS_PROXY": "http://p"}, "https://127.9.9.9:5000/", None),
        ({"HTTPS_PROXY": "http://p"}, "https://[::1]:5000/", None),
    ],
)
def test_the_proxy_for_a_server(monkeypatch, variables, url, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(parse_url(url)) == expected


@pytest.mark.parametrize(
    "address",
    [
        "https://user:pa55word@p:3128",
        "socks5://user:pa55word@p:1080",
        "http://user:pa55word@",
        "http://user:pa55word@p:99999",
        "http://user:pa55word@p:none",
        "http://user:pa55word@[::1",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_without_telling_its_password(monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(UsageProblem, match="proxy that cannot be used") as caught:
        proxy_for(parse_url("https://ghcr.io/"))
    assert "pa55word" not in str(caught.value.to_dict())


def test_a_proxys_password_is_not_shown():
    assert PASSWORD not in repr(Proxy("p", 80, USER, PASSWORD))


def test_a_plain_registry_is_asked_through_the_proxy(proxy):
    proxy.on("*", says(GOOD))
    assert document(PLAIN, insecure_registries=(PLAIN,))[0] == MANIFEST
    (request,) = proxy.requests
    assert request.target == f"http://{PLAIN}/v2/org/app/manifests/1"
    assert request.headers["host"] == PLAIN
    assert request.headers["proxy-authorization"] == basic(USER, PASSWORD)


def test_a_proxys_password_is_sent_byte_by_byte(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", os.fsdecode(b"http://a:\xff\xc3@") + proxy.host)
    proxy.on("*", says(GOOD))
    assert document(PLAIN, insecure_registries=(PLAIN,))[0] == MANIFEST
    sent = proxy.requests[0].headers["proxy-authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent) == b"a:\xff\xc3"


def test_this_host_is_asked_without_the_proxy(proxy):
    with serving() as server:
        assert document(server.host)[0] == MANIFEST
        assert not any(form in server.received for form in traces(USER, PASSWORD))
    assert proxy.requests == []


INWARD = [
    "http://127.0.0.1:1/",
    "https://127.0.0.1:1/",
    "https://localhost:1/",
    "https://[::1]:1/",
    "https://[::ffff:127.0.0.1]:1/",
    "https://0.0.0.0:1/",
    "https://10.1.2.3/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://100.100.100.200/",
]


@pytest.mark.parametrize("url", INWARD)
def test_a_server_outside_leads_to_no_address_inside(proxy, url):
    proxy.on("*", leads(url))
    with pytest.raises(HostileInput, match="refused to go to") as caught:
        document(PLAIN, insecure_registries=(PLAIN,))
    assert "from outside to an address inside" in caught.value.cause
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("url", INWARD)
def test_a_server_outside_sends_for_tokens_to_no_address_inside(proxy, url):
    proxy.on("*", wants(f'Bearer realm="{url}",service="s"'))
    with pytest.raises(HostileInput, match="refused to go to"):
        document(PLAIN, insecure_registries=(PLAIN,))
    assert len(proxy.requests) == 1


def test_a_proxy_that_wants_a_password_says_so(proxy):
    proxy.on("*", says(407, b"who are you?"))
    with pytest.raises(Unreachable) as caught:
        document(PLAIN, insecure_registries=(PLAIN,))
    assert "407" in caught.value.cause
    with pytest.raises(Unreachable) as caught:
        document(NAME, hurried(pauses=()))
    assert caught.value.cause == "asked 1 times: the proxy says '407 Some Words'"


# --- tunnels ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """Key and certificate of NAME."""
    home = tmp_path_factory.mktemp("identity")
    key, certificate = home / "key.pem", home / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


def tunnel_to(port):
    """A step that connects through, whatever name it was asked for."""

    def copy(source, target):
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def step(request):
        with socket.create_connection(("127.0.0.1", port)) as through:
            request.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=copy, args=(through, request.connection))
            back.start()
            copy(request.connection, through)
            back.join()

    return step


def test_a_registry_with_tls_is_reached_through_a_tunnel(proxy, identity, monkeypatch):
    key, certificate = identity
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as server:
        proxy.on("*", tunnel_to(server.port))
        assert document(NAME)[0] == MANIFEST
        (request,) = server.requests
    (opened,) = proxy.requests
    assert (opened.method, opened.target) == ("CONNECT", f"{NAME}:443")
    assert opened.headers["proxy-authorization"] == basic(USER, PASSWORD)
    assert request.headers["host"] == NAME
    assert not any(form in server.received for form in traces(USER, PASSWORD))


def test_a_tunnel_to_somebody_else_is_noticed(proxy, identity):
    key, certificate = identity
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as server:
        proxy.on("*", tunnel_to(server.port))
        with pytest.raises(Unreachable, match="does not prove who it is"):
            document(NAME)
        assert server.requests == []
