"""Feeds of kernels: who has signed them, and what they offered before."""

from __future__ import annotations

import asyncio
import base64
import subprocess

import pytest
from kernels_feeds import KERNEL, KEY, KEY_ID, PRIVATE, catalog, entry, minisig
from pydantic import ValidationError

from banger_core.api import (
    Conflict,
    IntegrityError,
    NotFound,
    RememberingProvider,
    Unreachable,
    UsageProblem,
)
from banger_core.testing.contracts.kernel import KernelProviderContract
from banger_kernels import minisign, plugin, signed
from banger_kernels.keys import parse_key
from banger_kernels.seen import Seen
from banger_kernels.settings import FeedsSettings
from banger_kernels.signed import SignedFeeds
from banger_kernels.versions import order

# Made by minisign 0.11
REAL_DOCUMENT = b'{"version": 1, "entries": []}'
REAL_KEY = "RWSzk5JK1pQZFIAIDOUjw8iLVverfZhTqjPnd3PceClepm5N+U+BHvWA"
REAL_PREHASHED = b"""untrusted comment: signature from minisign secret key
RUSzk5JK1pQZFJ98K8x59IQd3Xa1F7YiIoJpGZZTUyKpSG800ifMUvCq9k301B7whKnnHw2xOjU/azkt7Bt9Vw1VCCLZjo+twQA=
trusted comment: timestamp:1700000000 file:catalog.json
rES1tmrDY8st5XNO6ScJo7twtKXmDy6388cMYO0jV8goelbkRPQpqGrk+ppZLpN/Mfo9ZNbqnl5gq1no4QIqCw==
"""
REAL_LEGACY = b"""untrusted comment: signature from minisign secret key
RWSzk5JK1pQZFFTmQqD/zNIc5YuZIxmjKTgDVr7VbmYYTjoPT8yFEqukvDoE8lmximW2gPtGCpY3EyWok4qv4Wc1Yua+r2aJuQk=
trusted comment: timestamp:1700000001 file:catalog.json
8i/W0vQxeX91niiMuDsiqRJxgRveflKZMttauDF0Kb7iEN0YUtP88+Y54aLnmcxgT6EUdPC2b4MpOZJt0+HmDA==
"""


class TestContract(KernelProviderContract):
    name = "mine"
    make = SignedFeeds

    @pytest.fixture
    def cx(self, site, feeds):
        site.publish(catalog(entry()))
        return feeds(site.url)


def resolve(cx, name="mine"):
    return asyncio.run(SignedFeeds().resolve(name, cx))


def listed(cx):
    return asyncio.run(SignedFeeds().available(cx))


def test_it_is_declared_with_its_settings(fresh_registry):
    registry = fresh_registry(plugin)
    assert not registry.kernel_providers.declared("feeds").catalogue
    assert isinstance(registry.kernel_providers.load("feeds"), RememberingProvider)
    assert registry.settings.load("feeds")().sources == {}


@pytest.mark.parametrize(
    ("signature", "at"), [(REAL_PREHASHED, 1700000000), (REAL_LEGACY, 1700000001)]
)
def test_what_the_real_minisign_has_signed_is_taken(signature, at):
    assert minisign.verify(REAL_DOCUMENT, signature, parse_key(REAL_KEY), "it") == at
    with pytest.raises(IntegrityError, match="wrong signature"):
        minisign.verify(REAL_DOCUMENT + b" ", signature, parse_key(REAL_KEY), "it")
    later = signature.replace(b"timestamp:1", b"timestamp:9")
    with pytest.raises(IntegrityError, match="wrong signature") as caught:
        minisign.verify(REAL_DOCUMENT, later, parse_key(REAL_KEY), "it")
    assert "trusted comment" in caught.value.cause


GOOD = minisig(b"x")
OTHER = base64.b64encode(b"Ed" + b"another!" + bytes(32))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"<html>",
        GOOD[:-60],
        GOOD + GOOD,
        GOOD.replace(b"untrusted", b"very much"),
        GOOD.replace(b"\ntrusted comment", b"\ncomment"),
        b"\n".join([b"untrusted comment: ", OTHER, *GOOD.split(b"\n")[2:]]),
        b"\xff" * 70_000,
        minisig(b"y"),
    ],
    ids=range(9),
)
def test_a_signature_that_is_none_is_refused(signature):
    assert minisign.verify(b"x", GOOD, parse_key(KEY), "it") == 1_700_000_000
    with pytest.raises(IntegrityError):
        minisign.verify(b"x", signature, parse_key(KEY), "it")


def test_another_key_is_named(site, feeds):
    site.publish(catalog(entry()))
    other = base64.b64encode(b"Ed" + b"abcdefgh" + PRIVATE.public_key().public_bytes_raw())
    with pytest.raises(IntegrityError, match="another key") as caught:
        resolve(feeds(site.url, key=other.decode()))
    assert KEY_ID[::-1].hex().upper() in caught.value.cause


@pytest.mark.parametrize(
    "key",
    [
        "RW",
        "RW" + "A" * 50,
        "QQ" + "A" * 54,
        "ssh-ed25519",
        "a b",
        "* ssh-ed25519 AAAA",
        "x\nssh-rsa AAAA",
    ],
)
def test_a_key_that_is_none_is_refused_in_the_configuration(key):
    good = {"url": "https://kernels.example/"}
    FeedsSettings.model_validate({"sources": {"a": {**good, "key": KEY}}})
    with pytest.raises(ValidationError):
        FeedsSettings.model_validate({"sources": {"a": {**good, "key": key}}})


@pytest.mark.parametrize(
    "url", ["http://kernels.example/", "catalog.json", "https://a@b/", "https://b/c?d", "ftp://b/"]
)
def test_a_place_that_is_none_is_refused_in_the_configuration(url):
    with pytest.raises(ValidationError):
        FeedsSettings.model_validate({"sources": {"a": {"url": url}}})


def test_without_a_key_nothing_is_used_and_nobody_asked(site, feeds):
    site.publish(catalog(entry()))
    with pytest.raises(UsageProblem, match="feed home is not used") as caught:
        resolve(feeds(site.url, key=""))
    assert "no key" in caught.value.cause
    assert not site.asked


def test_a_feed_that_cannot_be_used_is_listed_with_its_problem(site, feeds):
    site.publish(catalog(entry()))
    site.files["/catalog.json"] += b" "
    (row,) = listed(feeds(site.url))
    assert row.name == "home"
    assert "wrong signature" in row.problem


def ssh(tmp_path, document, namespace="banger-kernels"):
    """Sign with a new key; returns the public key and the signature."""
    key, signed_file = tmp_path / "id", tmp_path / "signed"
    if not key.exists():
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", str(key)]
        subprocess.run(argv, check=True)
    signed_file.write_bytes(document)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key), str(signed_file)]
    subprocess.run(argv, check=True, capture_output=True)
    signature = signed_file.with_suffix(".sig")
    content = signature.read_bytes()
    signature.unlink()
    return key.with_suffix(".pub").read_text().strip(), content


@pytest.mark.parametrize("line", ["{}", "me@home {}", 'me@home,you namespaces="banger-kernels" {}'])
def test_what_openssh_has_signed_is_taken(tmp_path, feeds, line):
    document = catalog(entry())
    key, signature = ssh(tmp_path, document)
    (tmp_path / "catalog.json").write_bytes(document)
    (tmp_path / "catalog.json.sig").write_bytes(signature)
    cx = feeds(f"{tmp_path}/", key=line.format(key))
    assert resolve(cx).version == "6.9.1"
    (tmp_path / "catalog.json").write_bytes(document + b" ")
    with pytest.raises(IntegrityError, match="is not signed by"):
        resolve(cx)
    (tmp_path / "catalog.json").write_bytes(document)
    (tmp_path / "catalog.json.sig").write_bytes(ssh(tmp_path, document, "git")[1])
    with pytest.raises(IntegrityError, match="is not signed by"):
        resolve(cx)


def test_an_older_version_is_refused_until_the_user_insists(site, feeds):
    cx = feeds(site.url)
    site.publish(catalog(entry(kernel_version="6.10")))
    assert resolve(cx).version == "6.10"
    site.publish(catalog(entry(kernel_version="6.9")))
    with pytest.raises(Conflict, match=r"would go back to 6\.9") as caught:
        resolve(cx)
    assert "--force feeds://home/mine" in caught.value.hints[0]
    asyncio.run(SignedFeeds().accept("mine", cx))
    assert resolve(cx).version == "6.9"
    site.publish(catalog(entry(kernel_version="6.10")))
    assert resolve(cx).version == "6.10"


def test_another_content_of_the_same_version_is_refused_until_the_user_insists(site, feeds):
    cx = feeds(site.url)
    site.publish(catalog(entry()))
    resolve(cx)
    site.publish(catalog(entry(KERNEL + bytes(9))))
    with pytest.raises(Conflict, match="another one than before"):
        resolve(cx)
    assert listed(cx)[0].problem
    asyncio.run(SignedFeeds().accept("home/mine", cx))
    assert resolve(cx, "home/mine").size == len(KERNEL) + 9


def test_what_was_only_listed_is_remembered_too(site, feeds):
    cx = feeds(site.url)
    site.publish(catalog(entry(kernel_version="6.10")))
    assert not listed(cx)[0].problem
    site.publish(catalog(entry(kernel_version="6.9")))
    with pytest.raises(Conflict):
        resolve(cx)


def test_a_document_that_was_signed_earlier_is_not_taken_again(site, feeds):
    cx = feeds(site.url)
    site.publish(catalog(entry(), entry(name="new")), stamp=1_800_000_000)
    resolve(cx, "new")
    site.publish(catalog(entry()), stamp=1_700_000_000)
    assert resolve(cx, "new").name == "new"


def test_the_last_one_serves_while_the_server_is_away(site, feeds, monkeypatch):
    cx = feeds(site.url)
    with pytest.raises(Unreachable):
        resolve(cx)
    site.publish(catalog(entry()))
    resolve(cx)
    site.files.clear()
    assert resolve(cx).version == "6.9.1"
    asked = len(site.asked)
    monkeypatch.setattr(signed, "LISTED_FOR", 3600.0)
    assert listed(cx)[0].name == "mine"
    assert len(site.asked) == asked


def test_a_memory_that_cannot_be_read_is_not_forgotten(site, feeds):
    cx = feeds(site.url)
    site.publish(catalog(entry()))
    (cx.state_dir / "seen-home.json").write_text("{")
    with pytest.raises(IntegrityError, match="offered before"):
        resolve(cx)
    (cx.state_dir / "seen-home.json").unlink()
    resolve(cx)
    assert Seen(cx.state_dir / "seen-home.json", "home").problems({}) == {}


@pytest.mark.parametrize("name", ["other", "home/other", "nowhere/mine", "../x", ""])
def test_what_nobody_offers_is_not_found(site, feeds, name):
    site.publish(catalog(entry()))
    with pytest.raises(NotFound):
        resolve(feeds(site.url), name)


def test_a_kernel_for_other_hosts_is_refused(site, feeds, monkeypatch):
    site.publish(catalog(entry(arch="arm64")))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(UsageProblem, match="is for arm64"):
        resolve(feeds(site.url))


def test_versions_are_compared_as_versions():
    rising = [
        "6.1~a",
        "6.1",
        "6.9-rc2",
        "6.9",
        "6.9.1",
        "6.10",
        "6.10.0-2-cloud",
        "6.10.0-11-cloud",
    ]
    falling = rising[::-1]
    assert sorted(falling, key=order) == rising
