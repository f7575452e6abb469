from __future__ import annotations

import asyncio
import errno
import logging

import pytest

from banger_core.api import (
    HostileInput,
    HostNotReady,
    IntegrityError,
    NoSpace,
    NotFound,
    Unreachable,
)
from banger_core.testing.context import FakeContext
from banger_debian.archive import Archive
from banger_debian.settings import DebianSettings

IN_RELEASE = "/debian/dists/bookworm/InRelease"


def ask(cx, *names, suite="bookworm"):
    """Ask for the newest versions, and fetch them."""

    async def work():
        async with Archive(cx, suite, "amd64") as archive:
            found = await archive.newest(names)
            return found, await archive.fetch(list(found.values()), "packages")

    return asyncio.run(work())


def left_over(cx):
    """Everything in the cache but what is verified."""
    kept = cx.cache_dir / "sha256"
    return [path for path in cx.cache_dir.rglob("*") if path.is_file() and path.parent != kept]


def test_the_newest_version_of_all_repositories_is_fetched(cx, mirror):
    old = mirror.deb("tool", "1.0-1", {"usr/bin/tool": b"old"})
    new = mirror.deb("tool", "1.0-1+deb12u1", {"usr/bin/tool": b"new"}, prefix="debian-security")
    mirror.publish("bookworm", [old, mirror.deb("other", "2", {"a": b"b"})])
    mirror.publish("bookworm-updates")
    mirror.publish("bookworm-security", [new])
    found, (path,) = ask(cx, "tool")
    assert found["tool"].version == "1.0-1+deb12u1"
    assert path.read_bytes() == mirror.files["/debian-security/pool/main/tool_1.0-1+deb12u1.deb"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_fetched_twice(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1:2", {"a": b"b"})])
    ask(cx, "tool")
    mirror.requests.clear()
    ask(cx, "tool")
    # Only the signed indexes are asked for, and the mirror says that they still hold
    assert {path.rpartition("/")[2] for path, _ in mirror.requests} == {"InRelease"}


def test_two_that_want_one_file_fetch_it_once(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])

    async def work():
        async with Archive(cx, "bookworm", "amd64") as archive:
            package = (await archive.newest(["tool"]))["tool"]
            await asyncio.gather(*(archive.fetch([package], "tool") for _ in range(5)))

    asyncio.run(work())
    assert len(mirror.asked("/pool/")) == 1


@pytest.mark.parametrize("packing", ["xz", "gz", ""])
@pytest.mark.parametrize("by_hash", [True, False])
def test_every_packing_of_the_index_is_read(packing, by_hash, cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})], packing=packing, by_hash=by_hash)
    assert ask(cx, "tool")[0]["tool"].version == "1"
    assert bool(mirror.asked("by-hash/SHA256")) == by_hash or mirror.asked("updates")


def test_a_mirror_without_the_promised_by_hash_still_serves(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])
    for path in [path for path in mirror.files if "/by-hash/" in path]:
        del mirror.files[path]
    assert ask(cx, "tool")[0]["tool"].version == "1"


@pytest.mark.parametrize("what", ["package", "index"])
def test_a_wrong_digest_names_the_mirror_and_keeps_nothing(what, cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b" * 9999})])
    wrong = [path for path in mirror.files if ("/pool/" in path) == (what == "package")]
    for path in wrong:
        if "InRelease" not in path:
            content = mirror.files[path]
            mirror.files[path] = content[:-1] + bytes([content[-1] ^ 1]) if content else content
    with pytest.raises(IntegrityError, match=r"127\.0\.0\.1 serves a wrong"):
        ask(cx, "tool")
    digests = {path.name for path in (cx.cache_dir / "sha256").iterdir()}
    assert not any(name.endswith(".partial") for name in digests)
    assert what == "package" or not digests


def test_a_longer_file_is_refused_at_once(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])
    (path,) = [path for path in mirror.files if "/pool/" in path]
    mirror.files[path] += b"more" * (1 << 20)
    with pytest.raises(IntegrityError, match=r"serves a wrong tool_1\.deb"):
        ask(cx, "tool")


def resigned(change):
    """Publish what ``change`` makes of the signed document."""

    def publish(mirror):
        mirror.files[IN_RELEASE] = change(mirror.publish())

    return publish


REFUSED = {
    "text changed": resigned(lambda signed: signed.replace(b"Origin: Test", b"Origin: Evil")),
    "signature changed": resigned(lambda signed: signed.replace(b"\n=", b"\n=A", 1)),
    "unsigned": lambda mirror: mirror.publish(who=None),
    "unknown key": lambda mirror: mirror.publish(who="stranger"),
    "text before": resigned(lambda signed: b"Codename: bookworm\n\n" + signed),
    "text after": resigned(lambda signed: signed + b"\nCodename: bookworm\n"),
    "two messages": resigned(lambda signed: signed + signed),
    "nested": resigned(lambda signed: signed.replace(b"\n\n", b"\n\n-----BEGIN PGP X-----\n", 1)),
    "captive portal": resigned(lambda _: b"<html>please log in</html>"),
    "empty": resigned(lambda _: b""),
    "signature cut off": resigned(
        lambda signed: signed[: signed.index(b"-----BEGIN PGP SIGNATURE")]
    ),
    "another suite": lambda mirror: mirror.publish(codename="trixie"),
    "out of date": lambda mirror: mirror.publish(age=9 * 86400, valid=-86400),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_properly_signed_is_refused(case, cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])
    REFUSED[case](mirror)
    with pytest.raises(IntegrityError) as caught:
        ask(cx, "tool")
    assert mirror.url in caught.value.summary
    assert not mirror.asked("Packages")
    assert not [path for path in left_over(cx) if "bookworm-" not in path.name]


def test_a_key_that_has_expired_is_not_believed(cx, mirror, keys):
    mirror.publish_all([])
    # gpg refuses to sign with it later
    text = mirror.release("bookworm", [], "debian")
    late = ("--local-user", "late@example.org", "--clearsign")
    mirror.files[IN_RELEASE] = keys._gpg(*keys.LONG_AGO, *late, stdin=text)
    with pytest.raises(IntegrityError, match="not signed by a trusted key"):
        ask(cx, "tool")


def test_one_trusted_signature_among_others_is_enough(cx, mirror, keys):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])
    text = mirror.files[IN_RELEASE]
    body = (
        text[text.index(b"Origin") : text.index(b"-----BEGIN PGP SIGNATURE")].rstrip(b"\n") + b"\n"
    )
    mirror.files[IN_RELEASE] = keys._gpg(
        "--local-user",
        "stranger@example.org",
        "--local-user",
        "trusted@example.org",
        "--clearsign",
        stdin=body,
    )
    assert ask(cx, "tool")[0]["tool"].version == "1"


def test_a_missing_keyring_says_what_to_install(mirror, tmp_path):
    cx = FakeContext(tmp_path / "b", mirror.settings | {"keyring": tmp_path / "none.gpg"})
    mirror.publish_all([])
    with pytest.raises(HostNotReady) as caught:
        ask(cx, "tool")
    assert "sudo apt-get install debian-archive-keyring" in caught.value.hints


def test_a_missing_gpgv_says_what_to_install(cx, mirror, monkeypatch, tmp_path):
    mirror.publish_all([])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotReady, match="gpgv is not installed"):
        ask(cx, "tool")


@pytest.mark.parametrize(
    "changes",
    [
        {"Filename": "../../etc/passwd.deb"},
        {"Filename": "pool/../../x.deb"},
        {"Filename": "/etc/x.deb"},
        {"Filename": "http://evil.example/x.deb"},
        {"Filename": "//evil.example/x.deb"},
        {"Filename": "pool/./x.deb"},
        {"Filename": "pool//x.deb"},
        {"Filename": "pool/x.deb?y.deb"},
        {"Filename": "pool/x.deb#.deb"},
        {"Filename": "pool/a b.deb"},
        {"Filename": "pool/x.txt"},
        {"Filename": ""},
        {"SHA256": "0" * 63},
        {"SHA256": "../" + "0" * 61},
        {"Size": "-1"},
        {"Size": "0"},
        {"Size": "9" * 13},
        {"Size": "5368709120"},
        {"Size": "x"},
        {"Version": "1;rm"},
        {"Version": "9" * 300},
    ],
    ids=str,
)
def test_hostile_stanzas_are_refused(changes, cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"}) | changes])
    with pytest.raises(HostileInput):
        ask(cx, "tool")
    assert not mirror.asked("/pool/")
    assert not mirror.asked("evil")


def test_an_index_that_is_longer_than_signed_is_not_unpacked_further(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})], claim=20)
    with pytest.raises(HostileInput, match="longer than signed"):
        ask(cx, "tool")


def test_an_endless_release_is_cut_off(cx, mirror):
    mirror.publish_all([])
    mirror.files[IN_RELEASE] += b"#" * (5 << 20)
    with pytest.raises(HostileInput, match="too big"):
        ask(cx, "tool")


def test_stanzas_are_found_by_their_whole_name(cx, mirror):
    names = ["tool", "tool-extra", "xtool"]
    stanzas = [mirror.deb(name, "1", {"a": name.encode()}) for name in names]
    stanzas[1]["Description"] = "not the real one\n Package: tool"
    mirror.publish_all(stanzas)
    assert ask(cx, "tool")[0]["tool"].filename == "pool/main/tool_1.deb"
    with pytest.raises(NotFound):
        ask(cx, "too")


def test_a_cut_transfer_is_resumed(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": bytes(range(256)) * 99}, compress="none")])
    (path,) = [path for path in mirror.files if "/pool/" in path]
    mirror.faults[path] = [-5000, -1000]
    ask(cx, "tool")
    size = len(mirror.files[path])
    assert [start for _, start in mirror.asked("/pool/")] == [0, size - 5000, size - 1000]


def test_a_transfer_that_never_ends_well_keeps_nothing(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b" * 99})])
    (path,) = [path for path in mirror.files if "/pool/" in path]
    mirror.faults[path] = [-1] * 3
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1 did not give \S*tool_1\.deb"):
        ask(cx, "tool")
    assert not list((cx.cache_dir / "sha256").glob("*.partial"))
    assert not list((cx.cache_dir / "sha256").glob(".*"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again(status, cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])
    mirror.faults[IN_RELEASE] = [status, status]
    assert ask(cx, "tool")[0]["tool"].version == "1"


@pytest.mark.parametrize("status", [403, 404, 410, 451])
def test_final_failures_are_not_tried_again(status, cx, mirror):
    mirror.publish_all([])
    mirror.faults[IN_RELEASE] = [status] * 9
    with pytest.raises(Unreachable) as caught:
        ask(cx, "tool")
    assert str(status) in caught.value.cause
    assert len(mirror.asked(IN_RELEASE)) == 1


def test_without_a_network_what_was_verified_serves(cx, mirror, caplog):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])
    ask(cx, "tool")
    mirror.stop()
    with caplog.at_level(logging.WARNING):
        assert ask(cx, "tool")[0]["tool"].version == "1"
    assert "using what was verified before" in caplog.text


def test_without_a_network_and_a_cache_it_says_what_to_do(cx, mirror):
    mirror.stop()
    with pytest.raises(Unreachable) as caught:
        ask(cx, "tool")
    assert any(hint.startswith("check the network") for hint in caught.value.hints)


def test_what_was_verified_is_verified_again(cx, mirror):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])
    ask(cx, "tool")
    (place,) = (cx.cache_dir / "releases").glob("bookworm-[0-9a-f]*.json")
    place.write_text(place.read_text().replace("Origin: Test", "Origin: Evil"))
    mirror.stop()
    with pytest.raises(IntegrityError):
        ask(cx, "tool")


def test_an_older_index_does_not_take_us_back(cx, mirror):
    new, old = (mirror.deb("tool", version, {"a": b"b"}) for version in ("2", "1"))
    mirror.publish_all([new], age=60)
    ask(cx, "tool")
    mirror.publish("bookworm", [old], age=6000)
    assert ask(cx, "tool")[0]["tool"].version == "2"
    mirror.publish("bookworm", [old], age=0)
    assert ask(cx, "tool")[0]["tool"].version == "1"


def test_a_full_disk_keeps_nothing_and_the_next_try_works(cx, mirror, monkeypatch):
    mirror.publish_all([mirror.deb("tool", "1", {"a": b"b"})])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("banger_core.store.content.os.write", full)
        with pytest.raises(NoSpace):
            ask(cx, "tool")
    assert not [path for path in cx.cache_dir.rglob("*") if path.is_file()]
    assert ask(cx, "tool")[0]["tool"].version == "1"


def test_an_unknown_suite_lists_the_known_ones(cx):
    with pytest.raises(NotFound) as caught:
        Archive(cx, "bokworm", "amd64")
    assert "did you mean bookworm?" in caught.value.hints


@pytest.mark.parametrize(
    "settings",
    [
        {"mirror": "ftp://host/debian"},
        {"mirror": "http://user:secret@host/debian"},
        {"mirror": "http://host/debian main\ndeb http://evil"},
        {"mirror": "http://host/../x"},
        {"mirror": "http://host/[x]"},
        {"keyring": "relative.gpg"},
        {"keyring": "/a b.gpg"},
        {"extra_packages": ["--option"]},
        {"extra_packages": ["A"]},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_settings_that_could_reach_a_sources_list_are_checked(settings):
    with pytest.raises(ValueError, match="validation error"):
        DebianSettings.model_validate(settings)
