"""Kernels without any code in them."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from banger_core.errors import Conflict, NotFound
from banger_core.jsonable import from_json, to_json
from banger_core.model import KernelEntry, KernelFiles, KernelPin
from banger_core.store.content import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.contracts import Context

# An ELF header (64 bit, little endian, x86-64) and nothing behind it
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00\x01\x00\x00\x00" + bytes(40)

PIN = KernelPin(
    provider="fake",
    name="fake-kernel",
    version="1.0-fake",
    distro="fake",
    architecture="amd64",
    digest="sha256:" + hashlib.sha256(ELF).hexdigest(),
    size=len(ELF),
    source="fake",
)


class FakeKernels:
    """Offers one kernel, ``fake-kernel``."""

    async def available(self, cx: Context) -> list[KernelEntry]:  # noqa: ARG002 - the contract
        """List it."""
        return [_entry(PIN)]

    async def resolve(self, name: str, cx: Context) -> KernelPin:  # noqa: ARG002 - the contract
        """Pin it. Raises NotFound for any other name."""
        if name != PIN.name:
            raise NotFound("kernel", name, [PIN.name], hints=["banger kernel list --available"])
        return PIN

    async def materialise(self, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
        """Write it."""
        cx.progress(pin.name, pin.size, pin.size)
        vmlinux = into / "vmlinux"
        vmlinux.write_bytes(ELF)
        return KernelFiles(vmlinux=vmlinux)


class FakeCatalogue:
    """Keeps kernels in the context's state, one directory each."""

    async def available(self, cx: Context) -> list[KernelEntry]:
        """List what is kept."""
        pins = sorted(cx.state_dir.glob("*/pin.json"))
        return [_entry(_read(pin)) for pin in pins]

    async def resolve(self, name: str, cx: Context) -> KernelPin:
        """Pin what is kept. Raises NotFound."""
        kept = cx.state_dir / name / "pin.json"
        if not kept.is_file():
            known = [entry.name for entry in await self.available(cx)]
            raise NotFound("kernel", name, known, hints=["banger kernel list"])
        return replace(_read(kept), provider="fake-catalogue")

    async def materialise(self, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
        """Copy it."""
        vmlinux = into / "vmlinux"
        shutil.copyfile(cx.state_dir / pin.name / "vmlinux", vmlinux)
        return KernelFiles(vmlinux=vmlinux)

    async def add(
        self, pin: KernelPin, files: KernelFiles, cx: Context, *, replace: bool
    ) -> KernelEntry:
        """Keep a kernel. Raises Conflict when the name is taken."""
        place = cx.state_dir / pin.name
        if (place / "pin.json").exists() and not replace:
            raise Conflict(f"there is a kernel {pin.name} already")
        place.mkdir(exist_ok=True)
        shutil.copyfile(files.vmlinux, place / "vmlinux")
        # Last and whole: whoever is killed on the way has kept nothing
        write_atomic(place / "pin.json", json.dumps(to_json(pin)))
        return _entry(pin)

    async def remove(self, name: str, cx: Context) -> None:
        """Remove a kernel. Raises NotFound."""
        await self.resolve(name, cx)
        shutil.rmtree(cx.state_dir / name)

    async def verify(self, name: str, cx: Context) -> list[str]:
        """Compare what is kept with its pin. Raises NotFound."""
        pin = await self.resolve(name, cx)
        kernel = (cx.state_dir / name / "vmlinux").read_bytes()
        found = f"sha256:{hashlib.sha256(kernel).hexdigest()}"
        return [] if found == pin.digest else [f"vmlinux is {found}, not {pin.digest}"]


def _entry(pin: KernelPin) -> KernelEntry:
    return KernelEntry(
        name=pin.name,
        distro=pin.distro,
        architecture=pin.architecture,
        version=pin.version,
        digest=pin.digest,
        source=pin.source,
        size=pin.size,
    )


def _read(file: Path) -> KernelPin:
    return from_json(KernelPin, json.loads(file.read_text()))
