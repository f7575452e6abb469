"""Kernels that cannot be imported, and what of the catalogue stays as it was."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from banger_core.testing.fakes import CONFIG
from banger_core.testing.kernel_images import (
    COMPLETE,
    RELEASE,
    configuration_text,
    make_bzimage,
    make_modules,
    make_vmlinux,
)

GOOD = make_bzimage(gzip.compress(make_vmlinux()))
PLAIN = {**COMPLETE, "VIRTIO_BLK": "m"}


@pytest.fixture
def shelf(house):
    """A house that keeps kernels as a real one does, with the kernel ``good``."""
    house = house.with_env(BANGER_PLUGINS="fakes,kernels")
    house.configure(CONFIG.replace('catalogue = "fake-catalogue"', 'catalogue = "catalogue"'))
    (house.home / "good").write_bytes(GOOD)
    house.ok("kernel", "import", "good", "--kernel", str(house.home / "good"))
    yield house
    assert "Traceback" not in house.log()
    house.ok("daemon", "stop")


def kept(house):
    """Everything in the catalogue, with its content."""
    kernels = house.state / "kernels"
    return {
        str(path.relative_to(kernels)): path.read_bytes()
        for path in kernels.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


IMAGES = {
    "truncated": (GOOD[: len(GOOD) - 200], "damaged", "cut off"),
    "damaged": (make_bzimage(gzip.compress(make_vmlinux())[:-40]), "damaged", "gzip"),
    "magic": (b"#!/bin/sh\n" * 999, "not an x86 kernel image", "header is missing"),
    "packing": (make_bzimage(b"strange"), "unknown format", "737472616e67"),
    "no-elf": (make_bzimage(gzip.compress(b"text")), "not a bootable kernel", "no"),
    "other": (make_vmlinux(machine=183), "is for arm64", "emulates no other processor"),
    "arm64-image": (bytes(56) + b"ARM\x64" + bytes(999), "not an x86", "Image for arm64"),
    "no-version": (make_vmlinux(release=""), "does not say which version", "Linux version"),
    "empty": (b"", "cannot be taken", "empty"),
    "no-disk": (make_vmlinux(configuration=PLAIN), "no machine would start", "virtio_blk"),
}


def test_images_that_cannot_boot_are_refused_and_nothing_changes(shelf):
    before = kept(shelf)
    for name, (image, error, cause) in IMAGES.items():
        (shelf.home / name).write_bytes(image)
        words = ("kernel", "import", "bad", "--kernel", str(shelf.home / name))
        failure = shelf.fails(*words, code=2)
        assert (error in failure.error, cause in failure.cause) == (True, True), failure
    failure = shelf.fails_as_json(*words, code=2)
    assert any("--force" in hint for hint in failure.hints)
    other = ("kernel", "import", "--force", "bad", "--kernel", str(shelf.home / "other"))
    shelf.fails(*other, code=2)
    assert kept(shelf) == before


def test_what_a_guest_misses_is_said_and_taken_with_force(shelf):
    (shelf.home / "no-disk").write_bytes(make_vmlinux(configuration=PLAIN))
    done = shelf.run("kernel", "import", "--force", "odd", "--kernel", str(shelf.home / "no-disk"))
    assert (done.returncode, done.stdout) == (0, "odd\n")
    assert "no virtio_blk: the root disk is not found" in done.stderr
    shown = shelf.json("kernel", "show", "odd")
    assert shown["facts"]["features"]["virtio_blk"] == "missing"
    assert shown["version"] == RELEASE


def test_a_kernel_with_all_its_parts_is_kept_and_verified(shelf):
    place = shelf.home / "parts"
    place.mkdir()
    (place / "vmlinuz").write_bytes(GOOD)
    (place / "initrd.img").write_bytes(b"initrd")
    (place / "config").write_text(configuration_text(COMPLETE))
    make_modules(place / "modules", "ext4")
    shelf.ok("kernel", "import", "whole", "--from", str(place))
    entry = shelf.state / "kernels" / "whole"
    assert {path.name for path in entry.iterdir()} >= {
        *("vmlinux", "initrd.img", "modules", "config", "manifest.json")
    }
    assert set(json.loads((entry / "manifest.json").read_text())) == {
        *("name", "distro", "arch", "kernel_version", "sha256", "source", "imported_at")
    }
    assert shelf.json("kernel", "show", "whole", "--verify")["problems"] == []
    with (entry / "vmlinux").open("ab") as kernel:
        kernel.write(b"x")
    done = shelf.run("kernel", "show", "whole", "--verify", "--json")
    assert done.returncode == 1
    assert "vmlinux" in json.loads(done.stdout)["problems"][0]
    done = shelf.run("kernel", "show", "whole", "--verify")
    assert (done.returncode, "verified" in done.stdout) == (1, True)
    shelf.ok("kernel", "show", "whole")


@pytest.mark.parametrize("name", ["a/b", "..", ".", ".hidden", "-x", "a b", "../good", "x" * 200])
def test_names_that_are_none_are_refused(shelf, name):
    before = kept(shelf)
    words = ("kernel", "import", "--kernel", str(shelf.home / "good"), "--", name)
    failure = shelf.fails(*words, code=2)
    assert "is not a kernel's name" in failure.error
    assert kept(shelf) == before


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--kernel", "a", "--from", "b"),
        ("--boot", "6.1", "--deb", "b"),
        ("--boot", "6.1", "--modules", "b"),
        ("--from", "a", "--initrd", "b"),
    ],
    ids=" ".join,
)
def test_a_kernel_comes_from_one_place(shelf, words):
    failure = shelf.refuses("kernel", "import", "new", *words)
    assert "--kernel" in failure.error + failure.cause


def test_a_taken_name_is_kept_unless_it_is_forced(shelf):
    before = kept(shelf)
    (shelf.home / "new").write_bytes(make_vmlinux(release="7.0-new"))
    words = ("kernel", "import", "good", "--kernel", str(shelf.home / "new"))
    failure = shelf.refuses(*words, code=1)
    assert failure.error == "kernel good is here already"
    assert kept(shelf) == before
    shelf.ok(*words, "--force")
    assert shelf.json("kernel", "show", "good")["version"] == "7.0-new"


def test_of_two_imports_of_one_name_at_once_one_is_kept(shelf):
    releases = [f"6.{number}.0-race" for number in range(4)]
    for release in releases:
        (shelf.home / release).write_bytes(make_vmlinux(release=release))

    def take(release):
        return shelf.run("kernel", "import", "same", "--kernel", str(shelf.home / release))

    with ThreadPoolExecutor(len(releases)) as pool:
        done = list(pool.map(take, releases))
    assert sorted(one.returncode for one in done) == [0, 1, 1, 1]
    won = releases[[one.returncode for one in done].index(0)]
    assert all("kernel same is here already" in one.stderr for one in done if one.returncode)
    assert shelf.json("kernel", "show", "same", "--verify")["version"] == won
    assert list((shelf.state / "incoming").iterdir()) == []


def broken_manifest(text):
    def do(entry):
        (entry / "manifest.json").write_text(text)

    return do


def lacking_manifest(entry):
    fields = json.loads((entry / "manifest.json").read_text())
    del fields["sha256"]
    (entry / "manifest.json").write_text(json.dumps(fields))


def linked_kernel(entry):
    (entry / "vmlinux").unlink()
    (entry / "vmlinux").symlink_to("/etc/passwd")


def linked_entry(entry):
    entry.rename(entry.parent.parent / "elsewhere")
    entry.symlink_to("../elsewhere")


BROKEN = {
    "not-json": (broken_manifest("{"), ""),
    "not-an-object": (broken_manifest("[]"), "no JSON object"),
    "lacking": (lacking_manifest, "sha256"),
    "linked-kernel": (linked_kernel, "vmlinux is not a regular file"),
    "linked-entry": (linked_entry, "not a directory"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_entries_are_shown_with_their_problem(shelf, how):
    spoil, problem = BROKEN[how]
    spoil(shelf.state / "kernels" / "good")
    (listed,) = shelf.json("kernel", "list")
    assert listed["name"] == "good"
    assert listed["problem"]
    assert problem in listed["problem"]
    done = shelf.run("kernel", "show", "good", "--verify", "--json")
    assert done.returncode == 1, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["facts"], bool(shown["problems"])) == (None, True)
    failure = shelf.fails("image", "pull", "--kernel-ref", "catalogue://good", "fake://x", code=1)
    assert failure.error == "kernel good cannot be used"
    shelf.ok("kernel", "import", "good", "--force", "--kernel", str(shelf.home / "good"))
    assert shelf.json("kernel", "show", "good", "--verify")["problems"] == []


def test_a_removed_kernel_breaks_no_image(shelf):
    shelf.ok("image", "pull", "--kernel-ref", "good", "fake://small")
    (image,) = (shelf.state / "images").iterdir()
    before = (image / "kernel" / "vmlinux").read_bytes()
    assert before == make_vmlinux()
    done = shelf.run("kernel", "rm", "good")
    assert done.returncode == 0
    assert "images made with it keep their own copy: small" in done.stderr
    assert shelf.json("kernel", "list") == []
    shelf.ok("vm", "run", "--detach", "--name", "web", "small")
    assert [vm["kernel"] for vm in shelf.json("vm", "list")] == [f"good {RELEASE}"]
    # Another one of that name is another file
    (shelf.home / "new").write_bytes(make_vmlinux(release="7.0-new"))
    shelf.ok("kernel", "import", "good", "--kernel", str(shelf.home / "new"))
    shelf.ok("kernel", "import", "--force", "good", "--kernel", str(shelf.home / "good"))
    assert (image / "kernel" / "vmlinux").read_bytes() == before
    shelf.ok("vm", "delete", "--force", "web")


def slowly(pid, true):
    """Let a process go on in small steps until something is ``true``; then it stands still."""
    deadline = time.monotonic() + 100
    os.kill(pid, signal.SIGSTOP)
    while not true():
        assert time.monotonic() < deadline
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.02)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.02)


@pytest.fixture
def long_import(shelf):
    """An import whose daemon stands still while it copies modules; gives both processes."""
    place = make_modules(shelf.home / "m", *(f"m{number}" for number in range(15000)))
    daemon = shelf.json("daemon", "status")["pid"]
    words = ("kernel", "import", "long", "--kernel", str(shelf.home / "good"), "--modules", place)
    process = subprocess.Popen(
        [*shelf.python, *words], env=shelf.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        slowly(daemon, lambda: any(shelf.state.glob("incoming/*/modules/kernel/drivers/*")))
        yield process, daemon
    finally:
        with suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGCONT)
        process.kill()
        process.communicate()


def test_an_import_that_is_stopped_leaves_nothing(shelf, long_import):
    process, daemon = long_import
    before = kept(shelf)
    process.send_signal(signal.SIGINT)
    slowly(daemon, lambda: process.poll() is not None)
    os.kill(daemon, signal.SIGCONT)
    assert process.returncode == 130, process.stderr.read()
    assert kept(shelf) == before
    assert list((shelf.state / "incoming").iterdir()) == []


def test_an_import_whose_daemon_is_killed_leaves_nothing(shelf, long_import):
    process, daemon = long_import
    before = kept(shelf)
    os.kill(daemon, signal.SIGKILL)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 1
    assert b"Traceback" not in said
    assert [row["name"] for row in shelf.json("kernel", "list")] == ["good"]
    assert kept(shelf) == before
    assert not (shelf.state / "incoming").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_leaves_the_catalogue_as_it_was(house):
    house = house.with_env(BANGER_PLUGINS="fakes,kernels")
    house.configure(CONFIG.replace('catalogue = "fake-catalogue"', 'catalogue = "catalogue"'))
    for name, size in (("good", 0), ("big", 12 << 20)):
        (house.home / name).write_bytes(make_vmlinux(texts=os.urandom(size)))
    house.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", str(house.state)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        house.ok("kernel", "import", "good", "--kernel", str(house.home / "good"))
        before = kept(house)
        for force in ((), ("--force",)):
            name = "good" if force else "big"
            words = ("kernel", "import", *force, name, "--kernel", str(house.home / "big"))
            failure = house.fails(*words, code=4)
            assert failure.error.startswith("no space left in ")
        assert kept(house) == before
        assert house.json("kernel", "show", "good", "--verify")["problems"] == []
        house.ok("daemon", "stop")
    finally:
        subprocess.run(["umount", "--lazy", house.state], check=True)


def test_the_kernel_of_one_machine_is_not_that_of_its_image(shelf):
    """An image that is made for a machine with a kernel of its own gets the usual one."""
    shelf.ok("vm", "create", "--name", "web", "--kernel-ref", "good", "fake://small")
    assert [vm["kernel"] for vm in shelf.json("vm", "list")] == [f"good {RELEASE}"]
    assert [image["kernel"] for image in shelf.json("image", "list")] == ["fake-kernel 1.0-fake"]
    (machine,) = (shelf.state / "vms").iterdir()
    assert (machine / "kernel" / "vmlinux").read_bytes() == make_vmlinux()
    shelf.ok("vm", "delete", "web")


def test_where_the_usual_kernel_cannot_be_had_the_image_gets_the_machine_s(shelf):
    shelf.ok("daemon", "stop")
    shelf.configure(shelf.config_file.read_text().replace("fake-kernel", "no-kernel"))
    done = shelf.run("vm", "create", "--name", "web", "--kernel-ref", "good", "fake://small")
    assert done.returncode == 0, done.stderr
    assert "the image gets kernel good, too: no kernel named 'no-kernel'" in done.stderr
    assert [image["kernel"] for image in shelf.json("image", "list")] == [f"good {RELEASE}"]
    shelf.ok("vm", "delete", "web")


def test_a_kernel_that_was_built_again_is_the_one_that_boots(shelf):
    """Under the same name and with the same version, it is still another one."""
    shelf.ok("image", "pull", "--kernel-ref", "good", "fake://small")
    again = make_vmlinux(texts=b"built again")
    (shelf.home / "again").write_bytes(again)
    shelf.ok("kernel", "import", "--force", "good", "--kernel", str(shelf.home / "again"))
    shelf.ok("vm", "create", "--name", "web", "--kernel-ref", "good", "small")
    (machine,) = (shelf.state / "vms").iterdir()
    assert (machine / "kernel" / "vmlinux").read_bytes() == again
    shelf.ok("vm", "delete", "web")
