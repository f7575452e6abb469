"""What an ext4 file system that others made says about itself, before anything trusts it."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from banger_core.errors import BangerError, HostNotReady, UsageProblem
from banger_core.rootfs.build import RootfsFacts, least_disk
from banger_core.rootfs.ext4.tools import check

_MAGIC = 0xEF53
_NEEDS_RECOVERY = 0x4
_EXTENTS = 0x40
_WIDE = 0x80
_CLEAN = 1
_SECTOR = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """The part of an ext4 superblock that says what there is (Linux,
    Documentation/filesystems/ext4/super.rst). Sizes in bytes; ``clean`` when it was unmounted.
    """

    block: int
    size: int
    free: int
    inodes: int
    clean: bool


def read_superblock(image: Path) -> Superblock:
    """Read the superblock of the regular file ``image``.

    Raises UsageProblem when there is no whole ext4 file system in it, and HostNotReady when it
    cannot be read. Nothing is written.
    """
    raw, length = _superblock_bytes(image)
    (magic,) = struct.unpack_from("<H", raw, 0x38)
    incompat = _u32(raw, 0x60)
    if magic != _MAGIC or not incompat & _EXTENTS or _u32(raw, 0x18) > 6:
        raise _unusable(image, *_looks_like(image, raw, magic))
    wide = bool(incompat & _WIDE)
    block = 1024 << _u32(raw, 0x18)
    blocks = _u32(raw, 0x04) | (_u32(raw, 0x150) << 32 if wide else 0)
    free = _u32(raw, 0x0C) | (_u32(raw, 0x158) << 32 if wide else 0)
    if blocks * block > length or free > blocks:
        raise _unusable(
            image,
            f"it is cut off: {blocks * block} bytes are needed, it has {length}",
            "copy it anew",
        )
    (state,) = struct.unpack_from("<H", raw, 0x3A)
    return Superblock(
        block=block,
        size=blocks * block,
        free=free * block,
        inodes=_u32(raw, 0x00) - _u32(raw, 0x10),
        clean=state == _CLEAN and not incompat & _NEEDS_RECOVERY,
    )


def inspect_rootfs(image: Path) -> RootfsFacts:
    """Check the file system in ``image`` and say how large it is. Only reads.

    Raises UsageProblem when it is no ext4, was not unmounted cleanly or is damaged, and
    HostNotReady when it cannot be read or e2fsprogs is missing.
    """
    found = read_superblock(image)
    length = image.stat().st_size
    if length % _SECTOR:
        raise _unusable(
            image, f"{length} bytes are no multiple of {_SECTOR}", f"truncate -s %1M {image}"
        )
    mend = f"e2fsck -f {image}"
    if not found.clean:
        raise _unusable(image, "it was not unmounted cleanly", mend)
    try:
        check(image)
    except HostNotReady:
        raise
    except BangerError as problem:
        raise _unusable(image, problem.cause or problem.summary, mend) from problem
    used = found.size - found.free
    return RootfsFacts(length, used, least_disk(image, length), found.inodes)


def _superblock_bytes(image: Path) -> tuple[bytes, int]:
    # A pipe must not make anybody wait: it is opened without, and then refused
    try:
        handle = os.open(image, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as problem:
        raise HostNotReady(
            f"{image} cannot be read", cause=problem.strerror or "", hints=[f"ls -l {image}"]
        ) from problem
    except OSError as problem:
        raise _unusable(image, problem.strerror or "", f"ls -ld {image}") from problem
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise _unusable(image, "it is not a regular file", f"ls -ld {image}")
        return os.pread(handle, 2048, 0).ljust(2048, b"\0")[1024:], facts.st_size
    finally:
        os.close(handle)


def _looks_like(image: Path, raw: bytes, magic: int) -> tuple[str, str]:
    with image.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"QFI\xfb"):
        return "it is a qcow2 image", f"qemu-img convert -O raw {image} rootfs.ext4"
    if head[510:512] == b"\x55\xaa":
        return (
            "it is a whole disk with partitions",
            "give the partition with the root file system alone",
        )
    if magic == _MAGIC and not _u32(raw, 0x60) & _EXTENTS:
        return "it is ext2 or ext3", f"tune2fs -O extents,has_journal {image} && e2fsck -f {image}"
    return "it is no ext4 file system", f"file {image}"


def _u32(raw: bytes, offset: int) -> int:
    value: int = struct.unpack_from("<I", raw, offset)[0]
    return value


def _unusable(image: Path, why: str, hint: str) -> UsageProblem:
    return UsageProblem(f"{image} cannot be a root file system", cause=why, hints=[hint])
