"""Which image that is here a person means."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from banger_core.model import ImageRecord

Called = Callable[[str], tuple[str, str]]
"""From a reference to its source and the name that the source gives it; ("", "") when no source
knows it.
"""


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
    source, name = called(text)
    if not name:
        return []
    # A bare reference is first of all a name, whatever the image of that name was made from
    named = [image for image in images if "://" not in text and image.name == name]
    return named or [
        image for image in images if (image.pin.source, image.pin.name) == (source, name)
    ]


def _best(images: list[ImageRecord]) -> ImageRecord | None:
    return max(
        images, key=lambda image: (image.name == image.pin.name, image.created_at), default=None
    )
