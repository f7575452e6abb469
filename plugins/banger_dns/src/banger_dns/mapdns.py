"""mapdns: names in a JSON file that others edit, too.

The file is an object of names: ``{"web.vm.": {"A": "127.64.1.2"}}``. What we put there is written
down beforehand in a ledger of ours. What others put there stays as it is, also when it is a name of
ours, and what they made of an entry of ours is theirs from then on.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from banger_core.api import HostNotReady, sync_directory, write_atomic
from banger_dns.book import Name
from banger_dns.names import ZONE

LEDGER = "mapdns.json"
"""The ledger's name in the plugin's state directory."""

MODE = 0o644
"""Of a file that is made anew: mapdns may run as somebody else."""

PATIENCE = 3.0
"""Seconds for which somebody else's lock is waited for: a VM is about to be ready meanwhile."""

_TRIES = 50
_LARGEST = 16 << 20

Entries = dict[str, Any]
Ours = dict[str, list[Any]]
"""What we have put under a name, or were about to."""


def entries_of(names: Iterable[Name], *, subdomains: bool) -> Entries:
    """What the names look like there. mapdns has one address of each kind for a name."""
    found: Entries = {}
    for name in names:
        entry: dict[str, str] = {}
        for address in name.addresses:
            kind = "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
            entry.setdefault(kind, address)
        found[f"{name.name}.{ZONE}."] = entry
        if subdomains:
            found[f"*.{name.name}.{ZONE}."] = entry
    return found


def find_program(setting: str) -> str | None:
    """Return the full path of the program that the settings name, by path or by name."""
    return shutil.which(os.path.expanduser(setting)) if setting else None  # noqa: PTH111


def why_no_program(setting: str) -> str:
    """Say why ``find_program`` finds none."""
    path = Path(os.path.expanduser(setting))  # noqa: PTH111
    if not setting:
        return "mapdns_bin is empty"
    if path.name == setting:
        return f"no directory of PATH has a program {setting}"
    if not path.exists():
        return f"there is no {path}"
    return f"{path} is a directory" if path.is_dir() else f"{path} is not executable"


class MapFile:
    """The data file ``path``, empty when none is wanted, and what of it is ours."""

    def __init__(self, path: str, state: Path) -> None:
        self._path = path
        self._ledger = state / LEDGER

    def update(self, wanted: Entries) -> list[str]:
        """Make our part of the file what is ``wanted``; return the names that others hold there.

        Blocks while somebody else holds the lock (flock(2) on ``FILE.lock``), ``PATIENCE`` seconds
        at most. Raises HostNotReady when the file cannot be used; nothing of it has changed then.
        """
        ledger = self._read_ledger()
        before, ours = str(ledger["file"]), dict(ledger["entries"])
        if before and before != self._path:
            old = Path(os.path.realpath(before))
            if old.exists():
                with _locked(old):
                    _Edit(old).make({}, ours)
            ours = {}
            self._write_ledger("", ours)
        if not self._path or (not wanted and not ours):
            return []
        path = Path(os.path.realpath(self._path))
        with _locked(path):
            both = {
                key: [*(each for each in ours.get(key, ()) if each != entry), entry]
                for key, entry in wanted.items()
            }
            self._write_ledger(self._path, {**ours, **both})
            held = _Edit(path).make(wanted, ours)
            kept = {key: [entry] for key, entry in wanted.items() if key not in held}
            self._write_ledger(self._path if kept else "", kept)
        return held

    def _read_ledger(self) -> dict[str, Any]:
        try:
            found = json.loads(self._ledger.read_bytes())
            return {"file": found["file"], "entries": dict(found["entries"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {"file": "", "entries": {}}

    def _write_ledger(self, file: str, entries: Ours) -> None:
        data = {"file": file, "entries": entries}
        if data != self._read_ledger():
            write_atomic(self._ledger, json.dumps(data))


class _Edit:
    """One change of a file that others may be changing, with or without the lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self, wanted: Entries, ours: Ours) -> list[str]:
        for _ in range(_TRIES):
            seen, text = self._read()
            data = _parse(self._path, text)
            held = _merge(data, wanted, ours)
            if data == _parse(self._path, text) or self._replace(data, text, seen):
                return held
        raise HostNotReady(
            f"{self._path} changes all the time", cause="somebody else writes it over and over"
        )

    def _read(self) -> tuple[os.stat_result | None, str]:
        try:
            with open(self._path, "rb", opener=_at_once) as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise HostNotReady(
                        f"{self._path} is no regular file",
                        cause="names are written to a file of its own",
                        hints=[f"ls -l {self._path}"],
                    )
                if facts.st_size > _LARGEST:
                    raise HostNotReady(
                        f"{self._path} is larger than {_LARGEST >> 20} MiB",
                        cause="it is read and written as a whole for each machine",
                        hints=[f"ls -l {self._path}"],
                    )
                return facts, file.read(_LARGEST + 1).decode()
        except FileNotFoundError:
            return None, ""
        except (OSError, UnicodeDecodeError) as problem:
            raise HostNotReady(
                f"{self._path} cannot be read",
                cause=(isinstance(problem, OSError) and problem.strerror) or str(problem),
                hints=[f"ls -l {self._path}"],
            ) from problem

    def _replace(self, data: Entries, text: str, seen: os.stat_result | None) -> bool:
        """Put ``data`` in place, unless the file is not what was read any more."""
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    _like(file.fileno(), seen)
                    file.write(_written(data, text))
                    file.flush()
                    os.fsync(file.fileno())
                if not _same(self._path, seen):
                    return False
                temporary.rename(self._path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_directory(self._path.parent)
        except OSError as problem:
            raise HostNotReady(
                f"{self._path} cannot be written",
                cause=problem.strerror or str(problem),
                hints=[f"ls -ld {self._path.parent} {self._path}"],
            ) from problem
        return True


def _merge(data: Entries, wanted: Entries, ours: Ours) -> list[str]:
    """Change ``data``; return the wanted names that somebody else has put there."""
    for key, entries in ours.items():
        if key not in wanted and data.get(key) in entries:
            del data[key]
    held = []
    for key, entry in wanted.items():
        if key in data and data[key] not in (entry, *ours.get(key, ())):
            held.append(key)
        else:
            data[key] = entry
    return held


def _parse(path: Path, text: str) -> Entries:
    try:
        data = json.loads(text or "{}", parse_float=_finite)
    except (ValueError, RecursionError) as problem:
        raise HostNotReady(
            f"{path} is no JSON", cause=str(problem), hints=[f"mend {path}"]
        ) from problem
    if not isinstance(data, dict):
        raise HostNotReady(
            f"{path} does not hold an object of names",
            cause=f"it is of the type {type(data).__name__}",
            hints=[f"mend {path}"],
        )
    return data


def _at_once(path: str, flags: int) -> int:
    """Open also a pipe that nobody writes to."""
    return os.open(path, flags | os.O_NONBLOCK)


def _finite(text: str) -> float:
    """Read a number, of which infinity would be written. Raises ValueError for one too large."""
    if math.isfinite(number := float(text)):
        return number
    raise ValueError(f"{text[:20]} is no number that every program can read")


def _written(data: Entries, before: str) -> bytes:
    """The JSON of ``data``, indented as the text before was."""
    lines = before.splitlines()
    second = lines[1] if len(lines) > 1 else "  "
    indent = second[: len(second) - len(second.lstrip())] or "  "
    try:
        return (json.dumps(data, indent=indent, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        # Halves of pairs, which JSON can say and UTF-8 cannot
        return (json.dumps(data, indent=indent) + "\n").encode()


def _like(handle: int, seen: os.stat_result | None) -> None:
    os.fchmod(handle, MODE if seen is None else stat.S_IMODE(seen.st_mode))
    if seen is not None and os.geteuid() == 0:
        os.fchown(handle, seen.st_uid, seen.st_gid)


def _same(path: Path, seen: os.stat_result | None) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return seen is None
    return seen is not None and all(
        getattr(now, key) == getattr(seen, key) for key in ("st_ino", "st_mtime_ns", "st_size")
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{path.name}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostNotReady(
            f"{lock} cannot be locked",
            cause=problem.strerror or str(problem),
            hints=[f"ls -ld {lock.parent} {lock}"],
        ) from problem
    try:
        _take(handle, lock)
        yield
    finally:
        os.close(handle)


def _take(handle: int, lock: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HostNotReady(
                    f"{lock} is locked",
                    cause=f"somebody else has held it for {PATIENCE:g} s",
                    hints=[f"fuser -v {lock}"],
                ) from None
            time.sleep(0.02)
        else:
            return
