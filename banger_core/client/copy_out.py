"""Files and trees out of a machine. The guest may lie: it chooses no name outside the destination,
and no link, planted or raced, is ever gone through.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from banger_core.client.copy import (
    CHECKED,
    WINDOW,
    Copy,
    NotCopied,
    Place,
    Waits,
    join,
    kind_of,
    last_name,
    part_name,
)
from banger_core.client.sftp import CHUNK, Job, Promise
from banger_core.client.sftp_wire import EOF, FOR_READ, Attributes, Refused, check_name
from banger_core.errors import UsageProblem

UNSIZED_MAX = 64 << 20
"""Most that is read of a file that has no size (bytes), as those in /proc."""

SIZE_MAX = 1 << 62
_ZEROS = bytes(CHUNK)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PART = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Sink = Callable[[int, bytes], None]


class _Directory(NamedTuple):
    path: bytes
    parent: Place
    name: bytes
    attributes: Attributes
    depth: int


class CopyOut(Copy):
    """Copies out of the machine."""

    def fetch(self, sources: Sequence[bytes], directory: bytes, name: bytes) -> None:
        """Copy ``sources`` into the local ``directory``: one under ``name``, or, when that is
        empty, each under its own.
        """
        place = Place(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), self._live)
        self._run(self._fetch_all(sources, place, name))

    def stream(self, source: bytes, write: Callable[[bytes], None]) -> None:
        """Give one file to ``write``, piece by piece."""
        self._run(self._attempt(source, self._stream(source, write)))

    def _stream(self, source: bytes, write: Callable[[bytes], None]) -> Job:
        attributes = yield self._s.stat(source)
        if kind_of(attributes) != stat.S_IFREG:
            raise NotCopied("it is not a file")
        handle = yield self._s.open(source, FOR_READ)
        yield from self._receive(source, handle, 0, attributes, lambda _, data: write(data))
        yield self._s.close(handle)
        self.summary.files += 1

    def _fetch_all(self, sources: Sequence[bytes], place: Place, name: bytes) -> Job:
        for source in sources:
            yield from self._attempt(source, self._top(source, place, name or last_name(source)))
        place.release()

    def _top(self, source: bytes, place: Place, name: bytes) -> Job:
        # What is named is followed when it is a link; what lies in a tree is not
        attributes = yield self._s.stat(source)
        yield from self._entry(source, place, name, attributes, depth=0)

    def _entry(
        self, path: bytes, place: Place, name: bytes, attributes: Attributes, depth: int
    ) -> Job:
        kind = kind_of(attributes)
        if kind == stat.S_IFDIR:
            place.hold()
            item = _Directory(path, place, name, attributes, depth)
            yield from self._descend(path, depth, item)
        elif kind == stat.S_IFREG:
            job = self._file(path, place, name, attributes)
            yield from self._begin(path, place, job, attributes.size or 0)
        elif kind == stat.S_IFLNK:
            yield from self._begin(path, place, self._link(path, place, name))
        elif depth:
            self._skip(path)
        else:
            raise NotCopied("it is neither a file nor a directory")

    def _walk(self, item: _Directory) -> Job:
        try:
            place = self._enter(item)
        finally:
            item.parent.release()
        try:
            handle = yield self._s.open_directory(item.path)
            yield from self._entries_of(item, handle, place)
            self._s.close(handle)
        finally:
            place.release()

    def _entries_of(self, item: _Directory, handle: bytes, place: Place) -> Job:
        while True:
            try:
                names = yield self._s.read_directory(handle)
            except Refused as problem:
                if problem.status == EOF:
                    return
                raise
            for name, attributes in names:
                self._count_entry()
                if name in (b".", b".."):
                    continue
                path = join(item.path, check_name(name))
                entry = self._entry(path, place, name, attributes, item.depth + 1)
                yield from self._attempt(path, entry)

    def _enter(self, item: _Directory) -> Place:
        """Make and open the directory that is to be filled."""
        if not item.name:
            fd = os.open(".", _DIRECTORY, dir_fd=item.parent.fd)
            return Place(fd, self._live, item.parent)
        with suppress(FileExistsError):
            os.mkdir(item.name, 0o700, dir_fd=item.parent.fd)
        try:
            fd = os.open(item.name, _DIRECTORY, dir_fd=item.parent.fd)
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.ENOTDIR):
                raise NotCopied("what has its name here is no directory") from None
            raise
        place = Place(fd, self._live, item.parent)
        self.summary.directories += 1
        place.finish = lambda: self._finish(fd, item.attributes)
        return place

    def _finish(self, fd: int, attributes: Attributes) -> None:
        os.fchmod(fd, self._mode(attributes.mode or 0))
        if attributes.mtime is not None:
            os.utime(fd, (attributes.mtime, attributes.mtime))

    # --- files ----------------------------------------------------------------------------------
    def _file(self, path: bytes, place: Place, name: bytes, attributes: Attributes) -> Job:
        check_name(name)
        part = part_name(self._vm, path, attributes.size, attributes.mtime, name)
        fd = _open_part(place, part)
        try:
            handle = yield self._s.open(path, FOR_READ)
            start = yield from self._start(fd, handle, attributes)
            sink: Sink = lambda offset, data: _store(fd, offset, data)  # noqa: E731
            size = yield from self._receive(path, handle, start, attributes, sink)
            self._s.close(handle)
            os.ftruncate(fd, size)
            self._finish(fd, attributes)
            if self._options.sync:
                os.fsync(fd)
            _publish(place, part, name)
        except GeneratorExit:
            if not self._options.resume or not os.fstat(fd).st_size:
                _remove(place, part)
            raise
        except BaseException:
            _remove(place, part)
            raise
        finally:
            os.close(fd)
        self.summary.files += 1

    def _start(self, fd: int, handle: bytes, attributes: Attributes) -> Waits:
        """Say from where to go on: the end of the part, when its last bytes are the guest's."""
        have = os.fstat(fd).st_size
        if self._options.resume and attributes.size and 0 < have <= attributes.size:
            begin = max(0, have - CHECKED)
            theirs = yield from self._read_exactly(handle, begin, have - begin)
            if theirs == os.pread(fd, have - begin, begin):
                self.summary.resumed += have
                return have
        os.ftruncate(fd, 0)
        return 0

    def _receive(
        self, path: bytes, handle: bytes, start: int, attributes: Attributes, sink: Sink
    ) -> Waits:
        """Read a file to its end, in order; return its size."""
        if not (size := attributes.size):
            return (yield from self._receive_unsized(handle, sink))
        if size > SIZE_MAX:
            raise NotCopied(f"the machine says that it has {size} bytes")
        asked = done = start
        shown, step = os.fsdecode(path), self._s.read_size
        window: deque[tuple[int, Promise]] = deque()
        while done < size:
            while asked < size and len(window) * step < WINDOW:
                count = min(step, size - asked)
                window.append((count, self._s.read(handle, asked, count)))
                asked += count
            count, promise = window.popleft()
            data = yield from self._whole(handle, done, count, promise)
            sink(done, data)
            done += count
            self.summary.copied += count
            self._report(shown, done, size)
        return size

    def _receive_unsized(self, handle: bytes, sink: Sink) -> Waits:
        done = 0
        while done <= UNSIZED_MAX:
            try:
                data = yield self._s.read(handle, done, self._s.read_size)
            except Refused as problem:
                if problem.status == EOF:
                    return done
                raise
            sink(done, data)
            done += len(data)
            self.summary.copied += len(data)
        raise NotCopied("it has no size, and does not end")

    def _whole(self, handle: bytes, offset: int, count: int, promise: Promise) -> Waits:
        """Wait for ``count`` bytes, of which a server may send fewer at a time."""
        try:
            data: bytes = yield promise
            while len(data) < count:
                data += yield self._s.read(handle, offset + len(data), count - len(data))
        except Refused as problem:
            if problem.status == EOF:
                raise NotCopied("it became shorter while it was copied") from None
            raise
        return data

    def _read_exactly(self, handle: bytes, offset: int, count: int) -> Waits:
        data = b""
        while len(data) < count:
            step = min(self._s.read_size, count - len(data))
            promise = self._s.read(handle, offset + len(data), step)
            data += yield from self._whole(handle, offset + len(data), step, promise)
        return data

    def _link(self, path: bytes, place: Place, name: bytes) -> Job:
        check_name(name)
        target = yield self._s.read_link(path)
        if not target or b"\0" in target:
            raise NotCopied("it leads nowhere")
        part = part_name(self._vm, path, target, name)
        _remove(place, part)
        os.symlink(target, part, dir_fd=place.fd)
        try:
            _publish(place, part, name)
        except BaseException:
            _remove(place, part)
            raise
        self.summary.links += 1


def local_target(target: str, *, many: bool) -> tuple[bytes, bytes]:
    """Return the directory that is to be written in, and the name there ("" for the sources'
    own). What ``target`` itself leads to is followed. Raises UsageProblem.
    """
    path = os.path.realpath(os.fsencode(target))
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        mode = 0
    if stat.S_ISDIR(mode):
        return path, b""
    if many or target.endswith("/"):
        raise UsageProblem(
            f"{target!r} is not a directory",
            cause="several files go into a directory" if many else "it ends with /",
            hints=[f"mkdir -p {target}"],
        )
    directory, _, name = path.rpartition(b"/")
    directory = directory or b"/"
    if mode and not stat.S_ISREG(mode):
        raise UsageProblem(
            f"{target!r} is neither a file nor a directory",
            hints=[f"banger vm cp VM:PATH - > {target}"],
        )
    if not os.path.isdir(directory):  # noqa: PTH112
        raise UsageProblem(
            f"there is no directory {os.fsdecode(directory)!r}",
            cause="copies go into a directory that exists",
            hints=[f"mkdir -p {os.fsdecode(directory)}"],
        )
    return directory, name


def _open_part(place: Place, part: bytes) -> int:
    """Open an unfinished file of ours for this process alone. Raises NotCopied, OSError."""
    fd = os.open(part, _PART, 0o600, dir_fd=place.fd)
    try:
        _claim(fd, place, part)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _claim(fd: int, place: Place, part: bytes) -> None:
    facts = os.fstat(fd)
    ours = facts.st_uid == os.geteuid() and facts.st_nlink == 1
    if not stat.S_ISREG(facts.st_mode) or not ours:
        raise NotCopied(f"{os.fsdecode(part)} is in the way")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotCopied("it is being copied by another command") from None
    # Whoever had it before may have given it its name, and then it is a part no more
    named = os.stat(part, dir_fd=place.fd, follow_symlinks=False)
    if (named.st_dev, named.st_ino) != (facts.st_dev, facts.st_ino):
        raise NotCopied("it was copied by another command just now")


def _store(fd: int, offset: int, data: bytes) -> None:
    # What is all zeros stays a hole; the first byte tells most apart
    if not data[0] and data == _ZEROS[: len(data)]:
        return
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _publish(place: Place, part: bytes, name: bytes) -> None:
    with suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=place.fd, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            raise NotCopied("a directory has its name here")
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise NotCopied("what has its name here is neither a file nor a link")
    os.rename(part, name, src_dir_fd=place.fd, dst_dir_fd=place.fd)


def _remove(place: Place, part: bytes) -> None:
    with suppress(OSError):
        os.unlink(part, dir_fd=place.fd)
