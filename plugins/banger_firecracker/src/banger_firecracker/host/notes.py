"""What is written down beside a VM: its log and metrics, bounded, and how its guest ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

LOG_LIMIT = 1 << 18
"""Bytes of the log, in two files."""

_LINE_LIMIT = 1 << 18
_CHUNK = 1 << 16
_TAIL = 200

# The last words of the guest's kernel (Linux, kernel/reboot.c and kernel/panic.c). Anybody in the
# guest can print them: what they lead to, the guest could do anyway
_ENDS = (
    (re.compile(rb"Kernel panic - not syncing"), "guest-panic"),
    (re.compile(rb"reboot: (System halted|Power down|Power off)"), "guest-shutdown"),
    (re.compile(rb"reboot: Restarting system"), "guest-reset"),
)


class End:
    """Hears the console, and writes to ``path`` how the guest ended. A guest that has switched
    itself off would stay for ever, since Firecracker's machine has no power switch: the process
    ``vmm`` is then ended.
    """

    def __init__(self, path: Path, vmm: int) -> None:
        self._path, self._vmm = path, vmm
        self._tail = b""
        self._known = ""

    def hear(self, data: bytes) -> None:
        """Take what the guest printed."""
        text = self._tail + data
        self._tail = text[-_TAIL:]
        for pattern, reason in _ENDS:
            if reason != self._known and pattern.search(text):
                self._tell(reason)

    def _tell(self, reason: str) -> None:
        # The kernel restarts after a panic, and says so: the panic is what counts
        if self._known != "guest-panic":
            self._known = reason
            _replace(self._path, reason.encode())
        if reason == "guest-shutdown" and os.getppid() == self._vmm:
            os.kill(self._vmm, signal.SIGTERM)


class Log:
    """A log in ``path`` and ``path.old``, together at most ``LOG_LIMIT`` bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._used = 0
        path.unlink(missing_ok=True)

    def add(self, data: bytes) -> None:
        """Append; a full disk loses it."""
        with contextlib.suppress(OSError):
            if self._used + len(data) > LOG_LIMIT // 2:
                self._path.replace(self._path.with_name(self._path.name + ".old"))
                self._used = 0
            with self._path.open("ab") as file:
                self._used += file.write(data)


class LastLine:
    """The last complete line of a stream, in ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Take more of the stream."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[-_LINE_LIMIT:]
        if lines:
            with contextlib.suppress(OSError):
                _replace(self._path, lines[-1])


def open_fifo(path: Path) -> int:
    """Return a file descriptor for what comes out of a fifo, without waiting for a writer."""
    # Open for writing too: it shall not end when a writer goes
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def watch_fifo(handle: int, take: Callable[[bytes], None]) -> Callable[[], None]:
    """Give ``take`` what comes out of an open fifo from now on; returns what ends it."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(BlockingIOError):
            take(os.read(handle, _CHUNK))

    def stop() -> None:
        read()
        loop.remove_reader(handle)
        os.close(handle)

    loop.add_reader(handle, read)
    return stop


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + "~")
    temporary.write_bytes(data)
    temporary.replace(path)
