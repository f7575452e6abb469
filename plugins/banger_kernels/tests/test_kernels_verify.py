"""Every file of a kept kernel against what was kept."""

from __future__ import annotations

import asyncio
import json

import pytest
from kernels_feeds import ELF

from banger_core.api import KernelFiles, KernelPin
from banger_kernels.catalogue import Catalogue


@pytest.fixture
def kept(fake_context, tmp_path):
    """The directory of a kernel that was just kept."""
    modules = tmp_path / "source/modules/kernel"
    modules.mkdir(parents=True)
    (tmp_path / "source/vmlinux").write_bytes(ELF)
    (tmp_path / "source/initrd.img").write_bytes(b"initrd")
    for number in range(40):
        (modules / f"m{number}.ko").write_bytes(b"module")
    pin = KernelPin(
        provider="feeds", name="mine", version="1", distro="d", architecture="amd64", digest="d"
    )
    files = KernelFiles.in_directory(tmp_path / "source")
    asyncio.run(Catalogue().add(pin, files, fake_context, replace=False))
    return fake_context.kernels_dir / "mine"


@pytest.fixture
def problems(fake_context):
    return lambda: asyncio.run(Catalogue().verify("mine", fake_context))


def spoil_digests(place):
    (place / "digests.json").write_text('{"initrd.img": 7}')


def link_digests(place):
    (place / "digests.json").unlink()
    (place / "digests.json").symlink_to("/etc/passwd")


CHANGES = {
    "vmlinux": (lambda place: (place / "vmlinux").write_bytes(ELF + b"!"), "vmlinux is sha256:"),
    "initrd": (lambda place: (place / "initrd.img").write_bytes(b"other"), "initrd.img is sha256:"),
    "module": (lambda place: (place / "modules/kernel/m7.ko").write_bytes(b"x"), "m7.ko is sha"),
    "missing": (lambda place: (place / "modules/kernel/m7.ko").unlink(), "m7.ko is missing"),
    "added": (lambda place: (place / "modules/new.ko").write_bytes(b"x"), "new.ko was not there"),
    "link": (lambda place: (place / "modules/new").symlink_to("/etc"), "new was not there"),
    "digests": (spoil_digests, "not a list of digests"),
    "digests cut": (lambda place: (place / "digests.json").write_text("{"), "is not JSON"),
    "digests linked": (link_digests, "not one of ours"),
    "no digests": (lambda place: (place / "digests.json").unlink(), "only vmlinux could be"),
    "manifest": (lambda place: (place / "manifest.json").unlink(), "manifest.json: No such file"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_whatever_was_changed_is_found(kept, problems, change, said):
    assert problems() == []
    change(kept)
    (problem,) = problems()
    assert said in problem


def test_a_module_that_became_a_link_is_found(kept, problems):
    module = kept / "modules/kernel/m7.ko"
    module.unlink()
    module.symlink_to("m8.ko")
    (problem,) = problems()
    assert "not a regular file" in problem


def test_many_problems_are_told_shortly(kept, problems):
    digests = json.loads((kept / "digests.json").read_text())
    changed = dict.fromkeys(digests, "0" * 64)
    (kept / "digests.json").write_text(json.dumps(changed))
    assert len(problems()) == 21
    assert problems()[-1] == f"… and {len(digests) - 20} more"
