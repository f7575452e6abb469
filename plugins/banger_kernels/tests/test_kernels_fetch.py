"""Tarballs of feeds, from servers that fail in every way."""

from __future__ import annotations

import asyncio
import os

import pytest
from kernels_feeds import ELF, KERNEL, catalog, entry, tarball

from banger_core.api import HostileInput, IntegrityError, Unreachable
from banger_kernels.catalogue import Catalogue
from banger_kernels.signed import SignedFeeds

BIG = tarball(("vmlinux", ELF + os.urandom(600_000)), ("initrd.img", b"initrd"))


@pytest.fixture
def pulled(site, feeds, tmp_path):
    """A function that resolves and unpacks ``mine``, and returns its context and files."""
    made = iter(range(99))

    def pulled(where=""):
        cx, into = feeds(where or site.url), tmp_path / f"into-{next(made)}"
        into.mkdir()

        async def pull():
            pin = await SignedFeeds().resolve("mine", cx)
            return pin, await SignedFeeds().materialise(pin, into, cx)

        return cx, *asyncio.run(pull())

    return pulled


def tarballs(site):
    return [wanted for path, wanted in site.asked if path == "/mine.tar.gz"]


def left(cx):
    return [path for path in cx.cache_dir.rglob("*") if path.is_file()]


def test_a_kernel_is_fetched_and_kept(site, pulled):
    site.publish(catalog(entry()))
    cx, pin, files = pulled()
    row = asyncio.run(Catalogue().add(pin, files, cx, replace=False))
    assert (row.name, row.version, row.source) == ("mine", "6.9.1", f"{site.url}mine.tar.gz")
    assert asyncio.run(Catalogue().verify("mine", cx)) == []
    assert not left(cx)
    assert ("kernel mine", len(KERNEL), len(KERNEL)) in cx.reports


def test_a_feed_on_this_host_is_read_from_its_directory(site, pulled, tmp_path):
    site.publish(catalog(entry()))
    for name, content in site.files.items():
        (tmp_path / name.lstrip("/")).write_bytes(content)
    _, _, files = pulled(tmp_path / "catalog.json")
    assert files.vmlinux.is_file()
    assert not site.asked


def test_a_cut_download_goes_on_where_it_was(site, pulled):
    site.publish(catalog(entry(BIG)), BIG)
    site.cuts += [200_000, 100_000]
    _, _, files = pulled()
    assert files.vmlinux.stat().st_size == len(ELF) + 600_000
    assert tarballs(site) == ["", "bytes=200000-", "bytes=300000-"]


def test_a_later_pull_goes_on_where_the_last_one_gave_up(site, pulled):
    site.publish(catalog(entry(BIG)), BIG)
    site.cuts += [200_000, 0, 0, 0, 0]
    with pytest.raises(Unreachable):
        pulled()
    site.cuts.clear()
    site.asked.clear()
    pulled()
    assert tarballs(site) == ["bytes=200000-"]


def test_a_server_that_cannot_resume_sends_all_of_it_again(site, pulled):
    site.publish(catalog(entry(BIG)), BIG)
    site.ranges = False
    site.cuts += [200_000]
    _, _, files = pulled()
    assert files.initrd.read_bytes() == b"initrd"
    assert tarballs(site) == ["", "bytes=200000-"]


def test_crumbs_are_not_taken_for_ever(site, pulled):
    site.publish(catalog(entry(BIG)), BIG)
    site.cuts += [10] * 50
    with pytest.raises(Unreachable):
        pulled()
    assert len(tarballs(site)) == 3


def test_a_beginning_that_is_not_of_this_file_is_thrown_away(site, pulled, feeds):
    site.publish(catalog(entry(BIG)), BIG)
    partial = feeds(site.url).cache_dir / "partial" / f"{entry(BIG)['sha256']}.partial"
    partial.parent.mkdir(mode=0o700)
    partial.write_bytes(b"something else" * 9)
    pulled()
    assert tarballs(site) == ["bytes=126-", ""]


@pytest.mark.parametrize("served", [KERNEL + b"more", KERNEL[::-1]], ids=["longer", "another"])
def test_another_file_than_promised_is_refused_and_not_kept(site, pulled, feeds, served):
    site.publish(catalog(entry()), served)
    with pytest.raises(IntegrityError, match="not the kernel that was promised"):
        pulled()
    assert not left(feeds(site.url))


def test_a_hostile_tarball_is_not_kept(site, pulled, feeds):
    packed = tarball(("vmlinux", "/etc/shadow"))
    site.publish(catalog(entry(packed)), packed)
    with pytest.raises(HostileInput):
        pulled()
    assert not left(feeds(site.url))


def test_a_kernel_for_another_architecture_than_promised_is_refused(site, pulled):
    packed = tarball(("vmlinux", ELF.replace(b"\x3e", b"\xb7")))
    site.publish(catalog(entry(packed)), packed)
    with pytest.raises(IntegrityError, match="architecture"):
        pulled()


def test_a_server_that_is_busy_is_asked_again(site, pulled):
    site.publish(catalog(entry()))
    site.statuses += [503, 429]
    pulled()


def test_a_server_that_says_no_is_asked_once(site, pulled):
    site.statuses += [403]
    with pytest.raises(Unreachable, match="did not give") as caught:
        pulled()
    assert "403" in caught.value.cause
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "target",
    ["http://kernels.example/", "file:///etc/passwd", "ftp://a/", "http://[bad", "https://a:b@c/"],
)
def test_a_redirect_leads_only_where_banger_goes(site, pulled, target):
    site.publish(catalog(entry()))
    site.redirects["/mine.tar.gz"] = target
    with pytest.raises(HostileInput, match="redirects"):
        pulled()


def test_redirects_end(site, pulled):
    site.publish(catalog(entry()))
    site.redirects["/mine.tar.gz"] = "/mine.tar.gz"
    with pytest.raises(Unreachable) as caught:
        pulled()
    assert "redirects" in caught.value.cause


def test_a_redirect_is_followed(site, pulled):
    site.publish(catalog(entry()))
    site.files["/there.tar.gz"] = site.files.pop("/mine.tar.gz")
    site.redirects["/mine.tar.gz"] = "/there.tar.gz"
    pulled()


def test_a_document_without_end_is_refused(site, pulled):
    site.publish(catalog(entry()))
    site.files["/catalog.json"] = bytes((4 << 20) + 1)
    with pytest.raises(HostileInput, match="too big"):
        pulled()


def test_two_who_want_one_kernel_both_get_it(site, feeds, tmp_path):
    site.publish(catalog(entry(BIG)), BIG)
    cx = feeds(site.url)

    async def pull(number):
        into = tmp_path / f"two-{number}"
        into.mkdir()
        pin = await SignedFeeds().resolve("mine", cx)
        return await SignedFeeds().materialise(pin, into, cx)

    async def both():
        return await asyncio.gather(pull(1), pull(2))

    one, other = asyncio.run(both())
    assert one.vmlinux.read_bytes() == other.vmlinux.read_bytes()
    assert not left(cx)
