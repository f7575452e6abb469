from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import signal
from pathlib import Path

import pytest

from banger_core.api import (
    Conflict,
    HostileInput,
    IntegrityError,
    KernelCatalogue,
    KernelFiles,
    KernelPin,
    NoSpace,
    NotFound,
    UsageProblem,
)
from banger_core.testing.contracts.doctor import DoctorCheckContract
from banger_core.testing.contracts.kernel import KernelCatalogueContract
from banger_kernels import files as kernel_files
from banger_kernels import plugin, shelf
from banger_kernels.catalogue import Catalogue
from banger_kernels.doctor import KernelsCheck
from banger_kernels.manifest import Manifest, is_name

ELF = b"\x7fELF" + b"kernel" * 99


class TestContract(KernelCatalogueContract):
    make = Catalogue


@pytest.fixture
def keep(fake_context, tmp_path):
    """A function that adds a kernel made of small files, with modules."""
    made = iter(range(99))

    def keep(name="mine", *, replace=False, vmlinux=ELF, change=None):
        source = tmp_path / f"source-{next(made)}"
        modules = source / "modules" / "kernel" / "drivers"
        modules.mkdir(parents=True)
        (source / "vmlinux").write_bytes(vmlinux)
        (source / "initrd.img").write_bytes(b"initrd")
        (modules / "virtio.ko").write_bytes(b"module")
        (source / "modules" / "modules.order").write_text("kernel/drivers/virtio.ko\n")
        if change:
            change(source)
        pin = KernelPin(
            provider="debian",
            name=name,
            version="6.1.0-56-cloud-amd64",
            distro="debian",
            architecture="amd64",
            digest="sha256:" + "1" * 64,
            source="http://mirror.example/linux.deb",
        )
        files = KernelFiles.in_directory(source)
        return asyncio.run(Catalogue().add(pin, files, fake_context, replace=replace))

    return keep


def listed(cx):
    return {entry.name: entry for entry in asyncio.run(Catalogue().available(cx))}


def hidden(cx):
    return [one.name for one in cx.kernels_dir.glob(".[ngo]*")]


def test_it_is_declared_as_the_catalogue(fresh_registry):
    registry = fresh_registry(plugin)
    assert registry.kernel_providers.declared("catalogue").catalogue
    assert isinstance(registry.kernel_providers.load("catalogue"), KernelCatalogue)


def test_the_manifest_has_exactly_the_promised_fields(keep, fake_context):
    entry = keep("deb-12.cloud_1")
    place = fake_context.kernels_dir / "deb-12.cloud_1"
    manifest = json.loads((place / "manifest.json").read_text())
    assert list(manifest) == [
        "name",
        "distro",
        "arch",
        "kernel_version",
        "sha256",
        "source",
        "imported_at",
    ]
    assert manifest["sha256"] == hashlib.sha256(ELF).hexdigest()
    assert manifest["kernel_version"] == entry.version == "6.1.0-56-cloud-amd64"
    assert manifest["imported_at"].endswith("Z")
    assert entry == listed(fake_context)["deb-12.cloud_1"]
    assert not entry.problem


def test_everything_kept_is_private(keep, fake_context):
    keep()
    for path in (fake_context.kernels_dir, *fake_context.kernels_dir.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_initrd_and_modules_come_back(keep, fake_context, tmp_path):
    keep()
    out = tmp_path / "out"
    out.mkdir()

    async def back():
        pin = await Catalogue().resolve("mine", fake_context)
        return await Catalogue().materialise(pin, out, fake_context)

    files = asyncio.run(back())
    assert files.initrd.read_bytes() == b"initrd"
    assert (files.modules / "kernel/drivers/virtio.ko").read_bytes() == b"module"
    # A second name of the same file, which stays when the catalogue's entry goes
    assert files.vmlinux.stat().st_nlink == 2
    asyncio.run(Catalogue().remove("mine", fake_context))
    assert files.vmlinux.read_bytes() == ELF


def test_a_changed_kernel_is_not_handed_out(keep, fake_context, tmp_path):
    keep()
    pin = asyncio.run(Catalogue().resolve("mine", fake_context))
    (fake_context.kernels_dir / "mine" / "vmlinux").write_bytes(ELF + b"!")
    with pytest.raises(IntegrityError, match="changed"):
        asyncio.run(Catalogue().materialise(pin, tmp_path, fake_context))


def test_copies_are_made_where_links_cannot_be(keep, fake_context, tmp_path, monkeypatch):
    keep()

    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "other file system")

    monkeypatch.setattr(os, "link", refuse)
    out = tmp_path / "out"
    out.mkdir()
    pin = asyncio.run(Catalogue().resolve("mine", fake_context))
    files = asyncio.run(Catalogue().materialise(pin, out, fake_context))
    assert files.vmlinux.read_bytes() == ELF
    assert files.vmlinux.stat().st_nlink == 1


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../x", "a b", "a\n", "a\0", "ä", "x" * 129]
)
def test_bad_names_are_refused_before_anything_is_made(name, keep, fake_context):
    assert not is_name(name)
    with pytest.raises(UsageProblem):
        keep(name)
    assert not listed(fake_context)
    assert not hidden(fake_context)


@pytest.mark.parametrize("name", ["..", "../kernels/mine", ".lock", "mine/vmlinux", ""])
def test_only_entries_can_be_removed(name, keep, fake_context):
    keep()
    with pytest.raises(NotFound):
        asyncio.run(Catalogue().remove(name, fake_context))
    assert not listed(fake_context)["mine"].problem


def test_a_missing_name_is_told_with_what_there_is(keep, fake_context):
    keep("bookworm-cloud")
    with pytest.raises(NotFound) as caught:
        asyncio.run(Catalogue().resolve("bookworm-cluod", fake_context))
    assert "did you mean bookworm-cloud?" in caught.value.hints


def spoil_manifest(**changes):
    def spoil(entry):
        path = entry / "manifest.json"
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: val for key, val in content.items() if val is not None}))

    return spoil


def replace_by_link(name):
    def spoil(entry):
        (entry / name).rename(entry.parent.parent / "elsewhere")
        (entry / name).symlink_to(entry.parent.parent / "elsewhere")

    return spoil


DAMAGE = {
    "no manifest": lambda entry: (entry / "manifest.json").unlink(),
    "empty manifest": lambda entry: (entry / "manifest.json").write_text(""),
    "no JSON": lambda entry: (entry / "manifest.json").write_text("{"),
    "a list": lambda entry: (entry / "manifest.json").write_text("[]"),
    "binary": lambda entry: (entry / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "deep": lambda entry: (entry / "manifest.json").write_text("[" * 60_000),
    "huge": lambda entry: (entry / "manifest.json").write_text(" " * 70_000 + "{}"),
    "field missing": spoil_manifest(sha256=None),
    "field unknown": spoil_manifest(colour="blue"),
    "field of another type": spoil_manifest(distro=7),
    "escape sequence": spoil_manifest(source="\x1b[2J"),
    "another's manifest": spoil_manifest(name="other"),
    "bad digest": spoil_manifest(sha256="f" * 63),
    "bad time": spoil_manifest(imported_at="yesterday"),
    "no time zone": spoil_manifest(imported_at="2026-01-01T00:00:00"),
    "no vmlinux": lambda entry: (entry / "vmlinux").unlink(),
    "empty vmlinux": lambda entry: (entry / "vmlinux").write_bytes(b""),
    "vmlinux is a link": replace_by_link("vmlinux"),
    "modules is a link": replace_by_link("modules"),
    "initrd is a link": replace_by_link("initrd.img"),
    "manifest is a link": replace_by_link("manifest.json"),
    "fifo": lambda entry: ((entry / "vmlinux").unlink(), os.mkfifo(entry / "vmlinux")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_broken_entries_are_listed_refused_and_removable(damage, keep, fake_context):
    keep("good")
    keep("bad")
    DAMAGE[damage](fake_context.kernels_dir / "bad")
    entries = listed(fake_context)
    assert entries["bad"].problem
    assert not entries["good"].problem
    with pytest.raises(IntegrityError) as caught:
        asyncio.run(Catalogue().resolve("bad", fake_context))
    assert caught.value.cause == entries["bad"].problem
    asyncio.run(Catalogue().remove("bad", fake_context))
    assert list(listed(fake_context)) == ["good"]


def test_a_linked_entry_is_broken_and_its_target_survives_removal(keep, fake_context, tmp_path):
    keep("real")
    (fake_context.kernels_dir / "alias").symlink_to(fake_context.kernels_dir / "real")
    (fake_context.kernels_dir / "stray.txt").write_text("not a kernel")
    entries = listed(fake_context)
    assert entries["alias"].problem
    assert entries["stray.txt"].problem
    asyncio.run(Catalogue().remove("alias", fake_context))
    asyncio.run(Catalogue().remove("stray.txt", fake_context))
    assert not listed(fake_context)["real"].problem


@pytest.mark.parametrize("kind", ["link", "fifo", "modules"])
def test_links_and_devices_are_not_taken_in(kind, keep, fake_context):
    def spoil(source):
        if kind == "modules":
            (source / "modules").rename(source / "elsewhere")
            (source / "modules").symlink_to("elsewhere")
        else:
            place = source / "modules" / "kernel" / "extra.ko"
            place.symlink_to("/etc/passwd") if kind == "link" else os.mkfifo(place)

    with pytest.raises(HostileInput):
        keep(change=spoil)
    assert not listed(fake_context)
    assert not hidden(fake_context)


def test_what_is_no_elf_is_not_kept(keep, fake_context):
    with pytest.raises(IntegrityError, match="cannot be kept"):
        keep(vmlinux=b"#!/bin/sh")
    assert not listed(fake_context)
    assert not hidden(fake_context)


def test_a_failed_replacement_leaves_the_old_entry(keep, fake_context, monkeypatch):
    keep()
    before = listed(fake_context)["mine"]
    monkeypatch.delattr(Manifest, "to_text")
    with pytest.raises(AttributeError):
        keep(replace=True, vmlinux=ELF + b"2")
    assert listed(fake_context)["mine"] == before
    assert not hidden(fake_context)


def test_a_full_disk_leaves_nothing(keep, fake_context, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kernel_files.os, "fsync", full)
    with pytest.raises(NoSpace):
        keep()
    assert not hidden(fake_context)
    monkeypatch.undo()
    assert not listed(fake_context)
    assert not keep().problem


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("stage", ["before", "between"])
def test_a_crash_during_replacement_keeps_the_old_entry(stage, keep, fake_context, monkeypatch):
    keep()
    rename = Path.rename

    def rename_or_die(path, to):
        return die() if path.name.startswith(".new") else rename(path, to)

    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    else:
        try:
            if stage == "between":
                monkeypatch.setattr(Path, "rename", rename_or_die)
            else:
                monkeypatch.setattr(shelf, "sync_tree", die)
            keep(replace=True, vmlinux=ELF + b"new")
        finally:
            os._exit(1)
    assert hidden(fake_context)
    assert listed(fake_context)["mine"].size == len(ELF)
    assert not listed(fake_context)["mine"].problem
    assert not hidden(fake_context)


def test_an_interrupted_removal_is_finished(keep, fake_context):
    keep()
    gone = fake_context.kernels_dir / ".gone-mine.aabbccddeeff"
    (fake_context.kernels_dir / "mine").rename(gone)
    assert not listed(fake_context)
    assert not hidden(fake_context)


def test_listing_does_not_disturb_a_writer(keep, fake_context):
    keep()
    busy = fake_context.kernels_dir / ".new-other.aabbccddeeff"
    busy.mkdir()
    with shelf._alone(fake_context.kernels_dir):
        assert list(listed(fake_context)) == ["mine"]
    assert busy.is_dir()


def test_a_taken_name_stays_as_it_is(keep, fake_context):
    keep()
    with pytest.raises(Conflict):
        keep(vmlinux=ELF + b"2")
    assert listed(fake_context)["mine"].size == len(ELF)


class TestKernelsCheck(DoctorCheckContract):
    make = KernelsCheck


def test_the_doctor_names_a_kernel_that_cannot_be_used(keep, fake_context):
    keep("good")
    keep("bad")
    (fake_context.kernels_dir / "bad" / "manifest.json").write_text("{")
    fine, broken = asyncio.run(KernelsCheck().check(fake_context))
    assert (fine.level, fine.message) == ("pass", "1 kernels are kept here, and can be used")
    assert broken.level == "warn"
    assert broken.message.startswith("bad cannot be used: ")
