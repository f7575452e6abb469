"""What the guest helper reports, read by somebody who does not trust it.

Lines of a word and its values, after ``guest/files/helper``. A line that makes no sense is left
out; numbers are bounded, and text that comes from the guest is made printable. What is missing
stays at its default: a guest can lie about itself, and about nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

_NUMBER_MAX = 1 << 63
_ROWS_MAX = 512
_SECTOR = 512
_TICKS = 100
"""Clock ticks per second in /proc/stat (USER_HZ), the same for all Linux architectures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """A file system of the guest: ``place`` is where it is mounted, sizes in bytes."""

    place: str
    size: int
    available: int
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestReport:
    """How a guest says that it is doing. Counters count from its boot.

    ``clock`` is its time (seconds since the epoch), ``init`` is ``image`` or ``own`` (empty: it is
    not yet there), ``cpu_busy`` and ``cpu_total`` are CPU seconds of all its CPUs together, memory
    and what went through disks and network are bytes.
    """

    clock: float = 0.0
    uptime: float = 0.0
    init: str = ""
    load: tuple[float, ...] = ()
    memory: int = 0
    memory_available: int = 0
    swap: int = 0
    swap_free: int = 0
    cpu_busy: float = 0.0
    cpu_total: float = 0.0
    disk_read: int = 0
    disk_written: int = 0
    received: int = 0
    sent: int = 0
    filesystems: tuple[FileSystem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket of the guest that listens. ``process`` and ``pid`` are empty where nobody knows."""

    protocol: str
    address: str
    port: int
    process: str = ""
    pid: int | None = None


def read_report(text: str) -> GuestReport:
    """Read the answer to ``health``, ``stats`` or ``time``."""
    lines = list(_lines(text))
    memory = {words[0].rstrip(":"): _number(words[1]) << 10 for words in _of(lines, "memory", 2)}
    clock = next((_decimal(words[0]) for words in _of(lines, "time", 1)), 0.0)
    uptime = next((_decimal(words[0]) for words in _of(lines, "uptime", 1)), 0.0)
    init = next((words[0] for words in _of(lines, "init", 1)), "")
    load = next((words[:3] for words in _of(lines, "load", 3)), [])
    busy, total = next((_cpu(words) for words in _of(lines, "cpu", 8)), (0.0, 0.0))
    disks = [words for words in _of(lines, "disk", 8) if re.fullmatch("vd[a-z]", words[0])]
    cards = [_card(words) for words in _of(lines, "net", 2)]
    return GuestReport(
        clock=clock,
        uptime=uptime,
        init=init if init in ("image", "own") else "",
        load=tuple(_decimal(word) for word in load),
        memory=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        swap=memory.get("SwapTotal", 0),
        swap_free=memory.get("SwapFree", 0),
        cpu_busy=busy,
        cpu_total=total,
        disk_read=sum(_number(words[3]) for words in disks) * _SECTOR,
        disk_written=sum(_number(words[7]) for words in disks) * _SECTOR,
        received=sum(card[0] for card in cards),
        sent=sum(card[1] for card in cards),
        filesystems=tuple(_filesystem(words) for words in _of(lines, "mount", 6)),
    )


def read_listeners(text: str) -> list[Listener]:
    """Read the answer to ``ports``, by protocol and port; each socket once."""
    lines = list(_lines(text))
    owners = {words[0]: (_number(words[1]), words[2]) for words in _of(lines, "owner", 3)}
    found = set()
    for protocol, place, inode, *_ in _of(lines, "socket", 3):
        address, _, port = place.partition(":")
        if protocol not in ("tcp", "tcp6", "udp", "udp6") or not re.fullmatch("[0-9A-F]{4}", port):
            continue
        if shown := _address(address):
            pid, process = owners.get(inode, (None, ""))
            found.add((protocol[:3], int(port, 16), shown, process, pid))
    rows = sorted(found, key=lambda row: (row[:3], row[3], row[4] or 0))[:_ROWS_MAX]
    return [
        Listener(protocol=protocol, port=port, address=address, process=process, pid=pid)
        for protocol, port, address, process, pid in rows
    ]


def _lines(text: str) -> Iterator[list[str]]:
    for line in text.split("\n")[: 4 * _ROWS_MAX]:
        clean = "".join(letter if letter.isprintable() else "?" for letter in line[:1000])
        if words := clean.split():
            yield words


def _of(lines: list[list[str]], word: str, least: int) -> Iterator[list[str]]:
    return (words[1:] for words in lines if words[0] == word and len(words) > least)


def _number(word: str) -> int:
    return int(word) if re.fullmatch("[0-9]{1,19}", word) and int(word) < _NUMBER_MAX else 0


def _decimal(word: str) -> float:
    return float(word) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", word) else 0.0


def _cpu(words: list[str]) -> tuple[float, float]:
    """Busy and all seconds. Time of nested guests is part of user's and nice's (proc(5))."""
    user, nice, system, idle, wait, irq, soft, steal = (_number(word) for word in words[:8])
    busy = user + nice + system + irq + soft + steal
    return busy / _TICKS, (busy + idle + wait) / _TICKS


def _card(words: list[str]) -> tuple[int, int]:
    """Bytes received and sent, from a line of /proc/net/dev; what never leaves counts nothing."""
    name, _, rest = " ".join(words).partition(":")
    values = rest.split()
    if name == "lo" or len(values) < 9:
        return 0, 0
    return _number(values[0]), _number(values[8])


def _filesystem(words: list[str]) -> FileSystem:
    place, mode, block, blocks, _, available, *_ = words
    size = _number(block)
    return FileSystem(
        place=place,
        size=size * _number(blocks),
        available=size * _number(available),
        writable=mode != "ro",
    )


def _address(digits: str) -> str:
    """Return an address as /proc/net has it: words of 32 bits, each in the guest's byte order,
    which is little-endian on all processors that guests have.
    """
    if not re.fullmatch("[0-9A-F]{8}|[0-9A-F]{32}", digits):
        return ""
    data = bytes.fromhex(digits)
    swapped = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return str(ip_address(swapped))
