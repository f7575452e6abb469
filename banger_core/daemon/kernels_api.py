"""The API of kernels."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.bodies import ImportKernel, PullKernel
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.daemon.streams import stream_operation
from banger_core.daemon.views import kernel_view
from banger_core.engine.engine import Engine
from banger_core.engine.operations import Operation
from banger_core.jsonable import to_json
from banger_core.threads import in_thread


def kernel_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/kernels``."""
    return [*_changing(engine), *_looking(engine)]


def _looking(engine: Engine) -> list[Endpoint]:
    async def list_kernels(request: Request) -> Response:
        """List the kernels that are here, or with ``available`` those on offer."""
        here = {entry.name: entry for entry in await engine.kernels.here()}
        if request.query_params.get("available") == "1":
            offers = await engine.kernels.available()
            views = [
                kernel_view(entry, provider=provider, here=entry.name in here)
                for provider, entry in offers
            ]
        else:
            views = [kernel_view(entry) for entry in here.values()]
        return JSONResponse({"kernels": views})

    async def show_kernel(request: Request) -> Response:
        """One kernel that is here, with what it says of itself; ``verify`` checks its files."""
        name = request.path_params["name"]
        entry = await engine.kernels.show(name)
        facts = await engine.kernels.facts(entry)
        view = {**kernel_view(entry), "facts": to_json(facts) if facts else None}
        if request.query_params.get("verify") == "1":
            view["problems"] = await engine.kernels.verify(name)
        return JSONResponse(view)

    return [
        Endpoint("GET", "/v1/kernels", list_kernels),
        Endpoint("GET", "/v1/kernels/{name:path}", show_kernel),
    ]


def _changing(engine: Engine) -> list[Endpoint]:
    async def pull(request: Request) -> Response:
        """Pull a kernel into the catalogue."""
        body = await read_body(request, PullKernel)

        async def work(operation: Operation) -> Any:
            entry = await engine.kernels.pull(body.name, operation, force=body.force)
            return {"kernel": kernel_view(entry)}

        return stream_operation(engine, f"pulling kernel {body.name}", work)

    async def take(request: Request) -> Response:
        """Import a kernel from files on this host."""
        body = await read_body(request, ImportKernel)

        async def work(operation: Operation) -> Any:
            origin = await in_thread(body.origin)
            entry = await engine.kernels.take(body.name, origin, operation, force=body.force)
            return {"kernel": kernel_view(entry)}

        return stream_operation(engine, f"importing kernel {body.name}", work)

    async def delete(request: Request) -> Response:
        """Remove a kernel from the catalogue; images keep their own copies."""
        name = request.path_params["name"]

        async def work(operation: Operation) -> Any:
            await engine.kernels.remove(name, operation)
            return {"kernel": {"name": name}}

        return stream_operation(engine, f"removing kernel {name}", work)

    return [
        Endpoint("POST", "/v1/kernels/pull", pull, PullKernel, streams=True),
        Endpoint("POST", "/v1/kernels/import", take, ImportKernel, streams=True),
        Endpoint("DELETE", "/v1/kernels/{name:path}", delete, streams=True),
    ]
