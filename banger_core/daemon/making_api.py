"""The API of making images out of what is here: register, promote, build, export, import."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from banger_core.daemon.bodies import Nothing
from banger_core.daemon.image_bodies import BuildImage, ExportImage, ImportImage, RegisterImage
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.daemon.streams import stream_operation
from banger_core.daemon.views import image_view
from banger_core.engine.engine import Engine
from banger_core.engine.image_export import export_image
from banger_core.engine.operations import Operation
from banger_core.jsonable import to_json
from banger_core.threads import in_thread


def making_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/images`` that make images."""
    return [*_making(engine), *_carrying(engine)]


def _making(engine: Engine) -> list[Endpoint]:
    async def register(request: Request) -> Response:
        """Register files of the host as an image; they stay where they are."""
        body = await read_body(request, RegisterImage)

        async def work(operation: Operation) -> Any:
            image = await engine.registrar.register(body.registration(), operation)
            return {"image": image_view(engine, image)}

        return stream_operation(engine, f"registering image {body.name}", work)

    async def promote(request: Request) -> Response:
        """Copy the files of a registered image in."""
        name = request.path_params["name"]
        await read_body(request, Nothing)

        async def work(operation: Operation) -> Any:
            image = await engine.registrar.promote(name, operation)
            return {"image": image_view(engine, image)}

        return stream_operation(engine, f"promoting image {name}", work)

    async def build(request: Request) -> Response:
        """Build an image in a machine of another one, which is gone afterwards."""
        body = await read_body(request, BuildImage)

        async def work(operation: Operation) -> Any:
            wanted = await in_thread(body.build)
            image = await engine.image_builder.build(wanted, operation)
            return {"image": image_view(engine, image)}

        return stream_operation(engine, f"building image {body.name}", work)

    return [
        Endpoint("POST", "/v1/images/build", build, BuildImage, streams=True),
        Endpoint("POST", "/v1/images/register", register, RegisterImage, streams=True),
        Endpoint("POST", "/v1/images/{name:path}/promote", promote, Nothing, streams=True),
    ]


def _carrying(engine: Engine) -> list[Endpoint]:
    async def export(request: Request) -> Response:
        """Write an image to a file of this host, as a bundle."""
        name = request.path_params["name"]
        body = await read_body(request, ExportImage)

        async def work(operation: Operation) -> Any:
            done = await export_image(engine, name, body.file, operation, force=body.force)
            return {"bundle": to_json(done)}

        return stream_operation(engine, f"exporting image {name}", work)

    async def take(request: Request) -> Response:
        """Make an image of a bundle, once everything in it has been checked."""
        body = await read_body(request, ImportImage)

        async def work(operation: Operation) -> Any:
            image = await engine.importer.take(
                body.source, operation, sha256=body.sha256, name=body.name
            )
            return {"image": image_view(engine, image)}

        return stream_operation(engine, f"importing {body.source}", work)

    return [
        Endpoint("POST", "/v1/images/import", take, ImportImage, streams=True),
        Endpoint("POST", "/v1/images/{name:path}/export", export, ExportImage, streams=True),
    ]
