"""Choose the image, kernel and guest runtime of a request: names to pins, no bytes."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from banger_core.errors import NotFound, UsageProblem
from banger_core.model import GuestPin, ImagePin, ImageRecord, ImageRef, KernelPin
from banger_core.plan.review import check_needs

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
        """The image here that ``text`` means: a name, an id, or the reference it came from."""
        return next(
            (
                image
                for image in self._here.images()
                if text in (image.name, image.id, image.pin.ref)
            ),
            None,
        )

    async def image(self, text: str) -> ImagePin:
        """Ask the source of ``text`` which image that is now.

        A bare reference goes to the configured default source. Raises NotFound when no such
        image or source exists.
        """
        ref = ImageRef.parse(text)
        if not ref.rest:
            raise UsageProblem(
                f"{text!r} names no image",
                cause="an image is SCHEME://REF, or the name of one that is here",
                hints=["banger image list", f"banger image pull {self._settings.image.default}"],
            )
        sources = self._registry.image_sources
        if ref.scheme:
            name = self._registry.image_source_for(ref.scheme)
        else:
            name = self._settings.image.default_source
            if name not in sources.names():
                raise self._no_default_source(text, name)
            ref = ImageRef(sources.declared(name).schemes[0], ref.rest)
        check_needs([sources.declared(name)])
        return await sources.load(name).resolve(ref, self._context(name))

    def _no_default_source(self, text: str, source: str) -> NotFound:
        """A bare name that is no image here, and nowhere to ask."""
        schemes = [
            f"{scheme}://"
            for name in self._registry.image_sources.names()
            for scheme in self._registry.image_sources.declared(name).schemes
        ]
        return NotFound(
            "image",
            text,
            [image.name for image in self._here.images()],
            hints=[
                f"name a source that is installed: {', '.join(schemes)}…",
                f"banger plugin list ({source!r}, where bare names go, is not among them)",
            ],
        )

    async def kernel(self, name: str) -> KernelPin:
        """Choose a kernel: the catalogue's own, else what the configured provider offers.

        ``PROVIDER://NAME`` asks that provider. Raises NotFound with the names there are.
        """
        ref = ImageRef.parse(name or self._settings.kernel.default)
        providers = self._registry.kernel_providers
        if ref.scheme:
            return await providers.load(ref.scheme).resolve(ref.rest, self._context(ref.scheme))
        known: list[str] = []
        for provider in (self._settings.kernel.catalogue, self._settings.kernel.provider):
            if provider not in providers.names():
                continue
            entries = await providers.load(provider).available(self._context(provider))
            if any(entry.name == ref.rest and not entry.problem for entry in entries):
                return await providers.load(provider).resolve(ref.rest, self._context(provider))
            known += [entry.name for entry in entries if not entry.problem]
        raise NotFound("kernel", ref.rest, known, hints=["banger kernel list --available"])

    async def guest(self) -> GuestPin:
        """Choose the guest runtime for this host's architecture."""
        name = self._settings.guest.runtime
        runtime = self._registry.guest_runtimes.load(name)
        return await runtime.resolve(host_architecture(), self._context(name))


def host_architecture() -> str:
    """Return this host's architecture in OCI's words (``amd64``). Raises UsageProblem."""
    machine = platform.machine()
    try:
        return {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    except KeyError:
        raise UsageProblem(
            f"banger does not run on {machine}", cause="amd64 and arm64 are supported"
        ) from None
