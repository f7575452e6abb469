"""Copying between this host and a machine: what both directions share.

A file is written beside its destination under a name made of what it comes from, and renamed when
it is whole: the destination is never half-written, and what was interrupted is found again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from banger_core.client.sftp import Job, Promise, Sftp, Slots
from banger_core.client.sftp_wire import Attributes, Refused
from banger_core.errors import BangerError, HostileInput, NoSpace

Report = Callable[[str, int, int], None]
"""Told of a file, how many of its bytes are there, and how many there will be."""

FILES = 64
"""Small files under way at once."""

BIG = 1 << 20
"""A file of at least this size (bytes) takes the place of many."""

BIG_PLACES = 16
WINDOW = 2 << 20
"""Bytes of one file that are asked for or sent, and not yet answered."""

WALKERS = 8
"""Directories that are read at once."""

DEPTH_MAX = 200
"""Directories below each other that are followed."""

ENTRIES_MAX = 10_000_000
"""Most files in one copy: more is a trap."""

CHECKED = 64 * 1024
"""Bytes at the end of a part that must be equal before it is continued."""

TOLD_MAX = 1000
"""Most failures and skipped files that are remembered by name; the others are counted."""

_STACK_MAX = 4096
_ORDINARY, _ALL = 0o777, 0o7777


@dataclass(frozen=True, slots=True)
class Options:
    """How to copy. ``resume``: go on with what was interrupted, and keep what is. ``follow``:
    copy what local links lead to. ``special``: keep setuid, setgid and sticky bits. ``sync``:
    files are on the disk before they get their names.
    """

    resume: bool = True
    follow: bool = False
    special: bool = False
    sync: bool = False


@dataclass(slots=True)
class Summary:
    """What came of it. ``copied`` and ``resumed`` are bytes; paths are those of sources."""

    files: int = 0
    directories: int = 0
    links: int = 0
    copied: int = 0
    resumed: int = 0
    failures: int = 0
    skips: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class NotCopied(BangerError):
    """One file could not be copied; the others can."""


class Place:
    """A directory of this host that is in use, as a descriptor: no name above it is looked up
    again. It is closed when nobody holds it any more, after ``finish``.
    """

    def __init__(self, fd: int, live: set[Place], parent: Place | None = None) -> None:
        self.fd, self._live, self._parent = fd, live, parent
        self._held = 1
        self.finish: Callable[[], None] | None = None
        live.add(self)
        if parent is not None:
            parent.hold()

    def hold(self) -> None:
        """Keep it open until another ``release``."""
        self._held += 1

    def release(self) -> None:
        """Let go of it."""
        self._held -= 1
        if self._held:
            return
        try:
            if self.finish is not None:
                self.finish()
        finally:
            self.abandon()
            if self._parent is not None:
                self._parent.release()

    def abandon(self) -> None:
        """Close it as it is."""
        self._live.discard(self)
        os.close(self.fd)

    def contains(self, facts: os.stat_result) -> bool:
        """Say whether it is, or lies in, the directory that ``facts`` are of."""
        mine = os.fstat(self.fd)
        here = (mine.st_dev, mine.st_ino) == (facts.st_dev, facts.st_ino)
        return here or (self._parent is not None and self._parent.contains(facts))


class Copy:
    """Work on many files at once. Subclasses say how a directory is walked (``_walk``)."""

    def __init__(self, session: Sftp, vm: str, options: Options, report: Report) -> None:
        self._s, self._vm, self._options, self._report = session, vm, options, report
        self.summary = Summary()
        self._slots = Slots(session, FILES)
        self._live: set[Place] = set()
        self._stack: list[Any] = []
        self._walking = 0
        self._entries = 0

    def _run(self, job: Job) -> None:
        """Run everything; when it breaks off, unfinished directories stay as they are."""
        try:
            self._s.run(job)
        except BaseException:
            for place in self._live:
                place.finish = None
            self._s.cancel()
            raise
        finally:
            for place in list(self._live):
                place.abandon()

    def _walk(self, item: Any) -> Job:
        raise NotImplementedError

    def _descend(self, shown: bytes, depth: int, item: Any) -> Job:
        """Walk a directory, now or later."""
        if depth > DEPTH_MAX:
            self._fail(shown, f"there are more than {DEPTH_MAX} directories below each other")
        elif self._walking < WALKERS:
            self._walking += 1
            self._s.spawn(self._walker(shown, item))
        elif len(self._stack) < _STACK_MAX:
            self._stack.append((shown, item))
        else:
            yield from self._attempt(shown, self._walk(item))

    def _walker(self, shown: bytes, item: Any) -> Job:
        yield from self._attempt(shown, self._walk(item))
        while self._stack:
            shown, item = self._stack.pop()
            yield from self._attempt(shown, self._walk(item))
        self._walking -= 1

    def _begin(self, shown: bytes, place: Place, job: Job, size: int = 0) -> Job:
        """Begin with one file beside the others, once there is room."""
        count = BIG_PLACES if size >= BIG else 1
        place.hold()
        yield from self._slots.take(count)
        self._s.spawn(self._one(shown, place, job, count))

    def _one(self, shown: bytes, place: Place, job: Job, count: int) -> Job:
        yield from self._attempt(shown, job)
        yield from self._attempt(shown, _let_go(place))
        self._slots.give(count)

    def _attempt(self, shown: bytes, job: Job) -> Job:
        try:
            yield from job
        except (Refused, NotCopied) as problem:
            self._fail(shown, problem.summary)
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(
                    f"{os.fsdecode(shown)!r} cannot be written",
                    cause=os.strerror(problem.errno),
                    hints=["df -h .", "run the same command again: it goes on where it stopped"],
                ) from None
            self._fail(shown, os.strerror(problem.errno) if problem.errno else str(problem))

    def _fail(self, shown: bytes, reason: str) -> None:
        self.summary.failures += 1
        if len(self.summary.failed) < TOLD_MAX:
            self.summary.failed.append((os.fsdecode(shown), reason))

    def _skip(self, shown: bytes) -> None:
        self.summary.skips += 1
        if len(self.summary.skipped) < TOLD_MAX:
            self.summary.skipped.append(os.fsdecode(shown))

    def _count_entry(self) -> None:
        self._entries += 1
        if self._entries > ENTRIES_MAX:
            raise HostileInput(f"there are more than {ENTRIES_MAX} files to copy")

    def _mode(self, mode: int) -> int:
        return mode & (_ALL if self._options.special else _ORDINARY)


def _let_go(place: Place) -> Job:
    place.release()
    yield from ()


def part_name(*facts: object) -> bytes:
    """Return the name of an unfinished file that comes from what ``facts`` say."""
    import hashlib

    text = "\0".join(repr(fact) for fact in facts)
    digest = hashlib.sha256(text.encode("ascii", "backslashreplace")).hexdigest()
    return f".banger-{digest[:32]}.part".encode()


def last_name(path: bytes) -> bytes:
    """Return the last component of ``path``; nothing when it names no entry (``.``, ``/``)."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    return b"" if name in (b".", b"..") else name


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of ``name`` in ``directory``."""
    return directory + name if directory.endswith(b"/") else directory + b"/" + name


def kind_of(attributes: Attributes) -> int:
    """Return the kind of a file (``stat.S_IFDIR`` …). Raises NotCopied when it is not known."""
    if attributes.mode is None:
        raise NotCopied("the machine does not say what it is")
    return stat.S_IFMT(attributes.mode)


Waits = Generator[Promise, Any, Any]
"""A part of a job that gives a value."""
