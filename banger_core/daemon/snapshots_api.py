"""The API of snapshots and copies of VMs."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.bodies import DeleteSnapshots, ForkVm, MakeSnapshot, Nothing
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.daemon.streams import stream_operation
from banger_core.daemon.views import vm_view
from banger_core.daemon.vms_api import vm_result
from banger_core.engine.engine import Engine
from banger_core.engine.fork import fork
from banger_core.engine.operations import Operation
from banger_core.engine.restore import restore_snapshot
from banger_core.engine.snapshot_files import size_on_disk
from banger_core.engine.snapshots import create_snapshot, delete_snapshots
from banger_core.snapmodel import SnapshotRecord
from banger_core.threads import in_thread


def snapshot_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/snapshots`` and ``/v1/vms/{ref}/snapshots``, and forking."""
    return [*_reading(engine), *_changing(engine)]


def _reading(engine: Engine) -> list[Endpoint]:
    async def list_all(_: Request) -> Response:
        """List the snapshots of all VMs, oldest first."""
        return JSONResponse({"snapshots": await _views(engine, engine.snapshots.all())})

    async def list_of_vm(request: Request) -> Response:
        """List the snapshots of a VM, oldest first."""
        record = engine.records.vm(request.path_params["ref"])
        return JSONResponse({"snapshots": await _views(engine, engine.snapshots.of(record.id))})

    return [
        Endpoint("GET", "/v1/snapshots", list_all),
        Endpoint("GET", "/v1/vms/{ref}/snapshots", list_of_vm),
    ]


def _changing(engine: Engine) -> list[Endpoint]:
    async def create(request: Request) -> Response:
        """Keep memory and disks of a VM as they are now."""
        ref, body = request.path_params["ref"], await read_body(request, MakeSnapshot)

        async def work(operation: Operation) -> Any:
            record, snapshot = await create_snapshot(engine, ref, body.name, operation)
            (view,) = await _views(engine, [snapshot])
            return {**vm_result(record, None, operation), "snapshot": view}

        return stream_operation(engine, f"keeping {ref}", work)

    async def restore(request: Request) -> Response:
        """Have a VM go back to a snapshot."""
        ref, name = request.path_params["ref"], request.path_params["snapshot"]
        await read_body(request, Nothing)

        async def work(operation: Operation) -> Any:
            record, target = await restore_snapshot(engine, ref, name, operation)
            return vm_result(record, target, operation)

        return stream_operation(engine, f"restoring {ref}", work)

    async def delete(request: Request) -> Response:
        """Delete snapshots of a VM."""
        ref, body = request.path_params["ref"], await read_body(request, DeleteSnapshots)

        async def work(operation: Operation) -> Any:
            record = await delete_snapshots(engine, ref, body.names, operation)
            return vm_result(record, None, operation)

        return stream_operation(engine, f"deleting snapshots of {ref}", work)

    async def fork_vm(request: Request) -> Response:
        """Copy a VM that runs; the copies run, each with an identity of its own."""
        ref, body = request.path_params["ref"], await read_body(request, ForkVm)

        async def work(operation: Operation) -> Any:
            done = await fork(engine, ref, body.count, body.name, operation)
            operation.mark("total")
            vms = [vm_view(record) for record, _ in done]
            return {"vms": vms, "timing": operation.timing}

        return stream_operation(engine, f"copying {ref}", work)

    place = "/v1/vms/{ref}/snapshots"
    return [
        Endpoint("POST", "/v1/vms/{ref}/fork", fork_vm, ForkVm, streams=True),
        Endpoint("POST", place, create, MakeSnapshot, streams=True),
        Endpoint("POST", f"{place}/{{snapshot}}/restore", restore, Nothing, streams=True),
        Endpoint("DELETE", place, delete, DeleteSnapshots, streams=True),
    ]


async def _views(engine: Engine, records: list[SnapshotRecord]) -> list[dict[str, Any]]:
    """Snapshots. Sizes in bytes, times in seconds since the epoch."""
    names = {vm.id: vm.name for vm in engine.records.vms()}
    sizes = await in_thread(
        lambda: [size_on_disk(engine.paths.snapshots / record.id) for record in records]
    )
    return [
        {
            "id": record.id,
            "name": record.name,
            "vm": names.get(record.vm_id, record.vm_id),
            "vm_id": record.vm_id,
            "created_at": record.created_at,
            "size": size,
            "vcpu": record.vcpu,
            "memory": record.memory,
            "disk_size": record.disk_size,
            "work_disk": record.work_disk,
            "needs": dict(record.needs),
        }
        for record, size in zip(records, sizes, strict=True)
    ]
