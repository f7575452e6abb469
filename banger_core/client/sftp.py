"""A client of SFTP version 3 over ``ssh -s sftp``, with many requests under way.

Work is written as generators: a request is sent at once and gives a ``Promise``; ``yield promise``
waits for the reply. One loop moves the bytes and wakes whoever waits, so a thousand small files
cost the guest's time and not a thousand round trips. Nothing here trusts the guest: replies are
bounded, each must belong to a request, and silence ends in an error.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, Self

from banger_core.client import sftp_wire as wire
from banger_core.client.interrupts import ASKING
from banger_core.client.process import spawn
from banger_core.client.sftp_wire import Attributes, Fields, Refused, string
from banger_core.errors import BangerError, GuestFailed, HostileInput, Interrupted

Job = Generator["Promise", Any, None]
"""Work that waits for promises."""

STALL = 60.0
"""Seconds without a byte after which a guest that owes an answer is given up."""

CHUNK = 255 * 1024
"""Bytes of a file in one request, where the server takes as many: what OpenSSH's takes at most."""

_OLD_CHUNK = 32 * 1024
_EXTENSIONS_MAX = 64
_PIPE = 1 << 20
_SAID_MAX = 4096
_SLICE = 0.2
_GRACE = 1.0


class Promise:
    """An answer that is to come. A job yields it and gets the value, or the error is raised."""

    __slots__ = ("decode", "done", "error", "expected", "value", "waiter")

    def __init__(
        self, expected: int = wire.STATUS, decode: Callable[[Fields], Any] | None = None
    ) -> None:
        self.expected, self.decode = expected, decode
        self.done = False
        self.value: Any = None
        self.error: BangerError | None = None
        self.waiter: Job | None = None


class Slots:
    """A number of places for work under way."""

    def __init__(self, loop: Sftp, count: int) -> None:
        self._loop, self._free = loop, count
        self._waiting: deque[tuple[int, Promise]] = deque()

    def take(self, count: int = 1) -> Generator[Promise, Any, None]:
        """Wait until ``count`` places are free, and take them."""
        if self._waiting or self._free < count:
            promise = Promise()
            self._waiting.append((count, promise))
            yield promise
        else:
            self._free -= count

    def give(self, count: int = 1) -> None:
        """Give places back."""
        self._free += count
        while self._waiting and self._waiting[0][0] <= self._free:
            taken, promise = self._waiting.popleft()
            self._free -= taken
            self._loop.keep(promise)


class Sftp:
    """A session. ``argv`` is the command line of ssh up to the remote command, ``name`` is for
    messages. ``stopped`` is asked now and then, and a signal's number ends everything.

    Every request raises ``Refused`` where it is waited for, when the server says no. Whatever
    makes the session useless comes out of ``run``: GuestFailed, HostileInput, Interrupted.
    """

    def __init__(
        self,
        argv: Sequence[str],
        name: str,
        *,
        stall: float = STALL,
        stopped: Callable[[], int] = lambda: 0,
    ) -> None:
        self._name, self._stall, self._stopped = name, stall, stopped
        self._argv = list(argv)
        self._pid = self._to = self._from = self._errors = -1
        self._said, self._talks = b"", True
        self._out: deque[memoryview] = deque()
        self._in = bytearray()
        self._pending: dict[int, Promise] = {}
        self._next = 0
        self._greeted = False
        self._ready: deque[tuple[Job, Promise | None]] = deque()
        self._jobs: dict[Job, None] = {}
        self.extensions: dict[bytes, bytes] = {}
        self.read_size = self.write_size = _OLD_CHUNK

    # --- life -----------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _start(self) -> None:
        theirs_in, self._to = os.pipe2(os.O_CLOEXEC)
        self._from, theirs_out = os.pipe2(os.O_CLOEXEC)
        self._errors, theirs_errors = os.pipe2(os.O_CLOEXEC)
        try:
            files = (theirs_in, theirs_out, theirs_errors)
            # What asks us to stop must not stop ssh before we have said the last word
            self._pid = spawn(self._argv, files=files, ignored=ASKING)
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
            os.close(theirs_errors)
        for file in (self._to, self._from, self._errors):
            os.set_blocking(file, False)
            with suppress(OSError):
                fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, _PIPE)
        self._queue(wire.INIT.to_bytes() + (3).to_bytes(4))
        while (frame := self._frame()) is None:
            self._move()
        self._greet(frame)
        self._greeted = True
        if b"limits@openssh.com" in self.extensions:
            self.run(self._learn_limits())

    def _greet(self, frame: bytes) -> None:
        fields = Fields(frame[1:])
        if frame[0] != wire.VERSION or fields.u32() != 3:
            raise GuestFailed(
                f"{self._name} does not speak version 3 of SFTP",
                cause="something else than banger's own server answers",
                hints=[f"banger vm restart {self._name}"],
            )
        while fields.more():
            if len(self.extensions) >= _EXTENSIONS_MAX:
                raise HostileInput(f"{self._name} offers more extensions than there are")
            name = fields.string()
            self.extensions[name] = fields.string()

    def _learn_limits(self) -> Job:
        limits = self._ask(
            wire.EXTENDED,
            string(b"limits@openssh.com"),
            wire.EXTENDED_REPLY,
            lambda fields: [fields.u64() for _ in range(4)],
        )
        with suppress(Refused):
            _, read, write, _ = yield limits
            self.read_size = min(read, CHUNK) or _OLD_CHUNK
            self.write_size = min(write, CHUNK) or _OLD_CHUNK

    def _end(self) -> None:
        self.cancel()
        for file in (self._to, self._from, self._errors):
            if file >= 0:
                os.close(file)
        if self._pid > 0:
            with suppress(OSError):
                watch = os.pidfd_open(self._pid)
                select.select([watch], [], [], _GRACE)
                os.close(watch)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._to = self._from = self._errors = self._pid = -1

    # --- the loop -------------------------------------------------------------------------------
    def spawn(self, job: Job) -> None:
        """Begin a job beside the others. It must not raise anything but what ends them all."""
        self._jobs[job] = None
        self._ready.append((job, None))

    def run(self, job: Job) -> None:
        """Run a job, and all that it spawns, to the end."""
        self.spawn(job)
        while self._jobs:
            while self._ready:
                self._step(*self._ready.popleft())
            if self._jobs:
                self._move()

    def cancel(self) -> None:
        """Drop all jobs; what they asked for is still answered, to nobody."""
        for job in list(self._jobs):
            job.close()
        self._jobs.clear()
        self._ready.clear()

    def run_last(self, job: Job, patience: float) -> None:
        """Run one more job after an interruption, within ``patience`` seconds of silence."""
        self.cancel()
        self._stopped, self._stall = (lambda: 0), patience
        self.run(job)

    def keep(self, promise: Promise, value: Any = None, error: BangerError | None = None) -> None:
        """Keep a promise: whoever waits for it goes on."""
        promise.done, promise.value, promise.error = True, value, error
        if promise.waiter in self._jobs:
            self._ready.append((promise.waiter, promise))

    def _step(self, job: Job, promise: Promise | None) -> None:
        try:
            while True:
                if promise is not None and promise.error is not None:
                    promise = job.throw(promise.error)
                else:
                    promise = job.send(None if promise is None else promise.value)
                if not promise.done:
                    promise.waiter = job
                    return
        except StopIteration:
            del self._jobs[job]

    # --- bytes ----------------------------------------------------------------------------------
    def _queue(self, *parts: bytes | memoryview) -> None:
        self._out.append(memoryview(sum(map(len, parts)).to_bytes(4) + parts[0]))
        self._out.extend(memoryview(part) for part in parts[1:])

    def _move(self) -> None:
        """Move what can be moved; wait for the first byte. What ssh has to say is no answer."""
        watch = select.poll()
        watch.register(self._from, select.POLLIN)
        if self._out:
            watch.register(self._to, select.POLLOUT)
        if self._talks:
            watch.register(self._errors, select.POLLIN)
        deadline = time.monotonic() + self._stall
        while not (events := [file for file, _ in watch.poll(_SLICE * 1000) if self._speaks(file)]):
            self.check_stop()
            if time.monotonic() > deadline:
                raise GuestFailed(
                    f"{self._name} stopped answering",
                    cause=f"nothing came for {self._stall:g} s",
                    hints=[f"banger vm show {self._name}", f"banger vm logs {self._name}"],
                )
        self.check_stop()
        for file in events:
            if file == self._to:
                self._write()
            else:
                self._read()

    def check_stop(self) -> None:
        """Raise Interrupted when a signal has asked to stop."""
        if number := self._stopped():
            raise Interrupted("interrupted", cause=f"received {signal.Signals(number).name}")

    def _speaks(self, file: int) -> bool:
        """Take what ssh has to say, of which the end is kept; say whether it is SFTP's turn."""
        if file != self._errors:
            return True
        with suppress(BlockingIOError):
            said = os.read(self._errors, _SAID_MAX)
            self._said = (self._said + said)[-_SAID_MAX:]
            self._talks = bool(said)
        return False

    def _write(self) -> None:
        try:
            written = os.writev(self._to, [self._out[at] for at in range(min(64, len(self._out)))])
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise self._lost() from None
        while written:
            first = self._out[0]
            if written < len(first):
                self._out[0] = first[written:]
                return
            written -= len(first)
            self._out.popleft()

    def _read(self) -> None:
        try:
            data = os.read(self._from, _PIPE)
        except BlockingIOError:
            return
        if not data:
            raise self._lost()
        self._in += data
        while self._greeted and (frame := self._frame()) is not None:
            self._dispatch(frame)

    def _frame(self) -> bytes | None:
        if len(self._in) < 4:
            return None
        length = int.from_bytes(self._in[:4])
        if not 0 < length <= wire.FRAME_MAX:
            raise HostileInput(
                f"{self._name} sent what is not SFTP",
                cause=f"it begins with {bytes(self._in[:40])!r}",
            )
        if len(self._in) < 4 + length:
            return None
        frame = bytes(memoryview(self._in)[4 : 4 + length])
        del self._in[: 4 + length]
        return frame

    def _dispatch(self, frame: bytes) -> None:
        kind, fields = frame[0], Fields(frame[1:])
        promise = self._pending.pop(fields.u32(), None)
        if promise is None:
            raise HostileInput(f"{self._name} answered what nobody asked")
        status = fields.u32() if kind == wire.STATUS else wire.OK
        if status:
            said = fields.string() if fields.more() else b""
            self.keep(promise, error=Refused(status, said.decode("utf-8", "replace")))
        elif kind != promise.expected:
            raise HostileInput(f"{self._name} gave an answer of kind {kind} to another question")
        else:
            self.keep(promise, promise.decode(fields) if promise.decode else None)

    def _lost(self) -> GuestFailed:
        for _ in range(_PIPE // _SAID_MAX):
            self._speaks(self._errors)
        said = self._said.decode("utf-8", "replace").strip().splitlines()
        return GuestFailed(
            f"the connection to {self._name} was lost",
            cause=said[-1][:200] if said else "ssh ended without a word",
            hints=[f"banger vm show {self._name}", f"banger vm logs {self._name}"],
        )

    # --- requests -------------------------------------------------------------------------------
    def _ask(
        self,
        kind: int,
        payload: bytes,
        expected: int = wire.STATUS,
        decode: Callable[[Fields], Any] | None = None,
        data: bytes | memoryview = b"",
    ) -> Promise:
        self._next = self._next % 0xFFFFFFFF + 1
        promise = self._pending[self._next] = Promise(expected, decode)
        head = kind.to_bytes() + self._next.to_bytes(4) + payload
        self._queue(*((head, data) if data else (head,)))
        return promise

    def open(self, path: bytes, flags: int, attributes: Attributes = Attributes()) -> Promise:  # noqa: B008
        """Open a file (``sftp_wire.FOR_READ`` …): its handle."""
        payload = string(path) + flags.to_bytes(4) + attributes.pack()
        return self._ask(wire.OPEN, payload, wire.HANDLE, _handle)

    def close(self, handle: bytes) -> Promise:
        """Close a handle."""
        return self._ask(wire.CLOSE, string(handle))

    def read(self, handle: bytes, offset: int, count: int) -> Promise:
        """Read up to ``count`` bytes, at least one; at the end it is refused with EOF."""

        def decode(fields: Fields) -> bytes:
            data = fields.string()
            if not 0 < len(data) <= count:
                raise HostileInput(f"{self._name} sent {len(data)} bytes instead of {count}")
            return data

        payload = string(handle) + offset.to_bytes(8) + count.to_bytes(4)
        return self._ask(wire.READ, payload, wire.DATA, decode)

    def write(self, handle: bytes, offset: int, data: bytes) -> Promise:
        """Write ``data`` at ``offset``."""
        payload = string(handle) + offset.to_bytes(8) + len(data).to_bytes(4)
        return self._ask(wire.WRITE, payload, data=data)

    def stat(self, path: bytes, *, follow: bool = True) -> Promise:
        """Ask for a file's attributes."""
        kind = wire.STAT if follow else wire.LSTAT
        return self._ask(kind, string(path), wire.ATTRS, Fields.attributes)

    def set_attributes(self, path: bytes, attributes: Attributes) -> Promise:
        """Change a file's attributes by its path."""
        return self._ask(wire.SETSTAT, string(path) + attributes.pack())

    def set_open(self, handle: bytes, attributes: Attributes) -> Promise:
        """Change an open file's attributes."""
        return self._ask(wire.FSETSTAT, string(handle) + attributes.pack())

    def sync(self, handle: bytes) -> Promise:
        """Have an open file put on the disk (fsync@openssh.com)."""
        return self._ask(wire.EXTENDED, string(b"fsync@openssh.com") + string(handle))

    def open_directory(self, path: bytes) -> Promise:
        """Open a directory: its handle."""
        return self._ask(wire.OPENDIR, string(path), wire.HANDLE, _handle)

    def read_directory(self, handle: bytes) -> Promise:
        """Read some more names with their attributes; at the end it is refused with EOF."""
        return self._ask(wire.READDIR, string(handle), wire.NAME, Fields.names)

    def make_directory(self, path: bytes, mode: int) -> Promise:
        """Make a directory."""
        return self._ask(wire.MKDIR, string(path) + Attributes(mode=mode).pack())

    def remove(self, path: bytes) -> Promise:
        """Remove a file."""
        return self._ask(wire.REMOVE, string(path))

    def rename(self, path: bytes, to: bytes) -> Promise:
        """Rename, in place of what has that name when the server can."""
        names = string(path) + string(to)
        if b"posix-rename@openssh.com" in self.extensions:
            return self._ask(wire.EXTENDED, string(b"posix-rename@openssh.com") + names)
        self.remove(to)
        return self._ask(wire.RENAME, names)

    def real_path(self, path: bytes) -> Promise:
        """Resolve a path, links and all."""
        return self._ask(
            wire.REALPATH, string(path), wire.NAME, lambda fields: fields.names()[0][0]
        )

    def read_link(self, path: bytes) -> Promise:
        """Read where a symbolic link leads."""
        return self._ask(
            wire.READLINK, string(path), wire.NAME, lambda fields: fields.names()[0][0]
        )

    def make_link(self, target: bytes, path: bytes) -> Promise:
        """Make a symbolic link (OpenSSH and all who follow it have the two in this order)."""
        return self._ask(wire.SYMLINK, string(target) + string(path))


def subsystem(argv: Sequence[str]) -> list[str]:
    """Return the command line that starts SFTP, of one that ends before the remote command."""
    quiet = ("ClearAllForwardings=yes", "RemoteCommand=none", "ForwardAgent=no")
    options = [word for option in quiet for word in ("-o", option)]
    return [argv[0], "-T", "-s", *options, *argv[1:], "sftp"]


def _handle(fields: Fields) -> bytes:
    handle = fields.string()
    if len(handle) > wire.HANDLE_MAX:
        raise HostileInput(f"the machine sent a handle of {len(handle)} bytes")
    return handle
