"""Text from outside, made fit for a message."""

from __future__ import annotations


def quoted(text: object, limit: int = 160) -> str:
    """Return ``text`` in quotes, at most ``limit`` characters of it, everything odd escaped."""
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "replace")
    shown = str(text)
    return ascii(shown if len(shown) <= limit else shown[: limit - 1] + "…")
