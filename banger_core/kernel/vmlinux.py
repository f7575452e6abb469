"""The ELF kernel inside an x86 boot image.

Follows the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst, 2.08 and later): the setup
header says where the compressed payload lies, the payload is the ELF ``vmlinux``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from banger_core.errors import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

VMLINUX_MAX = 512 << 20
"""Most bytes that a kernel may unpack to; distributions' kernels are below 100 MiB."""

_ELF = b"\x7fELF"
_HEADER_MAGIC = b"HdrS"
_OLDEST_PROTOCOL = 0x208
_SECTOR = 512
_NOTE_SEGMENT = 4
_PVH_NOTE = 18
_ARM64_MAGIC = b"ARM\x64"
_GIVE = "give a bzImage (vmlinuz) or an uncompressed ELF (vmlinux)"


def extract_vmlinux(image: bytes) -> bytes:
    """Return the uncompressed ELF kernel that ``image`` holds: a bzImage, such an ELF itself, or
    either of them packed as a whole (``vmlinux.gz``).

    Raises UsageProblem when it is no kernel or is damaged, and HostNotReady when it is packed in
    a way that this host cannot unpack.
    """
    if image.startswith(_ELF):
        return image
    from banger_core.kernel.compression import decompress, is_packed

    if is_packed(image):
        image = decompress(image, VMLINUX_MAX)
        if image.startswith(_ELF):
            return image
    payload = _payload(image)
    kernel = payload if payload.startswith(_ELF) else decompress(payload, VMLINUX_MAX)
    if not kernel.startswith(_ELF):
        raise UsageProblem(
            "not a bootable kernel", cause="its payload is not an ELF file", hints=[_GIVE]
        )
    return kernel


def pvh_entry(kernel: bytes) -> int | None:
    """Return the physical address where a 64-bit ELF kernel is entered without a BIOS, or None.

    It is the XEN_ELFNOTE_PHYS32_ENTRY note (xen/include/public/elfnote.h), which QEMU and
    Firecracker need to boot an ELF directly.
    """
    try:
        for segment in _note_segments(kernel):
            for name, kind, content in _notes(segment):
                if name.rstrip(b"\0") == b"Xen" and kind == _PVH_NOTE:
                    return int.from_bytes(content, "little")
    except struct.error:
        return None
    return None


def _payload(image: bytes) -> bytes:
    if len(image) < 0x250 or image[0x202:0x206] != _HEADER_MAGIC:
        # Documentation/arch/arm64/booting.rst
        arm64 = image[0x38:0x3C] == _ARM64_MAGIC
        raise UsageProblem(
            "not an x86 kernel image",
            cause="it is an Image for arm64" if arm64 else "the boot protocol's header is missing",
            hints=[_GIVE],
        )
    (protocol,) = struct.unpack_from("<H", image, 0x206)
    if protocol < _OLDEST_PROTOCOL:
        raise UsageProblem(
            "the kernel image is too old",
            cause=f"boot protocol {protocol >> 8}.{protocol & 255:02}, 2.08 is needed",
            hints=[_GIVE],
        )
    # Zero stands for four sectors, for the sake of very old loaders
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * _SECTOR + offset
    if not length or start + length > len(image):
        raise UsageProblem(
            "the kernel image is damaged", cause="its payload is cut off", hints=["fetch it again"]
        )
    return image[start : start + length]


def _note_segments(kernel: bytes) -> Iterator[bytes]:
    if not kernel.startswith(_ELF + b"\x02\x01"):
        return
    (headers,) = struct.unpack_from("<Q", kernel, 32)
    size, count = struct.unpack_from("<HH", kernel, 54)
    for index in range(count):
        fields = struct.unpack_from("<IIQQQQQQ", kernel, headers + index * size)
        if fields[0] == _NOTE_SEGMENT:
            yield kernel[fields[2] : fields[2] + fields[5]]


def _notes(segment: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + 12 <= len(segment):
        name_size, content_size, kind = struct.unpack_from("<III", segment, at)
        name_at = at + 12
        content_at = name_at + (name_size + 3 & ~3)
        at = content_at + (content_size + 3 & ~3)
        name = segment[name_at : name_at + name_size]
        yield name, kind, segment[content_at : content_at + content_size]
