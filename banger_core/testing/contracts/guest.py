"""The suite for guest runtimes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from banger_core.model import GuestFiles, GuestPin
from banger_core.testing.contracts.base import Contract

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext

_PROGRAMS = ("busybox", "dropbear", "sftp-server", "scp")


class GuestRuntimeContract(Contract):
    """Set ``make``."""

    contract: ClassVar[str] = "GuestRuntime"
    architecture: ClassVar[str] = "amd64"

    def test_pin_says_exactly_which_programs(self, subject: Any, cx: FakeContext) -> None:
        pin = asyncio.run(subject.resolve(self.architecture, cx))
        self.asks(isinstance(pin, GuestPin), f"resolve returns a GuestPin, not {pin!r}")
        self.is_digest(pin.digest, "the pin's digest")
        self.asks(pin.architecture == self.architecture, "the pin is for what was asked")
        self.survives_json(pin, "a pin")

    def test_programs_are_elf_files(self, subject: Any, cx: FakeContext) -> None:
        async def materialise() -> GuestFiles:
            files: GuestFiles = await subject.materialise(
                await subject.resolve(self.architecture, cx), cx
            )
            return files

        files = asyncio.run(materialise())
        for name in _PROGRAMS:
            self.asks(name in files.programs, f"the programs include {name}")
        self.asks(files.loader in files.libraries, "the libraries include the loader")
        for path in (*files.programs.values(), *files.libraries.values()):
            self.asks(path.read_bytes()[:4] == b"\x7fELF", f"{path} is an ELF file")
