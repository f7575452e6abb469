"""The API of the installation: plugins, configuration, doctor."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from banger_core.daemon.routes import Endpoint
from banger_core.engine.doctor import examine, mend
from banger_core.engine.engine import Engine
from banger_core.jsonable import to_json


def system_endpoints(engine: Engine) -> list[Endpoint]:
    """The endpoints for plugins, configuration and doctor."""

    async def plugins(_: Request) -> Response:
        """List the plugins, broken and disabled ones too."""
        return JSONResponse({"plugins": [to_json(item) for item in engine.registry.plugins()]})

    async def config(_: Request) -> Response:
        """Every setting with its value and who set it."""
        return JSONResponse(
            {
                "file": str(engine.paths.settings_file),
                "settings": [to_json(item) for item in engine.settings.effective()],
            }
        )

    async def doctor(_: Request) -> Response:
        """Check the host; changes nothing."""
        return JSONResponse({"findings": [to_json(item) for item in await examine(engine)]})

    async def doctor_fix(_: Request) -> Response:
        """Mend what is safe to mend, and say what was done."""
        return JSONResponse({"findings": [to_json(item) for item in await mend(engine)]})

    return [
        Endpoint("GET", "/v1/plugins", plugins),
        Endpoint("GET", "/v1/config", config),
        Endpoint("GET", "/v1/doctor", doctor),
        Endpoint("POST", "/v1/doctor/fix", doctor_fix),
    ]
