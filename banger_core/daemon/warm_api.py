"""The API of the saved machines that VMs begin as."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from banger_core.daemon.bodies import PruneWarm
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.daemon.streams import stream_operation
from banger_core.engine.engine import Engine
from banger_core.engine.operations import Operation


def warm_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoint under ``/v1/warm``."""

    async def prune(request: Request) -> Response:
        """Remove the saved machines; VMs that began as one go on."""
        body = await read_body(request, PruneWarm)

        async def work(_: Operation) -> Any:
            items = await engine.warm.prune(dry_run=body.dry_run)
            return {
                "items": [
                    {"name": item.name, "size": item.size, "used_at": item.used_at}
                    for item in items
                ]
            }

        return stream_operation(engine, "removing saved machines", work)

    return [Endpoint("POST", "/v1/warm/prune", prune, PruneWarm, streams=True)]
