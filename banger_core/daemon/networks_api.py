"""The API of networks and of ports that VMs publish."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.bodies import Body
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.engine.engine import Engine
from banger_core.engine.forwards import publish, published, unpublish
from banger_core.jsonable import to_json
from banger_core.model import Publish, VmRecord
from banger_core.plan.links import linked_with


class PublishPort(Body):
    """Publish ``guest_port`` of a VM as ``host_port`` of its address."""

    host_port: int = Field(ge=1, le=65535)
    guest_port: int = Field(ge=1, le=65535)
    protocol: Literal["tcp", "udp"] = "tcp"


class UnpublishPort(Body):
    """Take the published ``host_port`` back."""

    host_port: int = Field(ge=1, le=65535)
    protocol: Literal["tcp", "udp"] = "tcp"


def network_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/networks`` and ``/v1/vms/{ref}/forwards``."""
    return [*_networks(engine), *_forwards(engine)]


def _networks(engine: Engine) -> list[Endpoint]:
    def view(name: str) -> dict[str, Any]:
        declared, owner = (
            engine.registry.networks.declared(name),
            engine.registry.networks.owner(name),
        )
        members = [vm for vm in engine.records.vms() if vm.plan.net.network == name]
        return {
            "name": name,
            "summary": declared.summary,
            "plugin": owner.name,
            "distribution": owner.distribution,
            "requires": list(declared.requires),
            "default": name == engine.settings.vm.network,
            "vms": sorted(vm.name for vm in members),
            "links": sorted(
                [vm.name, other.name]
                for vm in members
                for other in linked_with(vm.plan.net, members)
                if vm.name < other.name
            ),
        }

    async def list_networks(_: Request) -> Response:
        """List the networks that plugins offer, and who is on them."""
        return JSONResponse({"networks": [view(name) for name in engine.registry.networks.names()]})

    async def show_network(request: Request) -> Response:
        """One network."""
        return JSONResponse(view(request.path_params["network"]))

    return [
        Endpoint("GET", "/v1/networks", list_networks),
        Endpoint("GET", "/v1/networks/{network}", show_network),
    ]


def _forwards(engine: Engine) -> list[Endpoint]:
    async def list_forwards(request: Request) -> Response:
        """List the ports that a VM publishes."""
        return JSONResponse(_view(engine.records.vm(request.path_params["ref"])))

    async def add(request: Request) -> Response:
        """Publish a port, at once when the VM runs."""
        body = await read_body(request, PublishPort)
        wanted = Publish(**body.model_dump())
        return JSONResponse(_view(await publish(engine, request.path_params["ref"], wanted)))

    async def remove(request: Request) -> Response:
        """Take a published port back."""
        body = await read_body(request, UnpublishPort)
        ref = request.path_params["ref"]
        return JSONResponse(_view(await unpublish(engine, ref, body.host_port, body.protocol)))

    return [
        Endpoint("GET", "/v1/vms/{ref}/forwards", list_forwards),
        Endpoint("POST", "/v1/vms/{ref}/forwards", add, PublishPort),
        Endpoint("DELETE", "/v1/vms/{ref}/forwards", remove, UnpublishPort),
    ]


def _view(record: VmRecord) -> dict[str, Any]:
    return {
        "vm": record.name,
        "address": record.plan.net.host_address,
        "forwards": [to_json(forward) for forward in published(record)],
    }
