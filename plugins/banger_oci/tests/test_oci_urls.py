"""URLs that are followed, those that are not, and the ground that addresses stand on."""

from __future__ import annotations

import itertools

import pytest

from banger_oci.urls import BadUrl, Ground, Url, ground_of, is_loopback, parse_url

BASE = Url("https", "ghcr.io", 443, "/v2/org/app/blobs/x?y")
PUBLIC, PRIVATE, LOOPBACK, LINK_LOCAL = Ground


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ghcr.io", Url("https", "ghcr.io", 443, "/")),
        ("HTTPS://GHCR.io:443/a", Url("https", "ghcr.io", 443, "/a")),
        ("http://ghcr.io/", Url("http", "ghcr.io", 80, "/")),
        ("https://ghcr.io:8443/a?b=c%2Fd#e", Url("https", "ghcr.io", 8443, "/a?b=c%2Fd")),
        ("https://ghcr.io?b", Url("https", "ghcr.io", 443, "/?b")),
        ("https://1.2.3.4:5/", Url("https", "1.2.3.4", 5, "/")),
        ("https://[2001:DB8::1]:5/", Url("https", "2001:db8::1", 5, "/")),
        ("https://1.2.3.4a/", Url("https", "1.2.3.4a", 443, "/")),
        ("https://0x7.example/", Url("https", "0x7.example", 443, "/")),
        ("https://_a-b.example./", Url("https", "_a-b.example.", 443, "/")),
        ("//cdn.example/z", Url("https", "cdn.example", 443, "/z")),
        ("/z", Url("https", "ghcr.io", 443, "/z")),
        ("z", Url("https", "ghcr.io", 443, "/v2/org/app/blobs/z")),
        ("../../z?q", Url("https", "ghcr.io", 443, "/v2/org/z?q")),
        ("?q", Url("https", "ghcr.io", 443, "/v2/org/app/blobs/x?q")),
    ],
)
def test_urls_that_are_followed(text, expected):
    assert parse_url(text, BASE) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file:///etc/passwd",
        "ftp://ghcr.io/",
        "gopher://ghcr.io/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "unix:///var/run/docker.sock",
        "https://",
        "https:///path",
        "https://user@ghcr.io/",
        "https://user:password@ghcr.io/",
        "https://ghcr.io@evil.example/",
        "https://@ghcr.io/",
        "https://ghcr.io:0/",
        "https://ghcr.io:65536/",
        "https://ghcr.io:-1/",
        "https://ghcr.io:x/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[1.2.3.4]/",
        "https://ghcr.io\\@evil.example/",
        "https://gh cr.io/",
        "https://ghcr.io/a b",
        "https://ghcr.io/\r\nX-Header: 1",
        "https://ghcr.io/\0",
        "https://ghcr.io/ä",
        "https://ghcr.iо/",
        "https://gh*cr.io/",
        "https://-ghcr.io/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        f"https://{'a' * 300}/",
        f"https://ghcr.io/{'a' * 8192}",
    ],
)
def test_urls_that_are_not_followed(text):
    with pytest.raises(BadUrl) as caught:
        parse_url(text)
    words = str(caught.value)
    assert words.isascii()
    assert words.isprintable()
    assert len(words) < 200


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://ghcr.io/", "ghcr.io"),
        ("https://ghcr.io:80/", "ghcr.io:80"),
        ("http://ghcr.io:443/", "ghcr.io:443"),
        ("https://[2001:db8::1]/", "[2001:db8::1]"),
        ("http://[::1]:5000/", "[::1]:5000"),
    ],
)
def test_the_site_of_a_url_leaves_out_the_usual_port(url, site):
    assert parse_url(url).site == site
    assert str(parse_url(url)) == f"{url.partition(':')[0]}://{site}/"


def test_scheme_host_and_port_make_an_origin():
    texts = ["https://a/", "http://a/", "https://b/", "https://a:8443/", "https://a.b/"]
    origins = [parse_url(text).origin for text in texts]
    assert len(set(origins)) == len(texts)
    assert parse_url("https://A:443/other?path").origin == origins[0]


@pytest.mark.parametrize(
    ("address", "ground"),
    [
        ("8.8.8.8", PUBLIC),
        ("2606:4700::1111", PUBLIC),
        ("10.1.2.3", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("172.32.0.1", PUBLIC),
        ("192.168.0.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("100.100.100.200", PRIVATE),
        ("fd00:ec2::254", PRIVATE),
        ("240.0.0.1", PRIVATE),
        ("255.255.255.255", PRIVATE),
        ("127.0.0.1", LOOPBACK),
        ("127.255.0.9", LOOPBACK),
        ("0.0.0.0", LOOPBACK),
        ("::", LOOPBACK),
        ("::1", LOOPBACK),
        ("169.254.169.254", LINK_LOCAL),
        ("fe80::1", LINK_LOCAL),
        ("224.0.0.1", LINK_LOCAL),
        ("ff02::1", LINK_LOCAL),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("::ffff:10.0.0.1", PRIVATE),
        ("::ffff:8.8.8.8", PUBLIC),
        ("2002:7f00:1::", LOOPBACK),
        ("2002:a00:1::", PRIVATE),
        ("64:ff9b::a9fe:a9fe", LINK_LOCAL),
        ("64:ff9b::808:808", PUBLIC),
        ("::127.0.0.1", LOOPBACK),
        ("::10.0.0.1", PRIVATE),
        ("::8.8.8.8", PUBLIC),
        ("64:ff9b:1::a00:1", PRIVATE),
        ("64:ff9b:1::7f00:1", LOOPBACK),
    ],
)
def test_the_ground_of_an_address(address, ground):
    assert ground_of(address) == ground


def test_servers_lead_only_outwards():
    allowed = {
        (PUBLIC, PUBLIC),
        (PRIVATE, PUBLIC),
        (PRIVATE, PRIVATE),
        (LOOPBACK, PUBLIC),
        (LOOPBACK, PRIVATE),
        (LOOPBACK, LOOPBACK),
        (LINK_LOCAL, PUBLIC),
        (LINK_LOCAL, LINK_LOCAL),
    }
    pairs = itertools.product(Ground, repeat=2)
    assert {pair for pair in pairs if pair[0].may_lead_to(pair[1])} == allowed


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost.example", False),
        ("app.localhost", False),
        ("127.0.0.1.example", False),
        ("127.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("::2", False),
    ],
)
def test_only_this_host_is_loopback_by_its_spelling(host, expected):
    assert is_loopback(host) is expected
