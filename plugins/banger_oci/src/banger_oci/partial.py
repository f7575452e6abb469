"""A blob on its way: the bytes so far, which only become a blob once they are verified."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from banger_core.api import HostileInput, IntegrityError, room_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from banger_oci.documents import Descriptor

STEP = 4 << 20
PERIOD = 0.2
"""Progress is told after so many bytes, or after so many seconds on a slow line."""

_READ = 1 << 20
_NOTE_LIMIT = 4096
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Stopped(Exception):
    """Nobody wants the rest any more: ends the transfer from inside."""


class Partial:
    """The file that takes the bytes of one blob: a ``Sink`` for one attempt after the other.

    Whoever makes one holds the lock beside it. The bytes stay for a later attempt, also of
    another process, however this one ends; beside them is a note of who gave them. ``report``
    gets the number of bytes that are here, at most every ``STEP`` bytes or ``PERIOD`` seconds,
    in the thread that writes; what it raises ends the transfer and is kept in ``problem``.
    """

    def __init__(self, path: Path, blob: Descriptor, report: Callable[[int], None]) -> None:
        self._path, self._note = path, path.with_name(f"{path.name}.json")
        self._blob, self._report = blob, report
        self._hash = hashlib.sha256()
        self._source, self._validator, self._noted = "", "", False
        self._stopped = False
        self._told, self._told_at = 0, time.monotonic()
        self.source = ""
        self.done = 0
        self.problem: BaseException | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with room_in(path.parent):
            self._handle = os.open(path, flags, 0o600)

    @property
    def validator(self) -> str:
        """The entity tag to ask ``source`` for the rest with: only for who gave the beginning."""
        return self._validator if self.source == self._source else ""

    def resume(self) -> None:
        """Read what is here already. Raises Stopped after ``stop``."""
        size = os.fstat(self._handle).st_size
        if not 0 < size <= self._blob.size:
            self.restart()
            return
        self._source, self._validator = self._read_note()
        self._noted = True
        view = memoryview(bytearray(min(_READ, size)))
        while count := os.readv(self._handle, [view]):
            self._check()
            self._hash.update(view[:count])
            self.done += count

    def begin(self, offset: int, validator: str) -> None:
        """Take bytes from ``offset`` on, which is here or the beginning."""
        if offset == 0:
            if self.done:
                self.restart()
            self._source, self._validator = self.source, validator
        elif offset != self.done:
            self.problem = HostileInput(
                f"{self.source} gave another part of {self._blob.digest} than it was asked for",
                cause=f"it begins at byte {offset}, not at {self.done}",
            )
            raise self.problem

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; not one more than there should be."""
        try:
            self._take(chunk)
        except BaseException as problem:
            self.problem = problem
            raise

    def stop(self) -> None:
        """Make the next ``write`` raise Stopped; from any thread."""
        self._stopped = True

    def restart(self) -> None:
        """Forget everything: the next attempt begins at the first byte."""
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self._note.unlink(missing_ok=True)
        self._hash = hashlib.sha256()
        self._source, self._validator, self._noted = "", "", False
        self.done = self._told = 0
        self.problem = None

    def finish(self, place: Path) -> None:
        """Verify the bytes, make them durable and move them to ``place``.

        The entry of the directory is not yet durable: without it the blob is just not there.
        Raises IntegrityError when they are not what was announced.
        """
        if self.done != self._blob.size:
            raise IntegrityError(
                f"{self._blob.digest} is shorter than announced",
                cause=f"{self.done} of {self._blob.size} bytes came",
            )
        if (found := f"sha256:{self._hash.hexdigest()}") != self._blob.digest:
            raise IntegrityError(
                f"content does not match {self._blob.digest}", cause=f"has {found}"
            )
        with room_in(place.parent):
            os.fsync(self._handle)
            self._path.rename(place)
        self._note.unlink(missing_ok=True)
        self._noted = True

    def close(self) -> None:
        """Let go of the file. What came so far stays; an empty file does not."""
        empty = os.fstat(self._handle).st_size == 0
        os.close(self._handle)
        if empty:
            self._path.unlink(missing_ok=True)
        elif not self._noted:
            self._write_note()

    def _take(self, chunk: bytes | memoryview) -> None:
        self._check()
        rest = memoryview(chunk).cast("B")
        if self.done + len(rest) > self._blob.size:
            raise IntegrityError(
                f"{self._blob.digest} is longer than announced",
                cause=f"more than {self._blob.size} bytes came",
            )
        self._hash.update(rest)
        self.done += len(rest)
        with room_in(self._path.parent):
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if self.done - self._told < STEP and now - self._told_at < PERIOD:
            return
        self._told, self._told_at = self.done, now
        if not self._noted:
            self._write_note()
        if self.done < self._blob.size:
            self._report(self.done)

    def _check(self) -> None:
        if self._stopped:
            raise Stopped

    def _read_note(self) -> tuple[str, str]:
        with (
            suppress(OSError, ValueError, LookupError, TypeError, RecursionError),
            self._note.open("rb") as file,
        ):
            note = json.loads(file.read(_NOTE_LIMIT))
            return str(note["source"]), str(note["validator"])
        return "", ""

    def _write_note(self) -> None:
        """Whole or not at all, but not durable: without the note the rest can be had as well."""
        text = json.dumps({"source": self._source, "validator": self._validator})
        self._noted = True
        if len(text) > _NOTE_LIMIT:
            return
        new = self._note.with_name(f"{self._note.name}.new")
        with suppress(OSError):
            handle = os.open(new, _NEW, 0o600)
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
            new.replace(self._note)
