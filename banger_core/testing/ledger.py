"""What a banger has on this host, entry by entry: taken before and after, two must agree.

before = take(paths)
...                         # create, use and delete
assert take(paths).since(before) == []
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from banger_core.config.paths import Paths
from banger_core.testing import leaks

DAEMON = "banger_core.daemon"
"""What the command line of a process has that must not gather file descriptors."""

OURS = re.compile(r"\b(bgr|banger)")
"""How links and tables are called that banger makes."""

_LISTENS, _CONNECTED = "00010000", "03"
# What is kept beside a database as long as somebody has it open, and there is room
_JOURNALS = ("-wal", "-shm", ".db.reserve")
_TCP_LISTEN, _UDP_BOUND = "0A", "07"
_MOMENTS = re.compile(r"_at$|^record$|^data$")


@dataclass(frozen=True)
class Ledger:
    """Entries by kind: ``process``, ``link``, ``nft``, ``mount``, ``socket``, ``file``, ``row``,
    ``dns``, ``pin`` and ``fd`` (of daemons). The same thing twice is two entries.
    """

    entries: Counter[tuple[str, str]]

    def since(self, before: Ledger) -> list[str]:
        """Return what came (``+ KIND WHAT``) and what went (``- KIND WHAT``); none when equal."""
        came, went = self.entries - before.entries, before.entries - self.entries
        return [
            f"{sign} {kind} {what}" for sign, some in (("+", came), ("-", went))
            for kind, what in sorted(some.elements())
        ]  # fmt: skip

    def without(self, *kinds: str) -> Ledger:
        """Leave kinds out: another daemon has not opened the same files yet."""
        kept = {entry: count for entry, count in self.entries.items() if entry[0] not in kinds}
        return Ledger(Counter(kept))

    def of(self, kind: str) -> list[str]:
        """Return the entries of one kind."""
        return sorted(what for each, what in self.entries.elements() if each == kind)


def take(paths: Paths, *, network: Path | None = None) -> Ledger:
    """Write down everything that belongs to the banger in ``paths``, and to no other.

    Links and rules are those of this network namespace, or of the one that ``network`` names
    (``/proc/PID/ns/net``); rules are seen by root only. Raises OSError when a program that looks
    is missing (ip(8), nft(8), nsenter(1)).
    """
    places = (paths.state, paths.runtime, paths.cache, paths.config)
    pids = sorted(leaks.processes_using(*places))
    kinds: dict[str, Callable[[], Iterator[str]]] = {
        "process": lambda: (leaks.command(pid) for pid in pids),
        "link": lambda: _links(network),
        "nft": lambda: _rules(network),
        "mount": lambda: _mounts(places, pids),
        "socket": lambda: _sockets(places, pids),
        "file": lambda: _files(places),
        "row": lambda: _rows(paths.database),
        "dns": lambda: _names(paths.plugin_state("dns") / "names.json"),
        "pin": lambda: iter(_text(paths.known_hosts).splitlines()),
        "fd": lambda: _descriptors(pid for pid in pids if DAEMON in leaks.command(pid)),
    }
    return Ledger(Counter((kind, what) for kind, look in kinds.items() for what in look()))


def idle(paths: Paths) -> bool:
    """Say whether nobody speaks with the daemon. It lets go of those who have left a moment later:
    what is taken before that has more in it than will be there again.
    """
    rows = [line.split(None, 7) for line in _text(Path("/proc/net/unix")).splitlines()]
    return not any(row[5:6] == [_CONNECTED] and row[7:] == [str(paths.socket)] for row in rows)


def _links(network: Path | None) -> Iterator[str]:
    for link in json.loads(_said(network, "ip", "-json", "link") or "[]"):
        if OURS.match(link["ifname"]):
            yield link["ifname"]


def _rules(network: Path | None) -> Iterator[str]:
    """Every line of banger's own tables, and whatever names banger in another's."""
    if os.geteuid() != 0:
        return
    table = ""
    for line in _said(network, "nft", "--stateless", "list", "ruleset").splitlines():
        table = line if line.startswith("table ") else table
        if OURS.search(table) or OURS.search(line):
            yield f"{table}: {line.strip()}"


def _said(network: Path | None, program: str, *words: str) -> str:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found = shutil.which(program, path=path)
    if found is None:
        raise FileNotFoundError(f"{program} is not installed")
    enter = ["nsenter", f"--net={network}"] if network else []
    argv = [*enter, found, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _mounts(places: tuple[Path, ...], pids: list[int]) -> Iterator[str]:
    seen = set()
    for pid in ("self", *pids):
        with suppress(OSError):
            if (namespace := Path(f"/proc/{pid}/ns/mnt").readlink()) not in seen:
                seen.add(namespace)
                for line in _text(Path(f"/proc/{pid}/mountinfo")).splitlines():
                    point = line.split()[4].encode().decode("unicode_escape")
                    if _within(places, point):
                        yield point


def _sockets(places: tuple[Path, ...], pids: list[int]) -> Iterator[str]:
    for line in _text(Path("/proc/net/unix")).splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[3] == _LISTENS and _within(places, fields[7]):
            yield fields[7]
    for pid in pids:
        mine = set(_open_files(pid))
        for family in ("tcp", "tcp6", "udp", "udp6"):
            for line in _text(Path(f"/proc/{pid}/net/{family}")).splitlines()[1:]:
                fields = line.split()
                bound = fields[3] == (_TCP_LISTEN if "tcp" in family else _UDP_BOUND)
                if bound and f"socket:[{fields[9]}]" in mine:
                    yield f"{family} {fields[1]}"


def _files(places: tuple[Path, ...]) -> Iterator[str]:
    for place in places:
        for directory, below, files in os.walk(place):
            for name in (*below, *files):
                if not name.endswith(_JOURNALS):
                    yield str(Path(directory, name))


def _rows(database: Path) -> Iterator[str]:
    """Every row of every table, without its moments and without what it says at length."""
    if not database.exists():
        return
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        tables = opened.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        for (table,) in tables:
            rows = opened.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - the name is its own
            names = [column[0] for column in rows.description]
            if not table.startswith("sqlite_"):
                for row in rows:
                    said = zip(names, row, strict=True)
                    shown = [str(value) for name, value in said if not _MOMENTS.search(name)]
                    yield f"{table}: {' '.join(shown)}"


def _names(book: Path) -> Iterator[str]:
    for entry in json.loads(_text(book) or '{"names": []}')["names"]:
        yield f"{entry['name']} {' '.join(entry['addresses'])}"


def _descriptors(pids: Iterator[int]) -> Iterator[str]:
    for pid in pids:
        for what in _open_files(pid):
            # A number says which one it is, which another one like it has not
            yield re.sub(r":\[\d+\]$", "", what)


def _open_files(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield str(handle.readlink())


def _within(places: tuple[Path, ...], path: str) -> bool:
    return any(path == str(place) or path.startswith(f"{place}/") for place in places)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
