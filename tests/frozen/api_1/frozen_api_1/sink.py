"""The sink: what happens, one event after the other."""

from __future__ import annotations

import json

from banger_core.api import Context, Event, in_thread


class FrozenSink:
    """Keeps a line for each event in ``events.jsonl`` of the plugin's state."""

    async def handle(self, event: Event, cx: Context) -> None:
        """Take note of one event; what blocks, as writing files does, goes into a thread."""
        line = json.dumps({"kind": event.kind, "vm": event.vm, "time": event.time})
        file = cx.state_dir / "events.jsonl"

        def append() -> None:
            with file.open("a", encoding="ascii") as stream:
                stream.write(line + "\n")

        await in_thread(append)
