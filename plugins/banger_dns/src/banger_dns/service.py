"""The half of ``banger dns`` that works beside the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from banger_core.api import BangerError, Context, NotFound
from banger_dns.book import Book
from banger_dns.keeper import ended, keep, listening
from banger_dns.mapdns import find_program
from banger_dns.names import ZONE
from banger_dns.publish import map_names
from banger_dns.settings import DnsSettings, settings_of


class DnsService:
    """The service ``dns``."""

    def __init__(self) -> None:
        # A question may come while the daemon tends
        self._keeping = asyncio.Lock()

    async def _keep(self, cx: Context) -> None:
        async with self._keeping:
            await keep(cx)

    async def tend(self, cx: Context) -> None:
        """Keep the responder running, take out names whose VM ended while nobody looked, and bring
        mapdns' file up to date.
        """
        await Book(cx.state_dir).strike_dead()
        problems = []
        for work in (self._keep, map_names):
            try:
                await work(cx)
            except BangerError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    async def answer(self, question: str, data: Mapping[str, Any], cx: Context) -> Any:  # noqa: ARG002
        """Answer ``list`` (the names and what they stand for) and ``status`` (who serves them)."""
        if question == "list":
            return {"names": _names(cx)}
        if question == "status":
            return await self._status(cx)
        raise NotFound("question", question, ["list", "status"])

    async def _status(self, cx: Context) -> dict[str, Any]:
        settings = settings_of(cx)
        return {
            "zone": ZONE,
            "names": len(_names(cx)),
            "state_dir": str(cx.state_dir),
            "reverse": [*settings.reverse],
            "responder": await self._responder(cx, settings),
            "mapdns": await _mapdns(cx, settings),
        }

    async def _responder(self, cx: Context, settings: DnsSettings) -> dict[str, Any]:
        problem: dict[str, Any] | None = None
        try:
            await self._keep(cx)
        except BangerError as failure:
            problem = failure.to_dict()
        said = await listening(cx.state_dir)
        if settings.responder and not said and not problem:
            problem = ended(cx.state_dir).to_dict()
        return {
            "enabled": settings.responder,
            "address": said.orders.address if said else settings.address,
            "port": said.orders.port if said else settings.port,
            "pid": said.process.pid if said else None,
            "token": said.token if said else "",
            "problem": problem,
        }


def _names(cx: Context) -> list[dict[str, Any]]:
    return [
        {"name": f"{each.name}.{ZONE}", "vm_id": each.vm_id, "addresses": [*each.addresses]}
        for each in Book(cx.state_dir).read()
        if each.is_live
    ]


async def _mapdns(cx: Context, settings: DnsSettings) -> dict[str, Any]:
    problem: dict[str, Any] | None = None
    try:
        await map_names(cx)
    except BangerError as failure:
        problem = failure.to_dict()
    return {
        "program": find_program(settings.mapdns_bin),
        "data_file": settings.mapdns_data_file,
        "problem": problem,
    }
