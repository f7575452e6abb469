from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from banger_core.model import GuestFiles


@pytest.fixture
def make_module() -> Callable[..., bytes]:
    """Make the smallest ELF file that is a kernel module: a section table and a ``.modinfo``."""

    def make(*depends: str, info: bytes = b"license=GPL\0") -> bytes:
        # A look-alike in another section must not be taken for the real thing
        decoy = b"xdepends=decoy\0depends=decoy\0"
        modinfo = info + b"depends=" + ",".join(depends).encode() + b"\0name=x\0"
        names = b"\0.modinfo\0.shstrtab\0.data\0"
        data = 64
        table = data + len(decoy) + len(modinfo) + len(names)
        header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
            "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 4, 3
        )

        def section(name: int, offset: int, size: int) -> bytes:
            return struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, size, 0, 0, 1, 0)

        info_at = data + len(decoy)
        names_at = info_at + len(modinfo)
        sections = (
            section(0, 0, 0)
            + section(20, data, len(decoy))
            + section(1, info_at, len(modinfo))
            + section(10, names_at, len(names))
        )
        return header + decoy + modinfo + names + sections

    return make


@pytest.fixture
def guest_files(tmp_path: Path) -> GuestFiles:
    """Programs that are none, except for their ELF header."""
    folder = tmp_path / "programs"
    folder.mkdir()
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", 2, 62)
    for name in ("busybox", "dropbear", "sftp-server", "scp", "ld.so.2", "libc.so.6"):
        (folder / name).write_bytes(elf + name.encode())
    return GuestFiles(
        programs={name: folder / name for name in ("busybox", "dropbear", "sftp-server", "scp")},
        libraries={name: folder / name for name in ("ld.so.2", "libc.so.6")},
        loader="ld.so.2",
    )
