"""The suite for image sources."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from banger_core.errors import NotFound, UsageProblem
from banger_core.model import Entry, EntryKind, ImagePin, ImageRef
from banger_core.testing.contracts.base import Contract

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext

_Tree = list[tuple[bytes, EntryKind, int, bytes, tuple[int, str]]]


class ImageSourceContract(Contract):
    """Set ``make``, ``ref`` (an image that exists, small if possible) and ``missing`` (one that
    does not).
    """

    contract: ClassVar[str] = "ImageSource"
    ref: str
    missing: str

    def test_pin_says_exactly_which_image(self, subject: Any, cx: FakeContext) -> None:
        pin = asyncio.run(subject.resolve(ImageRef.parse(self.ref), cx))
        self.asks(isinstance(pin, ImagePin), f"resolve returns an ImagePin, not {pin!r}")
        self.is_digest(pin.digest, "the pin's digest")
        for field in ("source", "ref", "name", "architecture"):
            self.asks(getattr(pin, field), f"the pin's {field} is not empty")
        self.survives_json(pin, "a pin")

    def test_name_is_known_without_asking(self, subject: Any, cx: FakeContext) -> None:
        ref = ImageRef.parse(self.ref)
        pin = asyncio.run(subject.resolve(ref, cx))
        self.asks(subject.name(ref) == pin.name, "name(ref) is the name of the pin")

    def test_resolving_twice_gives_the_same_pin(self, subject: Any, cx: FakeContext) -> None:
        ref = ImageRef.parse(self.ref)
        first, second = (asyncio.run(subject.resolve(ref, cx)) for _ in range(2))
        self.asks(
            first.digest == second.digest, "the digest changes only when the content would change"
        )

    def test_unknown_image_is_not_found(self, subject: Any, cx: FakeContext) -> None:
        ref = ImageRef.parse(self.missing)
        asyncio.run(self.refuses(NotFound, subject.resolve(ref, cx), f"resolving {self.missing}"))

    def test_a_platform_that_cannot_be_had_is_refused(self, subject: Any, cx: FakeContext) -> None:
        ref = replace(ImageRef.parse(self.ref), platform="plan9/mips")
        what = f"resolving {self.ref} for {ref.platform}"
        asyncio.run(self.refuses(UsageProblem, subject.resolve(ref, cx), what))

    def test_fetch_can_be_repeated_and_reports_sane_progress(
        self, subject: Any, cx: FakeContext
    ) -> None:
        pin = self._fetched(subject, cx)
        asyncio.run(subject.fetch(pin, cx))
        for what, done, total in cx.reports:
            sane = what and done >= 0 and (total == 0 or done <= total)
            self.asks(sane, f"progress is 0 <= done <= total, not {(what, done, total)}")

    def test_layers_hold_only_what_an_honest_archive_holds(
        self, subject: Any, cx: FakeContext
    ) -> None:
        pin = self._fetched(subject, cx)
        with subject.layers(pin, cx) as opened:
            layers = list(opened)
            self.asks(layers, "an image has at least one layer")
            for layer in layers:
                self.is_digest(layer.digest, "a layer's digest")
                for entry in layer.entries():
                    self._check(entry)

    def test_layers_are_the_same_each_time(self, subject: Any, cx: FakeContext) -> None:
        pin = self._fetched(subject, cx)
        trees = [self._read(subject, pin, cx) for _ in range(2)]
        self.asks(trees[0] == trees[1], "opening the layers again gives the same entries")

    def _fetched(self, subject: Any, cx: FakeContext) -> ImagePin:
        async def fetch() -> ImagePin:
            pin: ImagePin = await subject.resolve(ImageRef.parse(self.ref), cx)
            await subject.fetch(pin, cx)
            return pin

        return asyncio.run(fetch())

    def _read(self, subject: Any, pin: ImagePin, cx: FakeContext) -> _Tree:
        with subject.layers(pin, cx) as layers:
            return [
                (entry.path, entry.kind, entry.mode, entry.link, _content(entry))
                for layer in layers
                for entry in layer.entries()
            ]

    def _check(self, entry: Entry) -> None:
        path = entry.path
        if entry.kind is EntryKind.DIRECTORY:
            # As archives write them, and ``read_layer`` gives them
            path = path.removesuffix(b"/")
        parts = path.split(b"/")
        inside = b"\0" not in entry.path and not {b"", b".."} & set(parts)
        root = path in (b"", b".") and entry.kind is EntryKind.DIRECTORY
        self.asks(inside or root, f"paths are relative and stay inside, not {entry.path!r}")
        self.asks(0 <= entry.mode <= 0o7777, f"a mode is at most 07777, not {entry.mode:o}")
        if entry.kind is EntryKind.FILE:
            size, _ = _content(entry)
            self.asks(
                size == entry.size, f"data is as long as size: {entry.path!r} {size} {entry.size}"
            )
        if entry.kind in (EntryKind.SYMLINK, EntryKind.HARDLINK):
            self.asks(entry.link, f"a link has a target: {entry.path!r}")


def _content(entry: Entry) -> tuple[int, str]:
    """Return size and SHA-256 of the data; holes are counted, not filled."""
    size, digest = 0, hashlib.sha256()
    for chunk in entry.data or ():
        size += chunk if isinstance(chunk, int) else len(chunk)
        digest.update(f"hole {chunk}".encode() if isinstance(chunk, int) else chunk)
    return size, digest.hexdigest()
