"""The modules of a kernel by name: those that are files, and those that are built in."""

from __future__ import annotations

import os
import re
from pathlib import Path

from banger_core.errors import HostNotReady, UsageProblem
from banger_core.kernel.compression import decompress, is_packed

MODULE_MAX = 64 << 20
"""Most bytes that one module may unpack to."""

MODULE_FILE = re.compile(r"([A-Za-z0-9_+@,=.-]+)\.ko(\.(xz|gz|zst))?")

_LIST_MAX = 8 << 20
_VERMAGIC = b"vermagic="


class ModuleList:
    """What a directory of modules holds. ``files`` maps canonical names (``_`` for ``-``) to
    files, ``builtin`` has the names in ``modules.builtin``, None without that list.
    """

    def __init__(self, directory: Path) -> None:
        self.files: dict[str, Path] = {}
        for place, _, names in os.walk(directory):
            for name in names:
                if found := MODULE_FILE.fullmatch(name):
                    self.files.setdefault(_canonical(found[1]), Path(place, name))
        self.builtin = _builtin(directory / "modules.builtin")

    def release(self) -> str:
        """Return the kernel release that the modules are for, empty when they do not tell.

        One is read, the smallest: they were all built together.
        """
        if not self.files:
            return ""
        smallest = min(self.files.values(), key=lambda path: (path.stat().st_size, path))
        data = smallest.read_bytes()
        try:
            data = decompress(data, MODULE_MAX) if is_packed(data) else data
        except (UsageProblem, HostNotReady):
            return ""
        at = data.find(_VERMAGIC)
        words = data[at + len(_VERMAGIC) :][:200].partition(b"\0")[0].split() if at >= 0 else []
        return words[0].decode("utf-8", "replace") if words else ""


def _builtin(listing: Path) -> set[str] | None:
    if not listing.is_file():
        return None
    with listing.open("rb") as file:
        lines = file.read(_LIST_MAX).decode("utf-8", "replace").splitlines()
    return {_canonical(line.rpartition("/")[2].partition(".ko")[0]) for line in lines}


def _canonical(name: str) -> str:
    return name.replace("-", "_")
