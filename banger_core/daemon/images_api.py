"""The API of images."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.bodies import PruneCache, PullImage
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.daemon.streams import stream_operation
from banger_core.daemon.views import image_view
from banger_core.engine.caches import prune_caches
from banger_core.engine.engine import Engine
from banger_core.engine.operations import Operation
from banger_core.jsonable import to_json


def image_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/images``."""

    async def list_images(_: Request) -> Response:
        """List the images that are here."""
        images = sorted(engine.records.images(), key=lambda image: image.name)
        return JSONResponse({"images": [image_view(engine, image) for image in images]})

    async def show_image(request: Request) -> Response:
        """One image, by name, id, unique prefix of an id, or reference."""
        return JSONResponse(image_view(engine, engine.images.find(request.path_params["name"])))

    async def pull(request: Request) -> Response:
        """Pull an image: everything fetched, verified and written, or nothing kept."""
        body = await read_body(request, PullImage)

        async def work(operation: Operation) -> Any:
            image, new = await engine.images.pull(
                body.ref,
                operation,
                name=body.name,
                kernel=body.kernel,
                size=body.size,
                platform=body.platform,
            )
            operation.mark("total")
            return {"image": image_view(engine, image), "new": new, "timing": operation.timing}

        return stream_operation(engine, f"pulling {body.ref}", work)

    async def delete(request: Request) -> Response:
        """Delete an image that no VM uses."""
        name = request.path_params["name"]

        async def work(operation: Operation) -> Any:
            image = await engine.images.delete(name, operation)
            return {"image": {"id": image.id, "name": image.name}}

        return stream_operation(engine, f"deleting image {name}", work)

    async def prune_cache(request: Request) -> Response:
        """Remove what image sources keep to save downloads, unless a pull uses it."""
        body = await read_body(request, PruneCache)

        async def work(operation: Operation) -> Any:
            pruned = await prune_caches(engine, operation, keep=body.keep, dry_run=body.dry_run)
            return {"items": [{"source": name, **to_json(item)} for name, item in pruned]}

        return stream_operation(engine, "pruning the cache of images", work)

    return [
        Endpoint("GET", "/v1/images", list_images),
        Endpoint("POST", "/v1/images/pull", pull, PullImage, streams=True),
        Endpoint("POST", "/v1/images/cache/prune", prune_cache, PruneCache, streams=True),
        Endpoint("GET", "/v1/images/{name:path}", show_image),
        Endpoint("DELETE", "/v1/images/{name:path}", delete, streams=True),
    ]
