"""Which image that is here a person means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from banger_core.model import ImageRecord, ImageRef


@dataclass(frozen=True, slots=True)
class Name:
    """What the source ``source`` calls the image of a reference. Those of ``path_schemes`` are
    called after their files, so that two of one name need not be the same.
    """

    source: str
    name: str
    path_schemes: tuple[str, ...] = ()


Called = Callable[[str], Name | None]
"""From a reference to the name that its source gives it; None when there is no such source."""


def find_image(text: str, images: Iterable[ImageRecord], called: Called) -> ImageRecord | None:
    """Return the image of ``images`` that ``text`` means, or None.

    That is a name, an id, the reference an image came from, or another way to write one of these
    (``python`` for ``python:latest``), in this order. ``called`` is asked only for the last. Of
    several that came from one reference, the one that bears its name counts, else the newest.
    """
    known = list(images)
    exact = [image for image in known if image.name == text]
    exact = exact or [image for image in known if image.id == text]
    exact = exact or [image for image in known if image.pin.ref == text]
    return _best(exact or _same(text, known, called))


def _same(text: str, images: list[ImageRecord], called: Called) -> list[ImageRecord]:
    wanted = called(text)
    if wanted is None:
        return []
    scheme = ImageRef.parse(text).scheme
    # A bare reference is first of all a name, whatever the image of that name was made from
    named = [image for image in images if not scheme and image.name == wanted.name]
    if named or scheme in wanted.path_schemes:
        return named
    return [
        image
        for image in images
        if (image.pin.source, image.pin.name) == (wanted.source, wanted.name)
        and ImageRef.parse(image.pin.ref).scheme not in wanted.path_schemes
    ]


def _best(images: list[ImageRecord]) -> ImageRecord | None:
    return max(
        images, key=lambda image: (image.name == image.pin.name, image.created_at), default=None
    )
