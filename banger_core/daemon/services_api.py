"""The API of services: questions to what plugins keep going beside the daemon."""

from __future__ import annotations

from typing import Any

from pydantic import RootModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.routes import Endpoint, read_body
from banger_core.engine.engine import Engine
from banger_core.engine.services import answer


class Question(RootModel[dict[str, Any]]):
    """What a question is about, as its service wants it."""


def service_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/services``."""

    async def ask(request: Request) -> Response:
        """Put a question to a service of a plugin."""
        body = await read_body(request, Question)
        service, question = request.path_params["service"], request.path_params["question"]
        return JSONResponse(await answer(engine, service, question, body.root))

    return [Endpoint("POST", "/v1/services/{service}/{question}", ask, Question)]
