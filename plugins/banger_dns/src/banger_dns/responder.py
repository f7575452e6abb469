"""The responder: a process of its own, so that names outlive the daemon like the VMs do.

``python -m banger_dns.responder DIRECTORY`` serves the names of ``DIRECTORY/names.json`` as
``DIRECTORY/responder/wanted.json`` says, and writes into ``said.json`` beside that how it went. It
reads the names anew on SIGHUP, forgets a name the moment that its VM's process ends, and leaves
when neither a daemon nor a VM is left. With ADDRESS and PORT after DIRECTORY it serves them there,
for nobody but who started it, until a signal ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from banger_core.api import ProcessId, process_alive
from banger_dns.answer import Answerer
from banger_dns.book import Book, Name
from banger_dns.orders import OWNER, Orders, Said, directory_of, read_owner
from banger_dns.server import Server, bind
from banger_dns.zone import Zones

LOOK = 1.0
"""How often the files are looked at without being told to (seconds)."""

LOOK_OFTEN = 0.2
"""The same where nobody tells."""

log = logging.getLogger("banger.dns")


class Responder:
    """One responder at work."""

    def __init__(self, state: Path, orders: Orders, *, foreground: bool = False) -> None:
        self._state, self._orders, self._foreground = state, orders, foreground
        self._book = Book(state)
        self._token = secrets.token_hex(8)
        self._answerer = Answerer(self._zones(()))
        self._seen: list[tuple[int, int] | None] = []
        self._watched: dict[ProcessId, int] = {}
        self._names: list[Name] = []
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until nobody needs it or a signal ends it. Raises OSError when it cannot bind."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._read)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        udp, tcp = bind(self._orders.address, self._orders.port)
        server = asyncio.create_task(Server(udp, tcp, self._answerer.answer).serve())
        self._read()
        if not self._foreground or Said.read(self._state) is None:
            said = Said.own(self._orders, self._token, foreground=self._foreground)
            said.write(self._state)
        log.info("%s port %d", self._orders.address, self._orders.port)
        looking = asyncio.create_task(self._look())
        await self._over.wait()
        for task in (looking, server):
            task.cancel()
        # No longer: a connection that stays open must keep nobody waiting
        await asyncio.wait((looking, server), timeout=LOOK)

    async def _look(self) -> None:
        """Notice what nobody tells: files that were written, and that everybody is gone."""
        while True:
            await asyncio.sleep(LOOK_OFTEN if self._foreground else LOOK)
            if not directory_of(self._state).is_dir():
                log.info("the state directory is gone: leaving")
                self._over.set()
            elif self._stamps() != self._seen:
                self._read()
            else:
                self._leave_when_alone()

    def _stamps(self) -> list[tuple[int, int] | None]:
        return [_stamp(self._book.path), _stamp(directory_of(self._state) / OWNER)]

    def _read(self) -> None:
        self._seen = self._stamps()
        self._owner = read_owner(self._state)
        self._names = self._book.read()
        watched = [self._owner, *(name.process for name in self._names)]
        self._watch({process for process in watched if process is not None})
        self._publish()

    def _publish(self) -> None:
        self._names = [name for name in self._names if name.is_live]
        self._answerer.replace(self._zones(self._names))
        self._leave_when_alone()

    def _zones(self, names: Iterable[Name]) -> Zones:
        return Zones.of(
            names,
            networks=self._orders.reverse,
            ttl=self._orders.ttl,
            subdomains=self._orders.subdomains,
            token=self._token,
            serial=int(time.time()),
        )

    def _leave_when_alone(self) -> None:
        if self._foreground:
            return
        owners = [self._owner, *(name.process for name in self._names)]
        if not any(owner and process_alive(owner) for owner in owners):
            log.info("no daemon and no machine is left: leaving")
            self._over.set()

    def _watch(self, processes: set[ProcessId]) -> None:
        """Have the kernel tell when one of them ends."""
        loop = asyncio.get_running_loop()
        for process in self._watched.keys() - processes:
            handle = self._watched.pop(process)
            loop.remove_reader(handle)
            os.close(handle)
        for process in processes - self._watched.keys():
            with contextlib.suppress(ProcessLookupError):
                handle = self._watched[process] = os.pidfd_open(process.pid)
                loop.add_reader(handle, self._ended, process)

    def _ended(self, process: ProcessId) -> None:
        handle = self._watched.pop(process)
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)
        self._publish()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_ino


def main(state: Path, *where: str) -> int:
    """Serve; return the exit status."""
    # Until there is somebody to hear it, a nudge must not be the end
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    orders = Orders.read(state)
    if where:
        address, port = where
        orders = replace(orders, address=address, port=int(port))
    try:
        asyncio.run(Responder(state, orders, foreground=bool(where)).run())
    except OSError as problem:
        log.error("%s port %d: %s", orders.address, orders.port, problem.strerror)  # noqa: TRY400
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
