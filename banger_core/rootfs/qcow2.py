"""The header of an empty qcow2 overlay (QEMU, docs/interop/qcow2.txt, version 3)."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from banger_core.errors import UsageProblem

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS

MAGIC = b"QFI\xfb"
"""How every qcow2 file begins."""

_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT = 0xE2792ACA
_LONGEST_NAME = 1023
_L2_COVERS = CLUSTER // 8 * CLUSTER
_REFCOUNT_ORDER = 4


def overlay_header(base: Path, size: int) -> bytes:
    """Return the start of a qcow2 file of ``size`` bytes over the raw image ``base``.

    Everything reads from ``base`` until it is written; beyond its end there are zeros. ``base``
    must be absolute. Raises UsageProblem when its path is longer than the format allows.
    """
    name = os.fsencode(base)
    if len(name) > _LONGEST_NAME:
        raise UsageProblem(
            "the path of the base image is too long for qcow2",
            cause=f"{len(name)} bytes; at most {_LONGEST_NAME}",
            hints=["set BANGER_STATE_DIR to a shorter directory"],
        )
    entries = -(-size // _L2_COVERS)
    table_clusters = -(-entries * 8 // CLUSTER)
    extensions = _extension(_BACKING_FORMAT, b"raw") + _EXTENSION.pack(0, 0)
    header = _HEADER.pack(
        MAGIC,
        3,
        _HEADER.size + len(extensions),
        len(name),
        CLUSTER_BITS,
        size,
        0,  # not encrypted
        entries,
        3 * CLUSTER,  # L1 table
        CLUSTER,  # refcount table
        1,
        0,  # no snapshots
        0,
        *(0, 0, 0),  # features
        _REFCOUNT_ORDER,
        _HEADER.size,
    )
    counts = struct.pack(">H", 1) * (3 + table_clusters)
    clusters = [header + extensions + name, struct.pack(">Q", 2 * CLUSTER), counts]
    start = b"".join(cluster.ljust(CLUSTER, b"\0") for cluster in clusters)
    return start + bytes(table_clusters * CLUSTER)


def overlay_room(disk: Path) -> int:
    """Return the size in bytes to which ``grow_overlay`` can make ``disk``: as much as its table
    of tables has room for, in whole clusters (at least 4 TiB).

    Raises UsageProblem when it is not as ``overlay_header`` makes it.
    """
    with disk.open("rb") as file:
        return _room(file.read(_HEADER.size), disk)


def grow_overlay(disk: Path, size: int) -> None:
    """Make the overlay ``disk`` ``size`` bytes large, unless it is that large already; what is new
    reads as zeros. Nothing may have it open. Raises UsageProblem as ``overlay_room`` does, and
    for more than that.
    """
    with disk.open("r+b") as file:
        head = file.read(_HEADER.size)
        if size > _room(head, disk):
            raise UsageProblem(
                f"{disk.name} cannot become so large",
                cause=f"its tables are made for {_room(head, disk)} bytes",
                hints=["make a new machine with a larger --disk-size"],
            )
        fields = _HEADER.unpack(head)
        if size <= fields[5]:
            return
        # Size and length of the table lie in one sector, so they change together or not at all
        tail = (fields[6], -(-size // _L2_COVERS))
        os.pwrite(file.fileno(), struct.pack(">QII", size, *tail), 24)
        os.fsync(file.fileno())


def _room(head: bytes, disk: Path) -> int:
    fields = _HEADER.unpack(head) if len(head) == _HEADER.size else ()
    if not fields or fields[0] != MAGIC or fields[4] != CLUSTER_BITS or fields[11]:
        raise UsageProblem(
            f"{disk.name} cannot be made larger",
            cause="it is no plain qcow2 overlay",
            hints=["make a new machine with a larger --disk-size"],
        )
    entries: int = fields[7]
    return -(-entries * 8 // CLUSTER) * (CLUSTER // 8) * _L2_COVERS


def backing_file(disk: Path) -> Path | None:
    """Return what the qcow2 file ``disk`` lies over; None for other files and for none."""
    with disk.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size or not head.startswith(MAGIC):
            return None
        _, _, offset, length, *_ = _HEADER.unpack(head)
        file.seek(offset)
        name = file.read(min(length, _LONGEST_NAME)) if offset else b""
    return Path(os.fsdecode(name)) if name else None


def _extension(kind: int, data: bytes) -> bytes:
    return _EXTENSION.pack(kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
