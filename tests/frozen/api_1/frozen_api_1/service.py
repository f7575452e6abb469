"""A service: it counts how often it was tended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from banger_core.api import Context, NotFound


class FrozenService:
    """Answers ``greeting``."""

    async def tend(self, cx: Context) -> None:
        """Leave a mark."""
        (cx.state_dir / "tended").touch()

    async def answer(self, question: str, data: Mapping[str, Any], cx: Context) -> Any:
        """Say the configured greeting to whoever asks."""
        if question != "greeting":
            raise NotFound("question", question, ["greeting"])
        return {"text": f"{cx.settings['greeting']}, {data.get('name', 'world')}"}
