"""Files and trees into a machine."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from banger_core.client.copy import (
    CHECKED,
    WINDOW,
    Copy,
    NotCopied,
    Options,
    Place,
    Report,
    Waits,
    join,
    kind_of,
    last_name,
    part_name,
)
from banger_core.client.sftp import Job, Promise, Sftp
from banger_core.client.sftp_wire import (
    CREATE,
    EXCLUSIVE,
    FAILURE,
    FOR_READ,
    FOR_WRITE,
    NO_SUCH_FILE,
    Attributes,
    Refused,
)
from banger_core.errors import BangerError, Interrupted, UsageProblem

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LAST_WORD = 5.0
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _Directory(NamedTuple):
    parent: Place
    name: bytes
    shown: bytes
    target: bytes
    merged: bool
    depth: int


class CopyIn(Copy):
    """Copies into the machine."""

    def __init__(self, session: Sftp, vm: str, options: Options, report: Report) -> None:
        super().__init__(session, vm, options, report)
        self._parts: set[bytes] = set()

    def send(self, sources: Sequence[bytes], target: bytes) -> None:
        """Copy ``sources`` to ``target``: into it when it is a directory, else one as it. Raises
        UsageProblem when the target does not fit.
        """
        place = Place(os.open(".", _DIRECTORY), self._live)
        self._send_or_clear(self._send_all(sources, target, place))

    def stream(self, target: bytes, read: Callable[[int], bytes]) -> None:
        """Make a file of what ``read`` gives, until that is nothing."""
        self._send_or_clear(self._attempt(target, self._stream(target, read)))

    def _send_or_clear(self, job: Job) -> None:
        try:
            self._run(job)
        except Interrupted:
            if self._parts:
                with suppress(BangerError):
                    self._s.run_last(self._clear(), _LAST_WORD)
            raise

    def _clear(self) -> Job:
        """Remove what cannot be resumed."""
        for promise in [self._s.remove(part) for part in self._parts]:
            with suppress(Refused):
                yield promise

    def _stream(self, target: bytes, read: Callable[[int], bytes]) -> Job:
        directory, name = yield from self._target(target, many=False)
        if not name:
            raise NotCopied("it is a directory: give the file a name")
        part = join(directory, part_name(os.urandom(16)))
        self._parts.add(part)
        handle = yield self._s.open(part, FOR_WRITE | CREATE | EXCLUSIVE)
        try:
            chunks = iter(lambda: read(self._s.write_size), b"")
            yield from self._write_all(os.fsdecode(target), handle, 0, 0, chunks)
            yield from self._publish(handle, part, join(directory, name))
        except (OSError, Refused, NotCopied):
            yield from self._drop(handle, part)
            raise
        self._parts.discard(part)
        self.summary.files += 1

    def _target(self, target: bytes, *, many: bool) -> Waits:
        """Find the directory to write in, and the name there ("" for the sources' own)."""
        shown = os.fsdecode(target)
        try:
            kind = kind_of((yield self._s.stat(target)))
        except Refused as problem:
            if problem.status != NO_SUCH_FILE:
                raise
            kind = 0
        if kind == stat.S_IFDIR:
            return target, b""
        if many or target.endswith(b"/"):
            raise UsageProblem(
                f"{shown!r} is not a directory in the machine",
                cause="several files go into a directory" if many else "it ends with /",
                hints=[f"banger vm exec {self._vm} -- mkdir -p {shown}"],
            )
        if kind and kind != stat.S_IFREG:
            raise UsageProblem(
                f"{shown!r} is neither a file nor a directory in the machine",
                cause="a copy replaces files only",
                hints=[f"banger vm exec {self._vm} -- ls -l {shown}"],
            )
        if kind:
            target = yield self._s.real_path(target)
        directory, slash, name = target.rpartition(b"/")
        return directory or (slash or b"."), name

    def _send_all(self, sources: Sequence[bytes], target: bytes, place: Place) -> Job:
        try:
            directory, name = yield from self._target(target, many=len(sources) > 1)
        except Refused as problem:
            self._fail(target, problem.summary)
            return
        for source in sources:
            job = self._top(source, place, directory, name or last_name(source))
            yield from self._attempt(source, job)
        place.release()

    def _top(self, source: bytes, place: Place, directory: bytes, name: bytes) -> Job:
        facts = os.stat(source)  # noqa: PTH116  (names are bytes)
        if stat.S_ISDIR(facts.st_mode):
            # The first step may be through links: it is the user who named them
            source = os.path.realpath(source)
        target = join(directory, name) if name else directory
        yield from self._entry(place, source, source, target, facts, not name, 0)

    def _entry(
        self,
        place: Place,
        name: bytes,
        shown: bytes,
        target: bytes,
        facts: os.stat_result,
        merged: bool,
        depth: int,
    ) -> Job:
        mode = facts.st_mode
        if stat.S_ISDIR(mode):
            if depth and self._options.follow and place.contains(facts):
                raise NotCopied("a link leads to a directory that it lies in")
            place.hold()
            item = _Directory(place, name, shown, target, merged, depth)
            yield from self._descend(shown, depth, item)
        elif stat.S_ISREG(mode):
            follow = self._options.follow or not depth
            job = self._file(place, name, shown, target, follow=follow)
            yield from self._begin(shown, place, job, facts.st_size)
        elif stat.S_ISLNK(mode):
            yield from self._begin(shown, place, self._link(place, name, target))
        elif depth:
            self._skip(shown)
        else:
            raise NotCopied("it is neither a file nor a directory")

    def _walk(self, item: _Directory) -> Job:
        try:
            follow = 0 if self._options.follow else os.O_NOFOLLOW
            fd = os.open(item.name, _DIRECTORY | follow, dir_fd=item.parent.fd)
            place = Place(fd, self._live, item.parent)
        finally:
            item.parent.release()
        try:
            if not item.merged:
                yield from self._make(item.target)
                facts = os.fstat(fd)
                place.finish = lambda: self._finish(item.target, facts)
            with os.scandir(fd) as entries:
                for entry in entries:
                    self._count_entry()
                    name = os.fsencode(entry.name)
                    yield from self._attempt(join(item.shown, name), self._found(item, place, name))
        finally:
            place.release()

    def _found(self, item: _Directory, place: Place, name: bytes) -> Job:
        facts = os.stat(name, dir_fd=place.fd, follow_symlinks=self._options.follow)
        shown, target = join(item.shown, name), join(item.target, name)
        yield from self._entry(place, name, shown, target, facts, False, item.depth + 1)

    def _make(self, target: bytes) -> Job:
        """Make a directory where there is none."""
        self.summary.directories += 1
        try:
            yield self._s.make_directory(target, 0o700)
        except Refused as problem:
            if problem.status != FAILURE:
                raise
            if kind_of((yield self._s.stat(target, follow=False))) != stat.S_IFDIR:
                raise NotCopied("what has its name in the machine is no directory") from None

    def _finish(self, target: bytes, facts: os.stat_result) -> None:
        """Give a directory its mode and time, now that nothing is added to it any more."""

        def job() -> Job:
            yield self._s.set_attributes(target, self._attributes(facts))

        self._s.spawn(self._attempt(target, job()))

    def _attributes(self, facts: os.stat_result) -> Attributes:
        mode = self._mode(facts.st_mode)
        return Attributes(None, mode, int(facts.st_mtime), int(facts.st_atime))

    # --- files ----------------------------------------------------------------------------------
    def _file(self, place: Place, name: bytes, shown: bytes, target: bytes, *, follow: bool) -> Job:
        fd = os.open(name, _FILE | (0 if follow else os.O_NOFOLLOW), dir_fd=place.fd)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise NotCopied("it was exchanged for something that is no file")
            yield from self._send(fd, facts, shown, target)
        finally:
            os.close(fd)
        self.summary.files += 1

    def _send(self, fd: int, facts: os.stat_result, shown: bytes, target: bytes) -> Job:
        directory, slash, name = target.rpartition(b"/")
        real = os.path.abspath(shown)  # noqa: PTH100
        part = directory + slash + part_name(real, facts.st_size, facts.st_mtime_ns, name)
        if not self._options.resume:
            self._parts.add(part)
        handle, start = yield from self._open_part(fd, part, facts.st_size)
        try:
            chunks = _chunks(fd, start, facts.st_size, self._s.write_size)
            told = os.fsdecode(shown)
            hole = yield from self._write_all(told, handle, start, facts.st_size, chunks)
            attributes = self._attributes(facts)
            if hole:
                attributes = attributes._replace(size=facts.st_size)
            yield self._s.set_open(handle, attributes)
            yield from self._publish(handle, part, target)
        except (OSError, Refused, NotCopied):
            yield from self._drop(handle, part)
            raise
        self._parts.discard(part)

    def _open_part(self, fd: int, part: bytes, size: int) -> Waits:
        """Open an unfinished file, and say from where to go on."""
        private = Attributes(mode=0o600)
        fresh = FOR_READ | FOR_WRITE | CREATE | EXCLUSIVE
        try:
            return (yield self._s.open(part, fresh, private)), 0
        except Refused as problem:
            if problem.status != FAILURE:
                raise
        found = yield self._s.stat(part, follow=False)
        have = found.size or 0
        if self._options.resume and kind_of(found) == stat.S_IFREG and 0 < have <= size:
            handle = yield self._s.open(part, FOR_READ | FOR_WRITE)
            begin = max(0, have - min(CHECKED, self._s.read_size))
            theirs = yield self._s.read(handle, begin, have - begin)
            if theirs == os.pread(fd, have - begin, begin):
                self.summary.resumed += have
                return handle, have
            self._s.close(handle)
        yield self._s.remove(part)
        return (yield self._s.open(part, fresh, private)), 0

    def _write_all(
        self, shown: str, handle: bytes, start: int, size: int, chunks: Iterator[bytes]
    ) -> Waits:
        """Write pieces in order; say whether the last was all zeros, and left out."""
        window: deque[tuple[int, Promise]] = deque()
        offset, done, step, hole = start, start, self._s.write_size, False
        for data in chunks:
            hole = bool(size) and not data[0] and not data.strip(b"\0")
            if not hole:
                window.append((len(data), self._s.write(handle, offset, data)))
            offset += len(data)
            self.summary.copied += len(data)
            while len(window) * step >= WINDOW:
                count, promise = window.popleft()
                yield promise
                done += count
                self._report(shown, done, size)
        for _, promise in window:
            yield promise
        if size:
            self._report(shown, size, size)
        return hole

    def _drop(self, handle: bytes, part: bytes) -> Job:
        """Remove what came to nothing; it may be closed already, or gone."""
        for promise in (self._s.close(handle), self._s.remove(part)):
            with suppress(Refused):
                yield promise
        self._parts.discard(part)

    def _publish(self, handle: bytes, part: bytes, target: bytes) -> Job:
        if self._options.sync and b"fsync@openssh.com" in self._s.extensions:
            yield self._s.sync(handle)
        closed = self._s.close(handle)
        yield from self._rename(part, target)
        yield closed

    def _rename(self, part: bytes, target: bytes) -> Job:
        try:
            yield self._s.rename(part, target)
        except Refused as problem:
            if problem.status == FAILURE:
                found = yield self._s.stat(target, follow=False)
                if kind_of(found) == stat.S_IFDIR:
                    raise NotCopied("a directory has its name in the machine") from None
            raise

    def _link(self, place: Place, name: bytes, target: bytes) -> Job:
        leads = os.readlink(name, dir_fd=place.fd)
        directory, slash, own = target.rpartition(b"/")
        part = directory + slash + part_name(leads, own)
        try:
            yield self._s.make_link(leads, part)
        except Refused as problem:
            if problem.status != FAILURE:
                raise
            yield self._s.remove(part)
            yield self._s.make_link(leads, part)
        yield from self._rename(part, target)
        self.summary.links += 1


def _chunks(fd: int, start: int, size: int, step: int) -> Iterator[bytes]:
    """Read a file from ``start`` to ``size``. Raises NotCopied when it is shorter."""
    offset = start
    while offset < size:
        data = os.pread(fd, min(step, size - offset), offset)
        if not data:
            raise NotCopied("it became shorter while it was copied")
        offset += len(data)
        yield data
