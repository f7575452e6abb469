"""What was resolved before, so that it can be used again without the network."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from banger_core.api import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from banger_core.api import Context

_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")


def recall(cx: Context, key: str) -> tuple[dict[str, Any], float] | None:
    """Return what was remembered under ``key`` and its age in seconds, or None."""
    assert _KEY.fullmatch(key)
    try:
        content = json.loads((cx.state_dir / f"{key}.json").read_bytes())
        return dict(content["value"]), max(0.0, time.time() - float(content["at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(cx: Context, key: str, value: Mapping[str, Any]) -> None:
    """Keep a JSON value under ``key`` for as long as the state stays."""
    assert _KEY.fullmatch(key)
    content = json.dumps({"at": time.time(), "value": dict(value)}, indent=1)
    write_atomic(cx.state_dir / f"{key}.json", content)
