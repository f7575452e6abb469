"""Services of plugins: tended one by one, a failing one alone, and asked by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from banger_core.errors import BangerError

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

log = logging.getLogger("banger.engine")


class Services:
    """The services of one engine. An ``idle`` one leaves them to another."""

    def __init__(self, engine: Engine, *, idle: bool = False) -> None:
        self._engine, self._idle = engine, idle
        self._said: dict[str, str] = {}

    async def tend(self) -> None:
        """Tend every service. What fails is logged, once for as long as it fails the same way."""
        services = self._engine.registry.services
        for name in () if self._idle else services.names():
            problem = ""
            try:
                await services.load(name).tend(self._engine.context(name))
            except BangerError as failure:
                problem = f"{failure.summary}: {failure.cause}"
            if problem and problem != self._said.get(name):
                log.warning("service %s: %s", name, problem)
            self._said[name] = problem


async def answer(engine: Engine, service: str, question: str, data: Mapping[str, Any]) -> Any:
    """Return what ``service`` answers. Raises NotFound, and what the service raises."""
    return await engine.registry.services.load(service).answer(
        question, data, engine.context(service)
    )
