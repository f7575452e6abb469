"""The API of SSH: the configuration for ssh, and host keys that are pinned."""

from __future__ import annotations

import ipaddress
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.contracts import HostPin
from banger_core.daemon.bodies import Body, Nothing
from banger_core.daemon.routes import Endpoint, read_body
from banger_core.engine.engine import Engine
from banger_core.engine.pins import forget, is_stale, list_pins
from banger_core.engine.ssh_identity import identity_path
from banger_core.engine.ssh_include import include_file, include_path, include_text, write_include
from banger_core.jsonable import to_json


class ForgetHost(Body):
    """Forget what is pinned for ``name``: a VM, an address, or a name of a host."""

    name: str = Field(min_length=1, max_length=255)


def ssh_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints under ``/v1/ssh``."""
    return [*_configuration(engine), *_pins(engine)]


def _configuration(engine: Engine) -> list[Endpoint]:
    def view() -> dict[str, Any]:
        file = include_file(engine.paths)
        return {
            "file": str(file),
            "include": f"Include {include_path(file)}",
            "text": include_text(engine.paths, identity_path(engine.paths, engine.settings)),
        }

    async def show(_: Request) -> Response:
        """The configuration that ssh can include, its file, and the line that includes it."""
        return JSONResponse(view())

    async def write(request: Request) -> Response:
        """Write the configuration that ssh can include."""
        await read_body(request, Nothing)
        answer = view()
        write_include(engine.paths, identity_path(engine.paths, engine.settings))
        return JSONResponse(answer)

    return [
        Endpoint("GET", "/v1/ssh/config", show),
        Endpoint("POST", "/v1/ssh/config", write, Nothing),
    ]


def _pins(engine: Engine) -> list[Endpoint]:
    def view(pin: HostPin) -> dict[str, Any]:
        owner = next((vm.name for vm in engine.records.vms() if vm.id == pin.vm_id), "")
        return {
            **to_json(pin),
            "name": next((name for name in pin.names if not _is_address(name)), ""),
            "address": next((name for name in pin.names if _is_address(name)), ""),
            "vm": owner,
            "stale": is_stale(engine, pin),
        }

    async def known_hosts(_: Request) -> Response:
        """List the host keys that are pinned."""
        return JSONResponse({"pins": [view(pin) for pin in await list_pins(engine)]})

    async def forget_host(request: Request) -> Response:
        """Forget the pins of a VM, an address or a host; a running VM's are made again."""
        body = await read_body(request, ForgetHost)
        forgotten = await forget(engine, body.name)
        return JSONResponse(
            {
                "vm": forgotten.vm.name if forgotten.vm else "",
                "removed": [view(pin) for pin in forgotten.removed],
                "pinned": [view(pin) for pin in forgotten.pinned],
            }
        )

    return [
        Endpoint("GET", "/v1/ssh/known-hosts", known_hosts),
        Endpoint("POST", "/v1/ssh/forget", forget_host, ForgetHost),
    ]


def _is_address(name: str) -> bool:
    """Say whether ``name`` is an IP address, or ``[ADDRESS]:PORT``."""
    bare = name[1:].partition("]")[0] if name.startswith("[") else name
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True
