"""The fake VMM, run as a program: ADDRESS PORT CONSOLE END.

Greets like an SSH server at ADDRESS:PORT and hangs up when it is answered, says on the Unix
socket CONSOLE that it is ready, and on SIGTERM writes to the file END that the guest has shut
down. Standard library only, and of that little: it must start quickly.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys

CONSOLE = b"fake guest boots\r\n@@ banger ready\r\n"
GREETING = b"SSH-2.0-fake\r\n"


def main(address: str, port: str, console: str, end: str) -> None:
    """Serve until SIGTERM."""
    os.umask(0o077)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGTERM, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(wake, selectors.EVENT_READ)
    listen(selector, socket.AF_INET, (address, int(port)), GREETING)
    listen(selector, socket.AF_UNIX, console, CONSOLE)
    while serve(selector, wake):
        pass
    with open(end, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes long to import
        file.write("guest-shutdown")


def listen(
    selector: selectors.BaseSelector, family: int, place: tuple[str, int] | str, text: bytes
) -> None:
    """Listen at ``place``; whoever connects gets ``text``. A path is there once it is served."""
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(f"{place}~" if isinstance(place, str) else place)
    server.listen()
    if isinstance(place, str):
        os.rename(f"{place}~", place)  # noqa: PTH104 - pathlib takes long to import
    selector.register(server, selectors.EVENT_READ, text)


def serve(selector: selectors.BaseSelector, wake: int) -> bool:
    """Handle what happens next; say whether to go on."""
    for key, _ in selector.select():
        if key.fd == wake:
            return False
        assert isinstance(key.fileobj, socket.socket)
        if key.data is not None:
            client, _ = key.fileobj.accept()
            client.sendall(key.data)
            selector.register(client, selectors.EVENT_READ)
        else:
            # Whoever goes on talking SSH learns at once that there is nobody to talk to
            selector.unregister(key.fileobj)
            with contextlib.suppress(OSError):
                key.fileobj.recv(4096)
            key.fileobj.close()
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
