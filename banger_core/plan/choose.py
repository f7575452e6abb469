"""Choose the image, kernel and guest runtime of a request: names to pins, no bytes."""

from __future__ import annotations

import platform as host
from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol

from banger_core.contracts import RememberingProvider
from banger_core.errors import BangerError, NotFound, UsageProblem
from banger_core.model import GuestPin, ImagePin, ImageRecord, ImageRef, KernelPin
from banger_core.plan.local import Name, find_image
from banger_core.plan.review import check_needs
from banger_core.plugins.known import install_advice

if TYPE_CHECKING:
    from banger_core.config.settings import Settings
    from banger_core.contracts import Context
    from banger_core.plugins.registry import Registry

ContextFor = Callable[[str], "Context"]
"""Gives the context of the plugin whose implementation is called."""


class Images(Protocol):
    """What choosing needs to know about the images that are here."""

    def images(self) -> list[ImageRecord]:
        """All of them."""


class Chooser:
    """Turns what a user named into pins, with the plugins that know about it."""

    def __init__(
        self, registry: Registry, settings: Settings, here: Images, context: ContextFor
    ) -> None:
        self._registry, self._settings = registry, settings
        self._here, self._context = here, context

    def local_image(self, text: str) -> ImageRecord | None:
        """The image here that ``text`` means and that this host can run; see ``find_image``.

        Nobody is asked, and a source only how it would call ``text``.
        """
        native = host_architecture()
        return find_image(
            text,
            [image for image in self._here.images() if image.pin.architecture == native],
            self._called,
        )

    def any_image(self, text: str) -> ImageRecord | None:
        """``local_image`` for any host's images."""
        return find_image(text, self._here.images(), self._called)

    async def image(self, text: str, platform: str = "") -> ImagePin:
        """Ask the source of ``text`` which image that is now.

        ``platform`` (``linux/amd64``) chooses among several; empty means this host's. Raises
        NotFound when no such image or source exists, and UsageProblem for an image that this
        host cannot run.
        """
        ref = ImageRef.parse(text)
        if not ref.rest:
            raise UsageProblem(
                f"{text!r} names no image",
                cause="an image is SCHEME://REF, or the name of one that is here",
                hints=["banger image list", f"banger image pull {self._settings.image.default}"],
            )
        name, ref = self._source(ref)
        sources = self._registry.image_sources
        check_needs([sources.declared(name)])
        wanted = replace(ref, platform=platform)
        try:
            pin = await sources.load(name).resolve(wanted, self._context(name))
        except BangerError as problem:
            problem.hints = tuple(dict.fromkeys([*self._meant(text), *problem.hints]))
            raise
        check_architecture(pin)
        return pin

    def _meant(self, text: str) -> list[str]:
        """For a bare name that the default source does not give: the nearest that needs none."""
        if ImageRef.parse(text).scheme:
            return []
        known = [self._settings.image.default, *(image.name for image in self._here.images())]
        return [f"did you mean {near}?" for near in get_close_matches(text, known, n=1)]

    def _source(self, ref: ImageRef) -> tuple[str, ImageRef]:
        """The source of ``ref``, and ``ref`` as that one reads it. Raises NotFound."""
        if ref.scheme:
            return self._registry.image_source_for(ref.scheme), ref
        name = self._settings.image.default_source
        if name not in self._registry.image_sources.names():
            raise self._no_default_source(ref.rest, name)
        return name, ImageRef(self._registry.image_sources.declared(name).schemes[0], ref.rest)

    def _called(self, text: str) -> Name | None:
        sources = self._registry.image_sources
        try:
            source, ref = self._source(ImageRef.parse(text))
            name = sources.load(source).name(ref)
        except BangerError:
            # Whoever goes on to ask the source is told why; here it only means: nothing local
            return None
        return Name(source, name, sources.declared(source).path_schemes)

    def _no_default_source(self, text: str, source: str) -> NotFound:
        """A bare name that is no image here, and nowhere to ask."""
        schemes = [
            f"{scheme}://"
            for name in self._registry.image_sources.names()
            for scheme in self._registry.image_sources.declared(name).schemes
        ]
        named = [f"name a source that is installed: {', '.join(schemes)}…"] if schemes else []
        return NotFound(
            "image",
            text,
            [image.name for image in self._here.images()],
            hints=[
                *named,
                *install_advice(source, self._registry.plugins()),
                f"banger plugin list ({source!r}, where bare names go, is not among them)",
            ],
        )

    async def kernel(self, name: str) -> KernelPin:
        """Choose a kernel: the catalogue's own, else what a provider offers.

        ``PROVIDER://NAME`` asks that provider. Raises NotFound with the names there are.
        """
        ref = ImageRef.parse(name or self._settings.kernel.default)
        catalogue, providers = self._settings.kernel.catalogue, self._registry.kernel_providers
        if ref.scheme or catalogue not in providers.names():
            return await self.offered_kernel(name or self._settings.kernel.default)
        here = await providers.load(catalogue).available(self._context(catalogue))
        usable = [entry.name for entry in here if not entry.problem]
        if ref.rest in usable:
            return await providers.load(catalogue).resolve(ref.rest, self._context(catalogue))
        return await self.offered_kernel(ref.rest, usable)

    async def offered_kernel(
        self, name: str, known: Iterable[str] = (), *, insist: bool = False
    ) -> KernelPin:
        """Choose a kernel among those on offer: the configured provider is asked first.

        ``insist`` takes what the provider would refuse for what it offered before. Raises
        NotFound with the names there are, ``known`` among them.
        """
        provider, bare = await self._provider(name, list(known))
        loaded, context = self._registry.kernel_providers.load(provider), self._context(provider)
        if insist and isinstance(loaded, RememberingProvider):
            await loaded.accept(bare, context)
        return await loaded.resolve(bare, context)

    async def _provider(self, name: str, known: list[str]) -> tuple[str, str]:
        """Who offers the kernel ``name``, and what it is called there."""
        ref, providers = ImageRef.parse(name), self._registry.kernel_providers
        if ref.scheme:
            return ref.scheme, ref.rest
        first = self._settings.kernel.provider
        for provider in sorted(providers.names(), key=lambda one: (one != first, one)):
            if providers.declared(provider).catalogue:
                continue
            entries = await providers.load(provider).available(self._context(provider))
            # Also one that cannot be used: its provider says why
            if any(entry.name == ref.rest for entry in entries):
                return provider, ref.rest
            known += [entry.name for entry in entries if not entry.problem]
        raise NotFound("kernel", ref.rest, known, hints=["banger kernel list --available"])

    async def guest(self) -> GuestPin:
        """Choose the guest runtime for this host's architecture."""
        name = self._settings.guest.runtime
        runtime = self._registry.guest_runtimes.load(name)
        return await runtime.resolve(host_architecture(), self._context(name))


def host_architecture() -> str:
    """Return this host's architecture in OCI's words (``amd64``). Raises UsageProblem."""
    machine = host.machine()
    try:
        return {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    except KeyError:
        raise UsageProblem(
            f"banger does not run on {machine}",
            cause="amd64 and arm64 are supported",
            hints=["run banger on a host with one of them"],
        ) from None


def same_kernel(one: KernelPin, other: KernelPin) -> bool:
    """Say whether both are one kernel. Digests are compared where one provider gave both: only
    then are they of the same file.
    """
    named = (one.name, one.version) == (other.name, other.version)
    return named and (one.provider != other.provider or one.digest == other.digest)


def check_architecture(pin: ImagePin) -> None:
    """Raise UsageProblem when a machine of ``pin`` cannot run on this host."""
    native = host_architecture()
    if pin.architecture != native:
        foreign = f"linux/{pin.architecture[:40]}"
        raise UsageProblem(
            f"{pin.ref[:255]} is an image for {foreign}, and this host is linux/{native}",
            cause=f"a machine of {foreign} cannot run here: banger emulates no other processor",
            hints=[f"leave --platform away, or choose an image that exists for linux/{native}"],
        )
