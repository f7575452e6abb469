from __future__ import annotations

import asyncio
import fcntl
import io
import os
import shutil
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.api import (
    BangerError,
    HostNotReady,
    ImageRef,
    IntegrityError,
    Interrupted,
    NoSpace,
    NotFound,
    Unreachable,
    UsageProblem,
)
from banger_core.testing.context import FakeContext
from banger_core.testing.contracts.image import ImageSourceContract
from banger_debian.image import DebianImages
from banger_debian.reference import DEFAULT_INCLUDE, parse_reference

# Takes the place of mmdebstrap: says what it would say, and gives a tar that was made before
MMDEBSTRAP = """#!/bin/sh
for argument; do case $argument in *.partial) target=$argument;; esac; done
{ printf '%s\\n' "$@"; echo "TMPDIR=$TMPDIR"; echo "umask=$(umask)"; env; } >"$FAKE/asked"
mkdir "$TMPDIR/chroot" && echo half >"$TMPDIR/chroot/file" && echo half >"$target"
echo "I: running apt-get update..."
for index in $(cat "$FAKE/indexes"); do
    echo "$index  $TMPDIR/chroot/var/lib/apt/lists/m_Packages"
done
. "$FAKE/then"
cp "$FAKE/root.tar" "$target"
echo "I: success in 0.1 seconds"
"""
# As root there are real namespaces; here the options are dropped, so that any user can test
UNSHARE = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Fake programs on PATH; ``tools / "then"`` is what mmdebstrap does in the middle."""
    fake = tmp_path / "fake"
    fake.mkdir()
    for name, text in (("mmdebstrap", MMDEBSTRAP), ("unshare", UNSHARE)):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    (fake / "then").write_text("")
    with tarfile.open(fake / "root.tar", "w") as tar:
        for name, content in {
            "./etc/hostname": b"localhost\n",
            "./var/lib/apt/lists/partial/x": b"",
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name in (".", "./var/lib/apt/lists/partial/", "./usr/"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
    monkeypatch.setenv("FAKE", str(fake))
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    return fake


@pytest.fixture
def archive(mirror, tools):
    packages = (*DEFAULT_INCLUDE, "git", "vim")
    mirror.publish_all([mirror.deb(name, "1", {"a": b"b"}) for name in packages])
    return mirror


def resolve(cx, text="debian://bookworm"):
    return asyncio.run(DebianImages().resolve(ImageRef.parse(text), cx))


def fetch(cx, pin, tools):
    (tools / "indexes").write_text(" ".join(pin.data["indexes"]))
    asyncio.run(DebianImages().fetch(pin, cx))


def cached(cx):
    """Every file in the cache that is not of the archive client."""
    skip = ("releases", "sha256")
    return [
        path
        for path in cx.cache_dir.rglob("*")
        if path.is_file() and path.relative_to(cx.cache_dir).parts[0] not in skip
    ]


class TestContract(ImageSourceContract):
    ref = "debian://bookworm"
    missing = "debian://bokworm"

    class Ready(DebianImages):
        """What mmdebstrap sees is what was pinned."""

        async def fetch(self, pin, cx):
            Path(os.environ["FAKE"], "indexes").write_text(" ".join(pin.data["indexes"]))
            await super().fetch(pin, cx)

    make = Ready

    @pytest.fixture
    def cx(self, archive, cx):
        return cx


def test_only_this_hosts_platform_can_be_made(cx, archive):
    def of(platform):
        ref = replace(ImageRef.parse("debian://bookworm"), platform=platform)
        return asyncio.run(DebianImages().resolve(ref, cx))

    own = resolve(cx)
    assert of(f"linux/{own.architecture}").digest == own.digest
    with pytest.raises(UsageProblem) as caught:
        of("linux/riscv64")
    assert caught.value.summary == "debian://bookworm cannot be made for 'linux/riscv64'"
    assert f"linux/{own.architecture}" in caught.value.cause


def test_mmdebstrap_gets_the_pinned_recipe_and_a_place_of_its_own(cx, archive, tools):
    pin = resolve(cx, "debian://bookworm?include=git")
    fetch(cx, pin, tools)
    asked = (tools / "asked").read_text().splitlines()
    assert "--variant=minbase" in asked
    assert f"--include={','.join(sorted({*DEFAULT_INCLUDE, 'git'}))}" in asked
    key = f"[arch=amd64 signed-by={archive.settings['keyring']}]"
    assert f"deb {key} {archive.url}/debian bookworm main" in asked
    assert f"deb {key} {archive.url}/debian-security bookworm-security main" in asked
    assert f"SOURCE_DATE_EPOCH={pin.data['epoch']}" in asked
    assert "umask=0022" in asked
    # Inside the image another keyring counts
    assert f"BANGER_SOURCES=deb {archive.url}/debian bookworm main" in asked
    (place,) = {line for line in asked if line.startswith("TMPDIR=")}
    assert Path(place.removeprefix("TMPDIR=")).parent == cx.cache_dir / "build"
    assert sorted(path.suffix for path in cached(cx)) == [".json", ".tar"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in cached(cx))


def test_nothing_is_made_twice(cx, archive, tools):
    pin = resolve(cx)
    fetch(cx, pin, tools)
    (tools / "asked").unlink()
    fetch(cx, pin, tools)
    assert not (tools / "asked").exists()


def test_two_at_once_make_it_once(cx, archive, tools):
    pin = resolve(cx)
    (tools / "indexes").write_text(" ".join(pin.data["indexes"]))
    (tools / "then").write_text('echo once >>"$FAKE/times"\n')

    async def both():
        await asyncio.gather(*(DebianImages().fetch(pin, cx) for _ in range(3)))

    asyncio.run(both())
    assert (tools / "times").read_text() == "once\n"


def test_paths_are_plain_and_what_differs_between_users_is_left_out(cx, archive, tools):
    pin = resolve(cx)
    fetch(cx, pin, tools)
    with DebianImages().layers(pin, cx) as (layer,):
        names = [entry.path for entry in layer.entries()]
    assert names == [b"etc/hostname", b"var/lib/apt/lists/partial/x", b".", b"usr"]


def test_a_changed_tar_is_noticed(cx, archive, tools):
    pin = resolve(cx)
    fetch(cx, pin, tools)
    (tar,) = [path for path in cached(cx) if path.suffix == ".tar"]
    tar.write_bytes(tar.read_bytes().replace(b"localhost\n", b"evil-host\n"))
    with DebianImages().layers(pin, cx) as (layer,), pytest.raises(IntegrityError, match="damaged"):
        list(layer.entries())


def test_layers_of_what_was_not_fetched_say_what_to_do(cx, archive):
    pin = resolve(cx)
    with pytest.raises(HostNotReady) as caught, DebianImages().layers(pin, cx):
        pass
    assert caught.value.hints == ("banger image pull debian://bookworm",)


def test_an_archive_that_moved_on_is_refused(cx, archive, tools):
    pin = resolve(cx)
    (tools / "indexes").write_text("0" * 64)
    with pytest.raises(IntegrityError, match="has changed in the meantime"):
        asyncio.run(DebianImages().fetch(pin, cx))
    assert not cached(cx)


FAILURES = {
    "E: No space left on device": NoSpace,
    "dpkg: error: failed to write (Disk quota exceeded)": NoSpace,
    "unshare: unshare failed: Operation not permitted": HostNotReady,
    "newuidmap: write to uid_map failed: Operation not permitted": HostNotReady,
    "E: Failed to fetch http://m/x.deb  Could not connect to m:80": Unreachable,
    "E: Failed to fetch http://m/x.deb  Hash Sum mismatch": IntegrityError,
    "E: The repository 'http://m bookworm InRelease' is not signed.": IntegrityError,
    "E: run_chroot failed: whatever": BangerError,
}


@pytest.mark.parametrize("line", FAILURES)
def test_failures_are_told_apart_and_leave_nothing(line, cx, archive, tools):
    pin = resolve(cx)
    (tools / "then").write_text(f'echo "I: chatter"\necho "{line}" >&2\necho "I: more"\nexit 29\n')
    with pytest.raises(BangerError) as caught:
        fetch(cx, pin, tools)
    assert type(caught.value) is FAILURES[line]
    assert caught.value.cause == line
    assert not cached(cx)
    assert not list((cx.cache_dir / "build").iterdir())
    (tools / "then").write_text("")
    fetch(cx, pin, tools)


def running(tools):
    """Processes whose environment has the test's own directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"FAKE={tools}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return [pid for pid in found if int(pid) != os.getpid()]


@pytest.mark.parametrize("how", ["task", "progress"])
def test_a_cancelled_fetch_leaves_no_process_and_no_file(how, cx, archive, tools, monkeypatch):
    pin = resolve(cx)
    (tools / "indexes").write_text("")
    (tools / "then").write_text('sleep 1000 & touch "$FAKE/up"; wait\n')

    async def cancel():
        fetching = asyncio.ensure_future(DebianImages().fetch(pin, cx))

        def progress(*_):
            if not (tools / "up").exists():
                return
            if how == "progress":
                raise Interrupted("stopped")
            fetching.cancel()

        monkeypatch.setattr(cx, "progress", progress)
        async with asyncio.timeout(20):
            await fetching

    with pytest.raises(asyncio.CancelledError if how == "task" else Interrupted):
        asyncio.run(cancel())
    assert not running(tools)
    assert not cached(cx)
    assert not list((cx.cache_dir / "build").iterdir())


def test_what_a_crash_left_is_removed_and_what_runs_is_not(cx, archive, tools):
    build = cx.cache_dir / "build"
    (build / "crashed" / "chroot").mkdir(parents=True)
    busy = build / "busy"
    busy.mkdir()
    handle = os.open(busy, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        fetch(cx, resolve(cx), tools)
        assert [path.name for path in build.iterdir()] == ["busy"]
    finally:
        os.close(handle)


def test_without_mmdebstrap_it_says_what_to_install(cx, archive, tools, monkeypatch):
    pin = resolve(cx)
    bare = tools / "bare"
    bare.mkdir()
    for name in ("sh", "rm"):
        (bare / name).symlink_to(shutil.which(name))
    (tools / "unshare").rename(bare / "unshare")
    monkeypatch.setenv("PATH", str(bare))
    with pytest.raises(HostNotReady) as caught:
        fetch(cx, pin, tools)
    assert caught.value.hints == ("sudo apt-get install mmdebstrap",)
    assert not cached(cx)


def test_the_digest_follows_the_content_and_nothing_else(cx, archive, mirror, tmp_path):
    pin = resolve(cx)
    mirror.publish("bookworm-security", age=10)
    assert resolve(cx).digest == pin.digest, "signed anew, but nothing else"
    assert resolve(cx, "debian://bookworm?include=git").digest != pin.digest
    more = FakeContext(tmp_path / "more", mirror.settings | {"extra_packages": ["git"]})
    assert resolve(more).digest != pin.digest
    changed = mirror.deb("linux", "2", {"a": b"b"}, prefix="debian-security")
    mirror.publish("bookworm-security", [changed], age=5)
    assert resolve(cx).digest != pin.digest


def test_names_tell_variants_and_packages_apart(cx, archive):
    names = {
        text: resolve(cx, f"debian://bookworm{text}").name
        for text in ("", "?variant=minbase", "?variant=apt", "?include=git", "?include=git,vim")
    }
    assert names[""] == names["?variant=minbase"] == "debian-bookworm"
    assert names["?variant=apt"] == "debian-bookworm-apt"
    assert len(set(names.values())) == 4


def test_unknown_packages_are_named_before_anything_is_made(cx, mirror):
    mirror.publish_all([mirror.deb(name, "1", {"a": b"b"}) for name in DEFAULT_INCLUDE])
    with pytest.raises(NotFound, match="no package named 'no-such-thing'"):
        resolve(cx, "debian://bookworm?include=no-such-thing")


def test_offline_the_cached_image_serves(cx, archive, tools, tmp_path):
    pin = resolve(cx)
    fetch(cx, pin, tools)
    archive.stop()
    (cx.cache_dir / "releases").rename(tmp_path / "gone")
    assert resolve(cx) == pin
    with pytest.raises(Unreachable):
        resolve(cx, "debian://bookworm?variant=apt")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("debian://", NotFound),
        ("debian://jammy", NotFound),
        ("debian://../x", NotFound),
        ("debian://bookworm/slim", NotFound),
        ("debian://bookworm?variant=huge", NotFound),
        ("debian://bookworm?colour=blue", UsageProblem),
        ("debian://bookworm?variant=apt&variant=apt", UsageProblem),
        ("debian://bookworm?include=--option", UsageProblem),
        ("debian://bookworm?include=a/b", UsageProblem),
        ("debian://bookworm?include=git;rm", UsageProblem),
        (f"debian://bookworm?include={','.join(f'p{n}' for n in range(201))}", UsageProblem),
    ],
)
def test_bad_references_are_refused_before_anything_is_asked(text, kind):
    with pytest.raises(UsageProblem) as caught:
        parse_reference(ImageRef.parse(text))
    assert type(caught.value) is kind


def test_a_trailing_slash_and_empty_names_do_not_matter():
    one = parse_reference(ImageRef.parse("debian://bookworm/?include=vim,,git,&"))
    other = parse_reference(ImageRef.parse("debian://bookworm?include=git,vim"))
    assert one == other


def test_time_stands_for_the_release(cx, archive):
    assert time.time() - 3700 < resolve(cx).data["epoch"] < time.time() - 3500
