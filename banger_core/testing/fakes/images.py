"""The image source ``fake://NAME``: every name is an image, and some misbehave."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from banger_core.errors import IntegrityError, NotFound, Unreachable
from banger_core.model import Entry, EntryKind, ImageConfig, ImagePin

if TYPE_CHECKING:
    from banger_core.contracts import Context, Layer
    from banger_core.model import ImageRef

KNOWN = ("small", "unreachable", "corrupt", "buggy", "endless")
"""Names with a meaning; any other that is not ``missing`` is like ``small``, with other bytes."""


class FakeSource:
    """``fake://missing`` does not exist, ``fake://unreachable`` cannot be fetched,
    ``fake://corrupt`` does not match its digest, ``fake://buggy`` raises what no plugin should,
    and ``fake://endless`` is fetched until somebody interrupts it.
    """

    def name(self, ref: ImageRef) -> str:
        """The name in the reference."""
        return ref.rest

    async def resolve(self, ref: ImageRef, cx: Context) -> ImagePin:  # noqa: ARG002 - the contract
        """Pin the image. Raises NotFound for ``missing``."""
        if ref.rest == "missing":
            raise NotFound("image", str(ref), KNOWN, hints=["banger vm run fake://small"])
        digest = hashlib.sha256(f"image {ref.rest}".encode()).hexdigest()
        return ImagePin(
            source="fake",
            ref=f"fake://{ref.rest}",
            name=self.name(ref),
            digest=f"sha256:{digest}",
            architecture="amd64",
            size=4096,
            config=ImageConfig(env=("FAKE=1",), cmd=("/bin/sh",)),
            data={"word": ref.rest},
        )

    async def fetch(self, pin: ImagePin, cx: Context) -> None:
        """Report progress; fails as the image's name says."""
        cx.progress(pin.ref, 0, pin.size)
        if pin.name == "unreachable":
            raise Unreachable(
                "the fake server does not answer",
                cause="it has never answered",
                hints=["banger vm run fake://small"],
            )
        if pin.name == "buggy":
            raise RuntimeError("a bug in the fake image source")
        while pin.name == "endless":
            await asyncio.sleep(0.01)
            cx.progress(pin.ref, 1, pin.size)
        cx.progress(pin.ref, pin.size, pin.size)

    def layers(self, pin: ImagePin, cx: Context) -> AbstractContextManager[Iterable[Layer]]:  # noqa: ARG002 - the contract
        """Two layers: the second replaces a file of the first."""
        word = str(pin.data["word"]).encode()
        return nullcontext([FakeLayer(word, b"first"), FakeLayer(word, b"second")])


class FakeLayer:
    """A directory, a file that says which image and layer this is, and two kinds of link."""

    def __init__(self, word: bytes, text: bytes) -> None:
        self._word, self._text = word, text
        self.digest = "sha256:" + hashlib.sha256(word + text).hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Yield the entries. Raises IntegrityError after the last one of ``corrupt``."""
        content = self._word + b" " + self._text + b"\n"
        yield Entry(path=b"etc", kind=EntryKind.DIRECTORY)
        yield Entry(
            path=b"etc/fake",
            kind=EntryKind.FILE,
            mode=0o644,
            size=len(content),
            data=iter([content]),
        )
        yield Entry(path=b"etc/hard", kind=EntryKind.HARDLINK, link=b"etc/fake")
        yield Entry(path=b"etc/soft", kind=EntryKind.SYMLINK, mode=0o777, link=b"fake")
        if self._word == b"corrupt":
            raise IntegrityError(
                "the fake layer does not match its digest",
                cause="it was made so",
                hints=["banger vm run fake://small"],
            )
