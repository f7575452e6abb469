"""One file's content on its way to blocks; holes of the content stay holes of the file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from banger_core.errors import IntegrityError
from banger_core.rootfs.ext4 import BLOCK
from banger_core.rootfs.ext4.blocks import BlockSpace
from banger_core.rootfs.ext4.extents import ExtentList, contiguous
from banger_core.rootfs.nodes import Extent


def write_content(
    space: BlockSpace, data: Iterable[bytes | memoryview | int], size: int
) -> tuple[Extent, ...]:
    """Write ``size`` bytes of content and return where they are.

    ``data`` gives chunks, and ints for holes of so many bytes: blocks that lie in holes entirely
    are not allocated. Raises IntegrityError when there is more or less of it than ``size``.
    """
    pieces = iter(data)
    first = next(pieces, b"")
    if not isinstance(first, int) and len(first) == size:
        if any(pieces):
            raise _wrong_size(size)
        return contiguous(space.store(first))
    writer = _FileWriter(space, size)
    for piece in chain((first,), pieces):
        if isinstance(piece, int):
            writer.hole(piece)
        else:
            writer.write(piece)
    return writer.finish()


class _FileWriter:
    __slots__ = ("_extents", "_position", "_room", "_size", "_space")

    def __init__(self, space: BlockSpace, size: int) -> None:
        self._space, self._size = space, size
        self._extents = ExtentList()
        self._position = 0
        self._room = 0  # bytes left in the block that the position is in

    def write(self, data: bytes | memoryview) -> None:
        if self._position + len(data) > self._size:
            raise _wrong_size(self._size)
        while data:
            if not self._room:
                self._start_blocks(len(data))
            part = data[: self._room]
            self._space.put(part)
            self._advance(len(part))
            data = data[len(part) :]

    def hole(self, size: int) -> None:
        if size < 0 or self._position + size > self._size:
            raise _wrong_size(self._size)
        inside = min(size, self._room)
        self._space.put_zeros(inside)
        self._advance(inside)
        self._position += size - inside

    def finish(self) -> tuple[Extent, ...]:
        if self._position != self._size:
            raise _wrong_size(self._size)
        self._space.put_zeros(self._room)
        return self._extents.finish()

    def _start_blocks(self, ahead: int) -> None:
        """Allocate for the next ``ahead`` bytes; a hole before them in their block is zeros."""
        block, inside = divmod(self._position, BLOCK)
        wanted = -(-(inside + ahead) // BLOCK)
        start, blocks = self._space.allocate(wanted, -(-self._size // BLOCK) - block)
        self._space.seek(start)
        self._space.put_zeros(inside)
        self._extents.add(block, start, blocks)
        self._room = blocks * BLOCK - inside

    def _advance(self, size: int) -> None:
        self._position += size
        self._room -= size


def _wrong_size(size: int) -> IntegrityError:
    return IntegrityError(
        "a file in the image is not as long as announced", cause=f"{size} bytes were announced"
    )
