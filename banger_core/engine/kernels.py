"""Kernels: pulled into the catalogue, and copied from there into each image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from banger_core.config.paths import secure_dir
from banger_core.engine.kernel_import import prepare_import
from banger_core.engine.operations import Operation
from banger_core.errors import Conflict, HostNotReady, NotFound
from banger_core.kernel.facts import KernelFacts, read_facts
from banger_core.kernel.names import check_kernel_name
from banger_core.model import KernelEntry, KernelFiles, KernelPin
from banger_core.threads import in_thread

if TYPE_CHECKING:
    from banger_core.contracts import KernelCatalogue
    from banger_core.engine.engine import Engine
    from banger_core.kernel.origin import Origin


class KernelShelf:
    """What one engine does with kernels, whichever plugins provide them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def _catalogue_name(self) -> str:
        return self._engine.settings.kernel.catalogue

    def _catalogue(self) -> KernelCatalogue:
        providers = self._engine.registry.kernel_providers
        name = self._catalogue_name
        if name not in providers.names() or not providers.declared(name).catalogue:
            raise HostNotReady(
                f"there is no kernel catalogue {name!r}",
                cause="no installed plugin provides it",
                hints=["pip install banger-kernels"],
            )
        return cast("KernelCatalogue", providers.load(name))

    async def here(self, operation: Operation | None = None) -> list[KernelEntry]:
        """List the kernels on this host, broken ones with their problem."""
        context = self._engine.context(self._catalogue_name, operation)
        return await self._catalogue().available(context)

    async def available(self) -> list[tuple[str, KernelEntry]]:
        """List what every provider offers, as (provider, entry)."""
        providers = self._engine.registry.kernel_providers
        offers = []
        for name in providers.names():
            if not providers.declared(name).catalogue:
                entries = await providers.load(name).available(self._engine.context(name))
                offers += [(name, entry) for entry in entries]
        return offers

    async def show(self, name: str) -> KernelEntry:
        """One kernel of the catalogue. Raises NotFound."""
        entries = await self.here()
        for entry in entries:
            if entry.name == name:
                return entry
        raise NotFound(
            "kernel",
            name,
            [entry.name for entry in entries],
            hints=["banger kernel list", "banger kernel list --available"],
        )

    async def facts(self, entry: KernelEntry) -> KernelFacts | None:
        """What the files of a kernel in the catalogue say; None for a broken entry."""
        place = self._engine.paths.kernels / entry.name
        if entry.problem or not place.is_dir():
            return None
        try:
            return await in_thread(read_facts, KernelFiles.in_directory(place))
        except OSError:
            # It was removed or replaced meanwhile
            return None

    async def verify(self, name: str) -> list[str]:
        """Compare a kernel of the catalogue with what was kept; one line for each problem."""
        context = self._engine.context(self._catalogue_name)
        return await self._catalogue().verify(name, context)

    async def take(
        self, name: str, origin: Origin, operation: Operation, *, force: bool = False
    ) -> KernelEntry:
        """Import a kernel from files of the user's as ``name``, whole or not at all.

        Raises Conflict when the name is taken and ``force`` is false, and what
        ``prepare_import`` raises.
        """
        check_kernel_name(name)
        taken = any(entry.name == name for entry in await self.here(operation))
        if taken and not force:
            raise Conflict(
                f"kernel {name} is here already",
                cause="a kernel is replaced only when that is asked for",
                hints=[f"banger kernel import --force {name} …", f"banger kernel show {name}"],
            )
        with self._engine.scratch("kernel") as scratch:
            pin, files = await prepare_import(name, origin, scratch, operation, force=force)
            return await self._catalogue().add(
                pin,
                files,
                self._engine.context(self._catalogue_name, operation),
                replace=force,
            )

    async def pull(self, name: str, operation: Operation, *, force: bool = False) -> KernelEntry:
        """Fetch a kernel from its provider into the catalogue.

        Raises Conflict when a different one of that name is here and ``force`` is false.
        """
        operation.step(f"resolving kernel {name}")
        pin = await self._engine.chooser(operation).offered_kernel(name, insist=force)
        present = {entry.name: entry for entry in await self.here(operation)}.get(pin.name)
        if present is not None and not present.problem and not force:
            if present.version == pin.version:
                return present
            raise Conflict(
                f"kernel {pin.name} is here already, as {present.version}",
                cause=f"{pin.provider} now has {pin.version}",
                hints=[f"banger kernel pull --force {name}"],
            )
        return await self._shelve(pin, operation, replace_old=present is not None)

    async def _shelve(
        self, pin: KernelPin, operation: Operation, *, replace_old: bool
    ) -> KernelEntry:
        provider = self._engine.registry.kernel_providers.load(pin.provider)
        operation.step(f"fetching kernel {pin.name} {pin.version}")
        with self._engine.scratch("kernel") as scratch:
            files = await provider.materialise(
                pin, scratch, self._engine.context(pin.provider, operation)
            )
            return await self._catalogue().add(
                pin,
                files,
                self._engine.context(self._catalogue_name, operation),
                replace=replace_old,
            )

    async def place(self, pin: KernelPin, directory: Path, operation: Operation) -> KernelPin:
        """Put the pinned kernel's files into the new directory ``directory`` and return the pin
        of what is there.

        A kernel that is not in the catalogue yet is pulled into it first, so that the next image
        needs no download.
        """
        name = self._catalogue_name
        catalogue = self._catalogue()
        context = self._engine.context(name, operation)
        if pin.provider != name:
            known = {entry.name: entry for entry in await self.here(operation)}
            entry = known.get(pin.name)
            if entry is None or entry.problem or entry.version != pin.version:
                await self._shelve(pin, operation, replace_old=entry is not None)
            local = await catalogue.resolve(pin.name, context)
        else:
            local = pin
        await catalogue.materialise(local, secure_dir(directory), context)
        return replace(local, source=local.source or pin.source)

    async def remove(self, name: str, operation: Operation) -> None:
        """Remove a kernel from the catalogue; images have their own copies."""
        context = self._engine.context(self._catalogue_name, operation)
        await self._catalogue().remove(name, context)
        users = [image.name for image in self._engine.records.images() if image.kernel.name == name]
        if users:
            operation.notice(f"images made with it keep their own copy: {', '.join(users)}")
