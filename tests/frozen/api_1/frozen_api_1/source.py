"""The image source behind ``frozen://``."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

from banger_core.api import (
    Context,
    Entry,
    EntryKind,
    ImageConfig,
    ImagePin,
    ImageRef,
    Layer,
    NotFound,
    UsageProblem,
)

IMAGES = {"hello": {b"etc/motd": b"Hello from frozen\n"}}
"""To begin with: files by path, in the images that there are. Put your own source in its place."""


class FrozenSource:
    """Turns references into pins, and pins into files."""

    def name(self, ref: ImageRef) -> str:
        """Return what the image is called here, without asking anybody."""
        if not ref.rest:
            raise UsageProblem(f"{ref} names no image", hints=["frozen://hello"])
        return ref.rest

    async def resolve(self, ref: ImageRef, cx: Context) -> ImagePin:
        """Say exactly which image it is now. Raises NotFound, and UsageProblem for a platform that
        this source does not have.
        """
        name, native = self.name(ref), _architecture()
        if name not in IMAGES:
            raise NotFound("image", name, IMAGES)
        if ref.platform not in ("", f"linux/{native}"):
            raise UsageProblem(f"{ref} is there for linux/{native} only")
        return ImagePin(
            source="frozen",
            ref=str(ref),
            name=name,
            digest=_digest(IMAGES[name]),
            architecture=native,
            size=sum(map(len, IMAGES[name].values())),
            config=ImageConfig(cmd=("/bin/sh",)),
        )

    async def fetch(self, pin: ImagePin, cx: Context) -> None:
        """Make everything of ``pin`` local and verified: what is downloaded goes to
        ``cx.cache_dir``, and how far it is to ``cx.progress``.
        """
        cx.progress(pin.ref, pin.size, pin.size)

    def layers(self, pin: ImagePin, cx: Context) -> AbstractContextManager[Iterable[Layer]]:
        """Open the layers, lowest first. Runs in a thread, so it may read files."""
        return nullcontext([_Files(IMAGES[pin.name])])


class _Files:
    def __init__(self, files: dict[bytes, bytes]) -> None:
        self._files = files
        self.digest = _digest(files)

    def entries(self) -> Iterator[Entry]:
        """Yield directories before what is in them."""
        for directory in sorted({path.rpartition(b"/")[0] for path in self._files} - {b""}):
            yield Entry(path=directory, kind=EntryKind.DIRECTORY)
        for path, content in sorted(self._files.items()):
            yield Entry(
                path=path,
                kind=EntryKind.FILE,
                mode=0o644,
                size=len(content),
                data=iter([content]),
            )


def _digest(files: dict[bytes, bytes]) -> str:
    return "sha256:" + hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
