"""The API of what is done to VMs that are there: restarted, killed, paused, changed."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.bodies import KillVm, Nothing, ResolveVms, RestartVm, SetVm
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.daemon.streams import stream_operation
from banger_core.daemon.vms_api import vm_result
from banger_core.engine.change import Change, change
from banger_core.engine.engine import Engine
from banger_core.engine.operations import Operation
from banger_core.engine.verbs import kill, pause, restart, resume
from banger_core.errors import BangerError


def vm_verb_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints that change VMs under ``/v1/vms``, and the one that finds several."""
    return [*_finding(engine), *_ending(engine), *_pausing(engine)]


def _finding(engine: Engine) -> list[Endpoint]:
    async def resolve(request: Request) -> Response:
        """Find several VMs at one moment: each is ``{id, name}``, or ``{error}``."""
        body = await read_body(request, ResolveVms)
        found = engine.records.find_vms(body.references)
        return JSONResponse(
            {
                "vms": [
                    {"error": each.to_dict()}
                    if isinstance(each, BangerError)
                    else {"id": each.id, "name": each.name}
                    for each in found
                ]
            }
        )

    async def set_vm(request: Request) -> Response:
        """Change a VM, all of it or nothing; most needs it stopped."""
        ref, body = request.path_params["ref"], await read_body(request, SetVm)
        wanted = Change(**body.model_dump())

        async def work(operation: Operation) -> Any:
            return vm_result(await change(engine, ref, wanted, operation), None, operation)

        return stream_operation(engine, f"changing {ref}", work)

    return [
        Endpoint("POST", "/v1/resolve", resolve, ResolveVms),
        Endpoint("POST", "/v1/vms/{ref}/set", set_vm, SetVm, streams=True),
    ]


def _ending(engine: Engine) -> list[Endpoint]:
    async def restart_vm(request: Request) -> Response:
        """Stop a VM, cleanly unless forced, and start it."""
        ref, body = request.path_params["ref"], await read_body(request, RestartVm)

        async def work(operation: Operation) -> Any:
            record, target = await restart(engine, ref, operation, force=body.force)
            return vm_result(record, target, operation)

        return stream_operation(engine, f"restarting {ref}", work)

    async def kill_vm(request: Request) -> Response:
        """End a VM with a signal to its VMM; the guest is not asked."""
        ref, body = request.path_params["ref"], await read_body(request, KillVm)

        async def work(operation: Operation) -> Any:
            return vm_result(await kill(engine, ref, operation, body.signal), None, operation)

        return stream_operation(engine, f"killing {ref}", work)

    return [
        Endpoint("POST", "/v1/vms/{ref}/restart", restart_vm, RestartVm, streams=True),
        Endpoint("POST", "/v1/vms/{ref}/kill", kill_vm, KillVm, streams=True),
    ]


def _pausing(engine: Engine) -> list[Endpoint]:
    async def pause_vm(request: Request) -> Response:
        """Stop a VM's virtual CPUs."""
        ref = request.path_params["ref"]
        await read_body(request, Nothing)

        async def work(operation: Operation) -> Any:
            return vm_result(await pause(engine, ref, operation), None, operation)

        return stream_operation(engine, f"pausing {ref}", work)

    async def resume_vm(request: Request) -> Response:
        """Let a paused VM go on, and set its clock."""
        ref = request.path_params["ref"]
        await read_body(request, Nothing)

        async def work(operation: Operation) -> Any:
            record, target = await resume(engine, ref, operation)
            return vm_result(record, target, operation)

        return stream_operation(engine, f"resuming {ref}", work)

    return [
        Endpoint("POST", "/v1/vms/{ref}/pause", pause_vm, Nothing, streams=True),
        Endpoint("POST", "/v1/vms/{ref}/resume", resume_vm, Nothing, streams=True),
    ]
