"""uvicorn around the application: our socket, our check of who connects."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from banger_core.daemon.app import build_app
from banger_core.daemon.peer import PeerCheckedProtocol
from banger_core.daemon.watch import Watch
from banger_core.engine.engine import Engine

GRACE = 3
"""Seconds that open requests get when the daemon stops."""

log = logging.getLogger("banger.daemon")


class _Server(uvicorn.Server):
    """uvicorn's own handlers send the signal once more at the end, which would kill us before
    the engine is closed and the socket is removed.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield


class Daemon:
    """One running daemon."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._server: _Server | None = None

    async def serve(self, listener: socket.socket) -> None:
        """Settle the past, then answer until ``stop``, a signal, or the loss of the socket or of
        the lock: then nobody would find this daemon, and the next must not find it in its way.
        VMs outlive this.
        """
        paths = self._engine.paths
        watch = Watch((paths.socket, paths.daemon_lock))
        await self._engine.open()
        config = uvicorn.Config(
            build_app(self._engine, self.stop),
            http=PeerCheckedProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
        )
        self._server = _Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        watching = asyncio.create_task(self._leave_when_lost(watch), name="watch")
        try:
            await self._server.serve(sockets=[listener])
        finally:
            watching.cancel()
            await self._engine.close()

    async def _leave_when_lost(self, watch: Watch) -> None:
        lost = await watch.wait()
        log.error("%s was removed or replaced: leaving; virtual machines go on running", lost)
        self.stop()

    def stop(self) -> None:
        """Finish what is being answered and end."""
        if self._server is not None:
            self._server.should_exit = True
