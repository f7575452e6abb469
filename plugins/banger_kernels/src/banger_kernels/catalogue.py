"""The kernel provider ``catalogue``: ``<state>/kernels/NAME/``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from banger_core.api import (
    BangerError,
    Conflict,
    IntegrityError,
    KernelEntry,
    KernelFiles,
    KernelPin,
    NotFound,
    in_thread,
)
from banger_kernels import digests, shelf
from banger_kernels.files import digest, link, place_kernel

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.api import Context


class Catalogue:
    """Keeps kernels on this host; see ``contracts.KernelCatalogue``."""

    async def available(self, cx: Context) -> list[KernelEntry]:
        """List all entries by name, broken ones with their problem."""
        return await in_thread(_entries, cx.kernels_dir)

    async def resolve(self, name: str, cx: Context) -> KernelPin:
        """Pin an entry. Raises NotFound, and IntegrityError for a broken one."""
        entries = {entry.name: entry for entry in await self.available(cx)}
        entry = entries.get(name)
        if entry is None:
            raise NotFound("kernel", name, entries, hints=["banger kernel list --available"])
        if entry.problem:
            raise IntegrityError(
                f"kernel {name} cannot be used",
                cause=entry.problem,
                hints=[f"banger kernel pull --force {name}", f"banger kernel rm {name}"],
            )
        return KernelPin(
            provider="catalogue",
            name=name,
            version=entry.version,
            distro=entry.distro,
            architecture=entry.architecture,
            digest=entry.digest,
            size=entry.size,
            source=entry.source,
        )

    async def materialise(self, pin: KernelPin, into: Path, cx: Context) -> KernelFiles:
        """Put the pinned kernel into the empty directory ``into``: links where that works.

        Raises NotFound when it is gone, and IntegrityError when it is another one now.
        """
        await self.resolve(pin.name, cx)
        return await in_thread(_copy_out, cx.kernels_dir / pin.name, pin, into)

    async def add(
        self, pin: KernelPin, files: KernelFiles, cx: Context, *, replace: bool
    ) -> KernelEntry:
        """Keep ``files`` as ``pin.name``, whole or not at all; moves what it can.

        Raises UsageProblem for a bad name, Conflict when the name is taken and ``replace`` is
        false, IntegrityError when ``vmlinux`` is no ELF file, and NoSpace.
        """
        shelf.check_name(pin.name)
        place = cx.kernels_dir / pin.name
        if not replace and shelf.exists(place):
            raise _taken(pin.name)
        try:
            await in_thread(partial(shelf.add, place, pin, files, replace=replace))
        except FileExistsError as problem:
            raise _taken(pin.name) from problem
        return await in_thread(shelf.describe, place)

    async def remove(self, name: str, cx: Context) -> None:
        """Remove an entry, also a broken one. Raises NotFound."""
        names = shelf.names(cx.kernels_dir)
        if name not in names:
            raise NotFound("kernel", name, names, hints=["banger kernel list"])
        await in_thread(shelf.remove, cx.kernels_dir / name)

    async def verify(self, name: str, cx: Context) -> list[str]:
        """Compare every file of an entry with what was kept; return what is wrong.

        Of entries from before there were digests only ``vmlinux`` can be checked, and that is
        said. Raises NotFound.
        """
        entries = {entry.name: entry for entry in await self.available(cx)}
        if name not in entries:
            raise NotFound("kernel", name, entries, hints=["banger kernel list"])
        if problem := entries[name].problem:
            return [problem]
        return await in_thread(digests.verify, cx.kernels_dir / name)


def _taken(name: str) -> BangerError:
    return Conflict(
        f"kernel {name} is here already",
        hints=[f"banger kernel pull --force {name}", f"banger kernel rm {name}"],
    )


def _entries(kernels: Path) -> list[KernelEntry]:
    shelf.sweep(kernels)
    return [shelf.describe(kernels / name) for name in shelf.names(kernels)]


def _copy_out(entry: Path, pin: KernelPin, into: Path) -> KernelFiles:
    source = KernelFiles.in_directory(entry)
    place_kernel(source, into, link)
    found = digest(into / "vmlinux")
    if found != pin.digest:
        raise IntegrityError(
            f"kernel {pin.name} has changed", cause=f"vmlinux is {found}, not {pin.digest}"
        )
    return KernelFiles.in_directory(into)
