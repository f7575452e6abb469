"""Operations as streams of events: one JSON object per line (NDJSON)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import StreamingResponse

from banger_core.engine.engine import Engine
from banger_core.engine.operations import Operation
from banger_core.jsonable import to_json
from banger_core.model import Event

NDJSON = "application/x-ndjson"
LAST = ("operation.done", "operation.failed")


def stream_operation(
    engine: Engine, what: str, work: Callable[[Operation], Awaitable[Any]]
) -> StreamingResponse:
    """Start ``work`` and answer with its events, the last of which is its result or error.

    The operation goes on when the client leaves; it is stopped by cancelling it.
    """

    async def events() -> AsyncIterator[bytes]:
        operation = engine.operations.start(what, work)
        with engine.events.subscribe(operation=operation.id) as subscription:
            async for event in subscription:
                yield frame(event)
                if event.kind in LAST:
                    return

    return StreamingResponse(events(), media_type=NDJSON)


def stream_events(engine: Engine, since: int | None) -> StreamingResponse:
    """Answer with all events from now on, after those newer than ``since``."""

    async def events() -> AsyncIterator[bytes]:
        with engine.events.subscribe(since=since) as subscription:
            async for event in subscription:
                yield frame(event)

    return StreamingResponse(events(), media_type=NDJSON)


def frame(event: Event) -> bytes:
    """One event as a line."""
    return json.dumps(to_json(event), separators=(",", ":")).encode() + b"\n"
