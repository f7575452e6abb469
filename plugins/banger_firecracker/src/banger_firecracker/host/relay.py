"""The relay: one small process beside each Firecracker, for what Firecracker leaves to others.

It keeps the console readable without a file that a guest could grow, publishes ports of the guest
at addresses of the host, and sees to the log and the metrics. It knows nothing of the daemon, which
may come and go, and ends when Firecracker has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from typing import NamedTuple

from banger_firecracker.host import kernel, uplink
from banger_firecracker.host.card import Card
from banger_firecracker.host.console import Console
from banger_firecracker.host.control import Control
from banger_firecracker.host.forward import Forwarder
from banger_firecracker.host.notes import End, LastLine, Log, open_fifo, watch_fifo
from banger_firecracker.host.options import END, LOG, LOG_FIFO, METRICS, METRICS_FIFO, Options

READY = "ready"

_BACKLOG = 16
_LAST_WORDS = 1.0


class Doors(NamedTuple):
    """Where others come in: two sockets that listen, and two fifos."""

    console: socket.socket
    control: socket.socket
    log: int
    metrics: int


def main(
    options: Options,
    vmm: int,
    parent: socket.socket,
    listeners: tuple[socket.socket, socket.socket],
    pipes: tuple[int, int],
) -> int:
    """Serve until the process ``vmm`` has ended, and return the exit status.

    ``parent`` is where the word comes that the network is made, and where ``READY`` or a problem
    is answered. ``listeners`` are console and control, ``pipes`` where the guest prints and reads.
    """
    kernel.end_with_parent(signal.SIGTERM)
    os.setpgid(0, 0)
    if os.getppid() != vmm or not parent.recv(64):
        return 1
    slirp = None
    # Here and not before: who connects sees the process that listened as its peer
    for listener in listeners:
        listener.listen(_BACKLOG)
    try:
        # Before the right to open another user's files is gone
        fifos = [open_fifo(options.fifo(name)) for name in (LOG_FIFO, METRICS_FIFO)]
        if options.network is not None:
            if options.network.slirp:
                slirp = uplink.start(options.network, vmm)
            kernel.join(vmm, user=not options.jailed)
            kernel.drop_capabilities(but_network=options.network.held)
        _many_files()
    except (OSError, uplink.UplinkError) as problem:
        parent.sendall(f"cannot connect the guest: {problem}".encode())
        return 1
    try:
        asyncio.run(_serve(options, vmm, parent, Doors(*listeners, *fifos), pipes))
    finally:
        if slirp is not None:
            slirp.kill()
            slirp.wait()
    return 0


async def _serve(
    options: Options,
    vmm: int,
    parent: socket.socket,
    doors: Doors,
    pipes: tuple[int, int],
) -> None:
    loop = asyncio.get_running_loop()
    end = End(options.place(END), vmm)
    console = Console(*pipes, listener=end.hear)
    forwarder = Forwarder(options.network.guest if options.network else "")
    loop.add_signal_handler(signal.SIGTERM, loop.call_later, _LAST_WORDS, console.ended.set)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(watch_fifo(doors.log, Log(options.place(LOG)).add))
        stack.callback(watch_fifo(doors.metrics, LastLine(options.place(METRICS)).add))
        server = await asyncio.start_unix_server(console.serve, sock=doors.console)
        stack.callback(server.close)
        card = Card(held=options.network is not None and options.network.held)
        stack.callback(Control(doors.control, forwarder, card).close)
        stack.callback(forwarder.close)
        parent.sendall(READY.encode())
        parent.close()
        await console.ended.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(console.finish(), _LAST_WORDS)
        # Where the daemon looks for why a process ended at once
        os.write(2, console.unheard())


def _many_files() -> None:
    """Each connection takes two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
