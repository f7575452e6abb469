"""The application: endpoints over the engine, errors as JSON, every answer with the version."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from banger_core import __version__
from banger_core.daemon.images_api import image_endpoints
from banger_core.daemon.kernels_api import kernel_endpoints
from banger_core.daemon.making_api import making_endpoints
from banger_core.daemon.networks_api import network_endpoints
from banger_core.daemon.routes import Endpoint, describe
from banger_core.daemon.services_api import service_endpoints
from banger_core.daemon.snapshots_api import snapshot_endpoints
from banger_core.daemon.ssh_api import ssh_endpoints
from banger_core.daemon.streams import stream_events
from banger_core.daemon.system_api import system_endpoints
from banger_core.daemon.vm_look_api import vm_look_endpoints
from banger_core.daemon.vm_verbs_api import vm_verb_endpoints
from banger_core.daemon.vms_api import vm_endpoints
from banger_core.daemon.warm_api import warm_endpoints
from banger_core.engine.engine import Engine
from banger_core.errors import BangerError, Conflict, ExitCode, NotFound, UsageProblem
from banger_core.model import VmState

VERSION_HEADER = "X-Banger-Version"


def build_app(engine: Engine, stop: Callable[[], None]) -> Starlette:
    """Put all endpoints together. ``stop`` ends the daemon."""
    endpoints = [
        *_daemon_endpoints(engine, stop),
        *vm_endpoints(engine),
        *vm_verb_endpoints(engine),
        *vm_look_endpoints(engine),
        *snapshot_endpoints(engine),
        *warm_endpoints(engine),
        *making_endpoints(engine),
        *image_endpoints(engine),
        *kernel_endpoints(engine),
        *network_endpoints(engine),
        *ssh_endpoints(engine),
        *service_endpoints(engine),
        *system_endpoints(engine),
    ]

    async def openapi(_: Request) -> Response:
        """Describe this API (OpenAPI 3.1)."""
        return JSONResponse(describe(endpoints, __version__))

    endpoints.append(Endpoint("GET", "/openapi.json", openapi))
    routes = [Route(_pattern(item), _stamped(item), methods=[item.method]) for item in endpoints]
    return Starlette(
        routes=routes,
        exception_handlers={
            BangerError: _expected,
            HTTPException: _no_route,
        },
    )


def _daemon_endpoints(engine: Engine, stop: Callable[[], None]) -> list[Endpoint]:
    began = time.time()

    async def status(_: Request) -> Response:
        """Say which daemon this is and how it is doing."""
        vms = engine.records.vms()
        running = sum(vm.state in (VmState.RUNNING, VmState.PAUSED) for vm in vms)
        return JSONResponse(
            {
                "version": __version__,
                "pid": os.getpid(),
                "state_dir": str(engine.paths.state),
                "started_at": began,
                "plugins": len(engine.registry.plugins()),
                "vms": {"running": running, "all": len(vms)},
            }
        )

    async def end(_: Request) -> Response:
        """Stop the daemon; VMs go on."""
        stop()
        return JSONResponse({})

    async def events(request: Request) -> Response:
        """All events from now on, after those newer than ``since``."""
        since = request.query_params.get("since")
        return stream_events(engine, int(since) if since and since.isdigit() else None)

    async def cancel(request: Request) -> Response:
        """Stop an operation; it undoes what it made."""
        engine.operations.cancel(request.path_params["id"])
        return JSONResponse({})

    return [
        Endpoint("GET", "/v1/status", status),
        Endpoint("POST", "/v1/stop", end),
        Endpoint("GET", "/v1/events", events, streams=True),
        Endpoint("POST", "/v1/operations/{id}/cancel", cancel),
    ]


def _pattern(endpoint: Endpoint) -> str:
    # The server decodes %2F before it looks for a route, and names of images may have slashes
    return endpoint.path.replace("{name}", "{name:path}")


def _stamped(endpoint: Endpoint) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        response = await endpoint.handler(request)
        response.headers[VERSION_HEADER] = __version__
        return response

    return answer


async def _expected(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, BangerError)
    return JSONResponse(
        problem.to_dict(), status_code=_status(problem), headers={VERSION_HEADER: __version__}
    )


async def _no_route(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    error = UsageProblem(
        f"{request.method} {request.url.path} is not part of this API",
        cause=f"this daemon is {__version__}",
        hints=["GET /openapi.json lists what is"],
    )
    return JSONResponse(
        error.to_dict(), status_code=problem.status_code, headers={VERSION_HEADER: __version__}
    )


def _status(problem: BangerError) -> int:
    if isinstance(problem, NotFound):
        return 404
    if isinstance(problem, Conflict):
        return 409
    return 400 if problem.exit_code == ExitCode.USAGE else 500
