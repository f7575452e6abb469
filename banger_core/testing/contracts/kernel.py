"""The suites for kernel providers and for the one that keeps kernels."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from banger_core.errors import Conflict, NotFound
from banger_core.model import KernelEntry, KernelFiles, KernelPin
from banger_core.testing.contracts.base import Contract

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext

MISSING = "no-such-kernel"


class KernelProviderContract(Contract):
    """Set ``make`` and ``name`` (a kernel that the provider offers)."""

    contract: ClassVar[str] = "KernelProvider"
    name: str = ""

    def test_every_kernel_is_listed_once(self, subject: Any, cx: FakeContext) -> None:
        entries = asyncio.run(subject.available(cx))
        for entry in entries:
            self.asks(isinstance(entry, KernelEntry), f"available lists entries, not {entry!r}")
            self.asks(entry.name, f"an entry has a name: {entry!r}")
            self.survives_json(entry, "an entry")
        names = [entry.name for entry in entries]
        self.asks(len(set(names)) == len(names), f"no name is listed twice: {names}")

    def test_what_is_available_can_be_resolved(self, subject: Any, cx: FakeContext) -> None:
        name = self._chosen(subject, cx)
        entries = asyncio.run(subject.available(cx))
        names = [entry.name for entry in entries if not entry.problem]
        self.asks(name in names, f"available lists {name!r}, not only {names}")

    def test_pin_says_exactly_which_kernel(self, subject: Any, cx: FakeContext) -> None:
        name = self._chosen(subject, cx)
        pin = asyncio.run(subject.resolve(name, cx))
        self.asks(isinstance(pin, KernelPin), f"resolve returns a KernelPin, not {pin!r}")
        self.asks(pin.name == name, f"the pin bears the name that was asked, not {pin.name}")
        for field in ("provider", "version", "architecture"):
            self.asks(getattr(pin, field), f"the pin's {field} is not empty")
        self.is_digest(pin.digest, "the pin's digest")
        self.survives_json(pin, "a pin")

    def test_unknown_kernel_is_not_found(self, subject: Any, cx: FakeContext) -> None:
        asyncio.run(self.refuses(NotFound, subject.resolve(MISSING, cx), f"resolving {MISSING}"))

    def test_files_are_an_elf_kernel_in_the_given_directory(
        self, subject: Any, cx: FakeContext, tmp_path: Path
    ) -> None:
        files = self._materialise(subject, cx, tmp_path / "kernel")
        with files.vmlinux.open("rb") as kernel:
            self.asks(kernel.read(4) == b"\x7fELF", "vmlinux is an uncompressed ELF file")
        for path in (files.vmlinux, files.initrd, files.modules):
            self.asks(
                path is None or path.is_relative_to(tmp_path / "kernel"),
                f"every file lies in the directory that was given: {path}",
            )
        self.asks(files.modules is None or files.modules.is_dir(), "modules is a directory")

    def _chosen(self, subject: Any, cx: FakeContext) -> str:
        """The kernel that is tried."""
        if not self.name:
            entries = asyncio.run(subject.available(cx))
            usable = [entry.name for entry in entries if not entry.problem]
            if not usable:
                self.cannot_tell("it offers no kernel here that could be tried")
            self.cannot_tell("no kernel is named that could be tried", f"--with name={usable[0]}")
        return self.name

    def _materialise(self, subject: Any, cx: FakeContext, into: Path) -> KernelFiles:
        name = self._chosen(subject, cx)
        into.mkdir()

        async def materialise() -> KernelFiles:
            pin = await subject.resolve(name, cx)
            files: KernelFiles = await subject.materialise(pin, into, cx)
            return files

        return asyncio.run(materialise())


class KernelCatalogueContract(Contract):
    """Set ``make``; override ``fill`` when the smallest ELF file is not kernel enough."""

    contract: ClassVar[str] = "KernelCatalogue"

    def fill(self, directory: Path) -> tuple[KernelPin, KernelFiles]:
        """Write a kernel to be kept into ``directory``; return its pin and files."""
        from banger_core.testing.fakes.kernels import ELF, PIN

        vmlinux = directory / "vmlinux"
        vmlinux.write_bytes(ELF)
        return PIN, KernelFiles(vmlinux=vmlinux)

    def test_kept_kernel_comes_back(self, subject: Any, cx: FakeContext, tmp_path: Path) -> None:
        pin, files = self._filled(tmp_path / "in")
        original = files.vmlinux.read_bytes()
        (tmp_path / "out").mkdir()

        async def keep() -> KernelFiles:
            entry = await subject.add(pin, files, cx, replace=False)
            self.asks(entry.name == pin.name, "add returns the entry that it made")
            kept = await subject.resolve(pin.name, cx)
            self.survives_json(kept, "a pin")
            back: KernelFiles = await subject.materialise(kept, tmp_path / "out", cx)
            return back

        back = asyncio.run(keep())
        self.asks(back.vmlinux.read_bytes() == original, "the kernel comes back as it was added")

    def test_taken_name_is_a_conflict_unless_replaced(
        self, subject: Any, cx: FakeContext, tmp_path: Path
    ) -> None:
        async def twice() -> None:
            pin, files = self._filled(tmp_path / "1")
            await subject.add(pin, files, cx, replace=False)
            pin, files = self._filled(tmp_path / "2")
            again = subject.add(pin, files, cx, replace=False)
            await self.refuses(Conflict, again, "adding a name that is taken")
            pin, files = self._filled(tmp_path / "3")
            await subject.add(pin, files, cx, replace=True)
            self.asks(len(await subject.available(cx)) == 1, "replacing leaves one entry")

        asyncio.run(twice())

    def test_removed_kernel_is_gone(self, subject: Any, cx: FakeContext, tmp_path: Path) -> None:
        async def remove() -> None:
            pin, files = self._filled(tmp_path / "in")
            await subject.add(pin, files, cx, replace=False)
            await subject.remove(pin.name, cx)
            self.asks(not await subject.available(cx), "a removed kernel is not listed")
            await self.refuses(NotFound, subject.remove(pin.name, cx), "removing it again")
            await self.refuses(NotFound, subject.resolve(pin.name, cx), "resolving it")

        asyncio.run(remove())

    def test_what_was_kept_verifies(self, subject: Any, cx: FakeContext, tmp_path: Path) -> None:
        async def verify() -> None:
            pin, files = self._filled(tmp_path / "in")
            await subject.add(pin, files, cx, replace=False)
            problems = await subject.verify(pin.name, cx)
            self.asks(problems == [], f"what was just kept has no problems, not {problems}")
            await self.refuses(NotFound, subject.verify(MISSING, cx), f"verifying {MISSING}")

        asyncio.run(verify())

    def _filled(self, directory: Path) -> tuple[KernelPin, KernelFiles]:
        directory.mkdir()
        return self.fill(directory)
