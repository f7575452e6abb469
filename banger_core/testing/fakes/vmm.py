"""The fake VMM, run as a program: ADDRESS PORT CONSOLE HELPER END [NATURE…].

Greets like an SSH server at ADDRESS:PORT and hangs up when it is answered, says on the Unix
socket CONSOLE that it is ready, answers as a guest helper on the Unix socket HELPER, and on
SIGTERM, or when that is asked to, writes to the file END that the guest has shut down. One that is
``held`` by nature has no network, and so does not listen at ADDRESS:PORT, until SIGUSR1. Standard
library only, and of that little: it must start quickly.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable

CONSOLE = b"fake guest boots\r\n@@ banger ready\r\n"
GREETING = b"SSH-2.0-fake\r\n"

HEALTH = """\
init own /run/banger/bin/busybox
load 0.50 0.25 0.10 1/30 99
memory MemTotal: 500000
memory MemFree: 400000
memory MemAvailable: 450000
mount / rw 4096 16384 8192 8000 4096 4000"""

STATS = f"""\
{HEALTH}
cpu  100 0 50 800 10 0 5 0 0 0
net   eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0
disk vda 10 0 100 5 20 0 200 9 0 7 14"""

PORTS = """\
socket tcp 00000000:03FE 7
socket tcp 00000000:0050 8
socket udp 00000000:0035 9
owner 8 12 nginx"""

Client = Callable[[socket.socket], bool]


class Guest:
    """What the helper says; ``clock`` is how far its time is from the host's (seconds). A
    ``stubborn`` one goes on when it is asked to shut down, an ``unchanging`` one says no when it
    is to become another.
    """

    def __init__(self, natures: tuple[str, ...]) -> None:
        self.clock, self.natures = 0.0, natures
        self.down = False

    def hang_up(self, client: socket.socket) -> bool:
        """Whoever goes on talking SSH learns at once that there is nobody to talk to."""
        client.recv(4096)
        return False

    def help(self, client: socket.socket) -> bool:
        """Answer a question; say whether to go on."""
        lines = client.recv(4096)
        for line in filter(None, lines.decode("ascii").splitlines()):
            _, version, number, operation, *argument = line.split()
            answer = self.answer(operation, *argument)
            refuses = "unchanging" in self.natures and operation == "renew"
            said = "no" if refuses else "ok"
            client.sendall(f"@banger {version} {number} {said} {len(answer)}\n{answer}".encode())
        return bool(lines)

    def answer(self, operation: str, argument: str = "") -> str:
        """Return what a guest would say."""
        if operation == "time":
            self.clock = int(argument) - time.time()
        self.down |= operation == "shutdown" and "stubborn" not in self.natures
        now = f"time {time.time() + self.clock:.6f}\nuptime 12.50\n"
        return {"health": now + HEALTH, "stats": now + STATS, "ports": PORTS, "time": now}.get(
            operation, ""
        )


def main(address: str, port: str, console: str, helper: str, end: str, *natures: str) -> None:
    """Serve until SIGTERM."""
    if not {"stubborn", "unchanging", "held"}.issuperset(natures):
        sys.exit(f"there is no guest like that: {natures}")
    os.umask(0o077)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    for each in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(each, lambda *_: None)
    guest = Guest(natures)
    selector = selectors.DefaultSelector()
    selector.register(wake, selectors.EVENT_READ)
    connected = False

    def connect() -> None:
        nonlocal connected
        if not connected:
            listen(selector, socket.AF_INET, (address, int(port)), (GREETING, guest.hang_up))
        connected = True

    if "held" not in natures:
        connect()
    listen(selector, socket.AF_UNIX, helper, (b"", guest.help))
    listen(selector, socket.AF_UNIX, console, (CONSOLE, guest.hang_up))
    while serve(selector, wake, connect) and not guest.down:
        pass
    with open(end, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes long to import
        file.write("guest-shutdown")


def listen(
    selector: selectors.BaseSelector,
    family: int,
    place: tuple[str, int] | str,
    service: tuple[bytes, Client],
) -> None:
    """Listen at ``place``; whoever connects gets the text of ``service``, and what comes from
    there goes to its function. A path is there once it is served.
    """
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(f"{place}~" if isinstance(place, str) else place)
    server.listen()
    if isinstance(place, str):
        os.rename(f"{place}~", place)  # noqa: PTH104 - pathlib takes long to import
    selector.register(server, selectors.EVENT_READ, service)


def serve(selector: selectors.BaseSelector, wake: int, connect: Callable[[], None]) -> bool:
    """Handle what happens next; say whether to go on."""
    for key, _ in selector.select():
        if key.fd == wake:
            if os.read(wake, 1)[0] != signal.SIGUSR1:
                return False
            connect()
            continue
        assert isinstance(key.fileobj, socket.socket)
        if isinstance(key.data, tuple):
            greeting, take = key.data
            client, _ = key.fileobj.accept()
            # Whoever has left meanwhile is of no interest any more
            with contextlib.suppress(OSError):
                client.sendall(greeting)
            selector.register(client, selectors.EVENT_READ, take)
        else:
            stays = False
            with contextlib.suppress(OSError):
                stays = key.data(key.fileobj)
            if not stays:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
