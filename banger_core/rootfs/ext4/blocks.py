"""Which blocks are used, and writing them: in one direction, many pieces at a time."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from errno import EOPNOTSUPP

from banger_core.errors import HostileInput
from banger_core.rootfs.ext4 import BLOCK
from banger_core.rootfs.ext4.superblock import Superblock

_BUFFER = 1 << 22
_MOST_PIECES = 1000  # the kernel takes 1024 at once (IOV_MAX)
_WHOLE_RUN = 64
"""Files of up to this many blocks are never split over two runs of free blocks."""

_BEYOND = 1 << 15
_LAST_BLOCK = 2**32 - 1
_PUNCH = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_ZEROS = memoryview(bytes(1 << 16))

Run = tuple[int, int]
"""First block and number of blocks."""


class Bitmaps:
    """The block bitmaps, read when first needed."""

    def __init__(self, disk: int, superblock: Superblock) -> None:
        self._disk, self._superblock = disk, superblock
        self._maps: dict[int, bytearray] = {}

    def free_runs(self) -> Iterator[Run]:
        """Yield the free blocks in order, in runs that begin and end at whole bytes of a map."""
        per_group = self._superblock.blocks_per_group
        for group in range(self._superblock.groups):
            bits = self._map(group)
            end = min(per_group, self._superblock.blocks - group * per_group) // 8
            at = bits.find(0, 0, end)
            while at >= 0:
                length = end - at - len(bits[at:end].lstrip(b"\0"))
                yield group * per_group + at * 8, length * 8
                at = bits.find(0, at + length, end)

    def mark(self, runs: list[Run], *, used: bool) -> None:
        """Mark blocks in the maps and the groups' counts."""
        per_group = self._superblock.blocks_per_group
        for start, length in _joined(runs):
            at, left = start, length
            while left:
                group, offset = divmod(at, per_group)
                amount = min(left, per_group - offset)
                set_bits(self._map(group), offset, amount, on=used)
                self._superblock.take_blocks(group, amount if used else -amount)
                at += amount
                left -= amount

    def write(self) -> None:
        """Write the maps that were looked at."""
        for group, bits in self._maps.items():
            os.pwrite(self._disk, bits, self._superblock.block_bitmap(group) * BLOCK)

    def _map(self, group: int) -> bytearray:
        if group not in self._maps:
            place = self._superblock.block_bitmap(group) * BLOCK
            self._maps[group] = bytearray(os.pread(self._disk, BLOCK, place))
        return self._maps[group]


class BlockSpace:
    """Hands out free blocks in order and writes them.

    When the disk is full, blocks that were freed are used again; when there are none either, it
    goes on with blocks beyond the end, which are counted and never written: so the caller learns
    how many it takes (``needed``) from one pass over its input.
    """

    def __init__(self, disk: int, superblock: Superblock, bitmaps: Bitmaps) -> None:
        self._disk = disk
        self._end = superblock.blocks
        self._runs = bitmaps.free_runs()
        self._next = self._left = 0
        self._freed: list[Run] = []
        self._pieces: list[bytes | memoryview] = []
        self._position = self._end_of_pieces = 0
        self._taken = self._beyond = 0

    def allocate(self, wanted: int, whole: int = 0) -> Run:
        """Return a run of at most ``wanted`` free blocks, at least one.

        ``whole`` is how many blocks will be asked for in all: few ones are kept together.
        """
        if 0 < self._left < whole <= _WHOLE_RUN:
            self._freed.append((self._next, self._left))
            self._left = 0
        while not self._left:
            self._next, self._left = self._next_run()
        start, length = self._next, min(wanted, self._left)
        self._next += length
        self._left -= length
        return start, length

    def free(self, runs: list[Run]) -> None:
        """Take back blocks whose content nothing refers to any more."""
        self._freed.extend(runs)

    @property
    def fits(self) -> bool:
        """Whether all blocks that were handed out exist."""
        return not self._beyond

    @property
    def needed(self) -> int:
        """How many blocks it took, at the moment when most were in use."""
        return self._taken + self._beyond - self._left

    def _next_run(self) -> Run:
        if run := next(self._runs, None):
            self._taken += run[1]
            return run
        if self._freed:
            return self._freed.pop()
        start = self._end + self._beyond
        if start > _LAST_BLOCK:
            raise HostileInput("the image is larger than any ext4 file system can be")
        self._beyond += _BEYOND
        return start, _BEYOND

    def seek(self, block: int) -> None:
        """Go on writing at ``block``."""
        place = block * BLOCK
        if self._end_of_pieces != place:
            self.flush()
            self._position = self._end_of_pieces = place

    def put(self, data: bytes | memoryview) -> None:
        """Write at the current place, later; ``data`` must not change any more."""
        self._pieces.append(data)
        self._end_of_pieces += len(data)
        if self._end_of_pieces - self._position >= _BUFFER or len(self._pieces) >= _MOST_PIECES:
            self.flush()

    def put_zeros(self, size: int) -> None:
        """Write ``size`` zero bytes."""
        while size > 0:
            self.put(_ZEROS[:size])
            size -= len(_ZEROS)

    def store(self, data: bytes | memoryview) -> list[Run]:
        """Write ``data`` to new blocks, padded with zeros, and return which."""
        left, at = -(-len(data) // BLOCK), 0
        if 0 < left <= self._left and self._end_of_pieces == self._next * BLOCK:
            # As it is for nearly every file: all in one, right behind the one before
            start = self._next
            self._next += left
            self._left -= left
            if padding := -len(data) % BLOCK:
                self._pieces.append(data)
                self._end_of_pieces += len(data)
                data = _ZEROS[:padding]
            self.put(data)
            return [(start, left)]
        runs = []
        while left:
            start, length = self.allocate(left, left)
            self.seek(start)
            self.put(data if length == left and not at else data[at : at + length * BLOCK])
            runs.append((start, length))
            at += length * BLOCK
            left -= length
        if padding := -len(data) % BLOCK:
            self.put(_ZEROS[:padding])
        return runs

    def flush(self) -> None:
        """Write what was put; what lies beyond the end is dropped."""
        wanted = min(self._end_of_pieces, self._end * BLOCK) - self._position
        if wanted == self._end_of_pieces - self._position:
            done = os.pwritev(self._disk, self._pieces, self._position) if wanted else 0
        else:
            done = 0
        if done < wanted:
            rest = b"".join(self._pieces)[done:wanted]
            write_all(self._disk, rest, self._position + done)
        self._pieces.clear()
        self._position = self._end_of_pieces

    def erase_freed(self) -> None:
        """Make holes of the blocks that stayed free: deleted content is not left in the image."""
        self.flush()
        for start, length in _joined(self._freed):
            if start < self._end:
                _erase(self._disk, start * BLOCK, length * BLOCK)


def _joined(runs: list[Run]) -> Iterator[Run]:
    """Yield ``runs`` in order, those side by side as one."""
    first = end = 0
    for start, length in sorted(runs):
        if start != end:
            if end:
                yield first, end - first
            first = start
        end = start + length
    if end:
        yield first, end - first


def set_bits(bits: bytearray, start: int, amount: int, *, on: bool) -> None:
    """Set or clear ``amount`` bits from bit ``start`` on, least significant bit first."""
    at, end = start, start + amount
    while at < end:
        if at % 8 == 0 and end - at >= 8:
            whole = (end - at) // 8
            bits[at // 8 : at // 8 + whole] = (b"\xff" if on else b"\0") * whole
            at += whole * 8
        else:
            mask = 1 << (at % 8)
            bits[at // 8] = bits[at // 8] | mask if on else bits[at // 8] & ~mask
            at += 1


def write_all(disk: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``."""
    with memoryview(data) as rest:
        done = 0
        while done < len(rest):
            done += os.pwrite(disk, rest[done:], offset + done)


def _erase(disk: int, offset: int, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (disk, _PUNCH, ctypes.c_int64(offset), ctypes.c_int64(size))
    if libc.fallocate64(*arguments) == 0:
        return
    problem = ctypes.get_errno()
    if problem != EOPNOTSUPP:
        raise OSError(problem, os.strerror(problem))
    for at in range(offset, offset + size, len(_ZEROS)):
        write_all(disk, _ZEROS[: offset + size - at], at)
