"""Values as people say them."""

from __future__ import annotations

import time
from typing import Any

_SPANS = (
    (86400 * 365, "year"),
    (86400 * 30, "month"),
    (86400 * 7, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
    (1, "second"),
)


def ago(moment: float | None, now: float | None = None) -> str:
    """Return how long ago ``moment`` (seconds since the epoch) was: ``3 minutes ago``."""
    if not moment:
        return "never"
    passed = (time.time() if now is None else now) - moment
    for seconds, name in _SPANS:
        if passed >= seconds:
            count = int(passed // seconds)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "now"


def plain(value: Any) -> str:
    """Return any JSON value as one line of text, ``-`` when there is nothing."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return str(value)
