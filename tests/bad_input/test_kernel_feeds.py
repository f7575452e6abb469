"""A feed of kernels over HTTPS, asked by the real command line: trusted, replaced, and led back."""

from __future__ import annotations

import json

import pytest
from kernels_feeds import KEY, Served, catalog, entry, tarball
from oci_registries import make_certificate

from banger_core.testing.fakes import CONFIG
from banger_core.testing.kernel_images import make_vmlinux

NEWEST = "6.10"


def publish(site, version, texts=b""):
    """Put a kernel of that version there; returns its ELF file."""
    kernel = make_vmlinux(release=version, texts=texts)
    packed = tarball(("vmlinux", kernel), ("modules/modules.builtin", b""))
    site.publish(catalog(entry(packed, kernel_version=version)), packed)
    return kernel


@pytest.fixture
def site(tmp_path):
    with Served(*make_certificate(tmp_path)) as site:
        yield site


@pytest.fixture
def feed(house, site, tmp_path):
    """A house that knows the feed ``home`` and believes in its server."""
    house = house.with_env(
        BANGER_PLUGINS="fakes,kernels", SSL_CERT_FILE=tmp_path / "cert.pem", no_proxy="127.0.0.1"
    )
    config = CONFIG.replace('catalogue = "fake-catalogue"', 'catalogue = "catalogue"')
    source = f'[plugins.feeds.sources.home]\nurl = "{site.url}"\nkey = "{KEY}"\n'
    house.configure(f"{config}\n{source}")
    yield house
    assert "Traceback" not in house.log()
    house.ok("daemon", "stop")


def here(house):
    return [(row["name"], row["version"]) for row in house.json("kernel", "list")]


def test_a_kernel_comes_from_a_feed_and_is_never_led_back(feed, site):
    kernel = publish(site, NEWEST)
    offers = {row["name"]: row for row in feed.json("kernel", "list", "--available")}
    assert (offers["mine"]["version"], offers["mine"]["provider"]) == (NEWEST, "feeds")
    feed.ok("kernel", "pull", "feeds://home/mine")
    entry = feed.state / "kernels" / "mine"
    assert (entry / "vmlinux").read_bytes() == kernel
    assert json.loads((entry / "manifest.json").read_text())["source"] == f"{site.url}mine.tar.gz"
    assert feed.json("kernel", "show", "mine", "--verify")["problems"] == []

    publish(site, "6.9")
    failure = feed.refuses("kernel", "pull", "mine", code=1)
    assert failure.error == "kernel mine would go back to 6.9"
    publish(site, NEWEST, texts=b"another one")
    failure = feed.refuses("kernel", "pull", "feeds://home/mine", code=1)
    assert failure.error == f"kernel mine {NEWEST} is another one than before"
    assert (entry / "vmlinux").read_bytes() == kernel

    older = publish(site, "6.9")
    feed.ok("kernel", "pull", "--force", "feeds://home/mine")
    assert (entry / "vmlinux").read_bytes() == older
    assert here(feed) == [("mine", "6.9")]


def test_a_server_that_nobody_vouches_for_is_not_asked_for_kernels(feed, site):
    publish(site, NEWEST)
    feed = feed.with_env(SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt")
    failure = feed.refuses("kernel", "pull", "feeds://home/mine", code=1)
    assert "certificate" in failure.cause
    (row,) = [row for row in feed.json("kernel", "list", "--available") if row["problem"]]
    assert row["name"] == "home"
    assert here(feed) == []


def test_a_feed_that_somebody_else_signed_is_refused(feed, site):
    publish(site, NEWEST)
    document = site.files["/catalog.json"].replace(b"a kernel", b"a KERNEL")
    site.files["/catalog.json"] = document
    failure = feed.refuses("kernel", "pull", "feeds://home/mine", code=1)
    assert "wrong signature" in failure.error
    assert here(feed) == []


def test_a_download_that_is_cut_off_goes_on(feed, site):
    kernel = publish(site, NEWEST, texts=bytes(range(256)) * 9000)
    site.cuts.append(1000)
    feed.ok("kernel", "pull", "feeds://home/mine")
    assert (feed.state / "kernels" / "mine" / "vmlinux").read_bytes() == kernel
    asked = [wanted for path, wanted in site.asked if path.endswith(".gz")]
    assert asked == ["", "bytes=1000-"]
