"""A second opinion on file systems: a reader of ext4 that shares nothing with the writer.

After Documentation/filesystems/ext4 of the Linux kernel; for images without journal to replay.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from dataclasses import dataclass, field

MIB = 1 << 20
_HASHED = 1 << 30
_ACLS = {2: b"system.posix_acl_access", 3: b"system.posix_acl_default"}
_SPACES = {1: b"user.", 4: b"trusted.", 6: b"security."}


@dataclass
class Inode:
    number: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    mtime_ns: int
    flags: int
    place: bytes
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    rdev: tuple[int, int] = (0, 0)
    target: bytes = b""
    sha256: str = ""
    content: bytes = b""

    @property
    def kind(self):
        return {
            stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link",
            stat.S_IFCHR: "char", stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
        }[stat.S_IFMT(self.mode)]  # fmt: skip


class Ext4:
    """The file system in ``path``."""

    def __init__(self, path):
        self.disk = path.open("rb")
        block = self._at(1024, 1024)
        assert block[56:58] == b"\x53\xef", "no ext4"
        self.block = 1024 << struct.unpack_from("<I", block, 24)[0]
        self.per_group, self.inode_size = (
            struct.unpack_from("<I", block, 40)[0],
            struct.unpack_from("<H", block, 88)[0],
        )
        wide = struct.unpack_from("<I", block, 96)[0] & 0x80
        self.group_size = struct.unpack_from("<H", block, 254)[0] if wide else 32

    def close(self):
        self.disk.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _at(self, offset, size):
        self.disk.seek(offset)
        return self.disk.read(size)

    def _block(self, number, blocks=1):
        return self._at(number * self.block, blocks * self.block)

    # --- inodes ----------------------------------------------------------------------------------

    def inode(self, number):
        group, index = divmod(number - 1, self.per_group)
        # The descriptors begin in the block behind the superblock; blocks have 4 KiB here
        descriptor = self._at(self.block + group * self.group_size, self.group_size)
        low = struct.unpack_from("<I", descriptor, 8)[0]
        high = struct.unpack_from("<I", descriptor, 40)[0] if self.group_size >= 64 else 0
        table = low | high << 32
        raw = self._at(table * self.block + index * self.inode_size, self.inode_size)
        mode, uid, size = struct.unpack_from("<HHI", raw)
        gid, links = struct.unpack_from("<HH", raw, 24)
        flags = struct.unpack_from("<I", raw, 32)[0]
        seconds, more = struct.unpack_from("<i", raw, 16)[0], struct.unpack_from("<I", raw, 136)[0]
        found = Inode(
            number=number,
            mode=mode,
            uid=uid | struct.unpack_from("<H", raw, 120)[0] << 16,
            gid=gid | struct.unpack_from("<H", raw, 122)[0] << 16,
            size=size | struct.unpack_from("<I", raw, 108)[0] << 32,
            links=links,
            mtime_ns=(seconds + ((more & 3) << 32)) * 10**9 + (more >> 2),
            flags=flags,
            place=raw[40:100],
        )
        self._read_xattrs(found, raw)
        if found.kind in ("char", "block"):
            old, new = struct.unpack_from("<II", found.place)
            found.rdev = (
                (old >> 8, old & 255)
                if old
                else (new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00)
            )
        elif found.kind == "link":
            found.target = found.place[:size] if size < 60 else self._content(found)
        return found

    def _read_xattrs(self, inode, raw):
        extra = struct.unpack_from("<H", raw, 128)[0]
        inside = raw[128 + extra :]
        if inside[:4] == b"\0\0\2\xea":
            self._entries(inode, inside[4:], 0)
        low, high = struct.unpack_from("<I", raw, 104)[0], struct.unpack_from("<H", raw, 118)[0]
        if block := low | high << 32:
            outside = self._block(block)
            assert outside[:4] == b"\0\0\2\xea"
            self._entries(inode, outside, 32)

    def _entries(self, inode, region, at):
        while region[at : at + 4] != bytes(4):
            length, space, place, _, size = struct.unpack_from("<BBHII", region, at)
            name, value = region[at + 16 : at + 16 + length], region[place : place + size]
            if space in _ACLS:
                name, value = _ACLS[space], _acl(value)
            else:
                name = _SPACES[space] + name
            assert name not in inode.xattrs
            inode.xattrs[name] = value
            at += 16 + (length + 3 & ~3)

    # --- content ---------------------------------------------------------------------------------

    def extents(self, node):
        """Yield (first block of the file, block on the disk, how many) in order."""
        magic, entries, _, depth = struct.unpack_from("<HHHH", node)
        assert magic == 0xF30A
        for at in range(12, 12 + 12 * entries, 12):
            if depth:
                low, high = struct.unpack_from("<IH", node, at + 4)
                yield from self.extents(self._block(low | high << 32))
            else:
                logical, length, high, low = struct.unpack_from("<IHHI", node, at)
                assert length <= 32768, "unwritten"
                yield logical, low | high << 32, length

    def pieces(self, inode):
        """Yield (offset, bytes) of what is stored; what is not is holes."""
        for logical, start, length in self.extents(inode.place):
            offset = logical * self.block
            for at in range(0, length, 256):
                data = self._block(start + at, min(256, length - at))
                yield offset + at * self.block, data[: inode.size - offset - at * self.block]

    def _content(self, inode):
        out = bytearray(inode.size)
        for offset, data in self.pieces(inode):
            out[offset : offset + len(data)] = data
        return bytes(out)

    def digest(self, inode):
        """Hash the content, holes as zeros."""
        found, position, zeros = hashlib.sha256(), 0, bytes(MIB)
        for offset, data in [*self.pieces(inode), (inode.size, b"")]:
            while position < offset:
                part = zeros[: offset - position]
                found.update(part)
                position += len(part)
            found.update(data)
            position += len(data)
        return found.hexdigest()

    def names(self, inode):
        """Yield (name, inode number) of a directory but for ``.`` and ``..``."""
        data, at = self._content(inode), 0
        while at < len(data):
            number, step, length = struct.unpack_from("<IHB", data, at)
            name = data[at + 8 : at + 8 + length]
            if number and name not in (b".", b".."):
                yield name, number
            at += step

    def tree(self, small=4096):
        """Every path with its inode; the root is ``b""``. An empty lost+found is left out.

        Files of up to 1 GiB have the digest of their content, and it where it is ``small``.
        """
        inodes = {2: self.inode(2)}
        found = {b"": inodes[2]}
        to_do = [b""]
        while to_do:
            path = to_do.pop()
            for name, number in self.names(found[path]):
                full = path + b"/" + name if path else name
                assert full not in found, full
                if number not in inodes:
                    inodes[number] = self.inode(number)
                    if inodes[number].kind == "file":
                        self._read_file(inodes[number], small)
                found[full] = inodes[number]
                if found[full].kind == "dir":
                    to_do.append(full)
        if not any(path.startswith(b"lost+found/") for path in found):
            del found[b"lost+found"]
        return found

    def _read_file(self, inode, small):
        if inode.size <= _HASHED:
            inode.sha256 = self.digest(inode)
        if inode.size <= small:
            inode.content = self._content(inode)


def read_tree(image):
    """Every path of the file system in ``image``: see ``Ext4.tree``."""
    with Ext4(image) as reader:
        return reader.tree()


def _acl(stored):
    """The ACL as system calls give it: version 2, and every entry with an id."""
    out, at = struct.pack("<I", 2), 4
    assert stored[:4] == struct.pack("<I", 1)
    while at < len(stored):
        tag, permissions = struct.unpack_from("<HH", stored, at)
        at += 4
        named = 0xFFFFFFFF
        if tag in (2, 8):
            named = struct.unpack_from("<I", stored, at)[0]
            at += 4
        out += struct.pack("<HHI", tag, permissions, named)
    return out
