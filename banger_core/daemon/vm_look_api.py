"""The API of looking into VMs: health, ports, statistics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.routes import Endpoint
from banger_core.engine.engine import Engine
from banger_core.engine.inspect import health, ports, stats
from banger_core.errors import UsageProblem
from banger_core.model import VmState

INTERVALS = (0.2, 60.0)
"""The shortest and the longest time between two looks (seconds)."""

MOST = 1000
"""So many VMs are looked at for one request."""


def vm_look_endpoints(engine: Engine) -> list[Endpoint]:
    """``/v1/stats`` and what looks into one VM under ``/v1/vms/{ref}``."""

    async def health_of(request: Request) -> Response:
        """How a VM is: what was checked, and whether all is well."""
        return JSONResponse(await health(engine, request.path_params["ref"]))

    async def ports_of(request: Request) -> Response:
        """What listens inside a VM, with the address on the host that leads there."""
        return JSONResponse(await ports(engine, request.path_params["ref"]))

    async def stats_of(request: Request) -> Response:
        """What VMs use: those of ``vm`` (references with commas between), else all that run;
        looked at twice, ``interval`` seconds apart.
        """
        names = list(filter(None, request.query_params.get("vm", "").split(",")))[:MOST]
        records = (
            [engine.records.vm(name) for name in names]
            if names
            else [vm for vm in engine.records.vms() if vm.state in _UP]
        )
        return JSONResponse({"vms": await stats(engine, records, _interval(request))})

    return [
        Endpoint("GET", "/v1/stats", stats_of),
        Endpoint("GET", "/v1/vms/{ref}/health", health_of),
        Endpoint("GET", "/v1/vms/{ref}/ports", ports_of),
    ]


_UP = (VmState.RUNNING, VmState.PAUSED)


def _interval(request: Request) -> float:
    text = request.query_params.get("interval", "1")
    least, most = INTERVALS
    try:
        interval = float(text)
    except ValueError:
        interval = -1.0
    if not least <= interval <= most:
        raise UsageProblem(
            f"interval {text[:40]!r} is not possible",
            cause=f"it is {least:g} to {most:g} seconds",
            hints=[f"interval={least:g}"],
        )
    return interval
