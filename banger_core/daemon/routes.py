"""A table of routes: what the API offers is data, so that its description comes from it too."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from banger_core.errors import UsageProblem

B = TypeVar("B", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]

BODY_LIMIT = 1 << 20
"""Largest request body in bytes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path. ``streams`` marks answers that are NDJSON events."""

    method: str
    path: str
    handler: Handler
    body: type[BaseModel] | None = None
    streams: bool = False

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]

    @property
    def public_path(self) -> str:
        """The path as clients see it, without how its parameters match."""
        return self.path.replace(":path}", "}")


async def read_body(request: Request, kind: type[B]) -> B:
    """Read and check a JSON body. Raises UsageProblem for anything that does not fit."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_LIMIT:
            raise UsageProblem(
                "the request is too large",
                cause=f"the limit is {BODY_LIMIT} bytes",
                hints=["GET /openapi.json says what is taken"],
            )
    try:
        return kind.model_validate(json.loads(raw or b"{}"))
    except json.JSONDecodeError as problem:
        raise UsageProblem(
            "the request is no JSON",
            cause=str(problem),
            hints=["GET /openapi.json says what is taken"],
        ) from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageProblem(
            "the request does not fit",
            cause=f"{where}: {first['msg']}",
            hints=["GET /openapi.json says what is taken"],
        ) from problem


def describe(endpoints: list[Endpoint], version: str) -> dict[str, object]:
    """The OpenAPI 3.1 description of ``endpoints``."""
    paths: dict[str, dict[str, object]] = {}
    schemas: dict[str, object] = {}
    for endpoint in endpoints:
        operation: dict[str, object] = {
            "summary": endpoint.summary,
            "responses": {
                "200": {
                    "description": "events, one per line" if endpoint.streams else "the answer",
                    "content": {
                        "application/x-ndjson" if endpoint.streams else "application/json": {}
                    },
                },
                "default": {"description": "an error: code, error, cause, try"},
            },
        }
        if endpoint.body is not None:
            schema = endpoint.body.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[endpoint.body.__name__] = schema
            ref = {"$ref": f"#/components/schemas/{endpoint.body.__name__}"}
            operation["requestBody"] = {"content": {"application/json": {"schema": ref}}}
        parameters = [
            {
                "name": part[1:-1],
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
            }
            for part in endpoint.public_path.split("/")
            if part.startswith("{")
        ]
        if parameters:
            operation["parameters"] = parameters
        paths.setdefault(endpoint.public_path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "banger", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }
