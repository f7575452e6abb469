"""What a ``catalog.json`` may say, its signature being good."""

from __future__ import annotations

import json

import pytest
from kernels_feeds import catalog, entry

from banger_core.api import HostileInput
from banger_kernels.document import parse_catalog

BASE = "https://kernels.example/feed/catalog.json"


def without(field):
    return {name: value for name, value in entry().items() if name != field}


HOSTILE = {
    "not JSON": b"<html>",
    "empty": b"",
    "not UTF-8": b'{"version": 1, "entries": ["\xff"]}',
    "a list": b"[]",
    "nested for ever": b"[" * 200_000,
    "a key twice": b'{"version": 1, "version": 1, "entries": []}',
    "not a number": b'{"version": NaN, "entries": []}',
    "another version": b'{"version": 2, "entries": []}',
    "a version that is a text": b'{"version": "1", "entries": []}',
    "a version that is true": b'{"version": true, "entries": []}',
    "no entries": b'{"version": 1}',
    "entries that are none": b'{"version": 1, "entries": {}}',
    "something unknown": b'{"version": 1, "entries": [], "more": 1}',
    "too many": catalog(*[{}] * 10_001),
    "the same name twice": catalog(entry(), entry()),
    "an unknown field": catalog(entry(run="rm")),
    **{f"no {field}": catalog(without(field)) for field in without("description")},
    **{
        f"name {name!r}": catalog(entry(name=name))
        for name in ("", "../up", "a/b", ".hidden", "a b", "x" * 129, "a\n", 7)
    },
    **{
        f"size {size!r}": catalog(entry(size_bytes=size))
        for size in (0, -1, (2 << 30) + 1, 1e300, "9", True, None)
    },
    **{
        f"sha256 {sha256[:12]!r}": catalog(entry(sha256=sha256))
        for sha256 in ("", "a" * 63, "A" * 64, "../" * 21 + "a", "a" * 64 + "\n")
    },
    **{
        f"url {url[:40]!r}": catalog(entry(url=url))
        for url in (
            "http://kernels.example/k.tar.gz",
            "http://127.0.0.1/k.tar.gz",
            "ftp://kernels.example/k",
            "file:///etc/passwd",
            "data:,x",
            "https://user:secret@kernels.example/k",
            "https://kernels.example:99999/k",
            "https://kernels.example:0/k",
            "https://[::1/k",
            "k v.tar",
            "k\\v.tar",
            "kernel\u2028.tar",
            "a#b",
            "x" * 2001,
        )
    },
    "another architecture": catalog(entry(arch="riscv64")),
    "no version of the kernel": catalog(entry(kernel_version="")),
    "an escape in a text": catalog(entry(description="\x1b[2J")),
    "a lone surrogate": b'{"version": 1, "entries": [%s]}'
    % json.dumps(entry(distro="@")).replace("@", "\\ud800").encode(),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=[ascii(name) for name in HOSTILE])
def test_a_document_that_is_wrong_anywhere_is_refused_whole(document):
    with pytest.raises(HostileInput) as caught:
        parse_catalog(document, BASE, "feed home")
    said = f"{caught.value.summary}{caught.value.cause}"
    assert "feed home" in said
    assert said.isprintable()
    assert len(said) < 600


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("k.tar.zst", "https://kernels.example/feed/k.tar.zst"),
        ("/k.tar.zst", "https://kernels.example/k.tar.zst"),
        ("../k.tar.zst", "https://kernels.example/k.tar.zst"),
        ("//cdn.example/k", "https://cdn.example/k"),
        ("https://cdn.example/k?v=1", "https://cdn.example/k?v=1"),
    ],
)
def test_urls_are_relative_to_the_document(url, becomes):
    assert parse_catalog(catalog(entry(url=url)), BASE, "feed")["mine"].url == becomes


@pytest.mark.parametrize(
    "url", ["../k", "%2e%2e/k", "/etc/passwd", "file:///etc/passwd", "https:k"]
)
def test_a_feed_on_this_host_gives_only_what_lies_beside_it(url):
    with pytest.raises(HostileInput):
        parse_catalog(catalog(entry(url=url)), "file:///srv/feed/catalog.json", "feed")


def test_both_words_for_an_architecture_are_understood():
    offers = parse_catalog(catalog(entry(arch="aarch64"), entry(name="b")), BASE, "feed")
    assert [offer.architecture for offer in offers.values()] == ["arm64", "amd64"]
