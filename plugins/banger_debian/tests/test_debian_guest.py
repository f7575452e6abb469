from __future__ import annotations

import asyncio
import time

import pytest

from banger_core.api import IntegrityError, Unreachable
from banger_core.testing.contracts.guest import GuestRuntimeContract
from banger_debian.guest import DebianGuest

LOADER = "ld-linux-x86-64.so.2"
LIB = "lib/x86_64-linux-gnu"


@pytest.fixture
def stanzas(mirror, elf):
    """A guest's packages, with the needs that the real ones have."""

    def program(*libraries):
        return elf(libraries, LOADER)

    def library(name, *needs, full=None):
        files = {f"{LIB}/{full or name}": elf(needs) + name.encode()}
        return {"files": files, "links": [(f"{LIB}/{name}", full)] if full else []}

    packages = {
        "busybox-static": {"files": {"bin/busybox": elf() + b"busybox"}},
        "dropbear-bin": {
            "files": {"usr/sbin/dropbear": program("libtomcrypt.so.1", "libz.so.1", "libc.so.6")}
        },
        "libc6": {"files": {f"{LIB}/libc.so.6": elf([LOADER]), f"{LIB}/{LOADER}": elf()}},
        "libcrypt1": library("libcrypt.so.1"),
        "libgmp10": library("libgmp.so.10", "libc.so.6", full="libgmp.so.10.4.1"),
        "libtomcrypt1": library("libtomcrypt.so.1", "libgmp.so.10"),
        "libtommath1": library("libtommath.so.1"),
        "openssh-client": {"files": {"usr/bin/scp": program("libc.so.6")}},
        "openssh-sftp-server": {"files": {"usr/lib/openssh/sftp-server": program("libc.so.6")}},
        "zlib1g": library("libz.so.1", full="libz.so.1.2.13"),
    }
    return {
        name: mirror.deb(name, "1", one["files"], links=one.get("links", ()))
        for name, one in packages.items()
    }


@pytest.fixture
def archive(mirror, stanzas):
    mirror.publish_all(stanzas.values())
    return mirror


class TestContract(GuestRuntimeContract):
    make = DebianGuest

    @pytest.fixture
    def cx(self, archive, cx):
        return cx


def get(cx, architecture="amd64"):
    async def work():
        pin = await DebianGuest().resolve(architecture, cx)
        return pin, await DebianGuest().materialise(pin, cx)

    return asyncio.run(work())


def test_exactly_the_libraries_that_are_loaded_come_along(cx, archive):
    _, files = get(cx)
    assert files.loader == LOADER
    # libcrypt and libtommath: nobody here needs them; libgmp: only through libtomcrypt
    assert set(files.libraries) == {
        LOADER,
        "libc.so.6",
        "libgmp.so.10",
        "libtomcrypt.so.1",
        "libz.so.1",
    }
    assert files.libraries["libz.so.1"].read_bytes().endswith(b"libz.so.1")
    for path in (*files.programs.values(), *files.libraries.values()):
        assert path.stat().st_mode & 0o777 == 0o700


def test_the_second_time_needs_no_network(cx, archive):
    first = get(cx)
    archive.stop()
    archive.requests.clear()
    assert get(cx, "x86_64") == first
    assert not archive.requests


def test_after_a_month_newer_packages_are_taken(cx, archive, stanzas, monkeypatch, elf):
    pin, _ = get(cx)
    newer = archive.deb("busybox-static", "2", {"bin/busybox": elf() + b"newer"})
    archive.publish_all([*stanzas.values(), newer], age=0)
    assert get(cx)[0] == pin
    later = time.time() + 31 * 86400
    monkeypatch.setattr("banger_debian.memory.time.time", lambda: later)
    fresh, files = get(cx)
    assert fresh.versions["busybox-static"] == "2"
    assert files.programs["busybox"].read_bytes().endswith(b"newer")


def test_after_a_month_offline_the_old_ones_still_serve(cx, archive, monkeypatch, tmp_path):
    first = get(cx)
    archive.stop()
    (cx.cache_dir / "releases").rename(tmp_path / "gone")
    later = time.time() + 31 * 86400
    monkeypatch.setattr("banger_debian.memory.time.time", lambda: later)
    assert get(cx) == first


def test_a_vanished_cache_is_filled_again(cx, archive, tmp_path):
    pin, _ = get(cx)
    cx.cache_dir.rename(tmp_path / "gone")
    again, files = get(cx)
    assert again == pin
    assert all(path.is_file() for path in files.programs.values())


def test_a_vanished_cache_and_no_network_is_unreachable(cx, archive, tmp_path):
    get(cx)
    archive.stop()
    cx.cache_dir.rename(tmp_path / "gone")
    with pytest.raises(Unreachable):
        get(cx)


def test_a_changed_program_is_taken_out_anew(cx, archive):
    _, files = get(cx)
    good = files.programs["dropbear"].read_bytes()
    files.programs["dropbear"].write_bytes(good + b"changed")
    assert get(cx)[1].programs["dropbear"].read_bytes() == good


@pytest.mark.parametrize("memory", ["", "{", "[]", '{"at": 1, "value": {"packages": [{}]}}'])
def test_a_damaged_memory_counts_as_none(memory, cx, archive):
    pin, _ = get(cx)
    (cx.state_dir / "guest-amd64.json").write_text(memory)
    assert get(cx)[0] == pin


def test_a_missing_library_is_named(cx, mirror, stanzas):
    stanzas["libgmp10"] = mirror.deb("libgmp10", "2", {f"{LIB}/other.so": b"x"})
    mirror.publish_all(stanzas.values())
    with pytest.raises(IntegrityError) as caught:
        get(cx)
    assert caught.value.cause == "none of them has libgmp.so.10"


def test_a_busybox_that_needs_libraries_is_refused(cx, mirror, stanzas, elf):
    dynamic = elf(["libc.so.6"], LOADER)
    stanzas["busybox-static"] = mirror.deb("busybox-static", "2", {"bin/busybox": dynamic})
    mirror.publish_all(stanzas.values())
    with pytest.raises(IntegrityError, match="not static"):
        get(cx)


def test_a_package_without_its_program_is_refused(cx, mirror, stanzas):
    stanzas["openssh-client"] = mirror.deb("openssh-client", "2", {"usr/bin/ssh": b"x"})
    mirror.publish_all(stanzas.values())
    with pytest.raises(IntegrityError) as caught:
        get(cx)
    assert caught.value.cause == "missing: scp"
