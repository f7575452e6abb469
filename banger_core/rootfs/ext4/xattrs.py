"""Extended attributes (Documentation/filesystems/ext4/attributes.rst) and POSIX ACLs."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from banger_core.errors import HostileInput
from banger_core.rootfs.ext4 import BLOCK, Unreadable

ACL_ACCESS = b"system.posix_acl_access"
ACL_DEFAULT = b"system.posix_acl_default"

_MAGIC = 0xEA020000
_INODE_ROOM = 256 - 160 - 4
_BLOCK_HEADER = 32
_ENTRY = struct.Struct("<BBHIII")
_EXACT = {ACL_ACCESS: 2, ACL_DEFAULT: 3}
_PREFIXES = {b"user.": 1, b"trusted.": 4, b"security.": 6}
_NAMES = {number: name for name, number in (_EXACT | _PREFIXES).items()}
_QUALIFIED = (2, 8)  # ACL_USER, ACL_GROUP: the entries that name an id
_NOBODY = 0xFFFFFFFF
_ACL_HEADER = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")


class Attribute(NamedTuple):
    """A name without its prefix, the prefix's number, and the value as ext4 keeps it."""

    namespace: int
    name: bytes
    value: bytes

    @property
    def room(self) -> int:
        """Bytes that it takes up, entry and value."""
        return 16 + _aligned(len(self.name)) + _aligned(len(self.value))


def pack_xattrs(xattrs: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return what goes behind the inode's fields and what goes into a block; either may be empty.

    Small sets fit into the inode, larger ones into one block of 4 KiB, and what is too much for
    that into both. Attributes outside the namespaces that Linux has are left out, as unpacking
    onto a file system would. Raises HostileInput for what ext4 cannot hold.
    """
    attributes = sorted(filter(None, map(_attribute, xattrs.items())), key=_block_order)
    if not attributes:
        return b"", b""
    if sum(attribute.room for attribute in attributes) + 4 <= _INODE_ROOM:
        return _inode_region(attributes), b""
    inside: list[Attribute] = []
    left = _INODE_ROOM - 4
    too_much = sum(attribute.room for attribute in attributes) + 4 + _BLOCK_HEADER - BLOCK
    for attribute in sorted(attributes, key=lambda one: -one.room):
        if too_much > 0 and attribute.room <= left:
            inside.append(attribute)
            left -= attribute.room
            too_much -= attribute.room
    if too_much > 0:
        raise HostileInput(
            "a file in the image has more extended attributes than ext4 can hold",
            cause=f"{too_much} bytes too many",
        )
    outside = [attribute for attribute in attributes if attribute not in inside]
    return _inode_region(inside) if inside else b"", _block_region(outside)


def unpack_xattrs(behind: bytes, block: bytes) -> dict[bytes, bytes]:
    """Return the attributes out of what is behind an inode's fields and out of its block, either
    of which may be empty; ACLs as the system calls know them. Raises Unreadable.
    """
    found: dict[bytes, bytes] = {}
    if behind[:4] == _MAGIC.to_bytes(4, "little"):
        _unpack(found, behind[4:], 0)
    if block:
        if block[:4] != _MAGIC.to_bytes(4, "little"):
            raise _damaged()
        _unpack(found, block, _BLOCK_HEADER)
    return found


def mode_with_acl(mode: int, xattrs: Mapping[bytes, bytes]) -> int:
    """Return ``mode`` as the kernel keeps it beside an access ACL: group bits are the mask."""
    if not xattrs or not (acl := xattrs.get(ACL_ACCESS)):
        return mode
    bits = {tag: permissions & 7 for tag, permissions, _ in _acl_entries(acl)}
    group = bits.get(0x10, bits.get(0x04, 0))
    return mode & 0o7000 | bits.get(0x01, 0) << 6 | group << 3 | bits.get(0x20, 0)


def _attribute(item: tuple[bytes, bytes]) -> Attribute | None:
    name, value = item
    if number := _EXACT.get(name):
        return Attribute(number, b"", _disk_acl(value))
    for prefix, number in _PREFIXES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            if len(name) > 255:
                raise HostileInput(
                    "an extended attribute's name is too long", cause=repr(name[:80])
                )
            return Attribute(number, name[len(prefix) :], value)
    return None


def _acl_entries(acl: bytes) -> list[tuple[int, int, int]]:
    """Entries (tag, permissions, id) of an ACL as the system calls know it (version 2)."""
    if len(acl) < 4 or _ACL_HEADER.unpack_from(acl)[0] != 2 or (len(acl) - 4) % 8:
        raise HostileInput("a file in the image has a malformed ACL", cause=acl[:32].hex())
    return list(_ACL_ENTRY.iter_unpack(acl[4:]))


def _disk_acl(acl: bytes) -> bytes:
    """Return the ACL as ext4 stores it (version 1): entries without an id are shorter."""
    packed = _ACL_HEADER.pack(1)
    for tag, permissions, qualifier in _acl_entries(acl):
        packed += struct.pack("<HH", tag, permissions)
        if tag in _QUALIFIED:
            packed += struct.pack("<I", qualifier)
    return packed


def _unpack(found: dict[bytes, bytes], region: bytes, at: int) -> None:
    while True:
        if at + 4 > len(region):
            raise _damaged()
        if not any(region[at : at + 4]):
            return
        if at + _ENTRY.size > len(region):
            raise _damaged()
        length, namespace, place, inode, size, _ = _ENTRY.unpack_from(region, at)
        name, value = region[at + 16 : at + 16 + length], region[place : place + size]
        prefix = _NAMES.get(namespace)
        # An exact name has nothing behind it, all others have
        if prefix is None or inode or len(value) != size or bool(name) == (prefix in _EXACT):
            raise _damaged()
        if b"\0" in name or (whole := prefix + name) in found:
            raise _damaged()
        found[whole] = _known_acl(value) if prefix in _EXACT else value
        at += 16 + _aligned(length)


def _known_acl(stored: bytes) -> bytes:
    """Return an ACL as the system calls have it: every entry with an id, if only for show."""
    if stored[:4] != _ACL_HEADER.pack(1):
        raise _damaged()
    packed, at = _ACL_HEADER.pack(2), 4
    while at < len(stored):
        if len(stored) - at < 4:
            raise _damaged()
        tag, permissions = struct.unpack_from("<HH", stored, at)
        at, qualifier = at + 4, _NOBODY
        if tag in _QUALIFIED:
            if len(stored) - at < 4:
                raise _damaged()
            (qualifier,) = struct.unpack_from("<I", stored, at)
            at += 4
        packed += _ACL_ENTRY.pack(tag, permissions, qualifier)
    return packed


def _damaged() -> Unreadable:
    return Unreadable("an extended attribute is damaged, or stored in a way that is not known")


def _block_order(attribute: Attribute) -> tuple[int, int, bytes]:
    return attribute.namespace, len(attribute.name), attribute.name


def _inode_region(attributes: list[Attribute]) -> bytes:
    # Values count from the first entry, which follows the magic
    packed, _ = _pack(attributes, _INODE_ROOM, 0)
    return struct.pack("<I", _MAGIC) + packed


def _block_region(attributes: list[Attribute]) -> bytes:
    packed, hashes = _pack(attributes, BLOCK, _BLOCK_HEADER)
    whole = 0
    for one in hashes:
        whole = _rotated(whole, 16) ^ one
    struct.pack_into("<IIII", packed, 0, _MAGIC, 1, 1, whole)
    return bytes(packed)


def _pack(attributes: Iterable[Attribute], size: int, header: int) -> tuple[bytearray, list[int]]:
    """Entries grow from the front, values from the back."""
    region, at, values, hashes = bytearray(size), header, size, []
    for namespace, name, value in attributes:
        values -= _aligned(len(value))
        hashes.append(_hash(name, value))
        place = values if value else 0
        _ENTRY.pack_into(region, at, len(name), namespace, place, 0, len(value), hashes[-1])
        region[at + 16 : at + 16 + len(name)] = name
        region[values : values + len(value)] = value
        at += 16 + _aligned(len(name))
    return region, hashes


def _hash(name: bytes, value: bytes) -> int:
    found = 0
    for byte in name:
        found = _rotated(found, 5) ^ byte
    for (word,) in struct.iter_unpack("<I", value.ljust(_aligned(len(value)), b"\0")):
        found = _rotated(found, 16) ^ word
    return found


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def _aligned(size: int) -> int:
    return (size + 3) & ~3
