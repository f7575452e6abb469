"""The image source ``fake://NAME``: every name is an image, and some misbehave."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from banger_core.errors import IntegrityError, NotFound, Unreachable, UsageProblem
from banger_core.model import CacheItem, Entry, EntryKind, ImageConfig, ImagePin
from banger_core.plan.choose import host_architecture

if TYPE_CHECKING:
    from banger_core.contracts import Context, Layer
    from banger_core.model import ImageRef

KNOWN = ("small", "large", "unreachable", "corrupt", "buggy", "rotten", "endless", "foreign")
"""Names with a meaning; any other that is not ``missing`` is like ``small``, with other bytes."""


class FakeSource:
    """``fake://missing`` does not exist, ``fake://unreachable`` cannot be fetched,
    ``fake://corrupt`` does not match its digest, ``fake://buggy`` raises what no plugin should
    when it is fetched and ``fake://rotten`` when it is read, ``fake://endless`` is fetched until
    somebody interrupts it, ``fake://large`` says that it has a TiB, and ``fake://foreign`` is
    for a processor that this host has not. Its cache is files that tests put there.
    """

    def name(self, ref: ImageRef) -> str:
        """The name in the reference, or of its file, without ``:latest``. Raises UsageProblem
        for ``BAD``.
        """
        if "BAD" in ref.rest:
            raise UsageProblem(f"{ref} is no reference", cause="it has BAD in it")
        rest = ref.rest.rpartition("/")[2] if ref.scheme == "fake-file" else ref.rest
        return rest.removesuffix(":latest")

    async def resolve(self, ref: ImageRef, cx: Context) -> ImagePin:  # noqa: ARG002 - the contract
        """Pin the image. Raises NotFound for ``missing``, UsageProblem for other platforms."""
        name, native = self.name(ref), host_architecture()
        if name == "missing":
            raise NotFound("image", str(ref), KNOWN, hints=["banger vm run fake://small"])
        if ref.platform not in ("", f"linux/{native}"):
            raise UsageProblem(
                f"{ref} does not exist for {ref.platform}",
                cause=f"fakes are made for linux/{native}",
                hints=["leave --platform away"],
            )
        digest = hashlib.sha256(
            f"image {ref.rest if ref.scheme == 'fake-file' else name}".encode()
        ).hexdigest()
        return ImagePin(
            source="fake",
            ref=f"fake://{name}" if ref.scheme == "fake" else str(ref),
            name=name,
            digest=f"sha256:{digest}",
            architecture="mips" if name == "foreign" else native,
            size=1 << 40 if name == "large" else 4096,
            config=ImageConfig(env=("FAKE=1",), cmd=("/bin/sh",)),
            data={"word": name},
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

    async def prune(self, cx: Context, *, keep: int, dry_run: bool) -> list[CacheItem]:
        """Remove the files of the cache, oldest first, until ``keep`` bytes are left."""
        files = sorted(cx.cache_dir.iterdir(), key=lambda file: file.stat().st_mtime)
        left = sum(file.stat().st_size for file in files)
        items = []
        for file in files:
            if left <= keep:
                break
            facts = file.stat()
            left -= facts.st_size
            items.append(
                CacheItem(
                    name=file.name,
                    size=facts.st_size,
                    used_at=facts.st_mtime,
                    partial=file.suffix == ".partial",
                )
            )
            if not dry_run:
                file.unlink()
        return items

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
        if self._word == b"rotten":
            raise RuntimeError("a bug in a fake layer")
        if self._word == b"corrupt":
            raise IntegrityError(
                "the fake layer does not match its digest",
                cause="it was made so",
                hints=["banger vm run fake://small"],
            )
