"""The API of VMs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from banger_core.daemon.bodies import CreateVm, StartVm, StopVm
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.daemon.streams import stream_operation
from banger_core.daemon.views import vm_details, vm_view
from banger_core.engine.console import ConsoleRing
from banger_core.engine.engine import Engine
from banger_core.engine.inspect import require_running
from banger_core.engine.operations import Operation
from banger_core.engine.ssh import write_note
from banger_core.escapes import EscapeStripper
from banger_core.jsonable import to_json
from banger_core.model import SshTarget, VmRecord


def vm_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/vms``."""
    return [*_readers(engine), *_starting(engine), *_ending(engine)]


def _readers(engine: Engine) -> list[Endpoint]:
    async def list_vms(_: Request) -> Response:
        """List all VMs, oldest first."""
        records = sorted(engine.records.vms(), key=lambda record: record.created_at)
        return JSONResponse({"vms": [vm_view(record) for record in records]})

    async def show_vm(request: Request) -> Response:
        """One VM, by name, id or unique prefix of an id."""
        record = engine.records.vm(request.path_params["ref"])
        return JSONResponse(vm_details(record, engine.records.vms()))

    async def logs(request: Request) -> Response:
        """What the serial console said; ``follow``, ``raw`` and ``tail`` (bytes) as wanted."""
        record = engine.records.vm(request.path_params["ref"])
        query = request.query_params
        return StreamingResponse(
            _console(
                engine.console(record.id),
                raw=query.get("raw") == "1",
                follow=query.get("follow") == "1",
                tail=int(query["tail"]) if query.get("tail", "").isdigit() else None,
            ),
            media_type="application/octet-stream",
        )

    async def ssh(request: Request) -> Response:
        """How to reach a running VM with OpenSSH; writes its note anew."""
        record = engine.records.vm(request.path_params["ref"])
        require_running(record)
        target = engine.ssh_target(record)
        write_note(engine.paths, target)
        return JSONResponse(to_json(target))

    async def explain(request: Request) -> Response:
        """Who decided what about SSH to a VM, and who lost."""
        return JSONResponse(engine.ssh.explain(engine.records.vm(request.path_params["ref"])))

    return [
        Endpoint("GET", "/v1/vms", list_vms),
        Endpoint("GET", "/v1/vms/{ref}", show_vm),
        Endpoint("GET", "/v1/vms/{ref}/logs", logs),
        Endpoint("GET", "/v1/vms/{ref}/ssh", ssh),
        Endpoint("GET", "/v1/vms/{ref}/ssh/explain", explain),
    ]


def _starting(engine: Engine) -> list[Endpoint]:
    async def create(request: Request) -> Response:
        """Create a VM, and start it when asked."""
        body = await read_body(request, CreateVm)

        async def work(operation: Operation) -> Any:
            if body.dry_run:
                plan = await engine.machines.plan(body.request, operation)
                return {"plan": to_json(plan)}
            record, target = await engine.machines.create(body.request, operation, start=body.start)
            return vm_result(record, target, operation)

        return stream_operation(engine, "creating a VM", work)

    async def start(request: Request) -> Response:
        """Start a stopped VM."""
        ref, body = request.path_params["ref"], await read_body(request, StartVm)

        async def work(operation: Operation) -> Any:
            record, target = await engine.machines.start(ref, operation, cold=body.cold)
            return vm_result(record, target, operation)

        return stream_operation(engine, f"starting {ref}", work)

    return [
        Endpoint("POST", "/v1/vms", create, CreateVm, streams=True),
        Endpoint("POST", "/v1/vms/{ref}/start", start, StartVm, streams=True),
    ]


def _ending(engine: Engine) -> list[Endpoint]:
    async def stop(request: Request) -> Response:
        """Stop a VM, cleanly unless forced."""
        ref = request.path_params["ref"]
        body = await read_body(request, StopVm)

        async def work(operation: Operation) -> Any:
            record = await engine.machines.stop(ref, operation, force=body.force)
            return vm_result(record, None, operation)

        if not body.wait:
            operation = engine.operations.start(f"stopping {ref}", work)
            return JSONResponse({"operation": operation.id})
        return stream_operation(engine, f"stopping {ref}", work)

    async def delete(request: Request) -> Response:
        """Delete a VM and everything made for it; ``force`` when it runs."""
        ref, force = request.path_params["ref"], request.query_params.get("force") == "1"

        async def work(operation: Operation) -> Any:
            record = await engine.machines.delete(ref, operation, force=force)
            return {"vm": {"id": record.id, "name": record.name}}

        return stream_operation(engine, f"deleting {ref}", work)

    return [
        Endpoint("POST", "/v1/vms/{ref}/stop", stop, StopVm, streams=True),
        Endpoint("DELETE", "/v1/vms/{ref}", delete, streams=True),
    ]


def vm_result(record: VmRecord, target: SshTarget | None, operation: Operation) -> dict[str, Any]:
    """What an operation on a VM gives."""
    operation.mark("total")
    return {"vm": vm_view(record), "ssh": to_json(target), "timing": operation.timing}


async def _console(
    ring: ConsoleRing, *, raw: bool, follow: bool, tail: int | None
) -> AsyncIterator[bytes]:
    stripper = EscapeStripper()

    def shown(data: bytes) -> bytes:
        return data if raw else stripper.feed(data).encode()

    # Begun before what is kept is read, so that nothing falls between the two
    coming = ring.follow() if follow else None
    yield shown(ring.read(tail))
    if coming is not None:
        async for data in coming:
            yield shown(data)
    if not raw:
        yield stripper.finish().encode()
